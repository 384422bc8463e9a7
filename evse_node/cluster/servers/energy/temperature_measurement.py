"""Temperature Measurement: how warm the charger itself is.

Spec: Matter Application Clusters 1.3 "Temperature Measurement Cluster"
"""

from __future__ import annotations

from typing import Final

from evse_node.cluster.definitions.definition import ClusterDefinition
from evse_node.cluster.server import ClusterServer, serves

_MILLI_PER_HUNDREDTH: Final = 10


@serves("Temperature Measurement")
class TemperatureMeasurement(ClusterServer):
    """A thermometer. The cluster counts in hundredths of a degree, the node in thousandths.

    `minimum_mc` and `maximum_mc` are what the sensor can measure; a value beyond them is
    shown as the nearest of them. A change below `step_mc` is noise and not taken.
    """

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
            raise ValueError(f"no temperature lies between {minimum_mc} and {maximum_mc}")
        self._step = max(step_mc // _MILLI_PER_HUNDREDTH, 1)
        super().__init__(
            definition,
            optional=["Tolerance"],
            values={
                "min_measured_value": self._minimum,
                "max_measured_value": self._maximum,
                "tolerance": tolerance_mc // _MILLI_PER_HUNDREDTH,
            },
        )

    def update(self, temperature_mc: int | None) -> None:
        """Take what the sensor shows in thousandths of a degree, or None when it is lost."""
        if temperature_mc is None:
            self.set(measured_value=None)
            return
        value = temperature_mc // _MILLI_PER_HUNDREDTH
        value = min(max(value, self._minimum), self._maximum)
        shown = self.get("measured_value")
        if not isinstance(shown, int) or abs(value - shown) >= self._step:
            self.set(measured_value=value)
