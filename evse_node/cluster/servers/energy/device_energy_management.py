"""Device Energy Management: requests go to the appliance, which sets the attributes.

The structures are those of revision 4 (PowerAdjustmentCapability with its cause), which
controllers decode even where the cluster revision is 3.

Spec: Matter Application Clusters 1.3 "Device Energy Management Cluster"
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final, NotRequired, Protocol, TypedDict

from evse_node.cluster.definitions.definition import ClusterDefinition
from evse_node.cluster.server import (
    Attribute,
    ClusterServer,
    OptionalAttribute,
    Value,
    cached_reader,
    command,
    reader,
    serves,
)
from evse_node.errors import ConfigError
from evse_node.matter.data_model import InteractionContext
from evse_node.units import EpochSeconds, MilliwattHours, Milliwatts

EVSE_TYPE: Final = "EVSE"


class SlotAdjustmentStruct(TypedDict):
    """Spec: "SlotAdjustmentStruct"."""

    slot_index: int
    nominal_power: NotRequired[Milliwatts]
    duration: int


class ConstraintsStruct(TypedDict):
    """Spec: "ConstraintsStruct"."""

    start_time: EpochSeconds
    duration: int
    nominal_power: NotRequired[Milliwatts]
    maximum_energy: NotRequired[MilliwattHours]
    load_control: NotRequired[int]


class EnergyManagementControl(Protocol):
    """The appliance as this cluster uses it. Methods raise StatusError for refused requests.

    Powers are mW, durations seconds, times epoch-s, causes the numbers of AdjustmentCauseEnum,
    `now` monotonic seconds.
    """

    def adjust_power(self, power: int, duration: int, cause: int, now: float) -> None:
        """Draw this power for a time."""

    def cancel_power_adjustment(self, now: float) -> None:
        """End the power adjustment."""

    def adjust_start_time(self, start_time: int, cause: int, now: float) -> None:
        """Move the start of the forecast."""

    def pause(self, duration: int, cause: int, now: float) -> None:
        """Draw nothing for a time."""

    def resume(self, now: float) -> None:
        """End the pause."""

    def modify_forecast(
        self,
        forecast_id: int,
        adjustments: Sequence[SlotAdjustmentStruct],
        cause: int,
        now: float,
    ) -> None:
        """Change slots of the forecast."""

    def constrain_forecast(
        self, constraints: Sequence[ConstraintsStruct], cause: int, now: float
    ) -> None:
        """Make a forecast within constraints."""

    def cancel_requests(self, now: float) -> None:
        """Cancel all requests for the forecast."""

    def capability(self) -> Mapping[str, Value] | None:
        """Return the power adjustments possible now as PowerAdjustCapabilityStruct."""

    def forecast(self) -> Mapping[str, Value] | None:
        """Return the forecast with its progress as ForecastStruct."""


def parse_features(definition: ClusterDefinition, text: str) -> frozenset[str]:
    """Return the feature codes of a FeatureMap ("0x7B") or a list ("PA,PFR").

    Raises ConfigError for unknown features and for features that exclude each other.
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
                f"{definition.name} has no feature bits 0x{feature_map & ~known:X};"
                f" all known bits are 0x{known:X}"
            )
    else:
        codes = {code.strip().upper() for code in text.split(",") if code.strip()}
    definition.select(codes)
    if "SFR" in codes and not codes.isdisjoint({"PA", "PFR"}):
        # Required by revision 4 and the certification tests, not by revision 3.
        raise ConfigError(f"{definition.name}: state forecasts (SFR) exclude PFR and PA")
    return frozenset(codes)


@serves("Device Energy Management")
class DeviceEnergyManagement(ClusterServer):
    """The cluster of one appliance. The owner of `control` sets the attributes."""

    esa_type: Attribute[int]
    esa_can_generate: Attribute[bool]
    esa_state: Attribute[int]
    abs_min_power: Attribute[int]
    abs_max_power: Attribute[int]
    opt_out_state: OptionalAttribute[int]

    def __init__(
        self,
        control: EnergyManagementControl,
        definition: ClusterDefinition,
        *,
        features: Collection[str],
    ) -> None:
        super().__init__(definition, features=features)
        self.esa_type = definition.enum("ESATypeEnum").values[EVSE_TYPE]
        self._control = control

    # Commands

    @command
    def power_adjust_request(
        self, context: InteractionContext, *, power: int, duration: int, cause: int
    ) -> None:
        self._control.adjust_power(power, duration, cause, context.now)

    @command
    def cancel_power_adjust_request(self, context: InteractionContext) -> None:
        self._control.cancel_power_adjustment(context.now)

    @command
    def start_time_adjust_request(
        self, context: InteractionContext, *, requested_start_time: int, cause: int
    ) -> None:
        self._control.adjust_start_time(requested_start_time, cause, context.now)

    @command
    def pause_request(self, context: InteractionContext, *, duration: int, cause: int) -> None:
        self._control.pause(duration, cause, context.now)

    @command
    def resume_request(self, context: InteractionContext) -> None:
        self._control.resume(context.now)

    @command
    def modify_forecast_request(
        self,
        context: InteractionContext,
        *,
        forecast_id: int,
        slot_adjustments: list[SlotAdjustmentStruct],
        cause: int,
    ) -> None:
        self._control.modify_forecast(forecast_id, slot_adjustments, cause, context.now)

    @command
    def request_constraint_based_forecast(
        self, context: InteractionContext, *, constraints: list[ConstraintsStruct], cause: int
    ) -> None:
        self._control.constrain_forecast(constraints, cause, context.now)

    @command
    def cancel_request(self, context: InteractionContext) -> None:
        self._control.cancel_requests(context.now)

    # Attributes. The capability changes more often than it is read; a forecast progresses.

    @cached_reader
    def power_adjustment_capability(
        self, context: InteractionContext
    ) -> Mapping[str, Value] | None:
        return self._control.capability()

    @reader
    def forecast(self, context: InteractionContext) -> Mapping[str, Value] | None:
        return self._control.forecast()
