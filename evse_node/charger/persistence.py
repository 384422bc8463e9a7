"""State that survives a restart: permissions, faults, user limit, session, targets, plan and draws.

Each part is one JSON object in the store under "evse/", written only when it changes. Permissions,
faults, the user's limit and a session's start and end are written at once; a running session's
values every five minutes, so that a power cut loses no more than that. A part that is damaged
counts as missing: a charger without memory is safe, one that does not start is not.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from evse_node.charger.hardware_monitor import MONITORED_FAULTS
from evse_node.charger.meter_filter import MeterFilter
from evse_node.charger.schedule import Commitment
from evse_node.charger.snapshot import ChargerSettings
from evse_node.charger.stored_records import (
    StoredDraw,
    StoredDraws,
    StoredFaults,
    StoredMeter,
    StoredPermissions,
    StoredSession,
    StoredTargets,
    StoredUserLimit,
)
from evse_node.charger.vehicle_draw import LearnedDraws, VehicleDraw
from evse_node.hal.interface import Ratings
from evse_node.matter.store import Store
from evse_node.state_machine.control_pilot import MAXIMUM_OFFER_MA
from evse_node.state_machine.enums import State
from evse_node.state_machine.events import Direction, LimitClaimed
from evse_node.state_machine.evse import step
from evse_node.state_machine.faults import FaultState
from evse_node.state_machine.limits import LimitSource
from evse_node.state_machine.retries import restart_wait
from evse_node.state_machine.session import NO_READING, MeterReading, Session
from evse_node.state_machine.state import UNKNOWN_VEHICLE, EvseState, Permission, Vehicle
from evse_node.state_machine.targets import ChargingTargetSchedule
from evse_node.units import Milliamps, MilliwattHours

_LOGGER: Final = logging.getLogger(__name__)

_SESSION_SAVE_S: Final = 300.0
_CARD_SAVE_S: Final = 60.0
"""The length of an outage decides whether a card still counts, so its start must be known."""

_PERMISSIONS: Final = "evse/permissions"
_FAULTS: Final = "evse/faults"
_USER_LIMIT: Final = "evse/user-limit"
_SESSION: Final = "evse/session"
_TARGETS: Final = "evse/targets"
_COMMITMENT: Final = "evse/commitment"
_DRAWS: Final = "evse/intake"
_METER: Final = "evse/meter"

_Part = TypeVar("_Part", bound=Struct)


class ChargerPersistence:
    """One charger's part of a store."""

    def __init__(self, store: Store, utc_ms: Callable[[], int | None], now: float) -> None:
        self._store = store
        self._utc_ms = utc_ms
        self._saved_at = now
        self._has_unsaved_changes = False
        self._plan: tuple[Commitment | None, LearnedDraws] | None = None
        self._meter = NO_READING
        self._exchanges = 0
        self._meter_saved_at = now

    # Start

    def load_state(
        self,
        settings: ChargerSettings,
        features: frozenset[str],
        ratings: Ratings,
        meter: MeterReading | None,
        now: float,
    ) -> EvseState:
        """Return the initial state: the stored parts, and the limits that always hold.

        `meter` is None when the meter does not answer.
        """
        new = EvseState(settings=settings.evse)
        if settings.may_charge_when_new:
            limits = new.charge_limits.with_claim(LimitSource.COMMAND, MAXIMUM_OFFER_MA)
            new = replace(new, charging=Permission(), charge_limits=limits)
        state = self._load_permissions(new)
        are_both_enabled = state.charging is not None and state.discharging is not None
        if "V2X" not in features or (are_both_enabled and not settings.evse.has_enabled_state):
            state = replace(state, discharging=None)
        session, reading, vehicle = self._load_session(meter, now)
        stored_faults = self._load_faults()
        faults = stored_faults.faults
        state = replace(
            state,
            meter=reading,
            session=session,
            vehicle=vehicle,
            is_authorized=state.is_authorized
            and session is not None
            and session.is_active
            and not self._was_long_outage(settings.card_outage_s),
            faults=faults,
            observed_causes=MONITORED_FAULTS.intersection(faults),
            retried_faults=frozenset(stored_faults.retried).intersection(faults),
            retry_count=stored_faults.retry_count,
            state=State.FAULT if faults else state.state,
        )
        state = restart_wait(state, now)
        stored = self._load(_USER_LIMIT, StoredUserLimit)
        user_ma = None if stored is None else stored.current_ma
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

    def _load_permissions(self, state: EvseState) -> EvseState:
        stored = self._load(_PERMISSIONS, StoredPermissions)
        if stored is None:
            return state
        command = LimitSource.COMMAND
        return replace(
            state,
            charging=stored.charging,
            discharging=stored.discharging,
            minimum_charge_ma=stored.minimum_ma,
            is_authorized=stored.is_authorized,
            charge_limits=state.charge_limits.with_claim(command, stored.charge_ma),
            discharge_limits=state.discharge_limits.with_claim(command, stored.discharge_ma),
        )

    def _load_faults(self) -> StoredFaults:
        """Return the stored faults. A damaged record is a fault itself, which is not retried."""
        if self._store.get(_FAULTS) is None:
            return StoredFaults(())
        stored = self._load(_FAULTS, StoredFaults)
        return StoredFaults((FaultState.OTHER,)) if stored is None else stored

    def _load_session(
        self, meter: MeterReading | None, now: float
    ) -> tuple[Session | None, MeterReading, Vehicle]:
        """Return the stored session as if it had never been interrupted, meter and vehicle.

        A meter that restarted its count continues from the stored totals; one that does not answer
        keeps its last totals. The vehicle keeps its last reported battery, because its plan would
        be lost until the next report.
        """
        stored = self._load(_SESSION, StoredSession)
        if stored is None:
            return None, meter or NO_READING, UNKNOWN_VEHICLE
        duration_s = stored.duration_s
        charged, discharged = stored.charged_mwh, stored.discharged_mwh
        if not stored.is_active:
            begun = Session(stored.id, started_at=now - duration_s, start=NO_READING)
            ended = begun.ended(MeterReading(charged, discharged), now)
            return ended, meter or NO_READING, UNKNOWN_VEHICLE
        utc_ms = self._utc_ms()
        if stored.started_utc_ms is not None and utc_ms is not None:
            duration_s = max(duration_s, (utc_ms - stored.started_utc_ms) // 1000)
        imported, exported = stored.imported_mwh + charged, stored.exported_mwh + discharged
        shown = meter or MeterReading(MilliwattHours(imported), MilliwattHours(exported))
        start = MeterReading(
            MilliwattHours(min(imported, shown.imported_mwh) - charged),
            MilliwattHours(min(exported, shown.exported_mwh) - discharged),
        )
        vehicle = Vehicle(stored.soc_percent, stored.capacity_mwh)
        return Session(stored.id, now - duration_s, start), shown, vehicle

    def _was_long_outage(self, limit_s: float) -> bool:
        """Return whether the session was last stored longer ago than that; False if unknown."""
        stored, utc_ms = self._load(_SESSION, StoredSession), self._utc_ms()
        if stored is None or stored.started_utc_ms is None or utc_ms is None:
            return False
        stored_at_ms = stored.started_utc_ms + stored.duration_s * 1000
        return utc_ms - stored_at_ms > limit_s * 1000

    def load_targets(self) -> tuple[ChargingTargetSchedule, ...]:
        """Return the stored charging targets."""
        stored = self._load(_TARGETS, StoredTargets)
        return () if stored is None else stored.schedules

    def load_commitment(self) -> Commitment | None:
        """Return the stored commitment to the next target."""
        return self._load(_COMMITMENT, Commitment)

    def load_draws(self) -> LearnedDraws | None:
        """Return the learned draws of vehicles."""
        stored = self._load(_DRAWS, StoredDraws)
        if stored is None:
            return None
        recent = tuple(
            (each.session, VehicleDraw(each.phases, each.current_ma, each.is_own_limit))
            for each in stored.recent
        )
        if isinstance(stored.usual, VehicleDraw):
            recent = ((stored.session, stored.usual),)
        return LearnedDraws(stored.session, stored.present, recent)

    def load_meter(self) -> MeterReading:
        """Return the stored offset of the meter's totals."""
        stored = self._load(_METER, StoredMeter)
        if stored is not None:
            self._meter = MeterReading(stored.imported_mwh, stored.exported_mwh)
        return self._meter

    # Changes

    def save_meter(self, meter: MeterFilter, now: float, *, is_last: bool = False) -> None:
        """Store the offset of the meter's totals: at once after an exchange, else seldom."""
        offset, exchanges = meter.offset, meter.condition.exchanges
        if offset == self._meter:
            return
        is_new = exchanges != self._exchanges
        if is_last or is_new or now - self._meter_saved_at >= _SESSION_SAVE_S:
            self._meter, self._exchanges, self._meter_saved_at = offset, exchanges, now
            self._save(_METER, StoredMeter(offset.imported_mwh, offset.exported_mwh))

    def save_targets(self, targets: Sequence[ChargingTargetSchedule]) -> None:
        """Store the charging targets."""
        self._save(_TARGETS, StoredTargets(tuple(targets)))

    def save_plan(self, commitment: Commitment | None, learned: LearnedDraws) -> None:
        """Store the commitment and the learned draws, unless unchanged since the last call."""
        before, self._plan = self._plan, (commitment, learned)
        if before is None or before[0] is not commitment:
            if commitment is None:
                self._store.delete(_COMMITMENT)
            else:
                self._save(_COMMITMENT, commitment)
        is_changed = before is None or before[1] is not learned
        if is_changed and learned.session_id is not None:
            recent = tuple(
                StoredDraw(session_id, draw.phases, draw.current_ma, draw.is_own_limit)
                for session_id, draw in learned.recent
            )
            self._save(_DRAWS, StoredDraws(learned.session_id, learned.present, recent))

    def save_session(self, state: EvseState, now: float) -> None:
        """Store the session's present values."""
        self._saved_at = now
        session, meter, vehicle = state.session, state.meter, state.vehicle
        if session is None:
            return
        utc_ms = self._utc_ms()
        duration_s = session.duration_s(now)
        self._save(
            _SESSION,
            StoredSession(
                session.id,
                session.is_active,
                None if utc_ms is None else utc_ms - duration_s * 1000,
                duration_s,
                session.start.imported_mwh,
                session.start.exported_mwh,
                session.energy_charged_mwh(meter),
                session.energy_discharged_mwh(meter),
                vehicle.state_of_charge_percent,
                vehicle.battery_capacity_mwh,
            ),
        )

    def save_changes(
        self, before: EvseState, state: EvseState, now: float, *, is_test_mode: bool
    ) -> None:
        """Store changed parts; in test mode only the session, because its id must not be reused."""
        due_at = self.next_deadline(state)
        is_other_vehicle = state.vehicle is not before.vehicle and state.vehicle != before.vehicle
        is_changed = state.session is not before.session or is_other_vehicle
        if is_changed or (due_at is not None and now >= due_at):
            self.save_session(state, now)
        if is_test_mode:
            self._has_unsaved_changes = True
            return
        if state is before and not self._has_unsaved_changes:
            return
        save_all, self._has_unsaved_changes = self._has_unsaved_changes, False
        permissions = _permissions(state)
        if save_all or permissions != _permissions(before):
            self._save(_PERMISSIONS, permissions)
        faults = _faults(state)
        if save_all or faults != _faults(before):
            self._save(_FAULTS, faults)
        user_ma = state.charge_limits.claims.get(LimitSource.USER)
        if save_all or user_ma != before.charge_limits.claims.get(LimitSource.USER):
            self._save(_USER_LIMIT, StoredUserLimit(user_ma))

    def next_deadline(self, state: EvseState) -> float | None:
        """Return when to store a running session again, or None without one."""
        if state.session is None or not state.session.is_active:
            return None
        return self._saved_at + (_CARD_SAVE_S if state.is_authorized else _SESSION_SAVE_S)

    # The store

    def _save(self, key: str, part: Struct) -> None:
        value = msgspec.json.encode(part)
        if self._store.get(key) != value:
            self._store.set(key, value)

    def _load(self, key: str, type_: type[_Part]) -> _Part | None:
        value = self._store.get(key)
        if value is None:
            return None
        try:
            return msgspec.json.decode(value, type=type_)
        except (msgspec.DecodeError, ValueError) as error:
            _LOGGER.error("%s in the store is damaged and ignored: %s", key, error)
            return None


def _faults(state: EvseState) -> StoredFaults:
    retried = tuple(fault for fault in state.faults if fault in state.retried_faults)
    return StoredFaults(state.faults, retried, state.retry_count)


def _permissions(state: EvseState) -> StoredPermissions:
    no_current = Milliamps(0)
    return StoredPermissions(
        state.charging,
        state.discharging,
        state.minimum_charge_ma,
        state.charge_limits.claims.get(LimitSource.COMMAND, no_current),
        state.discharge_limits.claims.get(LimitSource.COMMAND, no_current),
        state.is_authorized,
    )
