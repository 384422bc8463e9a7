"""Energy EVSE: commands and writes go to the charger, which sets the attributes.

Spec: Matter Application Clusters 1.3 "Energy EVSE Cluster"
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final, NotRequired, Protocol, TypedDict

from msgspec import Struct

from evse_node.cluster.definitions.definition import ClusterDefinition
from evse_node.cluster.server import (
    Attribute,
    ClusterServer,
    OptionalAttribute,
    Value,
    command,
    reader,
    serves,
    writer,
)
from evse_node.errors import StatusError
from evse_node.matter.data_model import InteractionContext
from evse_node.matter.interaction.status import Status
from evse_node.units import MilliwattHours

_RANDOMIZATION_LIMIT_S: Final = 86_400


class SessionValues(Struct, frozen=True):
    """The values of a session: whole seconds and mWh."""

    duration_s: int
    energy_charged_mwh: int
    energy_discharged_mwh: int


class ChargingTargetStruct(TypedDict):
    """Spec: "ChargingTargetStruct"."""

    target_time_minutes_past_midnight: int
    target_soc: NotRequired[int]
    added_energy: NotRequired[MilliwattHours]


class ChargingTargetScheduleStruct(TypedDict):
    """Spec: "ChargingTargetScheduleStruct"."""

    day_of_week_for_sequence: int
    charging_targets: list[ChargingTargetStruct]


class EvseControl(Protocol):
    """The charger as this cluster uses it. Methods raise StatusError for refused requests.

    Currents are mA, times epoch-s (None: no end), `now` monotonic seconds.
    """

    def enable_charging(
        self, until: int | None, minimum_ma: int, maximum_ma: int, now: float
    ) -> None:
        """Allow charging."""

    def enable_discharging(self, until: int | None, maximum_ma: int, now: float) -> None:
        """Allow discharging."""

    def disable(self, now: float) -> None:
        """Forbid charging and discharging."""

    def start_diagnostics(self, now: float) -> None:
        """Start a self-test."""

    def set_targets(self, schedules: Sequence[ChargingTargetScheduleStruct], now: float) -> None:
        """Replace the stored targets of the days in these schedules."""

    def targets(self) -> Sequence[Mapping[str, Value]]:
        """Return the stored ChargingTargetScheduleStructs."""

    def clear_targets(self, now: float) -> None:
        """Delete all targets."""

    def set_user_maximum(self, current_ma: int, now: float) -> None:
        """Set the user's limit of the charge current."""

    def set_randomization_window(self, window_s: int) -> None:
        """Delay scheduled starts by a random time of up to this."""

    def session_values(self, now: float) -> SessionValues | None:
        """Return the values of the current or last session, or None before the first."""


def optional_elements(definition: ClusterDefinition, features: Collection[str]) -> list[str]:
    """Return the optional elements of this server with these features."""
    wanted = ["UserMaximumChargeCurrent", "RandomizationDelayWindow", "StartDiagnostics"]
    if "PREF" in features:
        wanted.append("ApproximateEVEfficiency")
    if "RFID" in features:
        wanted.append("RFID")
    known = {element.name for element in definition.attributes.values()}
    known.update(element.name for element in definition.commands.values())
    known.update(element.name for element in definition.events.values())
    return [name for name in wanted if name in known]


