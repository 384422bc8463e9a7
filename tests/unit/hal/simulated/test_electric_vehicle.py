from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evse_node.hal.simulated.electric_vehicle import ElectricCar, EnergyCounter, Habits, Supply
from evse_node.units import MilliwattHours

HOUR_MS = 3_600_000
FULL = Supply(is_powered=True, offered_ma=32_000, phases=3)


def car(soc: int = 40, supply: Supply = FULL, **habits: object) -> ElectricCar:
    made = ElectricCar(habits=Habits(**habits))  # type: ignore[arg-type]
    made.state_of_charge_percent = soc
    made.supply = supply
    return made


def charging_car(soc: int = 40, supply: Supply = FULL, **habits: object) -> ElectricCar:
    made = car(soc, supply, **habits)
    made.plug_in()
    made.demand(True)
    return made


class TestEnergyCounter:
    def test_small_steps_lose_nothing(self) -> None:
        counter = EnergyCounter()
        for _ in range(3600):
            counter.add(1_234, 1000)
        assert counter.total_mwh == 1_234

    @given(st.lists(st.tuples(st.integers(0, 10**8), st.integers(0, 10**6)), max_size=50))
    def test_total_is_sum_of_additions(self, portions: list[tuple[int, int]]) -> None:
        counter = EnergyCounter()
        added = sum(counter.add(power, duration) for power, duration in portions)
        total = sum(power * duration for power, duration in portions)
        assert counter.total_mwh == added == total // HOUR_MS


class TestPower:
    def test_is_limited_by_on_board_charger(self) -> None:
        assert charging_car().power_mw == 230 * 16 * 3 * 1000
        assert charging_car().current_ma == 16_000

    def test_is_limited_by_offer(self) -> None:
        made = charging_car(supply=Supply(True, 10_000, phases=3))
        assert made.power_mw == 230 * 10 * 3 * 1000

    def test_is_limited_by_phases(self) -> None:
        assert charging_car(supply=Supply(True, 32_000, phases=1)).power_mw == 230 * 16 * 1000

    @pytest.mark.parametrize(
        "supply",
        [
            Supply(is_powered=False, offered_ma=16_000),
            Supply(is_powered=True, offered_ma=0),
            Supply(is_powered=True, offered_ma=5_000),
        ],
    )
    def test_is_zero_without_supply(self, supply: Supply) -> None:
        assert charging_car(supply=supply).power_mw == 0

    def test_tapers_above_80_percent(self) -> None:
        powers = []
        for soc in (79, 80, 85, 90, 95, 99):
            powers.append(charging_car(soc).power_mw)
        assert powers[0] == powers[1] == 11_040_000
        assert powers[1:] == sorted(powers[1:], reverse=True)
        assert powers[3] == 11_040_000 * 550 // 1000
        assert powers[-1] > 1_104_000

    def test_is_zero_when_full(self) -> None:
        assert charging_car(100).power_mw == 0

    def test_is_negative_while_discharging(self) -> None:
        made = charging_car(supply=Supply(True, 16_000, 10_000, phases=1))
        assert made.power_mw == -230 * 10 * 1000
        assert made.current_ma == -10_000
        made.advance_to(HOUR_MS)
        assert made.discharged.total_mwh == 2_300_000
        assert made.charged.total_mwh == 0
        assert made.stored_mwh == 24_000_000 - 2_300_000

    def test_is_zero_while_discharging_empty_battery(self) -> None:
        made = charging_car(0, Supply(True, 16_000, 10_000, phases=1))
        made.stored_mwh = MilliwattHours(1_000)
        made.refresh()
        made.advance_to(HOUR_MS)
        assert made.stored_mwh == 0
        assert made.power_mw == 0


class TestTime:
    def test_one_hour_charges_expected_energy(self) -> None:
        made = charging_car()
        made.advance_to(HOUR_MS)
        assert made.charged.total_mwh == 11_040_000
        assert made.stored_mwh == 24_000_000 + 11_040_000
        assert made.state_of_charge_percent == 58

    def test_battery_ends_full(self) -> None:
        made = charging_car(95)
        made.advance_to(4 * HOUR_MS)
        assert made.state_of_charge_percent == 100
        assert not made.wants_energy
        assert made.power_mw == 0
        assert made.next_change_ms() is None

    def test_past_time_has_no_effect(self) -> None:
        made = charging_car()
        made.advance_to(10_000)
        made.advance_to(5_000)
        assert made.now_ms == 10_000

    @settings(deadline=None, max_examples=30)
    @given(st.lists(st.integers(0, 600_000), max_size=20), st.integers(75, 99))
    def test_result_does_not_depend_on_steps(self, moments: list[int], soc: int) -> None:
        one, other = (
            charging_car(soc, pauses_after_s=60, pauses_for_s=7, stops_at_percent=99)
            for _ in range(2)
        )
        one.advance_to(600_000)
        for moment in sorted(moments):
            other.advance_to(moment)
        other.advance_to(600_000)
        assert one == other or (one.charged.total_mwh, one.stored_mwh, one.wants_energy) == (
            other.charged.total_mwh,
            other.stored_mwh,
            other.wants_energy,
        )


class TestHabits:
    def test_requests_energy_when_plugged_in(self) -> None:
        made = car(asks_at_once=True)
        made.plug_in()
        assert made.is_asking

    def test_does_not_request_energy_when_content(self) -> None:
        made = car(80, asks_at_once=True, stops_at_percent=80)
        made.plug_in()
        assert not made.is_asking

    def test_shows_state_c_only_with_offer(self) -> None:
        made = charging_car(supply=Supply(), asks_without_offer=False)
        assert not made.is_asking
        made.supply.offered_ma = 6_000
        assert made.is_asking

    def test_stops_at_set_state_of_charge(self) -> None:
        made = charging_car(79, stops_at_percent=80)
        made.advance_to(HOUR_MS)
        assert made.state_of_charge_percent == 80
        assert not made.is_asking

    def test_full_vehicle_ends_its_request(self) -> None:
        made = charging_car(100)
        assert made.is_asking
        made.advance_to(1_000)
        assert not made.is_asking

    def test_pauses_and_resumes(self) -> None:
        made = charging_car(pauses_after_s=60, pauses_for_s=10)
        made.advance_to(59_999)
        assert made.is_asking
        made.advance_to(60_000)
        assert not made.is_asking
        made.advance_to(69_999)
        assert not made.is_asking
        made.advance_to(70_000)
        assert made.is_asking
        made.advance_to(130_000)
        assert not made.is_asking

    def test_unplugs_when_content(self) -> None:
        made = charging_car(100, leaves_after_s=30)
        made.advance_to(1_000)
        assert made.is_plugged_in
        made.advance_to(31_000)
        assert not made.is_plugged_in

    def test_unplugging_cancels_pending_actions(self) -> None:
        made = charging_car(pauses_after_s=1, pauses_for_s=60)
        made.advance_to(1_000)
        made.unplug()
        assert made.next_change_ms() is None
        made.plug_in()
        made.advance_to(HOUR_MS)
        assert not made.wants_energy


def test_state_of_charge_setter_and_getter_agree() -> None:
    made = ElectricCar(capacity_mwh=MilliwattHours(61_234_567))
    for percent in range(101):
        made.state_of_charge_percent = percent
        assert made.state_of_charge_percent == percent
