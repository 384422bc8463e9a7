"""Orders to an external controller."""

from __future__ import annotations

from msgspec.structs import replace

from evse_node.hal.external.link import ControllerOrders, ControllerStatus, LinkTraits
from evse_node.state_machine.control_pilot import PilotState
from evse_node.state_machine.events import ContactorReported
from evse_node.units import Milliamps
from tests.unit.hal.external.scripted_link import IDLE, OFFER, Rig, ScriptedLink


class TestOrders:
    async def test_first_order_is_to_open(self, rig: Rig) -> None:
        assert rig.link.applied[0] == ControllerOrders(must_open=True)

    async def test_latest_order_wins(self, rig: Rig) -> None:
        await rig.polls(2)
        rig.link.applied.clear()
        for amperes in (10, 12, 14, 16):
            rig.backend.offer(Milliamps(amperes * 1_000))
        await rig.polls(3)
        assert rig.link.applied == [ControllerOrders(is_enabled=True, current_ma=OFFER)]

    async def test_order_during_apply_follows_at_once(self, rig: Rig) -> None:
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

    async def test_opening_is_repeated_until_confirmed(self, rig: Rig) -> None:
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
        assert rig.events[-1] == ContactorReported(False)

    async def test_current_is_rounded_to_steps(self, rig: Rig) -> None:
        rig.backend.offer(Milliamps(16_999))
        await rig.polls(2)
        assert rig.link.applied[-1].current_ma == 16_000

    async def test_orders_are_repeated_when_status_differs(self, rig: Rig) -> None:
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
        # Rounded down where a limit is finer than the steps.
        finer_ma = Milliamps(10_500)
        await rig.show(replace(enabled, offered_ma=Milliamps(10_000), limit_ma=finer_ma))
        assert rig.link.applied == []
        await rig.show(replace(enabled, offered_ma=Milliamps(10_501), limit_ma=finer_ma))
        assert rig.link.applied
        await rig.show(enabled)
        rig.link.applied.clear()
        limit_ma = Milliamps(10_000)
        await rig.show(replace(enabled, offered_ma=limit_ma, limit_ma=limit_ma))
        assert rig.link.applied == []

    async def test_stop_at_controller_holds_until_new_offer(self, rig: Rig) -> None:
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

    async def test_controller_slow_to_enable_counts_as_enabled(self, rig: Rig) -> None:
        rig.backend.offer(OFFER)
        await rig.show(replace(IDLE, is_enabled=False))
        assert rig.link.applied[-1].is_enabled

    async def test_lock_order_is_applied(self, rig: Rig) -> None:
        assert rig.backend.lock is not None
        rig.backend.lock.lock()
        await rig.polls(2)
        assert rig.link.applied[-1].is_locked


class TestHeartbeats:
    async def test_are_sent_at_interval(self, rig: Rig) -> None:
        await rig.until(lambda: rig.link.calls.count("beat") >= 3)
        assert rig.link.calls.count("status") > 3

    async def test_are_not_sent_without_interval(self) -> None:
        rig = Rig(ScriptedLink(LinkTraits()))
        await rig.backend.start(rig.events.append)
        await rig.polls(5)
        assert "beat" not in rig.link.calls
        await rig.backend.stop()
