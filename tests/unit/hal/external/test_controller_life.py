"""Lost controllers, hanging links, start and stop."""

from __future__ import annotations

import asyncio
import time

import pytest
from msgspec.structs import replace

from evse_node.errors import HalError
from evse_node.hal.external.backend import ExternalController
from evse_node.hal.external.link import ControllerOrders, ControllerStatus
from evse_node.hal.interface import Ratings
from evse_node.platform.systemd import ServiceManager
from evse_node.state_machine.control_pilot import PilotState
from evse_node.state_machine.events import FaultCleared, FaultRaised
from evse_node.state_machine.faults import FaultState
from tests.unit.hal.external.scripted_link import OFFER, QUICK, Rig, ScriptedLink


class TestLost:
    async def test_lost_controller_is_a_fault_until_it_answers(self, rig: Rig) -> None:
        rig.events.clear()
        rig.link.failure = HalError("garbage")
        await rig.until(lambda: bool(rig.events))
        assert rig.events == [FaultRaised(FaultState.OTHER)]
        rig.link.failure = None
        await rig.until(lambda: len(rig.events) > 1)
        assert FaultCleared(FaultState.OTHER) in rig.events

    @pytest.mark.parametrize("failure", [OSError("gone"), TimeoutError(), ZeroDivisionError()])
    async def test_every_exception_of_link_loses_controller(
        self, rig: Rig, failure: Exception
    ) -> None:
        rig.link.failure = failure
        await rig.until(lambda: FaultRaised(FaultState.OTHER) in rig.events)
        rig.link.failure = None
        await rig.until(lambda: rig.events[-1] == FaultCleared(FaultState.OTHER))

    async def test_short_failure_is_not_reported(self, rig: Rig) -> None:
        rig.events.clear()
        await rig.polls(1)
        # The clock stands still, and polls have a long limit.
        began = time.monotonic()
        rig.clock = lambda: began
        rig.backend._poller.timings = replace(QUICK, call_s=10.0)
        rig.link.failure = HalError("garbage")
        failed = len(rig.link.calls)
        await rig.until(lambda: len(rig.link.calls) > failed + 2)
        rig.link.failure = None
        await rig.polls(2)
        assert rig.events == []
        # The port is not reopened, but orders are repeated.
        assert rig.link.calls.count("open") == 1
        assert len(rig.link.applied) >= 2

    async def test_controller_lost_while_charging_is_opened(self, rig: Rig) -> None:
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
        assert rig.events == [FaultRaised(FaultState.OTHER)]
        await rig.show(replace(closed, is_closed=False))
        assert rig.events[-2:] == [
            FaultCleared(FaultState.CONTACT_WET_FAILURE),
            FaultCleared(FaultState.OTHER),
        ]


class TestHangs:
    async def test_orders_return_at_once_while_link_hangs(self, rig: Rig) -> None:
        rig.events.clear()
        rig.link.hangs = True
        began = time.monotonic()
        rig.backend.contactor.open()
        rig.backend.withdraw()
        rig.backend.offer(OFFER)
        assert time.monotonic() - began < 0.05
        await rig.until(lambda: rig.events == [FaultRaised(FaultState.OTHER)])
        rig.link.hangs = False
        await rig.until(lambda: FaultCleared(FaultState.OTHER) in rig.events)

    async def test_stop_ends_in_time_while_link_hangs(self, link: ScriptedLink) -> None:
        rig = Rig(link)
        await rig.backend.start(rig.events.append)
        link.hangs = True
        await asyncio.sleep(0.02)
        began = time.monotonic()
        await rig.backend.stop()
        assert time.monotonic() - began < 1

    async def test_start_fails_in_time_while_link_hangs(self, link: ScriptedLink) -> None:
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

    async def test_second_start_raises(self, rig: Rig) -> None:
        with pytest.raises(HalError, match="is already running"):
            await rig.backend.start(rig.events.append)


async def test_service_manager_is_notified_while_running(link: ScriptedLink) -> None:
    sent: list[str] = []

    class Manager(ServiceManager):
        def __init__(self) -> None:
            self.limit_s = 0.03

        def notify(self, text: str) -> None:
            sent.append(text)

    backend = ExternalController(link, Ratings(), timings=QUICK, service_manager=Manager())
    await backend.start(lambda event: None)
    assert sent == ["READY=1", "WATCHDOG=1"]
    await asyncio.sleep(0.05)
    assert len(sent) > 2
    await backend.stop()
    sent.clear()
    await asyncio.sleep(0.03)
    assert sent == []


async def test_stop_disables_and_closes_link(link: ScriptedLink) -> None:
    rig = Rig(link)
    await rig.backend.start(rig.events.append)
    rig.backend.offer(OFFER)
    await rig.polls(2)
    await rig.backend.stop()
    assert link.applied[-1] == ControllerOrders(must_open=True, is_final=True)
    assert link.calls[-1] == "close"
    await rig.backend.stop()
