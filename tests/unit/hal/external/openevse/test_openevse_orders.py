"""Orders to the OpenEVSE backend, and what is done at the controller itself."""

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
from tests.unit.hal.external.openevse.openevse_steps import OFFER, charge, told


class TestOrders:
    async def test_an_offer_is_volatile_and_comes_before_enabling(
        self, bench: OpenEvseBench
    ) -> None:
        bench.model.log.clear()
        bench.backend.offer(Milliamps(13_700))
        bench.wait(0.02)
        sent = [text for text in bench.model.log if text[0] in "FS"]
        assert sent == ["SC 13 V", "S4 0", "FE"]

    async def test_opening_goes_first(self, bench: OpenEvseBench) -> None:
        charge(bench)
        bench.backend.offer(Milliamps(20_000))
        bench.backend.contactor.open()
        bench.wait(0.02)
        sent = [text for text in bench.model.log if text[0] in "FS"]
        assert sent[:2] == ["FD", "FS"]
        assert bench.model.events[-1][0] == "open"

    async def test_withdrawing_gives_the_vehicle_time(self, bench: OpenEvseBench) -> None:
        charge(bench)
        bench.model.is_stubborn = True
        bench.backend.withdraw()
        bench.wait(2)
        assert bench.is_powered()
        assert "FD" not in bench.model.log
        bench.wait(1.2)
        assert not bench.is_powered()
        assert told(bench, ContactorReported, PilotChanged) == [
            PilotChanged(PilotState.B),
            ContactorReported(False),
        ]

    async def test_opening_ends_that_time(self, bench: OpenEvseBench) -> None:
        charge(bench)
        bench.model.is_stubborn = True
        bench.backend.withdraw()
        bench.wait(0.5)
        bench.backend.contactor.open()
        bench.wait(0.02)
        assert not bench.is_powered()

    async def test_the_order_to_close_may_come_out_of_the_report(
        self, bench: OpenEvseBench
    ) -> None:
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
        assert told(bench, ContactorReported, PilotChanged) == [
            PilotChanged(PilotState.C),
            ContactorReported(True),
        ]
        bench.no_demand()
        bench.events.clear()
        bench.demand()
        assert bench.is_powered()

    async def test_closing_without_an_order_ends_at_once(self, bench: OpenEvseBench) -> None:
        bench.plug_in()
        bench.backend.offer(OFFER)
        bench.events.clear()
        bench.demand()
        closed, opened = bench.model.events[-2:]
        assert (closed[0], opened[0]) == ("closed", "open")
        assert opened[1] - closed[1] < 0.1
        assert told(bench, ContactorReported) == []

    async def test_opening_without_a_ready_vehicle_keeps_the_offer(
        self, bench: OpenEvseBench
    ) -> None:
        bench.plug_in()
        bench.backend.offer(OFFER)
        bench.wait(0.5)
        bench.backend.contactor.open()
        bench.wait(0.5)
        assert bench.model.is_pwm

    async def test_it_opens_by_itself_in_its_time(self, bench: OpenEvseBench) -> None:
        charge(bench)
        bench.model.car = B
        bench.runs_polls = False
        bench.wait(bench.backend.ratings.opening_s)
        assert not bench.is_powered()

    async def test_an_order_to_close_without_an_offer(self, bench: OpenEvseBench) -> None:
        with pytest.raises(HalError, match="no current"):
            bench.backend.contactor.close()

    async def test_state_f(self, bench: OpenEvseBench) -> None:
        charge(bench)
        bench.backend.signal_unavailable()
        bench.wait(0.02)
        assert not bench.is_powered()
        bench.wait(1)
        assert told(bench, PilotChanged)[-1] == PilotChanged(PilotState.F)
        bench.backend.offer(OFFER)
        bench.backend.contactor.close()
        bench.wait(1)
        assert bench.model.state == C

    async def test_the_lock(self) -> None:
        bench = OpenEvseBench(OpenEvseSettings(has_lock=True))
        await bench.start()
        assert bench.backend.lock is not None
        bench.backend.lock.lock()
        bench.wait(0.1)
        assert bench.model.is_locked
        bench.backend.lock.unlock()
        bench.wait(0.1)
        assert not bench.model.is_locked

    async def test_the_plug_is_held_before_there_can_be_power(self) -> None:
        bench = OpenEvseBench(OpenEvseSettings(has_lock=True))
        await bench.start()
        assert bench.backend.lock is not None
        bench.model.log.clear()
        bench.backend.lock.lock()
        bench.backend.offer(OFFER)
        bench.wait(0.1)
        assert bench.model.log.index("S5 1") < bench.model.log.index("FE")

    async def test_firmware_that_wants_to_be_unlocked(self) -> None:
        bench = OpenEvseBench()
        bench.model.has_lock_out = True
        await bench.start()
        for _ in range(2):
            bench.model.is_locked_out = True
            charge(bench)
            bench.backend.withdraw()
            bench.unplug()

    async def test_other_firmware_is_asked_once(self, bench: OpenEvseBench) -> None:
        for _ in range(3):
            bench.backend.offer(OFFER)
            bench.wait(0.1)
            bench.backend.withdraw()
            bench.wait(0.1)
        assert bench.model.log.count("S4 0") == 1

    async def test_stop_leaves_it_asleep(self, bench: OpenEvseBench) -> None:
        charge(bench)
        await bench.stop()
        assert bench.model.state == SLEEPING
        assert not bench.is_powered()
        assert not bench.port.is_open
        await bench.stop()


