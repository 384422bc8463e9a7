"""Temperature Measurement: the temperature inside the charger.

Spec: Matter Application Clusters 1.3 "Temperature Measurement Cluster"
"""

from __future__ import annotations

from typing import Final

from evse_node.cluster.definitions.definition import ClusterDefinition
from evse_node.cluster.server import Attribute, ClusterServer, OptionalAttribute, serves

_MILLI_PER_HUNDREDTH: Final = 10


@serves("Temperature Measurement")
class TemperatureMeasurement(ClusterServer):
    """A thermometer; the cluster's unit is 0.01 °C, the node's 0.001 °C.

    Values are clamped to the sensor's range, `minimum_mc` to `maximum_mc`. A change below
    `step_mc` is noise and ignored.
    """

    measured_value: Attribute[int | None]
    min_measured_value: Attribute[int | None]
    max_measured_value: Attribute[int | None]
    tolerance: OptionalAttribute[int]

    def __init__(
        self,
        definition: ClusterDefinition,
        *,
        minimum_mc: int = -40_000,
        maximum_mc: int = 125_000,
        tolerance_mc: int = 1_000,
        step_mc: int = 500,
    ) -> None:
        self._minimum = minimum_mc // _MILLI_PER_HUNDREDTH
        self._maximum = maximum_mc // _MILLI_PER_HUNDREDTH
        if self._maximum <= self._minimum:
            raise ValueError(f"temperature range {minimum_mc} to {maximum_mc} is empty")
        self._step = max(step_mc // _MILLI_PER_HUNDREDTH, 1)
        super().__init__(definition, optional=["Tolerance"])
        self.min_measured_value = self._minimum
        self.max_measured_value = self._maximum
        self.tolerance = tolerance_mc // _MILLI_PER_HUNDREDTH

    def update(self, temperature_mc: int | None) -> None:
        """Process a reading in thousandths of a degree, or None when the sensor has failed."""
        if temperature_mc is None:
            self.measured_value = None
            return
        value = temperature_mc // _MILLI_PER_HUNDREDTH
        value = min(max(value, self._minimum), self._maximum)
        before = self.measured_value
        if before is None or abs(value - before) >= self._step:
            self.measured_value = value
