"""Events and readings of an external controller."""

from __future__ import annotations

import asyncio
import time

import pytest
from msgspec.structs import replace

from evse_node.errors import HalError
from evse_node.hal.external.backend import ExternalController
from evse_node.hal.external.link import ControllerStatus, LinkTraits
from evse_node.hal.interface import CurrentDerated, HalEvent, Ratings
from evse_node.state_machine.control_pilot import PilotState
from evse_node.state_machine.events import (
    CableChanged,
    ContactorReported,
    FaultCleared,
    FaultRaised,
    PilotChanged,
    RfidTapped,
    SelfTestCompleted,
)
from evse_node.state_machine.faults import FaultState
from evse_node.units import Milliamps
from tests.unit.hal.external.scripted_link import IDLE, OFFER, QUICK, Rig, ScriptedLink


class TestEvents:
    async def test_each_change_is_reported_once_and_in_order(self, rig: Rig) -> None:
        rig.events.clear()
        status = ControllerStatus(
            PilotState.B,
            is_closed=False,
            faults=frozenset({FaultState.GROUND_FAULT}),
            ampacity_ma=Milliamps(20_000),
            limit_ma=Milliamps(13_000),
            card=b"\x01",
        )
        await rig.show(status)
        await rig.polls(3)
        await rig.show(IDLE)
        assert rig.events == [
            FaultRaised(FaultState.GROUND_FAULT),
            CableChanged(Milliamps(20_000)),
            CurrentDerated(Milliamps(13_000)),
            PilotChanged(PilotState.B),
            RfidTapped(b"\x01"),
            CableChanged(None),
            CurrentDerated(None),
            PilotChanged(PilotState.A),
            FaultCleared(FaultState.GROUND_FAULT),
        ]

    async def test_same_card_is_reported_again_after_removal(self, rig: Rig) -> None:
        rig.events.clear()
        await rig.show(replace(IDLE, card=b"\x01"))
        start = time.monotonic() + 2
        rig.clock = lambda: start
        for card in (None, b"\x01", b"\x02", b"", bytes(11)):
            await rig.show(replace(IDLE, card=card))
        assert rig.events == [
            RfidTapped(b"\x01"),
            RfidTapped(b"\x01"),
            RfidTapped(b"\x02"),
        ]

    async def test_card_that_is_away_for_a_moment_is_one_tap(self, rig: Rig) -> None:
        rig.events.clear()
        for card in (b"\x01", None, b"\x01"):
            await rig.show(replace(IDLE, card=card))
        assert rig.events == [RfidTapped(b"\x01")]

    async def test_limit_above_ratings_is_not_reported(self, rig: Rig) -> None:
        rig.events.clear()
        await rig.show(replace(IDLE, limit_ma=Milliamps(80_000)))
        assert rig.events == []

    async def test_contactor_closed_without_order_is_opened_and_reported(self, rig: Rig) -> None:
        rig.events.clear()
        await rig.show(ControllerStatus(PilotState.C, is_closed=True))
        assert rig.events == [PilotChanged(PilotState.C)]
        assert rig.link.applied[-1].must_open
        await rig.until(lambda: ContactorReported(True) in rig.events)
        await rig.show(ControllerStatus(PilotState.C, is_closed=False))
        assert rig.events[-1] == ContactorReported(False)

    async def test_unknown_pilot_becomes_b_when_contactor_opens(self, rig: Rig) -> None:
        rig.backend.offer(OFFER)
        rig.backend.contactor.close()
        await rig.show(ControllerStatus(PilotState.C, is_closed=True))
        rig.events.clear()
        await rig.show(ControllerStatus(None, is_closed=True))
        assert rig.events == []
        await rig.show(ControllerStatus(None, is_closed=False))
        assert rig.events == [PilotChanged(PilotState.B), ContactorReported(False)]

    async def test_exception_of_listener_does_not_end_polls(self, link: ScriptedLink) -> None:
        rig = Rig(link)
        await rig.backend.start(rig.events.append)
        append, rig.backend._post = rig.events.append, _fail
        await rig.show(replace(IDLE, pilot=PilotState.B))
        rig.backend._post = append
        await rig.show(replace(IDLE, pilot=PilotState.C))
        assert rig.events[-1] == PilotChanged(PilotState.C)
        await rig.backend.stop()

    async def test_repeated_exception_is_logged_once(
        self, rig: Rig, caplog: pytest.LogCaptureFixture
    ) -> None:
        rig.link.status = replace(IDLE, card=b"\x01")
        take_in = rig.backend._poller._process
        errors: list[Exception] = []

        def fail(status: ControllerStatus) -> None:
            errors.append(ValueError("odd"))
            raise errors[-1]

        rig.backend._poller._process = fail  # type: ignore[method-assign]
        await rig.until(lambda: len(errors) >= 5)
        rig.backend._poller._process = take_in  # type: ignore[method-assign]
        assert caplog.text.count("processing the controller's status failed") == 1
        caplog.clear()
        rig.link.failure = ZeroDivisionError("odd")
        failed = len(rig.link.calls)
        await rig.until(lambda: len(rig.link.calls) > failed + 5)
        assert caplog.text.count("link failed") == 1

    async def test_wake_polls_at_once(self, link: ScriptedLink) -> None:
        rig = Rig(link)
        rig.backend.timings = replace(QUICK, poll_s=60)
        await rig.backend.start(rig.events.append)
        await asyncio.sleep(0.02)
        link.status = replace(IDLE, pilot=PilotState.B)
        link.wake()
        await rig.until(lambda: rig.events[-1] == PilotChanged(PilotState.B))
        await rig.backend.stop()


