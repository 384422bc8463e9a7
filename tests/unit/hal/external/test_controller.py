"""The backend of external controllers on a link that the test plays."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest

from evse_node.errors import HalError
from evse_node.hal.external.controller import ExternalController, Pace
from evse_node.hal.external.link import ControllerOrders, ControllerStatus, LinkTraits
from evse_node.hal.interface import (
    CableReported,
    CardPresented,
    ContactorFeedback,
    CurrentDerated,
    FaultDetected,
    FaultGone,
    HalEvent,
    PilotReported,
    Ratings,
    SelfTestCompleted,
)
from evse_node.hal.service_manager import ServiceManager
from evse_node.state_machine.control_pilot import PilotState
from evse_node.state_machine.faults import FaultState
from evse_node.units import Milliamps

QUICK = Pace(
    poll_s=0.01,
    retry_s=0.002,
    call_s=0.05,
    lost_s=0.1,
    reopen_s=0.01,
    start_s=0.2,
    stop_s=0.05,
    close_s=0.05,
    unordered_s=0.05,
)
ALL = LinkTraits(
    has_meter=True,
    has_thermometer=True,
    has_lock=True,
    has_proximity=True,
    has_cards=True,
    heartbeat_s=0.02,
    self_test_s=0.05,
)
IDLE = ControllerStatus(PilotState.A, is_closed=False)
OFFER = Milliamps(16_000)


class PlayedLink:
    """Does what `status` and `failure` say, and keeps what it was called with."""

    def __init__(self, traits: LinkTraits = ALL) -> None:
        self.traits = traits
        self.status = IDLE
        self.failure: Exception | None = None
        self.hangs = False
        self.applied: list[ControllerOrders] = []
        self.calls: list[str] = []
        self.wake: Callable[[], None] = lambda: None

    async def _call(self, name: str) -> None:
        self.calls.append(name)
        await asyncio.sleep(0)
        if self.hangs:
            await asyncio.sleep(3600)
        if self.failure is not None:
            raise self.failure

    async def open(self, wake: Callable[[], None]) -> None:
        self.wake = wake
        await self._call("open")

    async def close(self) -> None:
        self.calls.append("close")
        if self.hangs:
            await asyncio.sleep(3600)

    async def read_status(self) -> ControllerStatus:
        await self._call("status")
        return self.status

    async def apply(self, orders: ControllerOrders) -> None:
        await self._call("apply")
        self.applied.append(orders)

    async def keep_alive(self) -> None:
        await self._call("beat")

    async def self_test(self) -> None:
        await self._call("test")


class Rig:
    """The backend with its task, and what it told."""

    def __init__(self, link: PlayedLink) -> None:
        self.link = link
        self.clock: Callable[[], float] = time.monotonic
        self.backend = ExternalController(link, Ratings(), pace=QUICK, clock=lambda: self.clock())
        self.events: list[HalEvent] = []

    async def until(self, condition: Callable[[], bool], limit_s: float = 10.0) -> None:
        async with asyncio.timeout(limit_s):
            while not condition():
                await asyncio.sleep(0.001)

    async def show(self, status: ControllerStatus) -> None:
        """Let the controller tell this, and wait until it was taken in."""
        self.link.status = status
        await self.polls(2)

    async def polls(self, count: int) -> None:
        seen = self.link.calls.count("status")
        await self.until(lambda: self.link.calls.count("status") >= seen + count)
        await asyncio.sleep(0.002)


@pytest.fixture
def link() -> PlayedLink:
    return PlayedLink()


@pytest.fixture
async def rig(link: PlayedLink) -> AsyncIterator[Rig]:
    made = Rig(link)
    await made.backend.start(made.events.append)
    yield made
    link.hangs, link.failure = False, None
    await made.backend.stop()


class TestOrders:
    async def test_the_first_is_to_open(self, rig: Rig) -> None:
        assert rig.link.applied[0] == ControllerOrders(must_open=True)

    async def test_the_newest_wins(self, rig: Rig) -> None:
        await rig.polls(2)
        rig.link.applied.clear()
        for amperes in (10, 12, 14, 16):
            rig.backend.offer(Milliamps(amperes * 1_000))
        await rig.polls(3)
        assert rig.link.applied == [ControllerOrders(is_enabled=True, current_ma=OFFER)]

    async def test_one_that_comes_meanwhile_follows_at_once(self, rig: Rig) -> None:
        await rig.polls(2)
        rig.link.applied.clear()
        apply = rig.link.apply

        async def slow(orders: ControllerOrders) -> None:
            if orders.is_enabled:
                rig.backend.contactor.open()
                rig.backend.withdraw()
            await apply(orders)

        rig.link.apply = slow  # type: ignore[method-assign]
        rig.backend.offer(OFFER)
        await rig.until(lambda: len(rig.link.applied) >= 2)
        assert [orders.must_open for orders in rig.link.applied[:2]] == [False, True]

    async def test_opening_is_repeated_until_it_is_confirmed(self, rig: Rig) -> None:
        rig.backend.offer(OFFER)
        rig.backend.contactor.close()
        closed = ControllerStatus(PilotState.C, is_closed=True)
        await rig.show(closed)
        rig.link.applied.clear()
        rig.backend.contactor.open()
        await rig.until(lambda: len(rig.link.applied) >= 3)
        assert all(orders.must_open for orders in rig.link.applied)
        await rig.show(replace(closed, is_closed=False))
        count = len(rig.link.applied)
        await rig.polls(3)
        assert len(rig.link.applied) == count
        assert rig.events[-1] == ContactorFeedback(False)

    async def test_they_come_in_steps(self, rig: Rig) -> None:
        rig.backend.offer(Milliamps(16_999))
        await rig.polls(2)
        assert rig.link.applied[-1].current_ma == 16_000

    async def test_a_controller_that_forgot_gets_them_again(self, rig: Rig) -> None:
        rig.backend.offer(OFFER)
        enabled = replace(IDLE, is_enabled=True, offered_ma=OFFER)
        await rig.show(enabled)
        for other in (
            replace(enabled, offered_ma=Milliamps(32_000)),
            replace(enabled, offered_ma=Milliamps(6_000)),
            replace(enabled, has_restarted=True),
        ):
            rig.link.applied.clear()
            await rig.show(other)
            assert rig.link.applied, other
            await rig.show(enabled)
        rig.link.applied.clear()
        limit_ma = Milliamps(10_000)
        await rig.show(replace(enabled, offered_ma=limit_ma, limit_ma=limit_ma))
        assert rig.link.applied == []

    async def test_stopped_at_the_controller(self, rig: Rig) -> None:
        rig.backend.offer(OFFER)
        await rig.show(replace(IDLE, is_enabled=True, offered_ma=OFFER))
        await rig.show(replace(IDLE, is_enabled=False))
        assert not rig.link.applied[-1].is_enabled
        rig.backend.offer(Milliamps(10_000))
        await rig.polls(2)
        assert not rig.link.applied[-1].is_enabled
        rig.backend.withdraw()
        rig.backend.offer(OFFER)
        await rig.polls(2)
        assert rig.link.applied[-1].is_enabled

    async def test_a_controller_that_is_slow_to_enable_was_not_stopped(self, rig: Rig) -> None:
        rig.backend.offer(OFFER)
        await rig.show(replace(IDLE, is_enabled=False))
        assert rig.link.applied[-1].is_enabled

    async def test_the_lock(self, rig: Rig) -> None:
        assert rig.backend.lock is not None
        rig.backend.lock.lock()
        await rig.polls(2)
        assert rig.link.applied[-1].is_locked


class TestTold:
    async def test_each_change_once_and_in_order(self, rig: Rig) -> None:
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
            FaultDetected(FaultState.GROUND_FAULT),
            CableReported(Milliamps(20_000)),
            CurrentDerated(Milliamps(13_000)),
            PilotReported(PilotState.B),
            CardPresented(b"\x01"),
            CableReported(None),
            CurrentDerated(None),
            PilotReported(PilotState.A),
            FaultGone(FaultState.GROUND_FAULT),
        ]

    async def test_the_same_card_again(self, rig: Rig) -> None:
        rig.events.clear()
        for card in (b"\x01", None, b"\x01", b"\x02", b"", bytes(11)):
            await rig.show(replace(IDLE, card=card))
        assert rig.events == [
            CardPresented(b"\x01"),
            CardPresented(b"\x01"),
            CardPresented(b"\x02"),
        ]

    async def test_a_limit_above_the_ratings_is_none(self, rig: Rig) -> None:
        rig.events.clear()
        await rig.show(replace(IDLE, limit_ma=Milliamps(80_000)))
        assert rig.events == []

    async def test_a_contactor_that_nobody_wants_closed(self, rig: Rig) -> None:
        rig.events.clear()
        await rig.show(ControllerStatus(PilotState.C, is_closed=True))
        assert rig.events == [PilotReported(PilotState.C)]
        assert rig.link.applied[-1].must_open
        await rig.until(lambda: ContactorFeedback(True) in rig.events)
        await rig.show(ControllerStatus(PilotState.C, is_closed=False))
        assert rig.events[-1] == ContactorFeedback(False)

    async def test_opened_and_not_knowing_the_pilot(self, rig: Rig) -> None:
        rig.backend.offer(OFFER)
        rig.backend.contactor.close()
        await rig.show(ControllerStatus(PilotState.C, is_closed=True))
        rig.events.clear()
        await rig.show(ControllerStatus(None, is_closed=True))
        assert rig.events == []
        await rig.show(ControllerStatus(None, is_closed=False))
        assert rig.events == [PilotReported(PilotState.B), ContactorFeedback(False)]

    async def test_a_mistake_of_the_listener_does_not_end_the_polls(self, link: PlayedLink) -> None:
        rig = Rig(link)
        await rig.backend.start(rig.events.append)
        append, rig.backend._post = rig.events.append, _fail
        await rig.show(replace(IDLE, pilot=PilotState.B))
        rig.backend._post = append
        await rig.show(replace(IDLE, pilot=PilotState.C))
        assert rig.events[-1] == PilotReported(PilotState.C)
        await rig.backend.stop()

    async def test_news_are_fetched_at_once(self, link: PlayedLink) -> None:
        rig = Rig(link)
        rig.backend.pace = replace(QUICK, poll_s=60)
        await rig.backend.start(rig.events.append)
        await asyncio.sleep(0.02)
        link.status = replace(IDLE, pilot=PilotState.B)
        link.wake()
        await rig.until(lambda: rig.events[-1] == PilotReported(PilotState.B))
        await rig.backend.stop()


def _fail(event: HalEvent) -> None:
    raise ZeroDivisionError


class TestReadings:
    async def test_what_is_not_there(self, rig: Rig) -> None:
        assert rig.backend.meter is not None
        with pytest.raises(HalError, match="no measured values"):
            rig.backend.meter.read()
        with pytest.raises(HalError, match="no temperature"):
            rig.backend.read_millicelsius()
        rig.backend.acknowledge()

    async def test_what_is(self, rig: Rig) -> None:
        await rig.show(replace(IDLE, temperature_millicelsius=41_000, ampacity_ma=OFFER))
        assert rig.backend.read_millicelsius() == 41_000
        assert rig.backend.ampacity_ma() == 16_000

    def test_capabilities_only_where_the_link_has_them(self) -> None:
        backend = ExternalController(PlayedLink(LinkTraits()), Ratings())
        assert backend.meter is backend.lock is backend.rfid_reader is None
        assert backend.temperature_sensor is backend.proximity_pilot is backend.self_test is None

    def test_before_start(self, link: PlayedLink) -> None:
        link.status = replace(IDLE, temperature_millicelsius=21_000)
        backend = ExternalController(link, Ratings())
        for _ in range(3):
            assert backend.read_millicelsius() == 21_000
        assert link.calls == ["open", "status", "close"]

    def test_nobody_answers_before_start(self, link: PlayedLink) -> None:
        link.failure = HalError("nobody there")
        now = [0.0]
        backend = ExternalController(link, Ratings(), clock=lambda: now[0])
        for _ in range(3):
            with pytest.raises(HalError, match="nobody there"):
                backend.read_millicelsius()
        assert link.calls == ["open", "close"]
        now[0] += 60
        with pytest.raises(HalError, match="nobody there"):
            backend.read_millicelsius()
        assert link.calls == ["open", "close"] * 2


class TestLost:
    async def test_it_is_told_and_goes(self, rig: Rig) -> None:
        rig.events.clear()
        rig.link.failure = HalError("garbage")
        await rig.until(lambda: bool(rig.events))
        assert rig.events == [FaultDetected(FaultState.OTHER)]
        rig.link.failure = None
        await rig.until(lambda: len(rig.events) > 1)
        assert FaultGone(FaultState.OTHER) in rig.events

    @pytest.mark.parametrize("failure", [OSError("gone"), TimeoutError(), ZeroDivisionError()])
    async def test_whatever_is_raised(self, rig: Rig, failure: Exception) -> None:
        rig.link.failure = failure
        await rig.until(lambda: FaultDetected(FaultState.OTHER) in rig.events)
        rig.link.failure = None
        await rig.until(lambda: rig.events[-1] == FaultGone(FaultState.OTHER))

    async def test_a_short_trouble_is_not_told(self, rig: Rig) -> None:
        rig.events.clear()
        await rig.polls(1)
        # However long that takes: the clock stands still, and no poll is too long.
        began = time.monotonic()
        rig.clock = lambda: began
        rig.backend.pace = replace(QUICK, call_s=10.0)
        rig.link.failure = HalError("garbage")
        failed = len(rig.link.calls)
        await rig.until(lambda: len(rig.link.calls) > failed + 2)
        rig.link.failure = None
        await rig.polls(2)
        assert rig.events == []
        # Nor is the port opened anew for it, but the orders are given again.
        assert rig.link.calls.count("open") == 1
        assert len(rig.link.applied) >= 2

    async def test_lost_while_it_charges(self, rig: Rig) -> None:
        rig.backend.offer(OFFER)
        rig.backend.contactor.close()
        closed = ControllerStatus(PilotState.C, is_closed=True)
        await rig.show(closed)
        rig.events.clear()
        rig.link.failure = HalError("silence")
        await rig.until(lambda: bool(rig.events))
        rig.link.failure = None
        rig.link.applied.clear()
        await rig.until(lambda: len(rig.link.applied) >= 2)
        assert rig.link.applied[-1].must_open
        assert rig.events == [FaultDetected(FaultState.OTHER)]
        await rig.show(replace(closed, is_closed=False))
        assert rig.events[-2:] == [
            FaultGone(FaultState.CONTACT_WET_FAILURE),
            FaultGone(FaultState.OTHER),
        ]


class TestHangs:
    async def test_the_event_loop_goes_on(self, rig: Rig) -> None:
        rig.events.clear()
        rig.link.hangs = True
        began = time.monotonic()
        rig.backend.contactor.open()
        rig.backend.withdraw()
        rig.backend.offer(OFFER)
        assert time.monotonic() - began < 0.05
        await rig.until(lambda: rig.events == [FaultDetected(FaultState.OTHER)])
        rig.link.hangs = False
        await rig.until(lambda: FaultGone(FaultState.OTHER) in rig.events)

    async def test_stop_does_not_wait_for_it(self, link: PlayedLink) -> None:
        rig = Rig(link)
        await rig.backend.start(rig.events.append)
        link.hangs = True
        await asyncio.sleep(0.02)
        began = time.monotonic()
        await rig.backend.stop()
        assert time.monotonic() - began < 1

    async def test_start_gives_up(self, link: PlayedLink) -> None:
        link.hangs = True
        rig = Rig(link)
        began = time.monotonic()
        with pytest.raises(HalError, match="no answer in time"):
            await rig.backend.start(rig.events.append)
        assert time.monotonic() - began < 1
        assert link.calls[-1] == "close"
        link.hangs = False
        await rig.backend.start(rig.events.append)
        await rig.backend.stop()

    async def test_started_twice(self, rig: Rig) -> None:
        with pytest.raises(HalError, match="runs already"):
            await rig.backend.start(rig.events.append)


class TestHeartbeats:
    async def test_they_come(self, rig: Rig) -> None:
        await rig.until(lambda: rig.link.calls.count("beat") >= 3)
        assert rig.link.calls.count("status") > 3

    async def test_none_are_wanted(self) -> None:
        rig = Rig(PlayedLink(LinkTraits()))
        await rig.backend.start(rig.events.append)
        await rig.polls(5)
        assert "beat" not in rig.link.calls
        await rig.backend.stop()


class TestSelfTest:
    async def test_with_the_contactor_open(self, rig: Rig) -> None:
        rig.link.status = ControllerStatus(PilotState.C, is_closed=True)
        rig.backend.start_self_test()
        await rig.polls(3)
        assert "test" not in rig.link.calls
        assert rig.link.applied[-1].must_open
        await rig.show(IDLE)
        await rig.until(lambda: SelfTestCompleted() in rig.events)
        assert rig.link.calls.count("test") == 1

    async def test_one_that_fails(self, rig: Rig) -> None:
        test = rig.link.self_test

        async def fail() -> None:
            raise HalError("no boot")

        rig.link.self_test = fail  # type: ignore[method-assign]
        rig.backend.start_self_test()
        await rig.until(lambda: SelfTestCompleted() in rig.events)
        assert rig.events[-2:] == [FaultDetected(FaultState.OTHER), SelfTestCompleted()]
        rig.link.self_test = test  # type: ignore[method-assign]
        rig.backend.start_self_test()
        await rig.until(lambda: rig.events[-1] == SelfTestCompleted() and len(rig.events) > 5)
        assert FaultGone(FaultState.OTHER) in rig.events[-3:]

    async def test_one_that_hangs(self, rig: Rig) -> None:
        async def hang() -> None:
            await asyncio.sleep(3600)

        rig.link.self_test = hang  # type: ignore[method-assign]
        rig.backend.start_self_test()
        await rig.until(lambda: SelfTestCompleted() in rig.events)


async def test_the_service_manager_is_told(link: PlayedLink) -> None:
    told: list[str] = []

    class Manager(ServiceManager):
        def __init__(self) -> None:
            self.limit_s = 0.03

        def tell(self, text: str) -> None:
            told.append(text)

    backend = ExternalController(link, Ratings(), pace=QUICK, service_manager=Manager())
    await backend.start(lambda event: None)
    assert told == ["READY=1", "WATCHDOG=1"]
    await asyncio.sleep(0.05)
    assert len(told) > 2
    await backend.stop()
    told.clear()
    await asyncio.sleep(0.03)
    assert told == []


async def test_stop_disables_and_lets_go(link: PlayedLink) -> None:
    rig = Rig(link)
    await rig.backend.start(rig.events.append)
    rig.backend.offer(OFFER)
    await rig.polls(2)
    await rig.backend.stop()
    assert link.applied[-1] == ControllerOrders(must_open=True, is_final=True)
    assert link.calls[-1] == "close"
    await rig.backend.stop()
