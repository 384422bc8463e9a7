"""Time Format Localization: the format of times and dates shown to people.

Spec: Matter Core 1.3 "Time Format Localization Cluster"
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Final

from evse_node.cluster.definitions.definition import ClusterDefinition
from evse_node.cluster.server import (
    Attribute,
    ClusterServer,
    OptionalAttribute,
    serves,
    writer,
)
from evse_node.errors import StatusError
from evse_node.matter.data_model import InteractionContext
from evse_node.matter.interaction.status import Status


class HourFormat(IntEnum):
    """Spec: Matter Core 1.3 "HourFormatEnum"."""

    TWELVE = 0
    TWENTY_FOUR = 1
    USE_ACTIVE_LOCALE = 255


class CalendarType(IntEnum):
    """Spec: Matter Core 1.3 "CalendarTypeEnum"."""

    BUDDHIST = 0
    CHINESE = 1
    COPTIC = 2
    ETHIOPIAN = 3
    GREGORIAN = 4
    HEBREW = 5
    INDIAN = 6
    ISLAMIC = 7
    JAPANESE = 8
    KOREAN = 9
    PERSIAN = 10
    TAIWANESE = 11
    USE_ACTIVE_LOCALE = 255


DEFAULT_CALENDARS: Final = (CalendarType.USE_ACTIVE_LOCALE, CalendarType.GREGORIAN)


@serves("Time Format Localization")
class TimeFormatLocalizationServer(ClusterServer):
    """Hour format and calendar, one of `calendars` (none: feature CALFMT is off)."""

    hour_format: Attribute[int]
    active_calendar_type: OptionalAttribute[int]
    supported_calendar_types: OptionalAttribute[Sequence[CalendarType]]

    def __init__(
        self,
        definition: ClusterDefinition,
        calendars: Sequence[CalendarType] = DEFAULT_CALENDARS,
    ) -> None:
        super().__init__(definition, features=["CALFMT"] if calendars else [])
        self.hour_format = HourFormat.USE_ACTIVE_LOCALE
        if calendars:
            self.active_calendar_type = calendars[0]
            self.supported_calendar_types = calendars
        self._calendars = tuple(calendars)

    def attached(self) -> None:
        """Replace a persisted calendar that is no longer supported."""
        if self._calendars and self.active_calendar_type not in self._calendars:
            self.active_calendar_type = self._calendars[0]

    @writer("active_calendar_type")
    def write_active_calendar_type(self, context: InteractionContext, value: int) -> None:
        """Select a supported calendar."""
        if value not in self._calendars:
            raise StatusError(
                Status.CONSTRAINT_ERROR, reason=f"calendar {value!r} is not supported"
            )
        self.active_calendar_type = value