def _fail(event: HalEvent) -> None:
    raise ZeroDivisionError


class TestReadings:
    async def test_missing_values_raise(self, rig: Rig) -> None:
        assert rig.backend.meter is not None
        with pytest.raises(HalError, match="no measured values"):
            rig.backend.meter.read()
        with pytest.raises(HalError, match="no temperature"):
            rig.backend.read_millicelsius()
        rig.backend.acknowledge()

    async def test_temperature_and_cable_are_reported(self, rig: Rig) -> None:
        await rig.show(replace(IDLE, temperature_millicelsius=41_000, ampacity_ma=OFFER))
        assert rig.backend.read_millicelsius() == 41_000
        assert CableChanged(OFFER) in rig.events

    def test_capabilities_follow_traits_of_link(self) -> None:
        backend = ExternalController(ScriptedLink(LinkTraits()), Ratings())
        assert backend.meter is backend.lock is backend.rfid_reader is None
        assert backend.temperature_sensor is backend.proximity_pilot is backend.self_test is None

    def test_status_before_start_is_read_once(self, link: ScriptedLink) -> None:
        link.status = replace(IDLE, temperature_millicelsius=21_000)
        backend = ExternalController(link, Ratings())
        for _ in range(3):
            assert backend.read_millicelsius() == 21_000
        assert link.calls == ["open", "status", "close"]

    def test_exception_of_link_before_start_raises_hal_error(self, link: ScriptedLink) -> None:
        link.failure = ZeroDivisionError("odd")
        with pytest.raises(HalError, match="odd"):
            ExternalController(link, Ratings()).read_millicelsius()

    def test_failure_before_start_is_cached(self, link: ScriptedLink) -> None:
        link.failure = HalError("no answer")
        now = [0.0]
        backend = ExternalController(link, Ratings(), clock=lambda: now[0])
        for _ in range(3):
            with pytest.raises(HalError, match="no answer"):
                backend.read_millicelsius()
        assert link.calls == ["open", "close"]
        now[0] += 60
        with pytest.raises(HalError, match="no answer"):
            backend.read_millicelsius()
        assert link.calls == ["open", "close"] * 2


class TestSelfTest:
    async def test_waits_until_contactor_is_open(self, rig: Rig) -> None:
        rig.link.status = ControllerStatus(PilotState.C, is_closed=True)
        rig.backend.start_self_test()
        await rig.polls(3)
        assert "test" not in rig.link.calls
        assert rig.link.applied[-1].must_open
        await rig.show(IDLE)
        await rig.until(lambda: SelfTestCompleted() in rig.events)
        assert rig.link.calls.count("test") == 1

    async def test_failure_is_a_fault_until_next_self_test(self, rig: Rig) -> None:
        test = rig.link.self_test

        async def fail() -> None:
            raise HalError("no boot")

        rig.link.self_test = fail  # type: ignore[method-assign]
        rig.backend.start_self_test()
        await rig.until(lambda: SelfTestCompleted() in rig.events)
        assert rig.events[-2:] == [FaultRaised(FaultState.OTHER), SelfTestCompleted()]
        rig.link.self_test = test  # type: ignore[method-assign]
        rig.backend.start_self_test()
        await rig.until(lambda: rig.events[-1] == SelfTestCompleted() and len(rig.events) > 5)
        assert FaultCleared(FaultState.OTHER) in rig.events[-3:]

    async def test_hanging_self_test_completes(self, rig: Rig) -> None:
        async def hang() -> None:
            await asyncio.sleep(3600)

        rig.link.self_test = hang  # type: ignore[method-assign]
        rig.backend.start_self_test()
        await rig.until(lambda: SelfTestCompleted() in rig.events)
