"""Unit Localization: the unit of temperatures shown to people.

Spec: Matter Core 1.3 "Unit Localization Cluster"
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Final

from evse_node.cluster.definitions.definition import ClusterDefinition
from evse_node.cluster.server import Attribute, ClusterServer, serves, writer
from evse_node.errors import StatusError
from evse_node.matter.data_model import InteractionContext
from evse_node.matter.interaction.status import Status


class TemperatureUnit(IntEnum):
    """Spec: Matter Core 1.3 "TempUnitEnum"."""

    FAHRENHEIT = 0
    CELSIUS = 1
    KELVIN = 2


DEFAULT_UNITS: Final = (TemperatureUnit.CELSIUS, TemperatureUnit.FAHRENHEIT, TemperatureUnit.KELVIN)


@serves("Unit Localization")
class UnitLocalizationServer(ClusterServer):
    """The active unit, one of `units` and initially the first.

    Not implemented: SupportedTemperatureUnits, which is provisional in 1.4.2.
    """

    temperature_unit: Attribute[int]

    def __init__(
        self, definition: ClusterDefinition, units: Sequence[TemperatureUnit] = DEFAULT_UNITS
    ) -> None:
        super().__init__(definition, features=["TEMP"])
        self.temperature_unit = units[0]
        self._units = tuple(units)

    def attached(self) -> None:
        """Replace a persisted unit that is no longer supported."""
        if self.temperature_unit not in self._units:
            self.temperature_unit = self._units[0]

    @writer("temperature_unit")
    def write_temperature_unit(self, context: InteractionContext, value: int) -> None:
        """Select a supported unit."""
        if value not in self._units:
            raise StatusError(Status.CONSTRAINT_ERROR, reason=f"unit {value!r} is not supported")
        self.temperature_unit = value
