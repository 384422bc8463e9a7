"""The Energy EVSE cluster: commands and writes go to the charger, values come from it.

Spec: Matter Application Clusters 1.3 "Energy EVSE Cluster"
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final, Protocol

from msgspec import Struct

from evse_node.cluster.definitions.definition import ClusterDefinition
from evse_node.cluster.server import ClusterServer, Value, command, reader, serves, writer
from evse_node.errors import StatusError
from evse_node.matter.data_model import InteractionContext
from evse_node.matter.interaction.status import Status

_RANDOMIZATION_LIMIT_S: Final = 86_400


class SessionValues(Struct, frozen=True):
    """The present values of a session: whole seconds and mWh."""

    duration_s: int
    energy_charged_mwh: int
    energy_discharged_mwh: int


class EvseControl(Protocol):
    """The charger as this cluster needs it. Methods raise StatusError for what cannot be.

    Currents are mA, times epoch-s (None is without end), `now` monotonic seconds.
    """

    def enable_charging(
        self, until: int | None, minimum_ma: int, maximum_ma: int, now: float
    ) -> None:
        """Allow charging."""

    def enable_discharging(self, until: int | None, maximum_ma: int, now: float) -> None:
        """Allow discharging."""

    def disable(self, now: float) -> None:
        """Allow neither."""

    def start_diagnostics(self, now: float) -> None:
        """Begin a self-test."""

    def set_targets(self, schedules: Sequence[Value], now: float) -> None:
        """Put ChargingTargetScheduleStructs over the stored ones."""

    def targets(self) -> list[Value]:
        """Return the stored ChargingTargetScheduleStructs."""

    def clear_targets(self, now: float) -> None:
        """Forget all targets."""

    def set_user_maximum(self, current_ma: int, now: float) -> None:
        """Limit the charge current for the user."""

    def set_randomization_window(self, window_s: int) -> None:
        """Let scheduled starts be put off by up to this time."""

    def session_values(self, now: float) -> SessionValues | None:
        """Return the values of the running or last session, or None before the first."""


def optional_elements(definition: ClusterDefinition, features: Collection[str]) -> list[str]:
    """Return the optional elements that this server has with these features."""
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
    """One charger's cluster. Whoever gives `control` also sets the attributes."""

    # What the charger itself remembers is not written twice for each command.
    kept_elsewhere = frozenset(
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
        values: Mapping[str, Value] | None = None,
    ) -> None:
        super().__init__(
            definition,
            features=features,
            optional=optional_elements(definition, features),
            values=values or {},
        )
        self._control = control

    def attached(self) -> None:
        """Tell the charger what was kept."""
        self._control.set_randomization_window(self._stored("randomization_delay_window"))

    def _stored(self, name: str) -> int:
        value = self.get(name) if self.has_attribute(name) else 0
        assert isinstance(value, int), f"{name} is an integer"
        return value

    def range_km(self, energy_mwh: int) -> int | None:
        """Return how far the vehicle gets with an energy, or None when nobody has told.

        To show this is all that ApproximateEVEfficiency is for. Targets are percentages or
        energies, so it changes no plan.
        Spec: Matter Application Clusters 1.3 "ApproximateEVEfficiency Attribute"
        """
        name = "approximate_ev_efficiency"
        metres_per_kwh = self.get(name) if self.has_attribute(name) else None
        if not isinstance(metres_per_kwh, int):
            return None
        return energy_mwh * metres_per_kwh // 1_000_000_000

    # Commands

    @command
    def disable(self, context: InteractionContext) -> None:
        """Stop and forbid charging and discharging."""
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
        """Allow charging; a time in the past is allowed and ends at once."""
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
        """Allow discharging."""
        if maximum_discharge_current < 0:
            raise StatusError(
                Status.CONSTRAINT_ERROR, reason=f"current {maximum_discharge_current} mA"
            )
        self._control.enable_discharging(
            discharging_enabled_until, maximum_discharge_current, context.now
        )

    @command
    def start_diagnostics(self, context: InteractionContext) -> None:
        """Begin a self-test."""
        self._control.start_diagnostics(context.now)

    @command
    def set_targets(
        self, context: InteractionContext, *, charging_target_schedules: list[Value]
    ) -> None:
        """Store charging targets."""
        self._control.set_targets(charging_target_schedules, context.now)

    @command
    def get_targets(self, context: InteractionContext) -> Mapping[str, Value]:
        """Return the charging targets as they were stored."""
        return {"charging_target_schedules": self._control.targets()}

    @command
    def clear_targets(self, context: InteractionContext) -> None:
        """Forget all charging targets."""
        self._control.clear_targets(context.now)

    # Attributes

    @writer("UserMaximumChargeCurrent")
    def write_user_maximum(self, context: InteractionContext, value: Value) -> None:
        """Limit the current; the attribute follows from the charger."""
        assert isinstance(value, int), "the codec lets only integers through"
        if value < 0:
            raise StatusError(Status.CONSTRAINT_ERROR, reason=f"current {value} mA")
        self._control.set_user_maximum(value, context.now)

    @writer("RandomizationDelayWindow")
    def write_randomization(self, context: InteractionContext, value: Value) -> None:
        """Keep the window, at most a day."""
        assert isinstance(value, int), "the codec lets only integers through"
        if value > _RANDOMIZATION_LIMIT_S:
            raise StatusError(Status.CONSTRAINT_ERROR, reason=f"window {value} s")
        self.set(randomization_delay_window=value)
        self._control.set_randomization_window(value)

    # Computed on each read; reported quietly by whoever gives `control`.

    @reader
    def session_duration(self, context: InteractionContext) -> Value:
        """Seconds of the running or last session."""
        values = self._control.session_values(context.now)
        return None if values is None else values.duration_s

    @reader
    def session_energy_charged(self, context: InteractionContext) -> Value:
        """What went to the vehicle."""
        values = self._control.session_values(context.now)
        return None if values is None else values.energy_charged_mwh

    @reader
    def session_energy_discharged(self, context: InteractionContext) -> Value:
        """What came from the vehicle."""
        values = self._control.session_values(context.now)
        return None if values is None else values.energy_discharged_mwh
