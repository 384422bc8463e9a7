"""Orders to the OpenEVSE backend, and actions at the controller itself."""

from __future__ import annotations

import pytest

from evse_node.errors import HalError
from evse_node.hal.external.openevse.link import OpenEvseSettings
from evse_node.hal.interface import CurrentDerated, HalEvent
from evse_node.state_machine.control_pilot import PilotState
from evse_node.state_machine.events import ContactorReported, PilotChanged
from evse_node.units import Milliamps
from tests.contract.openevse_bench import OpenEvseBench
from tests.support.hal.rapi_peer import SLEEPING, B, C
from tests.unit.hal.external.openevse.openevse_helpers import OFFER, charge, events_of


class TestOrders:
    async def test_offer_sets_volatile_current_before_enabling(self, bench: OpenEvseBench) -> None:
        bench.model.log.clear()
        bench.backend.offer(Milliamps(13_700))
        bench.wait(0.02)
        sent = [text for text in bench.model.log if text[0] in "FS"]
        assert sent == ["SC 13 V", "S4 0", "FE"]

    async def test_opening_disables_before_anything_else(self, bench: OpenEvseBench) -> None:
        charge(bench)
        bench.backend.offer(Milliamps(20_000))
        bench.backend.contactor.open()
        bench.wait(0.02)
        sent = [text for text in bench.model.log if text[0] in "FS"]
        assert sent[:2] == ["FD", "FS"]
        assert bench.model.events[-1][0] == "open"

    async def test_withdraw_leaves_vehicle_time_to_stop(self, bench: OpenEvseBench) -> None:
        charge(bench)
        bench.model.is_stubborn = True
        bench.backend.withdraw()
        bench.wait(2)
        assert bench.is_powered()
        assert "FD" not in bench.model.log
        bench.wait(1.2)
        assert not bench.is_powered()
        assert events_of(bench, ContactorReported, PilotChanged) == [
            PilotChanged(PilotState.B),
            ContactorReported(False),
        ]

    async def test_open_ends_grace_period_of_withdraw(self, bench: OpenEvseBench) -> None:
        charge(bench)
        bench.model.is_stubborn = True
        bench.backend.withdraw()
        bench.wait(0.5)
        bench.backend.contactor.open()
        bench.wait(0.02)
        assert not bench.is_powered()

    async def test_close_may_be_ordered_within_report_of_pilot(self, bench: OpenEvseBench) -> None:
        def on_event(event: HalEvent) -> None:
            bench.events.append(event)
            if event == PilotChanged(PilotState.C):
                bench.backend.contactor.close()

        await bench.stop()
        await bench.backend.attach(on_event)
        bench.plug_in()
        bench.backend.offer(OFFER)
        bench.wait(0.5)
        bench.events.clear()
        bench.demand()
        assert events_of(bench, ContactorReported, PilotChanged) == [
            PilotChanged(PilotState.C),
            ContactorReported(True),
        ]
        bench.no_demand()
        bench.events.clear()
        bench.demand()
        assert bench.is_powered()

    async def test_closing_without_order_is_disabled_at_once(self, bench: OpenEvseBench) -> None:
        bench.plug_in()
        bench.backend.offer(OFFER)
        bench.events.clear()
        bench.demand()
        closed, opened = bench.model.events[-2:]
        assert (closed[0], opened[0]) == ("closed", "open")
        assert opened[1] - closed[1] < 0.1
        assert events_of(bench, ContactorReported) == []

    async def test_open_without_ready_vehicle_keeps_offer(self, bench: OpenEvseBench) -> None:
        bench.plug_in()
        bench.backend.offer(OFFER)
        bench.wait(0.5)
        bench.backend.contactor.open()
        bench.wait(0.5)
        assert bench.model.is_pwm

    async def test_contactor_opens_by_itself_within_opening_s(self, bench: OpenEvseBench) -> None:
        charge(bench)
        bench.model.car = B
        bench.runs_polls = False
        bench.wait(bench.backend.ratings.opening_s)
        assert not bench.is_powered()

    async def test_close_without_offer_raises(self, bench: OpenEvseBench) -> None:
        with pytest.raises(HalError, match="no current"):
            bench.backend.contactor.close()

    async def test_state_f_disables_until_withdrawn(self, bench: OpenEvseBench) -> None:
        charge(bench)
        bench.backend.signal_unavailable()
        bench.wait(0.02)
        assert not bench.is_powered()
        bench.wait(1)
        assert events_of(bench, PilotChanged)[-1] == PilotChanged(PilotState.F)
        bench.backend.offer(OFFER)
        bench.backend.contactor.close()
        bench.wait(1)
        assert bench.model.state == C

    async def test_lock_follows_orders(self) -> None:
        bench = OpenEvseBench(OpenEvseSettings(has_lock=True))
        await bench.start()
        assert bench.backend.lock is not None
        bench.backend.lock.lock()
        bench.wait(0.1)
        assert bench.model.is_locked
        bench.backend.lock.unlock()
        bench.wait(0.1)
        assert not bench.model.is_locked

    async def test_lock_precedes_enabling(self) -> None:
        bench = OpenEvseBench(OpenEvseSettings(has_lock=True))
        await bench.start()
        assert bench.backend.lock is not None
        bench.model.log.clear()
        bench.backend.lock.lock()
        bench.backend.offer(OFFER)
        bench.wait(0.1)
        assert bench.model.log.index("S5 1") < bench.model.log.index("FE")

    async def test_lock_out_of_firmware_is_released(self) -> None:
        bench = OpenEvseBench()
        bench.model.has_lock_out = True
        await bench.start()
        for _ in range(2):
            bench.model.is_locked_out = True
            charge(bench)
            bench.backend.withdraw()
            bench.unplug()

    async def test_lock_out_is_probed_once_on_other_firmware(self, bench: OpenEvseBench) -> None:
        for _ in range(3):
            bench.backend.offer(OFFER)
            bench.wait(0.1)
            bench.backend.withdraw()
            bench.wait(0.1)
        assert bench.model.log.count("S4 0") == 1

    async def test_stop_leaves_controller_asleep(self, bench: OpenEvseBench) -> None:
        charge(bench)
        await bench.stop()
        assert bench.model.state == SLEEPING
        assert not bench.is_powered()
        assert not bench.port.is_open
        await bench.stop()


