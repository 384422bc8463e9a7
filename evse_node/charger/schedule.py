"""The charging schedule: which target is next, and whether charging waits for its start.

Spec: Matter Application Clusters 1.3 "NextChargeStartTime Attribute"
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, tzinfo
from typing import Final, TypeAlias

from evse_node.state_machine.names import State, SupplyState
from evse_node.state_machine.state import EvseState, Vehicle
from evse_node.state_machine.targets import (
    LEEWAY_S,
    ChargingTargetSchedule,
    NextCharge,
    find_next_target,
    plan_charge,
)
from evse_node.units import MATTER_EPOCH_UNIX_S, EpochSeconds, Milliwatts

_NOTHING = NextCharge()
_PLUGGED_IN = frozenset(
    {
        State.PLUGGED_IN_NO_DEMAND,
        State.PLUGGED_IN_DEMAND,
        State.PLUGGED_IN_CHARGING,
        State.PLUGGED_IN_DISCHARGING,
    }
)

_LONGEST_DELAY_S: Final = LEEWAY_S * 2 // 3
"""A start is put off by less than the plan has to spare, or the target would be missed."""

_Grounds: TypeAlias = tuple[object, ...]
_Aim: TypeAlias = tuple[EpochSeconds, bool]  # a target, and whether its need is a guess


class Schedule:
    """Targets, and the plan that follows from them. It is made anew only when its grounds change.

    `has_soc`: the state of charge is reported. `zone` is where the targets' minutes
    count (None: the system's). `draw_delay_s` returns by how much the start for a target
    is put off, so that not all cars of a street start at once; never so far that the target
    would be missed. `is_followed`: charging
    waits for the start of the plan; once it has begun for a target, it is not held again,
    unless it only then turns out how much is needed.
    """

    def __init__(
        self,
        targets: Sequence[ChargingTargetSchedule],
        *,
        has_soc: bool,
        zone: tzinfo | None,
        draw_delay_s: Callable[[], int],
    ) -> None:
        self.targets = tuple(targets)
        self.is_followed = False
        self.next_charge = _NOTHING
        self._has_soc = has_soc
        self._zone = zone
        self._draw_delay_s = draw_delay_s
        self._delay_s = 0
        self._is_late = False
        self._has_begun_for: _Aim | None = None
        self._is_guess = False
        self._grounds: _Grounds = ()

    def update(self, state: EvseState, power_mw: Milliwatts, now: EpochSeconds | None) -> bool:
        """Make the plan anew if there is a reason to; return whether it changed.

        Without a clock, a vehicle, or charging being enabled there is no plan.
        """
        if (
            now is None
            or state.state not in _PLUGGED_IN
            or state.supply_state is not SupplyState.CHARGING_ENABLED
        ):
            self._grounds = ()
            return self._replace(_NOTHING)
        grounds = (state.state, power_mw, self.targets, state.vehicle, self._utc_offset(now))
        target_time = self.next_charge.target_time
        if grounds == self._grounds and (target_time is None or now < target_time):
            return False
        self._grounds = grounds
        is_new = self._replace(self._plan(power_mw, state.vehicle, now))
        start_time = self.next_charge.start_time
        self._is_late = start_time is not None and start_time <= now
        return is_new

    def _utc_offset(self, now: EpochSeconds) -> timedelta | None:
        # A controller may set another zone, which moves every target.
        if self._zone is None:
            return None
        return datetime.fromtimestamp(now + MATTER_EPOCH_UNIX_S, self._zone).utcoffset()

    def is_holding(self, state: EvseState, now: EpochSeconds | None) -> bool:
        """Return whether charging is to wait."""
        plan = self.next_charge
        if not self.is_followed or now is None or plan.target_time is None:
            return False
        aim = (plan.target_time, self._is_guess)
        if aim == self._has_begun_for:
            return False
        if plan.start_time is None or now < self._start(plan.start_time):
            return True
        if state.state.is_transferring or state.is_held:
            self._has_begun_for = aim
        return False

    def next_moment(self, now: EpochSeconds | None) -> EpochSeconds | None:
        """Return when to look again, or None."""
        plan = self.next_charge
        if now is None or plan.target_time is None:
            return None
        if self.is_followed and plan.start_time is not None:
            start = self._start(plan.start_time)
            if now < start:
                return min(start, plan.target_time)
        return plan.target_time

    def _start(self, planned: EpochSeconds) -> EpochSeconds:
        """Return when to start; who is late has no time to give away."""
        return planned if self._is_late else EpochSeconds(planned + self._delay_s)

    def _plan(self, power_mw: Milliwatts, vehicle: Vehicle, now: EpochSeconds) -> NextCharge:
        found = find_next_target(self.targets, now, self._zone)
        if found is None:
            return _NOTHING
        target_time, target = found
        is_battery_known = vehicle.state_of_charge_percent is not None
        self._is_guess = target.added_energy_mwh is None and not is_battery_known
        return plan_charge(
            target_time,
            target,
            now=now,
            power_mw=power_mw,
            vehicle=replace(vehicle, id=None),
            has_soc=self._has_soc,
        )

    def _replace(self, plan: NextCharge) -> bool:
        if plan == self.next_charge:
            return False
        if plan.target_time != self.next_charge.target_time:
            self._delay_s = min(self._draw_delay_s(), _LONGEST_DELAY_S)
            self._has_begun_for = None
        self.next_charge = plan
        return True
