"""When a charger writes down what it must not forget, and how it wakes up with it.

Permissions, faults, the user's limit and a session's start and end are written at once; a
running session's values every few minutes, so that a power cut costs no more than that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from msgspec.structs import replace

from evse_node.charger.hardware_monitor import WATCHED
from evse_node.charger.record import ChargerRecord
from evse_node.charger.schedule import Commitment
from evse_node.charger.snapshot import ChargerSettings
from evse_node.charger.vehicle_draw import LearnedIntake
from evse_node.hal.interface import Ratings
from evse_node.matter.store import Store
from evse_node.state_machine.control_pilot import MAXIMUM_OFFER_MA
from evse_node.state_machine.enums import State
from evse_node.state_machine.events import Direction, LimitClaimed
from evse_node.state_machine.evse import step
from evse_node.state_machine.limits import LimitSource
from evse_node.state_machine.session import MeterReading
from evse_node.state_machine.state import EvseState, Permission
from evse_node.state_machine.targets import ChargingTargetSchedule

_SESSION_SAVE_S: Final = 300.0


class ChargerMemory:
    """What one charger keeps in a store."""

    def __init__(self, store: Store, utc_ms: Callable[[], int | None], now: float) -> None:
        self._record = ChargerRecord(store)
        self._utc_ms = utc_ms
        self._saved_at = now
        self._is_stale = False
        self._plan: tuple[Commitment | None, LearnedIntake] | None = None

    def wake_up(
        self,
        settings: ChargerSettings,
        features: frozenset[str],
        ratings: Ratings,
        meter: MeterReading | None,
        now: float,
    ) -> EvseState:
        """Return the state to begin with: what was kept, and the limits that always hold.

        `meter` is None when it does not answer.
        """
        new = EvseState(settings=settings.evse)
        if settings.may_charge_when_new:
            limits = new.charge_limits.with_claim(LimitSource.COMMAND, MAXIMUM_OFFER_MA)
            new = replace(new, charging=Permission(), charge_limits=limits)
        state = self._record.load_permissions(new)
        is_both = state.charging is not None and state.discharging is not None
        if "V2X" not in features or (is_both and not settings.evse.has_enabled_state):
            state = replace(state, discharging=None)
        session, reading, vehicle = self._record.load_session(meter, now, self._utc_ms())
        is_visit = session is not None and session.is_active
        faults = self._record.load_faults()
        state = replace(
            state,
            meter=reading,
            session=session,
            vehicle=vehicle,
            is_authorized=state.is_authorized and is_visit,
            faults=faults,
            causes=WATCHED.intersection(faults),
            state=State.FAULT if faults else state.state,
        )
        user_ma = self._record.load_user_limit()
        for claim in (
            LimitClaimed(LimitSource.HARDWARE, ratings.maximum_current_ma, (Direction.CHARGE,)),
            LimitClaimed(
                LimitSource.HARDWARE,
                ratings.maximum_discharge_current_ma,
                (Direction.DISCHARGE,),
            ),
            LimitClaimed(LimitSource.CIRCUIT, settings.circuit_capacity_ma),
            LimitClaimed(
                LimitSource.USER,
                settings.user_maximum_ma if user_ma is None else user_ma,
                (Direction.CHARGE,),
            ),
        ):
            state, _ = step(state, claim, now)
        return state

    def load_targets(self) -> tuple[ChargingTargetSchedule, ...]:
        """Return the charging targets that were kept."""
        return self._record.load_targets()

    def save_targets(self, targets: Sequence[ChargingTargetSchedule]) -> None:
        """Keep the charging targets."""
        self._record.save_targets(targets)

    def load_commitment(self) -> Commitment | None:
        """Return what was settled for the target that was next."""
        return self._record.load_commitment()

    def load_intake(self) -> LearnedIntake | None:
        """Return what was known of the vehicle's intake."""
        return self._record.load_intake()

    def save_plan(self, commitment: Commitment | None, intake: LearnedIntake) -> None:
        """Keep what was settled and learned, if it is not what was kept last."""
        before, self._plan = self._plan, (commitment, intake)
        if before is None or before[0] is not commitment:
            self._record.save_commitment(commitment)
        if before is None or before[1] is not intake:
            self._record.save_intake(intake)

    def save_session(self, state: EvseState, now: float) -> None:
        """Keep the session's values as they are now."""
        if state.session is not None:
            self._record.save_session(state, now, self._utc_ms())
        self._saved_at = now

    def save_changes(
        self, before: EvseState, state: EvseState, now: float, *, is_test_mode: bool
    ) -> None:
        """Keep what is different; of a test only the session, because ids must not be reused."""
        due_at = self.next_deadline(state)
        is_other_vehicle = state.vehicle is not before.vehicle and state.vehicle != before.vehicle
        is_changed = state.session is not before.session or is_other_vehicle
        if is_changed or (due_at is not None and now >= due_at):
            self.save_session(state, now)
        if is_test_mode:
            self._is_stale = True
            return
        if state is before and not self._is_stale:
            return
        is_stale, self._is_stale = self._is_stale, False
        if is_stale or _permissions(state) != _permissions(before):
            self._record.save_permissions(state)
        if is_stale or state.faults != before.faults:
            self._record.save_faults(state.faults)
        user_ma = state.charge_limits.claims.get(LimitSource.USER)
        if is_stale or user_ma != before.charge_limits.claims.get(LimitSource.USER):
            self._record.save_user_limit(user_ma)

    def next_deadline(self, state: EvseState) -> float | None:
        """Return when a running session is to be saved again, or None without one."""
        if state.session is None or not state.session.is_active:
            return None
        return self._saved_at + _SESSION_SAVE_S


def _permissions(state: EvseState) -> tuple[object, ...]:
    return (
        state.charging,
        state.discharging,
        state.minimum_charge_ma,
        state.is_authorized,
        state.charge_limits.claims.get(LimitSource.COMMAND),
        state.discharge_limits.claims.get(LimitSource.COMMAND),
    )
