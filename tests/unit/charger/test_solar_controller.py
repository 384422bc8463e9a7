"""Charging follows the solar surplus without chatter."""

from __future__ import annotations

import pytest

from evse_node.charger.solar_controller import SolarController, SolarSettings
from evse_node.charger.vehicle_draw import VehicleDraw
from evse_node.cluster.servers.energy.modes import EVSE_MODES
from evse_node.state_machine.enums import State
from evse_node.state_machine.events import EnableCharging
from evse_node.state_machine.limits import LimitSource
from evse_node.state_machine.targets import ChargingTarget, ChargingTargetSchedule
from evse_node.units import Milliamps, Millivolts, MilliwattHours, Milliwatts
from tests.support.charger.charger_host import KNOWN, ChargerHost

ENABLE = EnableCharging(None, Milliamps(6_000), Milliamps(32_000))
MANUAL, SCHEDULED, SOLAR, BOTH = EVSE_MODES
# The simulated hardware has one phase by default.
SIX_AMPERES_W = 1_380


class TestSolarController:
    @pytest.fixture
    def controller(self) -> SolarController:
        return SolarController(SolarSettings(), Millivolts(230_000), 3)

    def test_claim_is_rounded_down(self, controller: SolarController) -> None:
        controller.set_surplus(Milliwatts(6_900_000 - 1), 0.0)
        assert controller.claim_ma(0.0) == 0
        assert controller.next_deadline() == 60.0
        assert controller.claim_ma(60.0) == 9_999
        assert controller.next_deadline() is None

    def test_cloud_does_not_stop_charging(self, controller: SolarController) -> None:
        controller.set_surplus(Milliwatts(6_900_000), 0.0)
        controller.claim_ma(0.0)
        controller.claim_ma(60.0)
        controller.set_surplus(Milliwatts(0), 600.0)
        assert controller.claim_ma(600.0) == 6_000
        assert controller.claim_ma(719.0) == 6_000
        controller.set_surplus(Milliwatts(6_900_000), 719.5)
        assert controller.claim_ma(719.5) == 10_000
        controller.set_surplus(None, 800.0)
        assert controller.claim_ma(800.0) == 6_000
        assert controller.claim_ma(920.0) == 0

    def test_on_and_off_have_minimum_duration(self, controller: SolarController) -> None:
        changes = 0
        before = 0
        for second in range(3600):
            # Clouds every ninety seconds.
            if second % 90 == 0:
                controller.set_surplus(Milliwatts(9_000_000 * (second // 90 % 2)), second)
            claim = controller.claim_ma(second)
            changes += (claim > 0) is not (before > 0)
            before = claim
        assert changes == 1  # on; the gaps are shorter than the stop delay

    def test_surplus_expires(self, controller: SolarController) -> None:
        controller.set_surplus(Milliwatts(6_900_000), 0.0, valid_s=100.0)
        controller.claim_ma(0.0)
        assert controller.claim_ma(60.0) == 10_000
        assert controller.next_deadline() == 100.0
        assert controller.claim_ma(100.0) == 6_000
        assert controller.claim_ma(360.0) == 0

    def test_short_dips_do_not_prevent_start(self, controller: SolarController) -> None:
        claims = []
        for second in range(200):
            sun_mw = 0 if second % 50 >= 44 else 5_000_000
            controller.set_surplus(Milliwatts(sun_mw), second)
            claims.append(controller.claim_ma(second))
        assert 60 < claims.index(max(claims)) < 90

    def test_short_gleams_do_not_prevent_stop(self, controller: SolarController) -> None:
        controller.set_surplus(Milliwatts(6_900_000), 0.0)
        controller.claim_ma(0.0)
        controller.claim_ma(60.0)
        claims = []
        for second in range(400, 800):
            sun_mw = 5_000_000 if second % 100 < 6 else 400_000
            controller.set_surplus(Milliwatts(sun_mw), second)
            claims.append(controller.claim_ma(second))
        assert 120 < claims.index(Milliamps(0)) < 150
        assert claims[-1] == 0

    def test_negative_surplus_is_none(self, controller: SolarController) -> None:
        controller.set_surplus(Milliwatts(-500_000), 0.0)
        controller.claim_ma(0.0)
        assert controller.claim_ma(1000.0) == 0

    def test_time_in_other_modes_does_not_count(self, controller: SolarController) -> None:
        controller.set_surplus(Milliwatts(6_900_000), 0.0)
        controller.claim_ma(0.0)
        controller.suspend()
        controller.set_surplus(Milliwatts(6_900_000), 100.0)
        assert controller.claim_ma(100.0) == 0
        assert controller.next_deadline() == 160.0


@pytest.fixture
def host() -> ChargerHost:
    host = ChargerHost(settings=KNOWN)
    host.charger.handle(ENABLE, host.now)
    host.mode.change_to(SOLAR, host.now)
    host.backend.plug_in()
    host.backend.demand()
    host.run(1)
    return host


def offered(host: ChargerHost) -> int:
    return host.backend.status()["offered_ma"]


class TestSolarCharging:
    def test_charger_does_not_charge_without_surplus(self, host: ChargerHost) -> None:
        host.run(1000)
        assert host.charger.state.state is State.PLUGGED_IN_DEMAND
        assert host.read("MaximumChargeCurrent") == 0
        assert host.charger.state.charge_limits.lowest.source is LimitSource.SOLAR
        assert not host.backend.board.is_closed

    def test_current_follows_surplus(self, host: ChargerHost) -> None:
        host.backend.set_surplus(2 * SIX_AMPERES_W)
        host.run(61)
        assert offered(host) == 12_000
        host.backend.set_surplus(2.5 * SIX_AMPERES_W)
        host.run(6)
        assert offered(host) == 15_000
        host.backend.set_surplus(500)
        host.run(6)
        assert offered(host) == 6_000
        host.run(400)
        assert offered(host) == 0
        assert host.charger.state.state is State.PLUGGED_IN_DEMAND

    def test_charging_pauses_below_commanded_minimum(self, host: ChargerHost) -> None:
        command = EnableCharging(None, Milliamps(8_000), Milliamps(32_000))
        host.charger.handle(command, host.now)
        host.backend.set_surplus(1_500)
        host.run(3600)
        assert offered(host) == 0
        host.backend.set_surplus(2_300)
        host.run(70)
        assert offered(host) == 10_000
        host.backend.set_surplus(1_500)
        host.run(60)
        assert offered(host) == 8_000
        host.run(400)
        assert offered(host) == 0

    def test_manual_mode_ignores_surplus(self, host: ChargerHost) -> None:
        host.mode.change_to(MANUAL, host.now)
        host.run(10)
        assert offered(host) == 32_000
        host.mode.change_to(SOLAR, host.now)
        host.run(10)
        assert offered(host) == 0

    def test_contactor_does_not_chatter(self, host: ChargerHost) -> None:
        before, moves = False, 0
        for minute in range(120):
            host.backend.set_surplus(SIX_AMPERES_W * (0.8 if minute % 2 else 1.2))
            host.run(60)
            moves += host.backend.board.is_closed is not before
            before = host.backend.board.is_closed
        assert moves == 1

    def test_test_mode_ignores_surplus(self, host: ChargerHost) -> None:
        host.charger.enter_test_mode(host.now)
        assert host.charger.state.charge_limits.claim(LimitSource.SOLAR) is None
        host.charger.leave_test_mode(host.now)
        assert host.charger.state.charge_limits.claim(LimitSource.SOLAR) == 0

    def test_surplus_charges_first_and_grid_completes_target(self, host: ChargerHost) -> None:
        # It is 10:00; 13.8 kWh by 16:00 take two hours at 30 A: the latest start is 13:45.
        energy = MilliwattHours(13_800_000)
        target = ChargingTarget(16 * 60, 80, energy)
        host.backend.car.charger_maximum_ma = Milliamps(30_000)
        host.charger.handle(EnableCharging(None, Milliamps(6_000), Milliamps(30_000)), host.now)
        host.charger.set_targets([ChargingTargetSchedule(0x7F, (target,))], host.now)
        host.backend.set_battery(soc_percent=57)
        host.mode.change_to(BOTH, host.now)
        host.run(600)
        assert host.charger.state.state is State.PLUGGED_IN_DEMAND
        host.backend.set_surplus(SIX_AMPERES_W)
        host.run(3600)
        assert offered(host) == 6_000
        host.backend.set_surplus(0)
        host.run(3600)
        assert offered(host) == 0
        host.run(5 * 3600)
        assert host.backend.status()["soc_percent"] >= 80

    def test_target_is_met_without_surplus(self, host: ChargerHost) -> None:
        host.backend.car.charger_maximum_ma = Milliamps(32_000)
        estimator = host.charger._planner.draw_estimator
        estimator.learned = estimator.learned.with_recent(0, VehicleDraw(1, Milliamps(32_000)))
        target = ChargingTarget(14 * 60, 50)
        host.charger.set_targets([ChargingTargetSchedule(0x7F, (target,))], host.now)
        host.mode.change_to(BOTH, host.now)
        host.run(60)
        assert offered(host) == 0
        host.run(4 * 3600)
        assert host.backend.status()["soc_percent"] >= 50

    def test_expired_surplus_sets_no_deadline_while_target_charges(self, host: ChargerHost) -> None:
        target = ChargingTarget(11 * 60, 90)
        host.charger.set_targets([ChargingTargetSchedule(0x7F, (target,))], host.now)
        host.mode.change_to(BOTH, host.now)
        host.charger.set_surplus(Milliwatts(3_000_000), host.now, valid_s=30)
        assert host.charger.snapshot().state is State.PLUGGED_IN_CHARGING
        for _ in range(40):
            host.now += 1
            host.charger.on_timer(host.now)
            deadline = host.charger.next_deadline()
            assert deadline is not None
            assert deadline > host.now

    def test_surplus_sets_no_deadline_in_test_mode(self, host: ChargerHost) -> None:
        host.mode.change_to(SOLAR, host.now)
        host.charger.set_surplus(Milliwatts(3_000_000), host.now, valid_s=30)
        host.trigger(0x00)
        host.now += 100
        host.charger.on_timer(host.now)
        deadline = host.charger.next_deadline()
        assert deadline is None or deadline > host.now

    def test_surplus_does_not_charge_beyond_target_soc(self, host: ChargerHost) -> None:
        host.backend.set_battery(soc_percent=49, capacity_mwh=MilliwattHours(10_000_000))
        host.charger.set_targets(
            [ChargingTargetSchedule(0x7F, (ChargingTarget(16 * 60, 50),))], host.now
        )
        host.mode.change_to(BOTH, host.now)
        host.backend.set_surplus(2 * SIX_AMPERES_W)
        host.run(3600)
        assert host.backend.status()["soc_percent"] == 50
        assert offered(host) == 0
        assert host.charger.snapshot().is_held

    def test_surplus_charges_beyond_added_energy(self) -> None:
        host = ChargerHost(features=frozenset({"PREF"}))
        host.charger.handle(ENABLE, host.now)
        energy = ChargingTarget(16 * 60, None, MilliwattHours(1_000_000))
        host.charger.set_targets([ChargingTargetSchedule(0x7F, (energy,))], host.now)
        host.mode.change_to(BOTH, host.now)
        host.backend.plug_in()
        host.backend.demand()
        host.backend.set_surplus(2 * SIX_AMPERES_W)
        host.run(2 * 3600)
        assert host.charger.snapshot().next_charge.is_met
        assert host.charger.state.state is State.PLUGGED_IN_CHARGING
        assert offered(host) == 12_000
