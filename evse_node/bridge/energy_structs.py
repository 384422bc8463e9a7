"""Conversion of energy management's values to enums and structs of its cluster.

Numbers are found by name in the cluster's definition. A field of a structure is there when
the feature that it belongs to is.

Spec: Matter Application Clusters 1.3 "Device Energy Management Cluster", "Data Types"
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from evse_node.cluster.definitions.definition import ClusterDefinition, Value
from evse_node.energy_management.enums import (
    AdjustmentCause,
    EndCause,
    EsaState,
    PowerAdjustReason,
    UpdateReason,
)
from evse_node.energy_management.forecast import Forecast, Slot
from evse_node.energy_management.requests import PowerOption

_OPT_OUTS: Final = {
    frozenset[AdjustmentCause](): "NoOptOut",
    frozenset({AdjustmentCause.LOCAL}): "LocalOptOut",
    frozenset({AdjustmentCause.GRID}): "GridOptOut",
    frozenset(AdjustmentCause): "OptOut",
}


class EnergyStructs:
    """Converter for one cluster instance with these features."""

    def __init__(self, definition: ClusterDefinition, features: frozenset[str]) -> None:
        self._features = features
        self._esa_states = definition.enum("ESAStateEnum").values
        self._opt_outs = definition.enum("OptOutStateEnum").values
        self._adjust_reasons = definition.enum("PowerAdjustReasonEnum").values
        self._update_reasons = definition.enum("ForecastUpdateReasonEnum").values
        self._end_causes = definition.enum("CauseEnum").values
        causes = definition.enum("AdjustmentCauseEnum").values
        self._causes = {causes[cause.value]: cause for cause in AdjustmentCause}

    def esa_state(self, state: EsaState) -> int:
        """Return the number of an ESAStateEnum."""
        return self._esa_states[state.value]

    def opt_out_state(self, causes: frozenset[AdjustmentCause]) -> int:
        """Return the number of an OptOutStateEnum."""
        return self._opt_outs[_OPT_OUTS[causes]]

    def end_cause(self, cause: EndCause) -> int:
        """Return the number of a CauseEnum."""
        return self._end_causes[cause.value]

    def cause(self, number: int) -> AdjustmentCause:
        """Return the cause with this number; the codec rejects others."""
        return self._causes[number]

    def capability(
        self, options: Sequence[PowerOption], reason: PowerAdjustReason
    ) -> Mapping[str, Value] | None:
        """Return a PowerAdjustCapabilityStruct, or None without options and adjustment."""
        if not options and reason is PowerAdjustReason.NONE:
            return None
        listed: list[Value] = [
            {
                "min_power": option.power.minimum_mw,
                "max_power": option.power.maximum_mw,
                "min_duration": option.shortest_s,
                "max_duration": option.longest_s,
            }
            for option in options
        ]
        return {
            "power_adjust_capability": listed or None,
            "cause": self._adjust_reasons[reason.value],
        }

    def forecast(
        self, forecast: Forecast | None, reason: UpdateReason
    ) -> Mapping[str, Value] | None:
        """Return a ForecastStruct, or None without a forecast."""
        if forecast is None:
            return None
        struct: dict[str, Value] = {
            "forecast_id": forecast.id,
            "active_slot_number": forecast.active_slot,
            "start_time": forecast.start_time,
            "end_time": forecast.end_time,
            "is_pausable": forecast.is_pausable,
            "slots": [self._slot(slot) for slot in forecast.slots],
            "forecast_update_reason": self._update_reasons[reason.value],
        }
        if "STA" in self._features:
            struct["earliest_start_time"] = forecast.earliest_start_time
            struct["latest_end_time"] = forecast.latest_end_time
        return struct

    def _slot(self, slot: Slot) -> Value:
        struct: dict[str, Value] = {
            "min_duration": slot.shortest_s,
            "max_duration": slot.longest_s,
            "default_duration": slot.duration_s,
            "elapsed_slot_time": slot.elapsed_s,
            "remaining_slot_time": slot.remaining_s,
        }
        if "PAU" in self._features:
            struct["slot_is_pausable"] = slot.is_pausable
            struct["min_pause_duration"] = slot.shortest_pause_s
            struct["max_pause_duration"] = slot.longest_pause_s
        if "SFR" in self._features:
            struct["manufacturer_esa_state"] = slot.esa_state
        if "PFR" in self._features:
            struct["nominal_power"] = slot.power_mw
            struct["min_power"] = slot.power.minimum_mw
            struct["max_power"] = slot.power.maximum_mw
            struct["nominal_energy"] = slot.energy_mwh
        if "FA" in self._features and slot.limits is not None:
            if "PFR" in self._features:
                struct["min_power_adjustment"] = slot.limits.power.minimum_mw
                struct["max_power_adjustment"] = slot.limits.power.maximum_mw
            struct["min_duration_adjustment"] = slot.limits.shortest_s
            struct["max_duration_adjustment"] = slot.limits.longest_s
        return struct
