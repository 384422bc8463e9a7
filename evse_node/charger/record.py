"""What a charger keeps across a restart: permissions, faults, the user's limit, session, targets,
and what was planned and learned.

Each part is one JSON object in the store under "evse/", written only when it differs
from what is there. A part that cannot be read is taken as missing: a charger without
memory is safe, one that does not start is not.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias, TypeVar

from msgspec.structs import replace

from evse_node.charger.schedule import Commitment
from evse_node.charger.vehicle_draw import LearnedIntake, VehicleDraw
from evse_node.matter.store import Store
from evse_node.state_machine.events import Direction
from evse_node.state_machine.faults import FaultState
from evse_node.state_machine.limits import LimitSource
from evse_node.state_machine.session import NO_READING, MeterReading, Session
from evse_node.state_machine.state import UNKNOWN_VEHICLE, EvseState, Permission, Vehicle
from evse_node.state_machine.targets import ChargingTarget, ChargingTargetSchedule
from evse_node.units import EpochSeconds, Milliamps, MilliwattHours

_LOGGER: Final = logging.getLogger(__name__)

_Json: TypeAlias = "bool | int | float | str | list[_Json] | dict[str, _Json] | None"
_Part = TypeVar("_Part")

_PERMISSIONS: Final = "evse/permissions"
# Each command writes this one, and a general encoder takes longer than all else that is kept.
_PERMISSIONS_JSON: Final = (
    '{"charging":%s,"discharging":%s,"minimum_ma":%d,'
    '"charge_ma":%d,"discharge_ma":%d,"is_authorized":%s}'
)
_FAULTS: Final = "evse/faults"
_USER_LIMIT: Final = "evse/user-limit"
_SESSION: Final = "evse/session"
_TARGETS: Final = "evse/targets"

_AS_JSON: Final = json.JSONEncoder(separators=(",", ":")).encode
_COMMITMENT: Final = "evse/commitment"
_INTAKE: Final = "evse/intake"

# What is beyond these was never written; nothing that reckons with it would get far.
_INT64: Final = range(-(1 << 63), 1 << 63)
_UINT32: Final = range(1 << 32)
_METERED_MWH: Final = range(-(1 << 53), 1 << 53)
_MINUTES: Final = range(24 * 60)
_PERCENTS: Final = range(101)
_TOLD_PERCENTS: Final = range(256)


class ChargerRecord:
    """The parts of a charger's memory in a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    # Permissions

    def save_permissions(self, state: EvseState) -> None:
        """Keep what was enabled, until when, and with which currents."""
        text = _PERMISSIONS_JSON % (
            _permission_to_json(state.charging),
            _permission_to_json(state.discharging),
            state.minimum_charge_ma,
            state.charge_limits.claims.get(LimitSource.COMMAND, 0),
            state.discharge_limits.claims.get(LimitSource.COMMAND, 0),
            "true" if state.is_authorized else "false",
        )
        self._put_text(_PERMISSIONS, text)

    def load_permissions(self, state: EvseState) -> EvseState:
        """Return the state with the permissions that were kept."""

        def read(record: Mapping[str, _Json]) -> EvseState:
            return replace(
                state,
                charging=_permission_from_json(record["charging"]),
                discharging=_permission_from_json(record["discharging"]),
                minimum_charge_ma=Milliamps(_whole(record["minimum_ma"])),
                is_authorized=record.get("is_authorized") is True,
                charge_limits=state.limits(Direction.CHARGE).with_claim(
                    LimitSource.COMMAND, _whole(record["charge_ma"])
                ),
                discharge_limits=state.limits(Direction.DISCHARGE).with_claim(
                    LimitSource.COMMAND, _whole(record["discharge_ma"])
                ),
            )

        return self._get(_PERMISSIONS, read) or state

    # Faults

    def save_faults(self, faults: Sequence[FaultState]) -> None:
        """Keep the faults that are present, the oldest first."""
        self._put(_FAULTS, {"faults": [fault.value for fault in faults]})

    def load_faults(self) -> tuple[FaultState, ...]:
        """Return the faults that were present. A record that cannot be read is one itself."""

        def read(record: Mapping[str, _Json]) -> tuple[FaultState, ...]:
            names = record["faults"]
            if not isinstance(names, list):
                raise TypeError(f"{names!r} is not a list")
            return tuple(FaultState(name) for name in names)

        if self._store.get(_FAULTS) is None:
            return ()
        faults = self._get(_FAULTS, read)
        return (FaultState.OTHER,) if faults is None else faults

    # The user's limit

    def save_user_limit(self, current_ma: Milliamps | None) -> None:
        """Keep UserMaximumChargeCurrent."""
        self._put(_USER_LIMIT, {"current_ma": current_ma})

    def load_user_limit(self) -> Milliamps | None:
        """Return the user's limit that was kept."""
        return self._get(_USER_LIMIT, lambda record: Milliamps(_whole(record["current_ma"])))

    # Session

    def save_session(self, state: EvseState, now: float, utc_ms: int | None) -> None:
        """Keep the session, if there is any, with its values and the battery's so far."""
        session, meter, vehicle = state.session, state.meter, state.vehicle
        if session is None:
            return
        duration_s = session.duration_s(now)
        self._put(
            _SESSION,
            {
                "id": session.id,
                "is_active": session.is_active,
                "started_utc_ms": None if utc_ms is None else utc_ms - duration_s * 1000,
                "duration_s": duration_s,
                "imported_mwh": session.start.imported_mwh,
                "exported_mwh": session.start.exported_mwh,
                "charged_mwh": session.energy_charged_mwh(meter),
                "discharged_mwh": session.energy_discharged_mwh(meter),
                "soc_percent": vehicle.state_of_charge_percent,
                "capacity_mwh": vehicle.battery_capacity_mwh,
            },
        )

    def load_session(
        self, meter: MeterReading | None, now: float, utc_ms: int | None
    ) -> tuple[Session | None, MeterReading, Vehicle]:
        """Return the session that was kept, as if it had gone on all the time, and the meter.

        A meter that has begun to count anew goes on from what it had counted before; one
        that does not answer is taken to show what it showed last. The vehicle's battery is
        as it was told last, or its plan would be lost until it is told again.
        """

        def read(record: Mapping[str, _Json]) -> tuple[Session, MeterReading, Vehicle]:
            shown = meter
            duration_s = _whole(record["duration_s"], _UINT32)
            is_active = bool(record["is_active"])
            charged = _whole(record["charged_mwh"], _METERED_MWH)
            discharged = _whole(record["discharged_mwh"], _METERED_MWH)
            if not is_active:
                ended = Session(
                    _whole(record["id"], _UINT32),
                    started_at=now - duration_s,
                    start=NO_READING,
                    is_active=False,
                    ended_at=now,
                    end=MeterReading(MilliwattHours(charged), MilliwattHours(discharged)),
                )
                return ended, shown or NO_READING, UNKNOWN_VEHICLE
            started = record["started_utc_ms"]
            if started is not None and utc_ms is not None:
                duration_s = max(duration_s, (utc_ms - _whole(started)) // 1000)
            imported = _whole(record["imported_mwh"], _METERED_MWH)
            exported = _whole(record["exported_mwh"], _METERED_MWH)
            if shown is None:
                shown = MeterReading(
                    MilliwattHours(imported + charged), MilliwattHours(exported + discharged)
                )
            if shown.imported_mwh < imported + charged:
                imported = shown.imported_mwh - charged
            if shown.exported_mwh < exported + discharged:
                exported = shown.exported_mwh - discharged
            start = MeterReading(MilliwattHours(imported), MilliwattHours(exported))
            session = Session(
                _whole(record["id"], _UINT32), started_at=now - duration_s, start=start
            )
            percent, capacity = record.get("soc_percent"), record.get("capacity_mwh")
            vehicle = Vehicle(
                None if percent is None else _whole(percent, _TOLD_PERCENTS),
                None if capacity is None else MilliwattHours(_whole(capacity, _METERED_MWH)),
            )
            return session, shown, vehicle

        return self._get(_SESSION, read) or (None, meter or NO_READING, UNKNOWN_VEHICLE)

    # Targets

    def save_targets(self, schedules: Sequence[ChargingTargetSchedule]) -> None:
        """Keep the charging targets."""
        self._put(
            _TARGETS,
            {
                "schedules": [
                    {
                        "days": schedule.days,
                        "targets": [_target_to_json(target) for target in schedule.targets],
                    }
                    for schedule in schedules
                ]
            },
        )

    def load_targets(self) -> tuple[ChargingTargetSchedule, ...]:
        """Return the charging targets that were kept."""

        def read(record: Mapping[str, _Json]) -> tuple[ChargingTargetSchedule, ...]:
            return tuple(
                ChargingTargetSchedule(
                    _whole(schedule["days"]),
                    tuple(_target_from_json(each) for each in _objects(schedule["targets"])),
                )
                for schedule in _objects(record["schedules"])
            )

        return self._get(_TARGETS, read) or ()

    # The plan

    def save_commitment(self, commitment: Commitment | None) -> None:
        """Keep what was settled for the next target."""
        if commitment is None:
            self._store.delete(_COMMITMENT)
            return
        missed = commitment.missed
        self._put(
            _COMMITMENT,
            {
                "session": commitment.session_id,
                "target_time": commitment.target_time,
                "delay_s": commitment.delay_s,
                "has_begun": commitment.has_begun,
                "is_trial": commitment.is_trial,
                "missed": None if missed is None else _target_to_json(missed),
            },
        )

    def load_commitment(self) -> Commitment | None:
        """Return what was settled for the target that was next."""

        def read(record: Mapping[str, _Json]) -> Commitment:
            missed = record.get("missed")
            return Commitment(
                _whole(record["session"]),
                EpochSeconds(_whole(record["target_time"], _UINT32)),
                _whole(record["delay_s"]),
                record["has_begun"] is True,
                record.get("is_trial") is True,
                None if missed is None else _target_from_json(_object(missed)),
            )

        return self._get(_COMMITMENT, read)

    def save_intake(self, learned: LearnedIntake) -> None:
        """Keep what is known of what vehicles take."""
        if learned.session_id is not None:
            self._put(
                _INTAKE,
                {
                    "session": learned.session_id,
                    "present": None
                    if learned.present is None
                    else _intake_to_json(learned.present),
                    "recent": [
                        {"session": session_id, **_intake_to_json(intake)}
                        for session_id, intake in learned.recent
                    ],
                },
            )

    def load_intake(self) -> LearnedIntake | None:
        """Return what was known of what vehicles take."""

        def read(record: Mapping[str, _Json]) -> LearnedIntake:
            session_id, present = _whole(record["session"]), record["present"]
            # Before there were several, there was one, without its session's number.
            usual = record.get("usual")
            return LearnedIntake(
                session_id,
                None if present is None else _intake_from_json(_object(present)),
                tuple(
                    (_whole(each["session"]), _intake_from_json(each))
                    for each in _objects(record.get("recent", []))
                )
                if usual is None
                else ((session_id, _intake_from_json(_object(usual))),),
            )

        return self._get(_INTAKE, read)

    # The store

    def _put(self, key: str, record: Mapping[str, _Json]) -> None:
        self._put_text(key, _AS_JSON(record))

    def _put_text(self, key: str, text: str) -> None:
        value = text.encode()
        if self._store.get(key) != value:
            self._store.set(key, value)

    def _get(self, key: str, read: Callable[[Mapping[str, _Json]], _Part]) -> _Part | None:
        value = self._store.get(key)
        if value is None:
            return None
        try:
            return read(_object(json.loads(value)))
        except (ValueError, KeyError, TypeError) as error:
            _LOGGER.error("%s cannot be read and is left aside: %s", key, error)
            return None


def _permission_to_json(permission: Permission | None) -> str:
    if permission is None:
        return "null"
    return '{"until":null}' if permission.until is None else f'{{"until":{permission.until}}}'


def _permission_from_json(value: _Json) -> Permission | None:
    if value is None:
        return None
    until = _object(value)["until"]
    return Permission(None if until is None else EpochSeconds(_whole(until, _UINT32)))


def _target_to_json(target: ChargingTarget) -> dict[str, _Json]:
    return {
        "minutes": target.minutes_past_midnight,
        "soc": target.target_soc_percent,
        "energy_mwh": target.added_energy_mwh,
    }


def _target_from_json(target: Mapping[str, _Json]) -> ChargingTarget:
    percent, energy_mwh = target["soc"], target["energy_mwh"]
    return ChargingTarget(
        _whole(target["minutes"], _MINUTES),
        None if percent is None else _whole(percent, _PERCENTS),
        None if energy_mwh is None else MilliwattHours(_whole(energy_mwh)),
    )


def _intake_to_json(intake: VehicleDraw) -> dict[str, _Json]:
    return {
        "phases": intake.phases,
        "current_ma": intake.current_ma,
        "is_own_limit": intake.is_own_limit,
    }


def _intake_from_json(record: Mapping[str, _Json]) -> VehicleDraw:
    return VehicleDraw(
        max(1, _whole(record["phases"])),
        Milliamps(_whole(record["current_ma"])),
        record["is_own_limit"] is True,
    )


def _whole(value: _Json, allowed: range = _INT64) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{value!r} is not a whole number")
    if value not in allowed:
        raise ValueError(f"{value} is out of range")
    return value


def _object(value: _Json) -> dict[str, _Json]:
    if not isinstance(value, dict):
        raise TypeError(f"{value!r} is not an object")
    return value


def _objects(value: _Json) -> list[dict[str, _Json]]:
    if not isinstance(value, list):
        raise TypeError(f"{value!r} is not a list")
    return [_object(item) for item in value]