@serves("Energy EVSE")
class EnergyEvse(ClusterServer):
    """The cluster of one charger. The owner of `control` sets the attributes."""

    state: Attribute[int | None]
    supply_state: Attribute[int]
    fault_state: Attribute[int]
    charging_enabled_until: Attribute[int | None]
    discharging_enabled_until: OptionalAttribute[int | None]
    circuit_capacity: Attribute[int]
    minimum_charge_current: Attribute[int]
    maximum_charge_current: Attribute[int]
    maximum_discharge_current: OptionalAttribute[int]
    user_maximum_charge_current: OptionalAttribute[int]
    randomization_delay_window: OptionalAttribute[int]
    next_charge_start_time: OptionalAttribute[int | None]
    next_charge_target_time: OptionalAttribute[int | None]
    next_charge_required_energy: OptionalAttribute[int | None]
    next_charge_target_soc: OptionalAttribute[int | None]
    approximate_ev_efficiency: OptionalAttribute[int | None]
    state_of_charge: OptionalAttribute[int | None]
    battery_capacity: OptionalAttribute[int | None]
    vehicle_id: OptionalAttribute[str | None]
    session_id: Attribute[int | None]

    # The charger stores these itself and sets them after a restart.
    not_persisted = frozenset(
        {
            "charging_enabled_until",
            "discharging_enabled_until",
            "circuit_capacity",
            "minimum_charge_current",
            "maximum_charge_current",
            "maximum_discharge_current",
            "user_maximum_charge_current",
            "session_id",
        }
    )

    def __init__(
        self,
        control: EvseControl,
        definition: ClusterDefinition,
        *,
        features: Collection[str] = (),
    ) -> None:
        super().__init__(
            definition, features=features, optional=optional_elements(definition, features)
        )
        self._control = control

    def attached(self) -> None:
        """Pass the persisted window on to the charger."""
        self._control.set_randomization_window(self.randomization_delay_window or 0)

    def range_km(self, energy_mwh: int) -> int | None:
        """Return how far the vehicle gets with an energy, or None if its efficiency is unknown.

        For display only: ApproximateEVEfficiency affects no plan.
        Spec: Matter Application Clusters 1.3 "ApproximateEVEfficiency Attribute"
        """
        metres_per_kwh = self.approximate_ev_efficiency
        return None if metres_per_kwh is None else energy_mwh * metres_per_kwh // 1_000_000_000

    # Commands

    @command
    def disable(self, context: InteractionContext) -> None:
        self._control.disable(context.now)

    @command
    def enable_charging(
        self,
        context: InteractionContext,
        *,
        charging_enabled_until: int | None,
        minimum_charge_current: int,
        maximum_charge_current: int,
    ) -> None:
        """Allow charging; with a time in the past it ends at once."""
        if not 0 <= minimum_charge_current <= maximum_charge_current:
            raise StatusError(
                Status.CONSTRAINT_ERROR,
                reason=f"currents {minimum_charge_current} to {maximum_charge_current} mA",
            )
        self._control.enable_charging(
            charging_enabled_until, minimum_charge_current, maximum_charge_current, context.now
        )

    @command
    def enable_discharging(
        self,
        context: InteractionContext,
        *,
        discharging_enabled_until: int | None,
        maximum_discharge_current: int,
    ) -> None:
        if maximum_discharge_current < 0:
            raise StatusError(
                Status.CONSTRAINT_ERROR, reason=f"current {maximum_discharge_current} mA"
            )
        self._control.enable_discharging(
            discharging_enabled_until, maximum_discharge_current, context.now
        )

    @command
    def start_diagnostics(self, context: InteractionContext) -> None:
        self._control.start_diagnostics(context.now)

    @command
    def set_targets(
        self,
        context: InteractionContext,
        *,
        charging_target_schedules: list[ChargingTargetScheduleStruct],
    ) -> None:
        self._control.set_targets(charging_target_schedules, context.now)

    @command
    def get_targets(self, context: InteractionContext) -> Mapping[str, Value]:
        return {"charging_target_schedules": self._control.targets()}

    @command
    def clear_targets(self, context: InteractionContext) -> None:
        self._control.clear_targets(context.now)

    # Attributes

    @writer("UserMaximumChargeCurrent")
    def write_user_maximum(self, context: InteractionContext, value: int) -> None:
        """Limit the current; the charger sets the attribute."""
        if value < 0:
            raise StatusError(Status.CONSTRAINT_ERROR, reason=f"current {value} mA")
        self._control.set_user_maximum(value, context.now)

    @writer("RandomizationDelayWindow")
    def write_randomization(self, context: InteractionContext, value: int) -> None:
        """Set the window, at most a day."""
        if value > _RANDOMIZATION_LIMIT_S:
            raise StatusError(Status.CONSTRAINT_ERROR, reason=f"window {value} s")
        self.randomization_delay_window = value
        self._control.set_randomization_window(value)

    # Computed on each read; the owner of `control` reports them.

    @reader
    def session_duration(self, context: InteractionContext) -> int | None:
        values = self._control.session_values(context.now)
        return None if values is None else values.duration_s

    @reader
    def session_energy_charged(self, context: InteractionContext) -> int | None:
        values = self._control.session_values(context.now)
        return None if values is None else values.energy_charged_mwh

    @reader
    def session_energy_discharged(self, context: InteractionContext) -> int | None:
        values = self._control.session_values(context.now)
        return None if values is None else values.energy_discharged_mwh
