"""Bridge between the charger and its Energy EVSE clusters.

Snapshots and notifications of the charger become attributes and events; commands and writes
become events of the machine, and its refusals status codes. Enum values are looked up by name
in the clusters' definitions.

    bridge = EvseBridge(charger, definitions, timers=stack.timers)
    for cluster in bridge.clusters:
        endpoint.clusters[cluster.id] = cluster
        cluster.attach(endpoint.id, environment)
    bridge.start(now)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Final, TypeVar

from evse_node.charger import Charger, Snapshot
from evse_node.cluster.definitions.definition import ClusterDefinition, EnumDefinition
from evse_node.cluster.server import ClusterServer, Value
from evse_node.cluster.servers.energy.energy_evse import (
    ChargingTargetScheduleStruct,
    EnergyEvse,
    SessionValues,
)
from evse_node.cluster.servers.energy.modes import (
    SOLAR_CHARGING,
    TIME_OF_USE,
    EnergyEvseMode,
    Mode,
)
from evse_node.errors import StatusError
from evse_node.matter.interaction.status import Status
from evse_node.matter.timers import Timer, Timers
from evse_node.state_machine.effects import (
    ClosingsLimited,
    EnergyTransferStarted,
    EnergyTransferStopped,
    EvConnected,
    EvNotDetected,
    FaultChanged,
    Notification,
    RfidRead,
    SessionChanged,
)
from evse_node.state_machine.enums import State, SupplyState
from evse_node.state_machine.events import (
    Direction,
    Disable,
    EnableCharging,
    EnableDischarging,
    Event,
    LimitClaimed,
    StartDiagnostics,
)
from evse_node.state_machine.faults import FaultState
from evse_node.state_machine.limits import LimitSource
from evse_node.state_machine.state import EvseSettings, EvseState, Permission
from evse_node.state_machine.targets import (
    ChargingTarget,
    ChargingTargetSchedule,
    TargetProblem,
    TargetsRefusedError,
)
from evse_node.units import EpochSeconds, Milliamps

_Member = TypeVar("_Member", bound=Enum)

EVSE: Final = "Energy EVSE"
EVSE_MODE: Final = "Energy EVSE Mode"

_QUIET_REPORT_S: Final = 10.0
"""Shortest interval. Spec: Matter Application Clusters 1.3 "SessionDuration Attribute"."""
_VEHICLE_ID_LENGTH: Final = 32
_SESSION_ATTRIBUTES: Final = (
    "session_duration",
    "session_energy_charged",
    "session_energy_discharged",
)
_PROBLEMS: Final[Mapping[TargetProblem, Status]] = {
    TargetProblem.CONSTRAINT: Status.CONSTRAINT_ERROR,
    TargetProblem.INCOMPLETE: Status.INVALID_COMMAND,
    TargetProblem.EMPTY: Status.FAILURE,
    TargetProblem.EXHAUSTED: Status.RESOURCE_EXHAUSTED,
}


def evse_settings(definition: ClusterDefinition) -> EvseSettings:
    """Return the machine's settings for the revision of the Energy EVSE cluster."""
    supply_states = definition.enum("SupplyStateEnum").values
    return EvseSettings(has_enabled_state="Enabled" in supply_states)


