"""Adapter from the charger to energy management's `Plant`.

Energy management's claim on the current is the charger's GRID claim. A pause, and the wait
for a requested start, are a claim of zero current. Discharging is a claim on the discharge
current together with `DischargeRequested`.

Forecasts assume the phases and current that the vehicle was observed to draw; the power range
of the appliance is that of the charger, independent of the vehicle.

Where a vehicle may only be discharged, the forecast covers the energy of its battery, or a
typical amount. Where it may also be charged, only a power adjustment discharges it.

Spec: Matter Application Clusters 1.3 "Device Energy Management Cluster"
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec.structs import replace

from evse_node.charger import Charger, Snapshot
from evse_node.energy_management.conditions import (
    Availability,
    Conditions,
    DischargePlan,
    EnergyDemand,
    Supply,
)
from evse_node.energy_management.forecast import PowerRange, duration_for
from evse_node.energy_management.state import NO_ORDERS, Orders
from evse_node.hal.interface import Ratings
from evse_node.state_machine.control_pilot import MINIMUM_OFFER_MA
from evse_node.state_machine.enums import State, SupplyState
from evse_node.state_machine.events import Direction, DischargeRequested, LimitClaimed
from evse_node.state_machine.limits import LimitSource
from evse_node.state_machine.session import MeterReading, Session
from evse_node.units import EpochSeconds, Milliamps, MilliwattHours, Milliwatts, power_mw

_CONNECTED: Final = frozenset(
    {
        State.PLUGGED_IN_NO_DEMAND,
        State.PLUGGED_IN_DEMAND,
        State.PLUGGED_IN_CHARGING,
        State.PLUGGED_IN_DISCHARGING,
    }
)
_ENABLED: Final = frozenset({SupplyState.CHARGING_ENABLED, SupplyState.ENABLED})
_REQUESTING: Final = frozenset(
    {State.PLUGGED_IN_DEMAND, State.PLUGGED_IN_CHARGING, State.PLUGGED_IN_DISCHARGING}
)


class ChargerPlant:
    """One charger. Its mode selects scheduled charging, solar charging, both or neither."""

    def __init__(
        self,
        charger: Charger,
        ratings: Ratings,
        *,
        is_schedule_followed: Callable[[], bool],
        is_surplus_followed: Callable[[], bool],
        epoch_s: Callable[[], EpochSeconds | None],
    ) -> None:
        self._charger = charger
        self._ratings = ratings
        self._is_schedule_followed = is_schedule_followed
        self._is_surplus_followed = is_surplus_followed
        self._epoch_s = epoch_s
        self._orders = NO_ORDERS
        discharge_ma = ratings.maximum_discharge_current_ma
        self.can_discharge = "V2X" in charger.features and discharge_ma >= MINIMUM_OFFER_MA
        # The minimum consumption: any charger may have a vehicle with one phase.
        least = self._power_of(MINIMUM_OFFER_MA, 1)
        if self.can_discharge:
            least = Milliwatts(-self._power_of(discharge_ma))
        power = PowerRange(least, self._power_of(max(MINIMUM_OFFER_MA, ratings.maximum_current_ma)))
        self._power = power
        supply = self._supply(MINIMUM_OFFER_MA, Milliamps(0), Milliamps(0))
        self._without_vehicle = {each: Conditions(each, power, supply) for each in Availability}

    def _power_of(self, current_ma: int, phases: int | None = None) -> Milliwatts:
        """Return the power of a current on a number of phases; None for all phases."""
        ratings = self._ratings
        return power_mw(ratings.nominal_voltage_mv, current_ma, phases or ratings.phases)

    @property
    def _phases(self) -> int:
        """The number of phases that the vehicle is expected to use."""
        draw = self._charger.expected_draw
        return self._ratings.phases if draw is None else min(draw.phases, self._ratings.phases)

    # Orders to the charger

    def apply(self, orders: Orders, now: float) -> None:
        """Replace the previous orders by these."""
        before, self._orders = self._orders, orders
        if orders.overrides_schedule:
            # The claim comes before the schedule is overridden.
            self._claim(before, orders, now)
            self._follow_mode(now)
        else:
            self._follow_mode(now)
            self._claim(before, orders, now)

    def _claim(self, before: Orders, orders: Orders, now: float) -> None:
        discharges, discharged = orders.discharge_ma is not None, before.discharge_ma is not None
        # The claim is in place before the direction changes.
        if discharges and orders.discharge_ma != before.discharge_ma:
            self._put_claim(orders.discharge_ma, Direction.DISCHARGE, now)
            if not discharged:
                self._charger.handle(DischargeRequested(True), now)
        if orders.limit_ma != before.limit_ma:
            self._put_claim(orders.limit_ma, Direction.CHARGE, now)
        if discharged and not discharges:
            self._charger.handle(DischargeRequested(False), now)
            self._put_claim(None, Direction.DISCHARGE, now)

    def _put_claim(self, current_ma: Milliamps | None, direction: Direction, now: float) -> None:
        self._charger.handle(LimitClaimed(LimitSource.GRID, current_ma, (direction,)), now)

    def _follow_mode(self, now: float) -> None:
        is_free = not self._orders.overrides_schedule
        self._charger.follow_schedule(is_free and self._is_schedule_followed(), now)
        self._charger.follow_surplus(is_free and self._is_surplus_followed(), now)

    def keep_schedule_overridden(self, snapshot: Snapshot, now: float) -> None:
        """Override the schedule again if it was resumed otherwise, as by a change of mode."""
        if self._orders.overrides_schedule and (
            snapshot.is_held or self._solar_claim() is not None
        ):
            self._follow_mode(now)

    # Conditions

    def meter_mwh(self) -> MilliwattHours:
        """Return the net energy to the vehicle in this session.

        It does not jump when the meter is lost or restarts its count.
        """
        return _net_energy(self._charger.state.session, self._charger.state.meter)

    def conditions(self) -> Conditions:
        """Return the present conditions, without energy management's own claim.

        Without a vehicle that may be charged, the available current is irrelevant.
        """
        snapshot = self._charger.snapshot()
        availability = _availability(snapshot)
        discharge_power = self._discharge_power(snapshot)
        is_enabled = snapshot.supply_state in _ENABLED or discharge_power is not None
        if snapshot.state not in _CONNECTED or not is_enabled:
            return self._without_vehicle[availability]
        demand, start_time = _demand(snapshot), self._planned_start(snapshot)
        limits = self._charger.state.charge_limits
        maximum_ma = limits.current_without(LimitSource.GRID, LimitSource.SOLAR)
        supply = self._supply(
            Milliamps(max(MINIMUM_OFFER_MA, snapshot.minimum_charge_ma)),
            maximum_ma,
            # A target also uses power beyond the solar surplus.
            limits.current_without(LimitSource.GRID) if start_time is None else maximum_ma,
            discharge_power,
        )
        return Conditions(
            availability=availability,
            power=self._power,
            supply=supply,
            is_connected=True,
            requests_energy=self._requests_energy(snapshot, demand),
            demand=replace(demand, reserve_s=self._reserve_s(demand, supply)),
            start_time=start_time,
            discharge_plan=None if discharge_power is None else self._discharge_plan(snapshot),
        )

    def _supply(
        self,
        minimum_ma: Milliamps,
        maximum_ma: Milliamps,
        intended_ma: Milliamps,
        discharge_power: PowerRange | None = None,
    ) -> Supply:
        expected, voltage_mv = self._expected, self._ratings.nominal_voltage_mv
        return Supply(
            voltage_mv,
            self._phases,
            minimum_ma,
            expected(maximum_ma, minimum_ma),
            expected(intended_ma, minimum_ma),
            discharge_power,
        )

    def _expected(self, current_ma: Milliamps, minimum_ma: Milliamps) -> Milliamps:
        """Return the current that the vehicle is expected to draw of an offer."""
        draw = self._charger.expected_draw
        if draw is None or current_ma < minimum_ma:
            return current_ma
        # A vehicle that draws less than the minimum offer still gets that offer.
        return max(minimum_ma, draw.expected_ma(current_ma))

    def _discharge_power(self, snapshot: Snapshot) -> PowerRange | None:
        """Return the power that may be drawn from a vehicle, without energy management's claim."""
        if not self.can_discharge or snapshot.discharging is None:
            return None
        if snapshot.supply_state not in _ENABLED | {SupplyState.DISCHARGING_ENABLED}:
            return None
        discharge_ma = self._charger.state.discharge_limits.current_without(LimitSource.GRID)
        if discharge_ma < MINIMUM_OFFER_MA:
            return None
        phases = self._phases
        most, least = self._power_of(discharge_ma, phases), self._power_of(MINIMUM_OFFER_MA, phases)
        return PowerRange(Milliwatts(-most), Milliwatts(-least))

    def _reserve_s(self, demand: EnergyDemand, supply: Supply) -> int:
        """Return the additional time of charging at the guaranteed power, in whole minutes."""
        power, guaranteed_mw = supply.power, self._charger.guaranteed_power_mw
        if power is None or not demand.is_promised or not 0 < guaranteed_mw < power.maximum_mw:
            return 0
        additional_s = duration_for(demand.remaining_mwh or 0, guaranteed_mw)
        additional_s -= duration_for(demand.remaining_mwh or 0, power.maximum_mw)
        return additional_s // 60 * 60

    def _discharge_plan(self, snapshot: Snapshot) -> DischargePlan | None:
        """Return the plan for discharging without a request."""
        if snapshot.charging is not None or snapshot.discharging is None:
            return None
        vehicle, available_mwh = snapshot.vehicle, None
        percent, capacity_mwh = vehicle.state_of_charge_percent, vehicle.battery_capacity_mwh
        if percent is not None and capacity_mwh is not None:
            available_mwh = MilliwattHours(percent * capacity_mwh // 100)
        return DischargePlan(snapshot.discharging.until, available_mwh)

    def _solar_claim(self) -> Milliamps | None:
        return self._charger.state.charge_limits.claim(LimitSource.SOLAR)

    def _requests_energy(self, snapshot: Snapshot, demand: EnergyDemand) -> bool:
        """Return whether energy would flow, now or later, if energy management permitted it.

        A vehicle without an offer may request nothing for that reason alone.
        """
        if snapshot.is_held and demand.remaining_mwh == 0:
            return False  # the target is met; waiting for the next one
        if snapshot.is_card_awaited:
            return False  # it is unknown when a card will be presented
        if snapshot.state in _REQUESTING:
            return True
        claims = (self._orders.limit_ma, self._solar_claim())
        is_withheld = any(claim is not None and claim < MINIMUM_OFFER_MA for claim in claims)
        return snapshot.state is State.PLUGGED_IN_NO_DEMAND and (snapshot.is_held or is_withheld)

    def _planned_start(self, snapshot: Snapshot) -> EpochSeconds | None:
        start_time, now = snapshot.next_charge.start_time, self._epoch_s()
        is_waiting = snapshot.is_held or (
            self._is_schedule_followed()
            and (self._orders.overrides_schedule or self._solar_claim() is not None)
        )
        if not is_waiting or start_time is None or now is None or start_time <= now:
            return None
        return start_time


def _net_energy(session: Session | None, meter: MeterReading) -> MilliwattHours:
    if session is None:
        return MilliwattHours(0)
    charged_mwh = session.energy_charged_mwh(meter)
    return MilliwattHours(charged_mwh - session.energy_discharged_mwh(meter))


def _availability(snapshot: Snapshot) -> Availability:
    if snapshot.supply_state is SupplyState.DISABLED_ERROR:
        return Availability.FAULT
    if snapshot.supply_state is SupplyState.DISABLED_DIAGNOSTICS:
        return Availability.OFFLINE
    return Availability.ONLINE


def _demand(snapshot: Snapshot) -> EnergyDemand:
    plan, vehicle, session = snapshot.next_charge, snapshot.vehicle, snapshot.session
    is_connected = session is not None and session.is_active
    # Discharged energy is subtracted, as in the charger's own plan.
    charged_mwh = _net_energy(session, snapshot.meter) if is_connected else MilliwattHours(0)
    remaining_mwh: int | None = None
    percent, capacity_mwh = vehicle.state_of_charge_percent, vehicle.battery_capacity_mwh
    target_percent = 100 if plan.target_time is None else plan.target_soc_percent
    if percent is not None and capacity_mwh is not None and target_percent is not None:
        remaining_mwh = max(0, target_percent - percent) * capacity_mwh // 100
    elif plan.required_energy_mwh is not None:
        remaining_mwh = max(0, plan.required_energy_mwh - charged_mwh)
    return EnergyDemand(
        charged_mwh=charged_mwh,
        remaining_mwh=None if remaining_mwh is None else MilliwattHours(remaining_mwh),
        deadline=plan.target_time,
        goal=(plan.required_energy_mwh, plan.target_soc_percent),
    )
