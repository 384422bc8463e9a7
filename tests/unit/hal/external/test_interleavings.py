"""Overlapping orders, statuses and lost links: in doubt the contactor opens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from msgspec.structs import replace

from evse_node.errors import HalError
from evse_node.hal.external.link import ControllerOrders, ControllerStatus
from evse_node.state_machine.control_pilot import PilotState
from evse_node.state_machine.events import (
    ContactorReported,
    FaultCleared,
    FaultRaised,
    PilotChanged,
    SelfTestCompleted,
)
from evse_node.state_machine.faults import FaultState
from evse_node.units import Milliamps
from tests.unit.hal.external.scripted_link import IDLE, OFFER, QUICK, Rig, ScriptedLink

READY = ControllerStatus(PilotState.C, is_closed=False)
CHARGING = ControllerStatus(PilotState.C, is_closed=True)


@pytest.fixture
async def rig(link: ScriptedLink) -> AsyncIterator[Rig]:
    """Rig with long limits, so that a busy machine does not count as a hanging link."""
    made = Rig(link)
    made.backend.timings = replace(QUICK, call_s=5.0, stop_s=5.0)
    await made.backend.start(made.events.append)
    yield made
    link.failure, link.status = None, IDLE
    await made.backend.stop()


async def charge(rig: Rig) -> None:
    rig.backend.offer(OFFER)
    rig.backend.contactor.close()
    await rig.show(CHARGING)
    rig.link.applied.clear()
    rig.events.clear()


def during_next_status(link: ScriptedLink, act: Callable[[], None]) -> asyncio.Event:
    """Act during the next request of a status."""
    read, done = link.read_status, asyncio.Event()

    async def meanwhile() -> ControllerStatus:
        status = await read()
        link.read_status = read  # type: ignore[method-assign]
        act()
        done.set()
        return status

    link.read_status = meanwhile  # type: ignore[method-assign]
    return done


class TestOpeningDuringStatus:
    async def test_older_status_does_not_confirm_opening(self, rig: Rig) -> None:
        rig.backend.offer(OFFER)
        await rig.show(replace(IDLE, pilot=PilotState.B))
        rig.link.applied.clear()
        await during_next_status(rig.link, rig.backend.contactor.open).wait()
        await rig.polls(3)
        assert rig.link.applied[0].must_open
        # The next status confirms it, and the offer continues.
        assert rig.link.applied[1:] == [ControllerOrders(is_enabled=True, current_ma=OFFER)]

    async def test_status_that_caused_opening_confirms_it(self, rig: Rig) -> None:
        await charge(rig)
        post = rig.events.append

        def machine(event: object) -> None:
            post(event)  # type: ignore[arg-type]
            if event == PilotChanged(PilotState.B):
                rig.backend.contactor.open()

        rig.backend._post = machine
        await rig.show(replace(IDLE, pilot=PilotState.B))
        await rig.polls(2)
        # The PWM does not pause each time the vehicle does.
        assert rig.link.applied == []

    @pytest.mark.parametrize("order", ["state F", "self-test"])
    async def test_state_f_and_self_test_are_repeated_until_open(
        self, rig: Rig, order: str
    ) -> None:
        await charge(rig)
        if order == "state F":
            rig.backend.signal_unavailable()
        else:
            rig.backend.start_self_test()
        await rig.until(lambda: len(rig.link.applied) >= 3)
        assert all(each.must_open or each.is_unavailable for each in rig.link.applied)

    async def test_state_f_ended_at_controller_is_ordered_again(self, rig: Rig) -> None:
        rig.backend.signal_unavailable()
        await rig.show(ControllerStatus(PilotState.F, is_closed=False, is_enabled=False))
        rig.link.applied.clear()
        await rig.polls(3)
        assert rig.link.applied == []
        await rig.show(ControllerStatus(PilotState.B, is_closed=False, is_enabled=False))
        assert rig.link.applied[-1].is_unavailable
        # A controller in a fault is left alone.
        fault = frozenset({FaultState.GROUND_FAULT})
        await rig.show(ControllerStatus(PilotState.B, False, fault))
        rig.link.applied.clear()
        await rig.polls(3)
        assert rig.link.applied == []


class TestOrderToClose:
    async def test_ends_with_demand(self, rig: Rig) -> None:
        rig.backend.offer(OFFER)
        await rig.show(READY)
        rig.backend.contactor.close()
        # Demand pauses before the contactor has closed.
        await rig.show(replace(IDLE, pilot=PilotState.B))
        await rig.show(CHARGING)
        assert rig.link.applied[-1].must_open
        assert ContactorReported(True) not in rig.events[:-1]

    async def test_raises_in_state_f(self, rig: Rig) -> None:
        rig.backend.offer(OFFER)
        rig.backend.signal_unavailable()
        with pytest.raises(HalError, match="no current is offered"):
            rig.backend.contactor.close()

    async def test_does_not_outlast_lost_controller(self, rig: Rig) -> None:
        await charge(rig)
        rig.link.failure = HalError("silence")
        await rig.until(lambda: FaultRaised(FaultState.OTHER) in rig.events)
        rig.link.applied.clear()
        # Open meanwhile, in state C: an offer alone would close it.
        rig.link.status = READY
        rig.link.failure = None
        await rig.until(lambda: FaultCleared(FaultState.OTHER) in rig.events)
        await rig.polls(3)
        assert not any(orders.is_enabled for orders in rig.link.applied)
        assert rig.link.applied[0].must_open
        rig.backend.contactor.close()
        await rig.polls(2)
        assert rig.link.applied[-1].is_enabled

    async def test_new_offer_after_loss_enables(self, rig: Rig) -> None:
        await charge(rig)
        rig.link.failure = HalError("silence")
        await rig.until(lambda: FaultRaised(FaultState.OTHER) in rig.events)
        rig.backend.withdraw()
        rig.link.status, rig.link.failure = replace(IDLE, pilot=PilotState.B), None
        await rig.until(lambda: FaultCleared(FaultState.OTHER) in rig.events)
        rig.backend.offer(Milliamps(10_000))
        await rig.polls(2)
        wanted = ControllerOrders(is_enabled=True, current_ma=Milliamps(10_000))
        assert rig.link.applied[-1] == wanted


class TestReconnectionDuringSession:
    """The port itself was gone, for less time than a loss takes."""

    async def disconnect_adapter(self, rig: Rig, status: ControllerStatus) -> None:
        began = rig.clock()
        rig.clock = lambda: began
        rig.link.failure = OSError("gone")
        opened = rig.link.calls.count("open")
        await rig.until(lambda: rig.link.calls.count("open") > opened)
        rig.link.applied.clear()
        rig.link.status, rig.link.failure = status, None
        await rig.polls(2)

    async def test_closed_contactor_stays_closed(self, rig: Rig) -> None:
        await charge(rig)
        await self.disconnect_adapter(rig, CHARGING)
        assert rig.link.applied == [ControllerOrders(is_enabled=True, current_ma=OFFER)]
        assert rig.events == []

    @pytest.mark.parametrize("status", [READY, replace(CHARGING, has_restarted=True)])
    async def test_contactor_that_opened_meanwhile_stays_open(
        self, rig: Rig, status: ControllerStatus
    ) -> None:
        await charge(rig)
        await self.disconnect_adapter(rig, status)
        assert rig.link.applied[0].must_open
        assert not any(orders.is_enabled for orders in rig.link.applied)
        assert rig.events[0] == FaultRaised(FaultState.OTHER)
        await rig.show(READY)
        await rig.until(lambda: FaultCleared(FaultState.OTHER) in rig.events)
        assert not any(orders.is_enabled for orders in rig.link.applied)


class TestLostController:
    async def lose(self, rig: Rig) -> None:
        rig.link.failure = HalError("silence")
        await rig.until(lambda: FaultRaised(FaultState.OTHER) in rig.events)

    async def test_unlock_is_applied_after_recovery(self, rig: Rig) -> None:
        lock = rig.backend.lock
        assert lock is not None
        lock.lock()
        await rig.polls(2)
        await self.lose(rig)
        lock.unlock()
        with pytest.raises(HalError, match="lost"):
            lock.lock()
        rig.link.failure = None
        rig.link.applied.clear()
        await rig.until(lambda: bool(rig.link.applied))
        assert not rig.link.applied[-1].is_locked

    async def test_self_test_completes_when_controller_is_lost(self, rig: Rig) -> None:
        await rig.show(CHARGING)
        rig.backend.start_self_test()
        await self.lose(rig)
        assert rig.events[-1] == SelfTestCompleted()
        rig.link.failure, rig.link.status = None, IDLE
        await rig.polls(3)
        assert "test" not in rig.link.calls


async def test_exception_in_self_test_is_a_failure(rig: Rig) -> None:
    async def fail() -> None:
        rig.link.calls.append("test")
        raise ZeroDivisionError

    rig.link.self_test = fail  # type: ignore[method-assign]
    rig.backend.start_self_test()
    await rig.until(lambda: SelfTestCompleted() in rig.events)
    assert FaultRaised(FaultState.OTHER) in rig.events
    await rig.polls(3)
    assert rig.link.calls.count("test") == 1


async def test_stop_leaves_no_task(link: ScriptedLink) -> None:
    before = asyncio.all_tasks()
    for hangs in (False, True):
        rig = Rig(link)
        await rig.backend.start(rig.events.append)
        await rig.polls(2)
        link.hangs = hangs
        await rig.backend.stop()
        link.hangs = False
    assert asyncio.all_tasks() == before