class EvseBridge:
    """One charger with its Energy EVSE and Energy EVSE Mode clusters."""

    def __init__(
        self,
        charger: Charger,
        definitions: Mapping[str, ClusterDefinition],
        *,
        timers: Timers | None = None,
    ) -> None:
        self.charger = charger
        self.energy_evse = EnergyEvse(self, definitions[EVSE], features=charger.features)
        self.energy_evse_mode = EnergyEvseMode(definitions[EVSE_MODE], self._on_mode)
        self._timers = timers
        self._report_timer: Timer | None = None
        self._shown: tuple[object, ...] = ()
        self._shown_plan: tuple[object, ...] = ()
        self._session_values: tuple[float, EvseState, SessionValues] | None = None
        definition = definitions[EVSE]
        self._states = _numbers(State, definition.enum("StateEnum"))
        self._supply_states = _numbers(SupplyState, definition.enum("SupplyStateEnum"))
        self._faults = _numbers(FaultState, definition.enum("FaultStateEnum"))
        self._reasons = definition.enum("EnergyTransferStoppedReasonEnum").values
        self._event_fields = {
            event.name: frozenset(field.key for field in event.fields)
            for event in definition.events.values()
        }

    @property
    def clusters(self) -> tuple[ClusterServer, ...]:
        """The clusters for an endpoint, to be attached by the caller."""
        return (self.energy_evse, self.energy_evse_mode)

    def start(self, now: float) -> None:
        """Start observing the charger; the clusters must be attached."""
        self.charger.observers.append(self._on_change)
        self._on_change(self.charger.snapshot(), (), now)

    # From the charger to the cluster

    def _on_change(
        self, snapshot: Snapshot, notifications: tuple[Notification, ...], now: float
    ) -> None:
        self._set_attributes(snapshot)
        for notification in notifications:
            self._emit(notification)
        if notifications and any(
            isinstance(notification, SessionChanged) for notification in notifications
        ):
            self.energy_evse.report(*_SESSION_ATTRIBUTES)
        self._arm_report(snapshot, now)

    def _set_attributes(self, snapshot: Snapshot) -> None:
        state, session = snapshot.evse, snapshot.evse.session
        shown = (
            state.state,
            state.supply_state,
            state.fault,
            state.charging,
            state.discharging,
            state.minimum_charge_ma,
            snapshot.circuit_capacity_ma,
            snapshot.maximum_charge_ma,
            snapshot.maximum_discharge_ma,
            snapshot.user_maximum_charge_ma,
            snapshot.next_charge,
            state.vehicle,
            None if session is None else session.id,
        )
        if shown == self._shown:
            return
        self._shown, evse = shown, self.energy_evse
        with evse.changes():
            evse.state = self._states[state.state]
            evse.supply_state = self._supply_states[state.supply_state]
            evse.fault_state = self._faults[state.fault]
            evse.charging_enabled_until = _until(state.charging)
            evse.discharging_enabled_until = _until(state.discharging)
            evse.circuit_capacity = snapshot.circuit_capacity_ma
            evse.minimum_charge_current = state.minimum_charge_ma
            evse.maximum_charge_current = snapshot.maximum_charge_ma
            evse.maximum_discharge_current = snapshot.maximum_discharge_ma
            evse.user_maximum_charge_current = snapshot.user_maximum_charge_ma
            evse.session_id = None if session is None else session.id
            if (snapshot.next_charge, state.vehicle) != self._shown_plan:
                self._set_plan(snapshot)

    def _set_plan(self, snapshot: Snapshot) -> None:
        plan, vehicle, evse = snapshot.next_charge, snapshot.evse.vehicle, self.energy_evse
        self._shown_plan = (plan, vehicle)
        evse.next_charge_start_time = plan.start_time
        evse.next_charge_target_time = plan.target_time
        evse.next_charge_required_energy = plan.required_energy_mwh
        evse.next_charge_target_soc = plan.target_soc_percent
        evse.state_of_charge = vehicle.state_of_charge_percent
        evse.battery_capacity = vehicle.battery_capacity_mwh
        is_shown = vehicle.id is not None and len(vehicle.id) <= _VEHICLE_ID_LENGTH
        evse.vehicle_id = vehicle.id if is_shown else None

    def _emit(self, notification: Notification) -> None:
        match notification:
            case EvConnected(session_id):
                self._record("EVConnected", session_id=session_id)
            case EvNotDetected():
                self._record(
                    "EVNotDetected",
                    session_id=notification.session_id,
                    state=self._states[notification.state],
                    session_duration=notification.duration_s,
                    session_energy_charged=notification.energy_charged_mwh,
                    **self._if_v2x(session_energy_discharged=notification.energy_discharged_mwh),
                )
            case EnergyTransferStarted():
                is_charging = notification.state is State.PLUGGED_IN_CHARGING
                has_both = (
                    "maximum_discharge_current" in self._event_fields["EnergyTransferStarted"]
                )
                self._record(
                    "EnergyTransferStarted",
                    session_id=notification.session_id,
                    state=self._states[notification.state],
                    maximum_current=notification.maximum_ma if is_charging or not has_both else 0,
                    **self._if_v2x(
                        maximum_discharge_current=0 if is_charging else notification.maximum_ma
                    ),
                )
            case EnergyTransferStopped():
                is_charging = notification.state is not State.PLUGGED_IN_DISCHARGING
                has_both = self._has_field("EnergyTransferStopped", "energy_discharged")
                charged, discharged = (
                    notification.energy_charged_mwh,
                    notification.energy_discharged_mwh,
                )
                self._record(
                    "EnergyTransferStopped",
                    session_id=notification.session_id,
                    state=self._states[notification.state],
                    reason=self._reasons[notification.reason.value],
                    energy_transferred=charged if is_charging or has_both else discharged,
                    **self._if_v2x(energy_discharged=discharged),
                )
            case FaultChanged():
                self._record(
                    "Fault",
                    session_id=notification.session_id,
                    state=self._states[notification.state],
                    fault_state_previous_state=self._faults[notification.previous],
                    fault_state_current_state=self._faults[notification.current],
                )
            case RfidRead(uid):
                self._record("RFID", uid=uid)
            case SessionChanged() | ClosingsLimited():
                pass  # not an event

    def _if_v2x(self, **fields: Value) -> dict[str, Value]:
        return fields if self.energy_evse.has_feature("V2X") else {}

    def _has_field(self, event: str, field: str) -> bool:
        return field in self._event_fields[event]

    def _record(self, event: str, **fields: Value) -> None:
        known = self._event_fields[event]
        self.energy_evse.emit(
            event, **{key: value for key, value in fields.items() if key in known}
        )

    def _arm_report(self, snapshot: Snapshot, now: float) -> None:
        """While energy flows, report the session's values at the shortest interval."""
        if self._timers is None:
            return
        if not snapshot.state.is_transferring:
            if self._report_timer is not None:
                self._report_timer.cancel()
                self._report_timer = None
        elif self._report_timer is None:
            self._report_timer = self._timers.call_at(now + _QUIET_REPORT_S, self._on_report)

    def _on_report(self, now: float) -> None:
        self._report_timer = None
        self.charger.refresh_meter(now)
        self.energy_evse.report(*_SESSION_ATTRIBUTES)
        self._arm_report(self.charger.snapshot(), now)

    # From the cluster to the charger: `cluster.energy_evse.EvseControl`

    def enable_charging(
        self, until: int | None, minimum_ma: int, maximum_ma: int, now: float
    ) -> None:
        self._command(
            EnableCharging(_epoch_s(until), Milliamps(minimum_ma), Milliamps(maximum_ma)), now
        )

    def enable_discharging(self, until: int | None, maximum_ma: int, now: float) -> None:
        self._command(EnableDischarging(_epoch_s(until), Milliamps(maximum_ma)), now)

    def disable(self, now: float) -> None:
        self._command(Disable(), now)

    def start_diagnostics(self, now: float) -> None:
        self._command(StartDiagnostics(), now)

    def _command(self, event: Event, now: float) -> None:
        refusal = self.charger.handle(event, now)
        if refusal is not None:
            raise StatusError(Status.FAILURE, reason=refusal)

    def set_targets(self, schedules: Sequence[ChargingTargetScheduleStruct], now: float) -> None:
        try:
            self.charger.set_targets([_schedule_from_struct(each) for each in schedules], now)
        except TargetsRefusedError as error:
            raise StatusError(_PROBLEMS[error.problem], reason=str(error)) from error

    def targets(self) -> Sequence[Mapping[str, Value]]:
        return [_schedule_to_struct(schedule) for schedule in self.charger.targets]

    def clear_targets(self, now: float) -> None:
        self.charger.clear_targets(now)

    def set_user_maximum(self, current_ma: int, now: float) -> None:
        self._command(
            LimitClaimed(LimitSource.USER, Milliamps(current_ma), (Direction.CHARGE,)), now
        )

    def set_randomization_window(self, window_s: int) -> None:
        self.charger.randomization_window_s = window_s

    def session_values(self, now: float) -> SessionValues | None:
        session = self.charger.state.session
        if session is None:
            return None
        kept = self._session_values
        # One message reads all three values, with a single reading of the meter.
        if kept is not None and kept[0] == now and kept[1] is self.charger.state:
            return kept[2]
        meter = self.charger.refresh_meter(now) if session.is_active else self.charger.state.meter
        values = SessionValues(
            session.duration_s(now),
            session.energy_charged_mwh(meter),
            session.energy_discharged_mwh(meter),
        )
        self._session_values = (now, self.charger.state, values)
        return values

    def _on_mode(self, mode: Mode, now: float) -> None:
        self.charger.follow_schedule(TIME_OF_USE in mode.tags, now)
        self.charger.follow_surplus(SOLAR_CHARGING in mode.tags, now)


