"""Bridge between energy management, its clusters and the charger.

    management = EnergyManagementBridge(
        charger, backend.ratings, bridge.energy_evse_mode, definitions,
        features=parse_features(definitions[MANAGEMENT], "0x7B"), timers=timers, utc_ms=clock,
    )
    for cluster in management.clusters:
        endpoint.clusters[cluster.id] = cluster
        cluster.attach(endpoint.id, environment)
    for code, action in management.triggers.items():
        diagnostics.add_trigger(code, action, endpoint.id)
    bridge.start(now)
    management.start(now)          # after the charger's own bridge

Spec: Matter Application Clusters 1.3 "Device Energy Management Cluster"
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

from evse_node.bridge.energy_plant import ChargerPlant
from evse_node.bridge.energy_structs import EnergyStructs
from evse_node.bridge.energy_test_events import EnergyTestEvents
from evse_node.charger import Charger, Snapshot
from evse_node.cluster.definitions.definition import ClusterDefinition
from evse_node.cluster.server import ClusterServer, Value
from evse_node.cluster.servers.energy.device_energy_management import (
    ConstraintsStruct,
    DeviceEnergyManagement,
    SlotAdjustmentStruct,
)
from evse_node.cluster.servers.energy.modes import (
    GRID_OPTIMIZATION,
    LOCAL_OPTIMIZATION,
    SOLAR_CHARGING,
    TIME_OF_USE,
    DeviceEnergyManagementMode,
    EnergyEvseMode,
    Mode,
)
from evse_node.energy_management.appliance import Appliance
from evse_node.energy_management.enums import AdjustmentCause
from evse_node.energy_management.events import (
    Notification,
    Paused,
    PowerAdjustEnded,
    PowerAdjustStarted,
    Resumed,
)
from evse_node.energy_management.requests import (
    CancelPowerAdjustRequest,
    CancelRequest,
    Constraint,
    ConstraintRequest,
    ModifyForecastRequest,
    OptOutChanged,
    PauseRequest,
    PowerAdjustRequest,
    Problem,
    Request,
    RequestRefusedError,
    ResumeRequest,
    SlotAdjustment,
    StartTimeAdjustRequest,
    TimePassed,
)
from evse_node.errors import StatusError
from evse_node.hal.interface import Ratings
from evse_node.matter.interaction.status import Status
from evse_node.matter.timers import Deadline, Timer, Timers
from evse_node.state_machine.effects import Notification as ChargerNotification
from evse_node.units import EpochSeconds, Milliwatts, epoch_s_from_utc_ms

MANAGEMENT: Final = "Device Energy Management"
MANAGEMENT_MODE: Final = "Device Energy Management Mode"
DEVICE_TYPE: Final = "Device Energy Management"

_QUIET_REPORT_S: Final = 10.0
"""Shortest interval of reports, except for requested changes, which are reported at once."""
_PROBLEMS: Final[Mapping[Problem, Status]] = {
    Problem.CONSTRAINT: Status.CONSTRAINT_ERROR,
    Problem.STATE: Status.INVALID_IN_STATE,
    Problem.INCOMPLETE: Status.INVALID_COMMAND,
    Problem.IMPOSSIBLE: Status.FAILURE,
}
_TAGS: Final = {
    AdjustmentCause.LOCAL: LOCAL_OPTIMIZATION,
    AdjustmentCause.GRID: GRID_OPTIMIZATION,
}
_QUIET_ATTRIBUTES: Final = ("power_adjustment_capability", "forecast")


class EnergyManagementBridge:
    """One charger under energy management, with its Device Energy Management clusters."""

    def __init__(
        self,
        charger: Charger,
        ratings: Ratings,
        charging_mode: EnergyEvseMode,
        definitions: Mapping[str, ClusterDefinition],
        *,
        features: Collection[str],
        timers: Timers,
        utc_ms: Callable[[], int | None],
    ) -> None:
        self._charger = charger
        self._timers = timers
        self._deadline = Deadline(timers, self._on_timer)
        self._report_timer: Timer | None = None
        self._reported_at = float("-inf")
        self._utc_ms = utc_ms
        self._plant = ChargerPlant(
            charger,
            ratings,
            is_schedule_followed=lambda: TIME_OF_USE in charging_mode.current.tags,
            is_surplus_followed=lambda: SOLAR_CHARGING in charging_mode.current.tags,
            epoch_s=self._epoch_s,
        )
        definition = definitions[MANAGEMENT]
        codes = frozenset(features)
        self._structs = EnergyStructs(definition, codes)
        self.appliance = Appliance(
            self._plant,
            features=codes,
            epoch_s=self._epoch_s,
            # Ids of forecasts keep increasing over restarts without being stored.
            first_id=self._epoch_s() or 0,
        )
        self.device_energy_management = DeviceEnergyManagement(self, definition, features=codes)
        self.device_energy_management.esa_can_generate = self._plant.can_discharge
        self.device_energy_management_mode = DeviceEnergyManagementMode(
            definitions[MANAGEMENT_MODE], self._on_mode
        )
        self._test_events = EnergyTestEvents(
            self.appliance, epoch_s=self._epoch_s, user_opt_out=self._user_opt_out
        )
        self._shown: dict[str, object] = {}
        self._shown_attributes: tuple[object, ...] = ()
        self._unreported: set[str] = set()

    @property
    def clusters(self) -> tuple[ClusterServer, ...]:
        """The clusters for the charger's endpoint, to be attached by the caller."""
        return (self.device_energy_management, self.device_energy_management_mode)

    @property
    def triggers(self) -> Mapping[int, Callable[[float], None]]:
        """Actions of the test event triggers by code, called with `now`."""
        return self._test_events.triggers

    def start(self, now: float) -> None:
        """Start observing the charger; the clusters must be attached."""
        self._charger.observers.append(self._on_charger)
        self.appliance.observers.append(self._on_change)
        self.appliance.handle(TimePassed(), now)

    def stop(self) -> None:
        """Stop observing the charger."""
        self._deadline.set(None)
        if self._report_timer is not None:
            self._report_timer.cancel()
            self._report_timer = None
        if self._on_charger in self._charger.observers:
            self._charger.observers.remove(self._on_charger)

    def _epoch_s(self) -> EpochSeconds | None:
        utc_ms = self._utc_ms()
        return None if utc_ms is None else epoch_s_from_utc_ms(utc_ms)

    # From the charger to the appliance

    def _on_charger(
        self, snapshot: Snapshot, notifications: tuple[ChargerNotification, ...], now: float
    ) -> None:
        self._plant.keep_schedule_overridden(snapshot, now)
        self.appliance.on_timer(now)

    def _on_timer(self, now: float) -> None:
        self._charger.refresh_meter(now)
        self.appliance.on_timer(now)
        self._arm()

    def _user_opt_out(self) -> frozenset[AdjustmentCause]:
        """Return the origins whose requests the chosen mode excludes."""
        tags = self.device_energy_management_mode.current.tags
        return frozenset(cause for cause, tag in _TAGS.items() if tag not in tags)

    def _on_mode(self, mode: Mode, now: float) -> None:
        self.appliance.handle(OptOutChanged(self._user_opt_out()), now)

    # From the appliance to the clusters

    def _on_change(
        self, notifications: tuple[Notification, ...], is_prompt: bool, now: float
    ) -> None:
        state, structs = self.appliance.state, self._structs
        attributes = (state.esa_state, state.power, state.opted_out)
        if attributes != self._shown_attributes:
            self._shown_attributes = attributes
            cluster = self.device_energy_management
            with cluster.changes():
                cluster.esa_state = structs.esa_state(state.esa_state)
                cluster.abs_min_power = state.power.minimum_mw
                cluster.abs_max_power = state.power.maximum_mw
                cluster.opt_out_state = structs.opt_out_state(state.opted_out)
        if self._note("power_adjustment_capability", (state.options, state.adjust_reason)):
            self.device_energy_management.invalidate("power_adjustment_capability")
        active_slot = state.active_slot_at(self._epoch_s())
        self._note("forecast", (state.forecast, active_slot, state.update_reason))
        for notification in notifications:
            self._emit(notification)
        self._arm_report(is_prompt, now)
        self._arm()

    def _note(self, attribute: str, value: object) -> bool:
        """Store the values to report; return whether they changed."""
        if attribute in self._shown and self._shown[attribute] == value:
            return False
        self._shown[attribute] = value
        self._unreported.add(attribute)
        return True

    def _emit(self, notification: Notification) -> None:
        emit = self.device_energy_management.emit
        match notification:
            case PowerAdjustStarted():
                emit("PowerAdjustStart")
            case PowerAdjustEnded(cause, duration_s, energy_mwh):
                emit(
                    "PowerAdjustEnd",
                    cause=self._structs.end_cause(cause),
                    duration=duration_s,
                    energy_use=energy_mwh,
                )
            case Paused():
                emit("Paused")
            case Resumed(cause):
                emit("Resumed", cause=self._structs.end_cause(cause))

    def _arm_report(self, is_prompt: bool, now: float) -> None:
        if not self._unreported:
            return
        due = self._reported_at + _QUIET_REPORT_S
        if is_prompt or now >= due:
            self._report(now)
        elif self._report_timer is None:
            self._report_timer = self._timers.call_at(due, self._report)

    def _report(self, now: float) -> None:
        if self._report_timer is not None:
            self._report_timer.cancel()
            self._report_timer = None
        names = [name for name in _QUIET_ATTRIBUTES if name in self._unreported]
        self._unreported.clear()
        self._reported_at = now
        self.device_energy_management.report(*names)

    def _arm(self) -> None:
        self._deadline.set(self.appliance.next_deadline())

    # From the cluster to the appliance: `cluster.device_energy_management.EnergyManagementControl`

    def _request(self, request: Request, now: float) -> None:
        self._charger.refresh_meter(now)
        try:
            self.appliance.handle(request, now)
        except RequestRefusedError as error:
            raise StatusError(_PROBLEMS[error.problem], reason=str(error)) from error

    def adjust_power(self, power: int, duration: int, cause: int, now: float) -> None:
        self._request(
            PowerAdjustRequest(Milliwatts(power), duration, self._structs.cause(cause)), now
        )

    def cancel_power_adjustment(self, now: float) -> None:
        self._request(CancelPowerAdjustRequest(), now)

    def adjust_start_time(self, start_time: int, cause: int, now: float) -> None:
        self._request(
            StartTimeAdjustRequest(EpochSeconds(start_time), self._structs.cause(cause)), now
        )

    def pause(self, duration: int, cause: int, now: float) -> None:
        self._request(PauseRequest(duration, self._structs.cause(cause)), now)

    def resume(self, now: float) -> None:
        self._request(ResumeRequest(), now)

    def modify_forecast(
        self,
        forecast_id: int,
        adjustments: Sequence[SlotAdjustmentStruct],
        cause: int,
        now: float,
    ) -> None:
        slots = tuple(
            SlotAdjustment(each["slot_index"], each["duration"], each.get("nominal_power"))
            for each in adjustments
        )
        self._request(ModifyForecastRequest(forecast_id, slots, self._structs.cause(cause)), now)

    def constrain_forecast(
        self, constraints: Sequence[ConstraintsStruct], cause: int, now: float
    ) -> None:
        kept = tuple(
            Constraint(
                each["start_time"],
                each["duration"],
                each.get("nominal_power"),
                each.get("maximum_energy"),
                each.get("load_control"),
            )
            for each in constraints
        )
        self._request(ConstraintRequest(kept, self._structs.cause(cause)), now)

    def cancel_requests(self, now: float) -> None:
        self._request(CancelRequest(), now)

    def capability(self) -> Mapping[str, Value] | None:
        state = self.appliance.state
        return self._structs.capability(state.options, state.adjust_reason)

    def forecast(self) -> Mapping[str, Value] | None:
        return self._structs.forecast(self.appliance.forecast(), self.appliance.state.update_reason)
