"""The Device Energy Management cluster: requests go to the appliance, values come from it.

The structures are those of revision 4 (PowerAdjustmentCapability with its cause), which is
what controllers decode also where the cluster counts as revision 3.

Spec: Matter Application Clusters 1.3 "Device Energy Management Cluster"
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final, Protocol, TypeAlias

from evse_node.cluster.definitions.definition import ClusterDefinition
from evse_node.cluster.server import (
    ClusterServer,
    Value,
    command,
    kept_reader,
    reader,
    serves,
)
from evse_node.errors import ConfigError
from evse_node.matter.data_model import InteractionContext

EVSE_TYPE: Final = "EVSE"

Struct: TypeAlias = Mapping[str, Value]


class EnergyManagementControl(Protocol):
    """The appliance as this cluster needs it. Methods raise StatusError for what cannot be.

    Powers are mW, durations seconds, times epoch-s, causes the numbers of AdjustmentCauseEnum,
    `now` monotonic seconds.
    """

    def adjust_power(self, power: int, duration: int, cause: int, now: float) -> None:
        """Draw this power for a time."""

    def cancel_power_adjustment(self, now: float) -> None:
        """End the power adjustment."""

    def adjust_start_time(self, start_time: int, cause: int, now: float) -> None:
        """Move the forecast to another start."""

    def pause(self, duration: int, cause: int, now: float) -> None:
        """Draw nothing for a time."""

    def resume(self, now: float) -> None:
        """End the pause."""

    def modify_forecast(
        self, forecast_id: int, adjustments: Sequence[Struct], cause: int, now: float
    ) -> None:
        """Change slots of the forecast, by SlotAdjustmentStructs."""

    def constrain_forecast(self, constraints: Sequence[Struct], cause: int, now: float) -> None:
        """Make a forecast that keeps to ConstraintsStructs."""

    def cancel_requests(self, now: float) -> None:
        """Forget what was asked of the forecast."""

    def capability(self) -> Value:
        """Return what may be asked for, as PowerAdjustCapabilityStruct or None."""

    def forecast(self) -> Value:
        """Return the forecast with its progress, as ForecastStruct or None."""


def parse_features(definition: ClusterDefinition, text: str) -> frozenset[str]:
    """Return the feature codes that a FeatureMap ("0x7B") or a list ("PA,PFR") stands for.

    Raises ConfigError for what the cluster does not have, or not together.
    """
    text = text.strip()
    if text[:1].isdigit():
        try:
            feature_map = int(text, 0)
        except ValueError:
            raise ConfigError(f"'{text}' is no feature map: give a number like 0x7B") from None
        codes = {feature.code for feature in definition.features if feature_map >> feature.bit & 1}
        known = definition.feature_map([feature.code for feature in definition.features])
        if feature_map & ~known:
            raise ConfigError(
                f"{definition.name} has no feature bit of 0x{feature_map & ~known:X};"
                f" all of them are 0x{known:X}"
            )
    else:
        codes = {code.strip().upper() for code in text.split(",") if code.strip()}
    definition.select(codes)
    if "SFR" in codes and not codes.isdisjoint({"PA", "PFR"}):
        # Revision 3 does not say so, revision 4 and the certification tests do.
        raise ConfigError(f"{definition.name}: state forecasts (SFR) exclude PFR and PA")
    return frozenset(codes)


@serves("Device Energy Management")
class DeviceEnergyManagement(ClusterServer):
    """One appliance's cluster. Whoever gives `control` also sets the attributes."""

    def __init__(
        self,
        control: EnergyManagementControl,
        definition: ClusterDefinition,
        *,
        features: Collection[str],
        values: Mapping[str, Value] | None = None,
    ) -> None:
        esa_types = definition.enum("ESATypeEnum").values
        super().__init__(
            definition,
            features=features,
            values={"esa_type": esa_types[EVSE_TYPE], **(values or {})},
        )
        self._control = control

    # Commands

    @command
    def power_adjust_request(
        self, context: InteractionContext, *, power: int, duration: int, cause: int
    ) -> None:
        """Draw this power for a time."""
        self._control.adjust_power(power, duration, cause, context.now)

    @command
    def cancel_power_adjust_request(self, context: InteractionContext) -> None:
        """End the power adjustment."""
        self._control.cancel_power_adjustment(context.now)

    @command
    def start_time_adjust_request(
        self, context: InteractionContext, *, requested_start_time: int, cause: int
    ) -> None:
        """Move the forecast to another start."""
        self._control.adjust_start_time(requested_start_time, cause, context.now)

    @command
    def pause_request(self, context: InteractionContext, *, duration: int, cause: int) -> None:
        """Draw nothing for a time."""
        self._control.pause(duration, cause, context.now)

    @command
    def resume_request(self, context: InteractionContext) -> None:
        """End the pause."""
        self._control.resume(context.now)

    @command
    def modify_forecast_request(
        self,
        context: InteractionContext,
        *,
        forecast_id: int,
        slot_adjustments: list[Struct],
        cause: int,
    ) -> None:
        """Change slots of the forecast."""
        self._control.modify_forecast(forecast_id, slot_adjustments, cause, context.now)

    @command
    def request_constraint_based_forecast(
        self, context: InteractionContext, *, constraints: list[Struct], cause: int
    ) -> None:
        """Make a forecast that keeps to constraints."""
        self._control.constrain_forecast(constraints, cause, context.now)

    @command
    def cancel_request(self, context: InteractionContext) -> None:
        """Forget what was asked of the forecast."""
        self._control.cancel_requests(context.now)

    # Read less often than they change; the forecast's slots go on with time, besides.

    def forget_capability(self) -> None:
        """Have PowerAdjustmentCapability asked for anew; `report` tells subscribers."""
        if self.has_attribute("power_adjustment_capability"):
            self._by_name["power_adjustment_capability"].forget()
            self._bump()

    @kept_reader
    def power_adjustment_capability(self, context: InteractionContext) -> Value:
        """Return what may be asked for."""
        return self._control.capability()

    @reader
    def forecast(self, context: InteractionContext) -> Value:
        """Return what the appliance intends."""
        return self._control.forecast()