class TestAtTheControllerItself:
    async def test_stop_at_controller_holds(self, bench: OpenEvseBench) -> None:
        charge(bench)
        bench.model.press("FS")
        bench.wait(20)
        assert not bench.is_powered()
        assert bench.model.state == SLEEPING
        bench.backend.withdraw()
        bench.backend.offer(OFFER)
        bench.backend.contactor.close()
        bench.wait(1)
        assert bench.model.state == C

    async def test_start_at_controller_is_reverted(self, bench: OpenEvseBench) -> None:
        bench.plug_in()
        bench.model.car = C
        bench.model.press("FE")
        bench.wait(5)
        assert bench.model.state == SLEEPING
        assert not bench.is_powered()

    async def test_current_set_at_controller_is_reverted(self, bench: OpenEvseBench) -> None:
        charge(bench)
        bench.model.amperes = 32
        bench.wait(1)
        assert bench.model.amperes == 16


class TestLimits:
    async def test_configured_maximum_is_reported_as_limit(self, bench: OpenEvseBench) -> None:
        bench.model.configured_a = 24
        bench.wait(1)
        assert events_of(bench, CurrentDerated)[-1] == CurrentDerated(Milliamps(24_000))
        bench.model.configured_a = 32
        bench.wait(1)
        assert events_of(bench, CurrentDerated)[-1] == CurrentDerated(None)

    async def test_refused_current_of_hot_controller_is_reported_as_limit(
        self, bench: OpenEvseBench
    ) -> None:
        charge(bench)
        bench.model.is_hot = True
        bench.model.amperes = 10
        bench.wait(1)
        assert events_of(bench, CurrentDerated) == [CurrentDerated(Milliamps(10_000))]
        bench.backend.offer(Milliamps(10_000))
        bench.wait(30)
        bench.model.is_hot = False
        bench.wait(31)
        assert events_of(bench, CurrentDerated)[-1] == CurrentDerated(None)
        bench.backend.offer(OFFER)
        bench.wait(1)
        assert bench.model.amperes == 16

    async def test_current_after_cooling_down_does_not_exceed_offer(
        self, bench: OpenEvseBench
    ) -> None:
        charge(bench)
        bench.model.amperes = bench.model.configured_a
        bench.wait(0.6)
        assert bench.model.amperes == 16


class TestHeartbeat:
    async def test_heartbeats_keep_current(self, bench: OpenEvseBench) -> None:
        charge(bench)
        bench.wait(120)
        assert bench.model.amperes == 16
        assert bench.model.is_missed == 0

    async def test_missing_heartbeats_lead_to_fallback_current(self, bench: OpenEvseBench) -> None:
        charge(bench)
        bench.runs_polls = False
        bench.wait(21)
        assert bench.model.amperes == 6
        assert bench.is_powered()

    async def test_supervision_restarts_after_missed_heartbeat(self, bench: OpenEvseBench) -> None:
        charge(bench)
        bench.runs_polls = False
        bench.wait(21)
        bench.runs_polls = True
        bench.wait(10)
        assert bench.model.amperes == 16
        assert bench.model.is_missed == 0
        # Acknowledging would have set the highest current for a moment.
        assert "SY 165" not in bench.model.log

    async def test_firmware_without_heartbeat_charges(self) -> None:
        bench = OpenEvseBench()
        bench.model.has_heartbeats = False
        await bench.start()
        charge(bench)
        bench.wait(30)
        assert "SY" not in bench.model.log
        assert bench.is_powered()

    async def test_no_heartbeats_without_supervision(self) -> None:
        bench = OpenEvseBench(OpenEvseSettings(heartbeat_s=0))
        await bench.start()
        bench.wait(30)
        assert bench.model.heartbeat[0] == 0
        assert "SY" not in bench.model.log