def _numbers(members: type[_Member], enum: EnumDefinition) -> dict[_Member, int]:
    """Return the number of each member that this revision of the cluster has."""
    return {each: enum.values[each.value] for each in members if each.value in enum.values}


def _until(permission: Permission | None) -> int | None:
    """Return ChargingEnabledUntil: 0 without permission, null without end."""
    return 0 if permission is None else permission.until


def _epoch_s(until: int | None) -> EpochSeconds | None:
    return None if until is None else EpochSeconds(until)


def _schedule_from_struct(struct: ChargingTargetScheduleStruct) -> ChargingTargetSchedule:
    return ChargingTargetSchedule(
        struct["day_of_week_for_sequence"],
        tuple(
            ChargingTarget(
                target["target_time_minutes_past_midnight"],
                target.get("target_soc"),
                target.get("added_energy"),
            )
            for target in struct["charging_targets"]
        ),
    )


def _schedule_to_struct(schedule: ChargingTargetSchedule) -> Mapping[str, Value]:
    targets: list[Value] = []
    for target in schedule.targets:
        struct: dict[str, Value] = {
            "target_time_minutes_past_midnight": target.minutes_past_midnight
        }
        if target.target_soc_percent is not None:
            struct["target_soc"] = target.target_soc_percent
        if target.added_energy_mwh is not None:
            struct["added_energy"] = target.added_energy_mwh
        targets.append(struct)
    return {"day_of_week_for_sequence": schedule.days, "charging_targets": targets}