class TestAtTheControllerItself:
    async def test_a_stop_there_holds(self, bench: OpenEvseBench) -> None:
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

    async def test_a_start_there_does_not(self, bench: OpenEvseBench) -> None:
        bench.plug_in()
        bench.model.car = C
        bench.model.press("FE")
        bench.wait(5)
        assert bench.model.state == SLEEPING
        assert not bench.is_powered()

    async def test_another_current_there_does_not(self, bench: OpenEvseBench) -> None:
        charge(bench)
        bench.model.amperes = 32
        bench.wait(1)
        assert bench.model.amperes == 16


class TestLimits:
    async def test_what_the_controller_is_set_to(self, bench: OpenEvseBench) -> None:
        bench.model.configured_a = 24
        bench.wait(1)
        assert told(bench, CurrentDerated)[-1] == CurrentDerated(Milliamps(24_000))
        bench.model.configured_a = 32
        bench.wait(1)
        assert told(bench, CurrentDerated)[-1] == CurrentDerated(None)

    async def test_a_hot_controller_takes_no_more(self, bench: OpenEvseBench) -> None:
        charge(bench)
        bench.model.is_hot = True
        bench.model.amperes = 10
        bench.wait(1)
        assert told(bench, CurrentDerated) == [CurrentDerated(Milliamps(10_000))]
        bench.backend.offer(Milliamps(10_000))
        bench.wait(30)
        bench.model.is_hot = False
        bench.wait(31)
        assert told(bench, CurrentDerated)[-1] == CurrentDerated(None)
        bench.backend.offer(OFFER)
        bench.wait(1)
        assert bench.model.amperes == 16

    async def test_cooled_down_it_does_not_exceed_the_offer(self, bench: OpenEvseBench) -> None:
        charge(bench)
        bench.model.amperes = bench.model.configured_a
        bench.wait(0.6)
        assert bench.model.amperes == 16


class TestHeartbeat:
    async def test_a_node_that_lives_keeps_the_current(self, bench: OpenEvseBench) -> None:
        charge(bench)
        bench.wait(120)
        assert bench.model.amperes == 16
        assert bench.model.is_missed == 0

    async def test_a_dead_node_leaves_the_fallback(self, bench: OpenEvseBench) -> None:
        charge(bench)
        bench.runs_polls = False
        bench.wait(21)
        assert bench.model.amperes == 6
        assert bench.is_powered()

    async def test_a_missed_one_is_made_good(self, bench: OpenEvseBench) -> None:
        charge(bench)
        bench.runs_polls = False
        bench.wait(21)
        bench.runs_polls = True
        bench.wait(10)
        assert bench.model.amperes == 16
        assert bench.model.is_missed == 0
        # Acknowledging would have set the highest current for a moment.
        assert "SY 165" not in bench.model.log

    async def test_firmware_without(self) -> None:
        bench = OpenEvseBench()
        bench.model.has_heartbeats = False
        await bench.start()
        charge(bench)
        bench.wait(30)
        assert "SY" not in bench.model.log
        assert bench.is_powered()

    async def test_none_wanted(self) -> None:
        bench = OpenEvseBench(OpenEvseSettings(heartbeat_s=0))
        await bench.start()
        bench.wait(30)
        assert bench.model.heartbeat[0] == 0
        assert "SY" not in bench.model.log
