"""Measured draw of vehicles, and its use in plans and solar charging."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from evse_node.charger import ChargerSettings
from evse_node.charger.hardware_monitor import MonitorSettings
from evse_node.charger.vehicle_draw import LearnedDraws, VehicleDraw
from evse_node.cluster.servers.energy.modes import EVSE_MODES
from evse_node.hal.interface import Ratings
from evse_node.hal.simulated.backend import SimulatedBackend
from evse_node.hal.simulated.electric_vehicle import ElectricCar, Habits
from evse_node.matter.tlv import TlvValue
from evse_node.state_machine.enums import State
from evse_node.state_machine.events import Direction, LimitClaimed
from evse_node.state_machine.limits import LimitSource
from evse_node.testing.memory_store import MemoryStore
from evse_node.units import Milliamps, MilliwattHours
from tests.support.charger.charger_host import ChargerHost, store_with_vehicle

MANUAL, SCHEDULED, SOLAR, _ = EVSE_MODES
EVERY_DAY = 0x7F
HOUR = 3600


def three_phases(
    car_phases: int = 3,
    car_ma: int = 16_000,
    *,
    store: MemoryStore | None = None,
    interval_s: float = 1.0,
    are_known: bool = False,
) -> ChargerHost:
    """Return a host at 10:00 UTC: a charger of 3 * 32 A, a vehicle with a limit of its own."""
    settings = ChargerSettings(
        monitor=MonitorSettings(interval_s=interval_s), are_vehicles_known=are_known
    )
    hosts: list[ChargerHost] = []
    backend = SimulatedBackend(
        clock=lambda: hosts[0].now if hosts else 1000.0,
        ratings=Ratings(Milliamps(32_000), Milliamps(0), phases=3),
        car=ElectricCar(
            charger_maximum_ma=Milliamps(car_ma),
            phases=car_phases,
            habits=Habits(asks_at_once=True),
        ),
    )
    hosts.append(ChargerHost(backend=backend, store=store, settings=settings))
    hosts[0].invoke("EnableCharging", None, 6_000, 32_000)
    return hosts[0]


def charging(car_phases: int = 3, car_ma: int = 16_000) -> ChargerHost:
    host = three_phases(car_phases, car_ma)
    host.backend.plug_in()
    host.run(1)
    return host


def limit(host: ChargerHost, current_ma: int) -> None:
    host.write("UserMaximumChargeCurrent", current_ma)


class TestDrawEstimator:
    @pytest.mark.parametrize("phases", [1, 2, 3])
    def test_phases_and_limit_are_measured(self, phases: int) -> None:
        host = charging(phases, 13_200)
        assert host.charger.expected_draw is None
        host.run(40)
        assert host.charger.expected_draw == VehicleDraw(phases)
        host.run(80)
        assert host.charger.expected_draw == VehicleDraw(phases, Milliamps(13_000), True)

    def test_vehicle_drawing_full_offer_has_no_limit(self) -> None:
        host = charging(3, 32_000)
        limit(host, 10_000)
        host.run(120)
        assert host.charger.expected_draw == VehicleDraw(3, Milliamps(10_000), False)
        limit(host, 16_000)
        host.run(120)
        assert host.charger.expected_draw == VehicleDraw(3, Milliamps(16_000), False)

    def test_own_limit_is_found_at_higher_offer(self) -> None:
        host = charging(3, 16_000)
        limit(host, 16_000)
        host.run(120)
        assert host.charger.expected_draw == VehicleDraw(3, Milliamps(16_000), False)
        limit(host, 20_000)
        host.run(120)
        assert host.charger.expected_draw == VehicleDraw(3, Milliamps(16_000), True)

    def test_slow_start_is_ignored(self) -> None:
        host = charging(3, 6_000)
        host.run(25)
        host.backend.car.charger_maximum_ma = Milliamps(16_000)
        host.run(100)
        assert host.charger.expected_draw == VehicleDraw(3, Milliamps(16_000), True)

    @pytest.mark.parametrize("offset_s", range(0, 60, 6))
    def test_slow_response_to_rising_offer_is_ignored(self, offset_s: int) -> None:
        host = charging(3, 6_000)
        limit(host, 6_000)
        host.run(130 + offset_s)
        limit(host, 32_000)
        for second in range(120):
            if second == 25:
                host.backend.car.charger_maximum_ma = Milliamps(32_000)
            host.run(1)
            draw = host.charger.expected_draw
            assert draw is not None
            assert not draw.is_own_limit
        assert draw == VehicleDraw(3, Milliamps(32_000))

    def test_idle_current_is_no_limit(self) -> None:
        host = charging(3, 1_500)
        host.run(34)
        host.backend.car.charger_maximum_ma = Milliamps(600)
        host.run(120)
        assert host.charger.expected_draw == VehicleDraw(3)

    def test_phases_beyond_those_of_charger_are_ignored(self) -> None:
        starts = []
        for phases in (1, 3):
            host = ChargerHost(store=store_with_vehicle(phases, 16_000))
            host.invoke("SetTargets", [{0: EVERY_DAY, 1: [{0: 20 * 60, 1: 80}]}])
            host.invoke("EnableCharging", None, 6_000, 32_000)
            host.backend.plug_in()
            starts.append(host.read("NextChargeStartTime"))
        assert starts[0] == starts[1] is not None

    def test_limit_of_cold_battery_applies_until_warm(self) -> None:
        host = charging(3, 7_000)
        host.run(300)
        assert host.charger.expected_draw == VehicleDraw(3, Milliamps(7_000), True)
        host.backend.car.charger_maximum_ma = Milliamps(16_000)
        host.run(120)
        assert host.charger.expected_draw == VehicleDraw(3, Milliamps(16_000), True)

    def test_draw_is_kept_over_pauses_derating_and_full_battery(self) -> None:
        host = charging(3, 16_000)
        host.run(120)
        learned = host.charger.expected_draw
        for _ in range(3):
            host.backend.no_demand()
            host.run(100)
            host.backend.demand()
            host.run(40)
        host.backend.derate(Milliamps(8_000))
        host.run(200)
        host.backend.derate(None)
        host.run(200)
        host.backend.set_battery(soc_percent=95)
        host.run(200)
        assert host.charger.expected_draw == learned == VehicleDraw(3, Milliamps(16_000), True)

    def test_draw_survives_restart(self) -> None:
        host = charging(1, 10_000)
        host.run(120)
        learned = host.charger.expected_draw
        again = three_phases(store=MemoryStore(dict(host.store.items(""))))
        assert again.charger.expected_draw == learned is not None

    def test_record_of_early_version_is_loaded(self) -> None:
        usual = b'{"phases":1,"current_ma":16000,"is_own_limit":true}'
        record = b'{"session":3,"present":null,"usual":%s}' % usual
        host = three_phases(store=MemoryStore({"evse/intake": record}))
        assert host.charger.expected_draw == VehicleDraw(1, Milliamps(16_000), True)

    def test_damaged_record_is_ignored(self) -> None:
        for damage in (b"[]", b'{"session":0,"present":{},"usual":null}', b"\xff"):
            host = three_phases(store=MemoryStore({"evse/intake": damage}))
            assert host.charger.expected_draw is None

    def test_draw_of_short_session_is_not_kept(self) -> None:
        for hours, is_kept in ((1, False), (3, True)):
            host = charging(1, 10_000)
            host.run(hours * HOUR)
            host.backend.unplug()
            host.run(5)
            host.backend.plug_in()
            host.run(1)
            kept = VehicleDraw(1, Milliamps(10_000), True)
            assert host.charger.expected_draw == (kept if is_kept else None)


def night(host: ChargerHost) -> tuple[int, bool]:
    """Charge from 40 % at 10:00 to 80 % at 8:00; return the wait, and whether it was met."""
    host.backend.set_battery(soc_percent=40, capacity_mwh=MilliwattHours(40_000_000))
    host.backend.plug_in()
    host.run(30)
    start = host.read("NextChargeStartTime")
    assert isinstance(start, int)
    wait_s = start - host.epoch_s
    host.run(22 * HOUR - 30)
    is_met = host.backend.status()["soc_percent"] >= 80
    host.run(HOUR)
    host.backend.unplug()
    host.run(HOUR)
    return wait_s, is_met


# 16 kWh; the draw falls beyond 80 % only.
@pytest.mark.parametrize(
    ("phases", "current_ma"), [(1, 6_000), (1, 16_000), (1, 32_000), (3, 8_000), (3, 32_000)]
)
@pytest.mark.parametrize("are_known", [False, True])
def test_every_vehicle_meets_its_target(phases: int, current_ma: int, are_known: bool) -> None:
    host = three_phases(phases, current_ma, interval_s=20.0, are_known=are_known)
    host.mode.change_to(SCHEDULED, host.now)
    daily: list[TlvValue] = [{0: EVERY_DAY, 1: [{0: 8 * 60, 1: 80}]}]
    host.invoke("SetTargets", daily)
    first_s, is_met = night(host)
    assert is_met
    # A vehicle charges with at least 6 A on one phase.
    assert first_s == pytest.approx(22 * HOUR - 900 - 16_000_000 * HOUR / 1_380_000, abs=60)
    second_s, is_met = night(host)
    assert is_met
    expected_s = 16_000_000 * HOUR / (230 * phases * current_ma if are_known else 1_380_000)
    assert second_s == pytest.approx(22 * HOUR - 900 - expected_s, abs=600)


@pytest.mark.parametrize("percent", [90, 95, 100])
def test_target_near_full_is_met(percent: int) -> None:
    # The draw falls from 80 % on.
    host = three_phases(3, 16_000, interval_s=20.0)
    host.mode.change_to(SCHEDULED, host.now)
    host.invoke("SetTargets", [{0: EVERY_DAY, 1: [{0: 8 * 60, 1: percent}]}])
    for _ in range(2):
        host.backend.set_battery(soc_percent=40, capacity_mwh=MilliwattHours(40_000_000))
        host.backend.plug_in()
        host.run(12 * HOUR)
        # Charging starts in the second half of the time.
        assert host.backend.status()["soc_percent"] < 50
        host.run(10 * HOUR)
        assert host.backend.status()["soc_percent"] >= percent
        host.backend.unplug()
        host.run(2 * HOUR)


def unknown_car(phases: int, current_ma: int, *, are_known: bool = False) -> ChargerHost:
    """Return a host with an unknown vehicle that needs 16 kWh by 8:00, in 22 hours."""
    host = three_phases(phases, current_ma, are_known=are_known)
    host.mode.change_to(SCHEDULED, host.now)
    daily: list[TlvValue] = [{0: EVERY_DAY, 1: [{0: 8 * 60, 1: 80}]}]
    host.invoke("SetTargets", daily)
    host.backend.set_battery(soc_percent=40, capacity_mwh=MilliwattHours(40_000_000))
    host.backend.plug_in()
    host.run(1)
    return host


def starts_in_s(host: ChargerHost) -> int:
    start = host.read("NextChargeStartTime")
    assert isinstance(start, int)
    return start - host.epoch_s


class TestTrial:
    """A vehicle of unknown draw starts early, and waits again if it is fast."""

    def test_fast_vehicle_is_held_again(self) -> None:
        host = unknown_car(3, 32_000)
        early_s = starts_in_s(host)
        host.run(early_s - 1)
        assert host.backend.status()["imported_mwh"] == 0
        host.run(240)
        assert host.charger.snapshot().is_held
        assert host.backend.status()["contactor"] == "open"
        # Less than three minutes of 22 kW.
        tried_mwh = host.backend.status()["imported_mwh"]
        assert 100_000 < tried_mwh < 22_080_000 / 20
        late_s = starts_in_s(host)
        rest_s = (16_000_000 - tried_mwh) * HOUR / 22_080_000
        assert early_s + late_s == pytest.approx(22 * HOUR - 240 - 900 - rest_s, abs=90)
        host.run(late_s - 10)
        assert host.backend.status()["imported_mwh"] == tried_mwh
        host.run(60)
        # With a measured draw, charging is not interrupted again.
        for _ in range(30):
            assert host.charger.snapshot().state is State.PLUGGED_IN_CHARGING
            host.run(60)

    def test_slow_vehicle_continues(self) -> None:
        host = unknown_car(1, 6_000)
        early_s = starts_in_s(host)
        host.run(early_s + 20)
        start = starts_in_s(host) + host.epoch_s
        for _ in range(60):
            host.run(60)
            assert host.charger.snapshot().state is State.PLUGGED_IN_CHARGING
            assert starts_in_s(host) + host.epoch_s == start

    def test_trial_is_not_interrupted_for_short_wait(self) -> None:
        # The target is so close that the wait would be short.
        host = unknown_car(3, 32_000)
        host.charger.clear_targets(host.now)
        host.invoke("SetTargets", [{0: EVERY_DAY, 1: [{0: 11 * 60 + 5, 1: 80}]}])
        host.backend.unplug()
        host.run(5)
        host.backend.set_battery(soc_percent=40, capacity_mwh=MilliwattHours(40_000_000))
        host.backend.plug_in()
        for _ in range(30):
            host.run(60)
            assert host.charger.snapshot().state is State.PLUGGED_IN_CHARGING

    def test_trial_at_low_offer_is_repeated_at_higher_offer(self) -> None:
        host = unknown_car(3, 32_000)
        grid = LimitClaimed(LimitSource.GRID, Milliamps(8_000), (Direction.CHARGE,))
        host.charger.handle(grid, host.now)
        host.run(starts_in_s(host) + 300)
        # It draws the full offer; its draw at a higher offer is unknown.
        assert host.charger.expected_draw == VehicleDraw(3, Milliamps(8_000), False)
        assert host.charger.snapshot().state is State.PLUGGED_IN_CHARGING
        host.charger.handle(LimitClaimed(LimitSource.GRID, None), host.now)
        host.run(240)
        assert host.charger.snapshot().is_held

    def test_vehicle_slower_than_all_before_meets_target(self) -> None:
        host = three_phases(3, 32_000, interval_s=20.0)
        host.mode.change_to(SCHEDULED, host.now)
        host.invoke("SetTargets", [{0: EVERY_DAY, 1: [{0: 8 * 60, 1: 80}]}])
        for phases, current_ma in [(3, 32_000), (1, 16_000), (1, 10_000)]:
            car = host.backend.car
            car.phases, car.charger_maximum_ma = phases, Milliamps(current_ma)
            _, is_met = night(host)
            assert is_met

    def test_plan_relies_on_slowest_known_vehicle(self) -> None:
        host = three_phases(1, 16_000, interval_s=20.0, are_known=True)
        host.mode.change_to(SCHEDULED, host.now)
        host.invoke("SetTargets", [{0: EVERY_DAY, 1: [{0: 8 * 60, 1: 80}]}])
        slow_s = 22 * HOUR - 900 - 16_000_000 * HOUR / 3_680_000
        for number, (phases, current_ma) in enumerate([(1, 16_000), (3, 16_000), (1, 16_000)]):
            car = host.backend.car
            car.phases, car.charger_maximum_ma = phases, Milliamps(current_ma)
            wait_s, is_met = night(host)
            assert is_met
            assert number == 0 or wait_s == pytest.approx(slow_s, abs=600)

    def test_draw_of_last_session_is_not_used_for_new_vehicle(self) -> None:
        host = unknown_car(1, 6_000, are_known=True)
        host.mode.change_to(MANUAL, host.now)
        host.run(300)
        host.backend.unplug()
        host.run(1)
        host.mode.change_to(SCHEDULED, host.now)
        estimator = host.charger._planner.draw_estimator
        fast = VehicleDraw(3, Milliamps(32_000))
        estimator.learned = replace(estimator.learned, recent=((0, fast),))
        # With the draw of the slow vehicle, charging would start now.
        host.run(14 * HOUR)
        host.backend.set_battery(soc_percent=40, capacity_mwh=MilliwattHours(40_000_000))
        host.backend.plug_in()
        assert host.charger.snapshot().is_held
        assert starts_in_s(host) > HOUR


def test_recent_draws_are_distinct_and_limited() -> None:
    learned = LearnedDraws()
    for number in range(20):
        learned = learned.with_recent(number, VehicleDraw(1, Milliamps(6_000 + number % 3 * 1_000)))
    assert [number for number, _ in learned.recent] == [17, 18, 19]
    for number in range(20):
        learned = learned.with_recent(number, VehicleDraw(1, Milliamps(6_000 + number * 500)))
    assert len(learned.recent) == 8
    # A higher draw of the same session replaces the first one.
    again = learned.with_recent(19, VehicleDraw(1, Milliamps(20_000)))
    assert [each[1].current_ma for each in again.recent[-2:]] == [15_000, 20_000]


def test_plan_relies_on_offer_without_meter() -> None:
    host = three_phases(1, 16_000)
    host.charger._planner._has_meter = False
    host.invoke("SetTargets", [{0: EVERY_DAY, 1: [{0: 20 * 60, 1: 80}]}])
    host.backend.set_battery(soc_percent=40, capacity_mwh=MilliwattHours(40_000_000))
    host.backend.plug_in()
    expected_s = 10 * HOUR - 900 - 16_000_000 * HOUR / 22_080_000
    assert starts_in_s(host) == pytest.approx(expected_s, abs=10)


def test_plan_uses_draw_measured_in_session() -> None:
    host = three_phases(1, 16_000, interval_s=20.0)
    daily: list[TlvValue] = [{0: EVERY_DAY, 1: [{0: 20 * 60, 1: 80}]}]
    host.invoke("SetTargets", daily)
    host.backend.set_battery(soc_percent=40, capacity_mwh=MilliwattHours(50_000_000))
    host.backend.plug_in()
    host.run(150)
    host.mode.change_to(SCHEDULED, host.now)
    assert host.charger.snapshot().is_held
    host.run(10 * HOUR - 150)
    assert host.backend.status()["soc_percent"] >= 80


def test_start_time_moves_rarely() -> None:
    host = three_phases(1, 16_000)
    target: list[TlvValue] = [{0: EVERY_DAY, 1: [{0: 20 * 60, 1: 80}]}]
    host.invoke("SetTargets", target)
    host.backend.plug_in()
    starts = []
    for _ in range(HOUR):
        host.run(1)
        starts.append(host.read("NextChargeStartTime"))
    # Phases, current, and one change for each percent of the battery.
    assert len(set(starts)) <= 3 + 7


class TestSolarPhases:
    W_ONE_PHASE = 1_380

    def solar(self, car_phases: int, usual: VehicleDraw | None) -> ChargerHost:
        host = three_phases(car_phases)
        estimator = host.charger._planner.draw_estimator
        estimator.learned = LearnedDraws(None, None, () if usual is None else ((0, usual),))
        host.mode.change_to(SOLAR, host.now)
        host.backend.plug_in()
        host.run(10)
        return host

    def test_single_phase_vehicle_starts_at_6_a_on_one_phase(self) -> None:
        host = self.solar(1, VehicleDraw(1))
        host.backend.set_surplus(self.W_ONE_PHASE - 20)
        host.run(600)
        assert host.charger.state.state is State.PLUGGED_IN_DEMAND
        host.backend.set_surplus(self.W_ONE_PHASE + 20)
        host.run(70)
        assert host.charger.state.state is State.PLUGGED_IN_CHARGING
        host.backend.set_surplus(2 * self.W_ONE_PHASE)
        host.run(10)
        assert host.backend.status()["offered_ma"] == 12_000

    def test_unknown_vehicle_requires_surplus_for_all_phases(self) -> None:
        host = self.solar(1, None)
        host.backend.set_surplus(3 * self.W_ONE_PHASE - 20)
        host.run(600)
        assert host.charger.state.state is State.PLUGGED_IN_DEMAND
        host.backend.set_surplus(3 * self.W_ONE_PHASE + 20)
        host.run(70)
        assert host.backend.status()["offered_ma"] == 6_028
        host.run(40)
        # The vehicle was measured to use one phase.
        assert host.backend.status()["offered_ma"] > 16_000
        host.backend.set_surplus(self.W_ONE_PHASE + 20)
        host.run(1200)
        assert host.charger.state.state is State.PLUGGED_IN_CHARGING

    def test_wrong_phase_assumption_starts_once(self) -> None:
        host = self.solar(3, VehicleDraw(1))
        host.backend.set_surplus(1.5 * self.W_ONE_PHASE)
        starts, was_closed = 0, False
        for _ in range(240):
            host.run(60)
            is_closed = host.backend.status()["contactor"] == "closed"
            starts, was_closed = starts + (is_closed and not was_closed), is_closed
        assert starts == 1
        assert not was_closed
