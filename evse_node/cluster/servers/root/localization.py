"""Localization clusters: the language, the time format and the units shown to people.

Spec: Matter Core 1.3 "Localization Configuration Cluster", "Time Format Localization Cluster",
"Unit Localization Cluster"
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from enum import IntEnum
from typing import Final

from evse_node.cluster.definitions.definition import ClusterDefinition
from evse_node.cluster.server import (
    Attribute,
    ClusterServer,
    OptionalAttribute,
    Value,
    serves,
    writer,
)
from evse_node.errors import StatusError
from evse_node.matter.data_model import InteractionContext
from evse_node.matter.interaction.status import Status


class HourFormat(IntEnum):
    """Spec: Matter Core 1.3 "HourFormatEnum"."""

    TWELVE = 0
    USE_ACTIVE_LOCALE = 255


class CalendarType(IntEnum):
    """The calendars in use here. Spec: Matter Core 1.3 "CalendarTypeEnum"."""

    GREGORIAN = 4
    JAPANESE = 8
    USE_ACTIVE_LOCALE = 255


class TemperatureUnit(IntEnum):
    """Spec: Matter Core 1.3 "TempUnitEnum"."""

    FAHRENHEIT = 0
    CELSIUS = 1
    KELVIN = 2


DEFAULT_LOCALES: Final = ("en-US", "en-GB", "de-DE", "es-ES", "fr-FR", "it-IT", "nl-NL")
DEFAULT_CALENDARS: Final = (CalendarType.USE_ACTIVE_LOCALE, CalendarType.GREGORIAN)
DEFAULT_UNITS: Final = (TemperatureUnit.CELSIUS, TemperatureUnit.FAHRENHEIT, TemperatureUnit.KELVIN)


class _Localization(ClusterServer):
    """A writable attribute, one of `choices` and initially the first.

    A persisted value that is no longer supported is replaced by the first.
    """

    def __init__(
        self,
        definition: ClusterDefinition,
        key: str,
        choices: Sequence[Value],
        *,
        features: Collection[str] = (),
    ) -> None:
        super().__init__(definition, features=features)
        self._key = key
        self._choices = tuple(choices)
        if choices:
            setattr(self, key, choices[0])

    def attached(self) -> None:
        if self._choices and getattr(self, self._key) not in self._choices:
            setattr(self, self._key, self._choices[0])

    def _choose(self, value: Value) -> None:
        if value not in self._choices:
            raise StatusError(
                Status.CONSTRAINT_ERROR, reason=f"{self._key} {value!r} is not supported"
            )
        setattr(self, self._key, value)


@serves("Localization Configuration")
class LocalizationConfigurationServer(_Localization):
    """The active locale, one of `locales` (BCP 47 language tags)."""

    active_locale: Attribute[str]
    supported_locales: Attribute[Sequence[str]]

    def __init__(
        self, definition: ClusterDefinition, locales: Sequence[str] = DEFAULT_LOCALES
    ) -> None:
        super().__init__(definition, "active_locale", locales)
        self.supported_locales = locales

    @writer("active_locale")
    def write_active_locale(self, context: InteractionContext, value: str) -> None:
        self._choose(value)


@serves("Time Format Localization")
class TimeFormatLocalizationServer(_Localization):
    """Hour format and calendar, one of `calendars` (none: feature CALFMT is off)."""

    hour_format: Attribute[int]
    active_calendar_type: OptionalAttribute[int]
    supported_calendar_types: OptionalAttribute[Sequence[CalendarType]]

    def __init__(
        self,
        definition: ClusterDefinition,
        calendars: Sequence[CalendarType] = DEFAULT_CALENDARS,
    ) -> None:
        features = ["CALFMT"] if calendars else []
        super().__init__(definition, "active_calendar_type", calendars, features=features)
        self.hour_format = HourFormat.USE_ACTIVE_LOCALE
        if calendars:
            self.supported_calendar_types = calendars

    @writer("active_calendar_type")
    def write_active_calendar_type(self, context: InteractionContext, value: int) -> None:
        self._choose(value)


@serves("Unit Localization")
class UnitLocalizationServer(_Localization):
    """The active unit, one of `units`.

    Not implemented: SupportedTemperatureUnits, which is provisional in 1.4.2.
    """

    temperature_unit: Attribute[int]

    def __init__(
        self, definition: ClusterDefinition, units: Sequence[TemperatureUnit] = DEFAULT_UNITS
    ) -> None:
        super().__init__(definition, "temperature_unit", units, features=["TEMP"])

    @writer("temperature_unit")
    def write_temperature_unit(self, context: InteractionContext, value: int) -> None:
        self._choose(value)
