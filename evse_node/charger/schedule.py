"""Charging schedule: the next target, its plan, and whether charging waits for the start.

Spec: Matter Application Clusters 1.3 "NextChargeStartTime Attribute"
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, tzinfo
from typing import Annotated, Final, TypeAlias

from msgspec import Struct, field
from msgspec.structs import replace

from evse_node.state_machine.enums import State, SupplyState
from evse_node.state_machine.state import EvseState, Vehicle
from evse_node.state_machine.targets import (
    LEEWAY_S,
    ChargingTarget,
    ChargingTargetSchedule,
    NextCharge,
    find_next_target,
    find_targets,
    missing_energy,
    plan_charge,
    select_target,
)
from evse_node.units import INT64, MATTER_EPOCH_UNIX_S, UINT32, EpochSeconds, Milliwatts

_NOTHING = NextCharge()
_FULL: Final = 100
_PLUGGED_IN = frozenset(
    {
        State.PLUGGED_IN_NO_DEMAND,
        State.PLUGGED_IN_DEMAND,
        State.PLUGGED_IN_CHARGING,
        State.PLUGGED_IN_DISCHARGING,
    }
)

_LONGEST_DELAY_S: Final = LEEWAY_S * 2 // 3
"""Longest delay of a start; shorter than the margin of the plan, so that the target is met."""
_STEP_MWH: Final = 500_000
"""Step of the missing energy at which the plan is updated, so that it does not move constantly."""

_WORTH_WAITING_S: Final = 600
"""Shortest wait for which the charge of a faster vehicle is interrupted."""

_Inputs: TypeAlias = tuple[object, ...]


class Commitment(Struct, frozen=True):
    """Commitment to a target in a session; it survives a restart.

    `delay_s` postpones the start. `has_begun`: charging for the target has begun; `is_trial`: with
    a vehicle whose draw is not measured yet. `missed` is an earlier target whose time has passed
    and that is still charged for.
    """

    session_id: Annotated[int, INT64] = field(name="session")
    target_time: Annotated[EpochSeconds, UINT32]
    delay_s: Annotated[int, INT64] = 0
    has_begun: bool = False
    is_trial: bool = False
    missed: ChargingTarget | None = None


class Schedule:
    """Targets and the resulting plan, which is updated only when its inputs change.

    `has_soc`: the state of charge is reported. `zone` is the time zone of the targets (None: the
    system's). `draw_delay_s` returns a random delay of the start, so that not all vehicles of a
    street start at once; it never causes a missed target.

    `is_enabled`: charging waits for the planned start. Once begun for a target, it continues until
    the target is met, even past its time, and then waits for the next one. A target of 100 % is
    met when the vehicle stops. While the required energy is unknown, charging does not wait. It
    starts early for a vehicle of unknown draw, and waits again once a higher draw is measured.
    """

    def __init__(
        self,
        targets: Sequence[ChargingTargetSchedule],
        *,
        has_soc: bool,
        zone: tzinfo | None,
        draw_delay_s: Callable[[], int],
        commitment: Commitment | None = None,
    ) -> None:
        self.is_enabled = False
        self.next_charge = _NOTHING
        self.commitment = commitment
        self._targets = tuple(targets)
        self._has_soc = has_soc
        self._zone = zone
        self._draw_delay_s = draw_delay_s
        self._target: ChargingTarget | None = None
        self._is_guess = False
        self._is_power_seen = False
        self._inputs: _Inputs = ()
        self._planned_at: EpochSeconds | None = None
        self._is_restored = commitment is not None
        self._are_targets_new = False

    @property
    def targets(self) -> tuple[ChargingTargetSchedule, ...]:
        """The charging targets. New ones discard a missed target."""
        return self._targets

    @targets.setter
    def targets(self, targets: Sequence[ChargingTargetSchedule]) -> None:
        self._targets = tuple(targets)
        self._are_targets_new = True
        if self.commitment is not None and self.commitment.missed is not None:
            self.commitment = replace(self.commitment, missed=None)

    @property
    def is_charged_enough(self) -> bool:
        """True when the battery has reached a target below 100 %."""
        plan = self.next_charge
        is_by_percent = plan.target_soc_percent is not None and plan.target_soc_percent < _FULL
        return self.is_enabled and plan.is_met and is_by_percent

    def update(
        self,
        state: EvseState,
        power_mw: Milliwatts,
        now: EpochSeconds | None,
        *,
        is_power_seen: bool = True,
    ) -> bool:
        """Update the plan if its inputs changed; return whether the plan changed.

        Without clock, vehicle or permission to charge there is no plan. `is_power_seen`: the power
        was measured, rather than assumed as the minimum.
        """
        session = state.session
        was_off = self._is_restored
        if now is not None and state.pilot is not None:
            self._is_restored = False
        self._drop_replaced_target(now)
        if (
            now is None
            or session is None
            or state.state not in _PLUGGED_IN
            or state.supply_state is not SupplyState.CHARGING_ENABLED
        ):
            self._inputs = ()
            return self._replace(_NOTHING)
        vehicle = state.vehicle
        charged_mwh = session.energy_charged_mwh(state.meter)
        added_mwh = charged_mwh - session.energy_discharged_mwh(state.meter)
        self._update_missed(session.id, vehicle, added_mwh, now, was_off=was_off)
        missing_mwh = self._missing(self._target, vehicle, added_mwh)
        target_time = self.next_charge.target_time
        is_past = target_time is not None and now >= target_time
        is_set_back = self._planned_at is not None and now < self._planned_at
        inputs = (
            session.id,
            state.state,
            power_mw,
            is_power_seen,
            self._targets,
            vehicle.state_of_charge_percent,
            vehicle.battery_capacity_mwh,
            self._utc_offset(now),
            None if missing_mwh is None else -(-missing_mwh // _STEP_MWH),
        )
        if inputs == self._inputs and not is_past and not is_set_back:
            return False
        self._inputs, self._planned_at = inputs, now
        plan = self._plan(session.id, power_mw, is_power_seen, vehicle, added_mwh, now)
        self._is_guess = self._missing(self._target, vehicle, added_mwh) is None
        return self._replace(plan)

    def _drop_replaced_target(self, now: EpochSeconds | None) -> None:
        """Drop the commitment to a past target after new ones were set, even at an equal time."""
        if self._are_targets_new and now is not None:
            self._are_targets_new = False
            if self.commitment is not None and now >= self.commitment.target_time:
                self.commitment = None

    def _missing(
        self, target: ChargingTarget | None, vehicle: Vehicle, added_mwh: int
    ) -> int | None:
        if target is None:
            return None
        return missing_energy(target, vehicle, added_mwh, has_soc=self._has_soc)

    def _update_missed(
        self,
        session_id: int,
        vehicle: Vehicle,
        added_mwh: int,
        now: EpochSeconds,
        *,
        was_off: bool,
    ) -> None:
        """Record a target missed after charging for it had begun, or its late completion.

        Charging counts as begun for a target that passed while the charger `was_off`.
        """
        commitment = self.commitment
        if commitment is None or commitment.session_id != session_id:
            return
        missed = commitment.missed
        if (commitment.has_begun or was_off) and now >= commitment.target_time:
            before = EpochSeconds(commitment.target_time - 1)
            found = find_next_target(self._targets, before, self._zone)
            if found is not None and found[0] == commitment.target_time:
                missed = found[1] if self._missing(found[1], vehicle, added_mwh) else missed
        if self._missing(missed, vehicle, added_mwh) == 0:
            missed = None
        if missed != commitment.missed:
            self.commitment = replace(commitment, missed=missed)

    def _utc_offset(self, now: EpochSeconds) -> timedelta | None:
        # A controller may set another time zone, which moves every target.
        if self._zone is None:
            return None
        return datetime.fromtimestamp(now + MATTER_EPOCH_UNIX_S, self._zone).utcoffset()

    def _is_under_way(self, session_id: int) -> bool:
        """Return whether charging has begun for the next target, or continues for a missed one."""
        commitment = self.commitment
        if commitment is None or commitment.session_id != session_id:
            return False
        is_for_next = commitment.target_time == self.next_charge.target_time
        return commitment.missed is not None or (commitment.has_begun and is_for_next)

    def is_holding(self, state: EvseState, now: EpochSeconds | None) -> bool:
        """Return whether charging must wait."""
        plan, session = self.next_charge, state.session
        if not self.is_enabled or now is None:
            return False
        if session is None or plan.target_time is None:
            return self._is_holding_before(state)
        if self._is_under_way(session.id):
            return False
        if plan.start_time is None or now < plan.start_time:
            return True
        is_charging = state.state.is_transferring or state.is_held
        if is_charging and not self._is_guess and self.commitment is not None:
            self.commitment = replace(
                self.commitment, has_begun=True, is_trial=not self._is_power_seen
            )
        return False

    def _is_holding_before(self, state: EvseState) -> bool:
        """Return whether charging must wait for a plan.

        A vehicle might be offered energy the moment it connects, so charging is held before.
        """
        if state.state is State.FAULT:
            return state.is_held
        is_idle = state.state is State.NOT_PLUGGED_IN or state.charging is None
        return is_idle and bool(self._targets)

    def was_waiting(self, state: EvseState) -> bool:
        """Return whether this session waited for its start when the clock was last known."""
        session, commitment = state.session, self.commitment
        return (
            self.is_enabled
            and session is not None
            and session.is_active
            and commitment is not None
            and commitment.session_id == session.id
            and not commitment.has_begun
            and commitment.missed is None
        )

    def next_check(self, now: EpochSeconds | None) -> EpochSeconds | None:
        """Return when the plan must be checked again, or None."""
        plan = self.next_charge
        if now is None or plan.target_time is None:
            return None
        if self.is_enabled and plan.start_time is not None and now < plan.start_time:
            return min(plan.start_time, plan.target_time)
        return plan.target_time

    def _plan(
        self,
        session_id: int,
        power_mw: Milliwatts,
        is_power_seen: bool,
        vehicle: Vehicle,
        added_mwh: int,
        now: EpochSeconds,
    ) -> NextCharge:
        upcoming = find_targets(self._targets, now, self._zone)
        if not upcoming:
            self._target = None
            return _NOTHING
        begun = self.commitment
        has_begun = begun is not None and begun.session_id == session_id and begun.has_begun
        target_time, self._target = select_target(
            upcoming,
            begun_for=begun.target_time if begun is not None and has_begun else None,
            now=now,
            power_mw=power_mw,
            vehicle=vehicle,
            has_soc=self._has_soc,
            added_mwh=added_mwh,
        )
        commitment = self._commit(session_id, target_time)
        plan = plan_charge(
            target_time,
            self._target,
            now=now,
            power_mw=power_mw,
            vehicle=vehicle,
            has_soc=self._has_soc,
            added_mwh=added_mwh,
            delay_s=commitment.delay_s,
        )
        self._is_power_seen = is_power_seen
        if commitment.is_trial and is_power_seen:
            wait_s = 0 if plan.start_time is None else plan.start_time - now
            has_begun = wait_s < _WORTH_WAITING_S
            commitment = replace(commitment, has_begun=has_begun, is_trial=False)
            self.commitment = commitment
        if not commitment.has_begun:
            return plan
        if plan.is_met and plan.target_soc_percent != _FULL:
            # Charge lost later is charged again, with a start of its own.
            self.commitment = replace(commitment, has_begun=False)
        before = self.next_charge
        is_same = before.target_time == target_time and before.start_time is not None
        if is_same and plan.start_time is not None:
            return replace(plan, start_time=before.start_time)
        return plan

    def _commit(self, session_id: int, target_time: EpochSeconds) -> Commitment:
        """Return the commitment to a target in a session; its delay is drawn only once."""
        found = self.commitment
        if found is None or (found.session_id, found.target_time) != (session_id, target_time):
            delay_s = min(self._draw_delay_s(), _LONGEST_DELAY_S)
            is_same_session = found is not None and found.session_id == session_id
            missed = found.missed if found is not None and is_same_session else None
            found = self.commitment = Commitment(session_id, target_time, delay_s, missed=missed)
        return found

    def _replace(self, plan: NextCharge) -> bool:
        if plan == self.next_charge:
            return False
        self.next_charge = plan
        return True
