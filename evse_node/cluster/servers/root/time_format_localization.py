"""Time Format Localization: how the node shows times and dates to people.

Spec: Matter Core 1.3 "Time Format Localization Cluster"
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Final

from evse_node.cluster.definitions.definition import ClusterDefinition, Value
from evse_node.cluster.server import ClusterServer, serves, writer
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
    """Hour format, and one of `calendars` (none: feature CALFMT is off)."""

    def __init__(
        self,
        definition: ClusterDefinition,
        calendars: Sequence[CalendarType] = DEFAULT_CALENDARS,
    ) -> None:
        values: dict[str, Value] = {"hour_format": HourFormat.USE_ACTIVE_LOCALE}
        if calendars:
            values |= {
                "active_calendar_type": calendars[0],
                "supported_calendar_types": list(calendars),
            }
        super().__init__(definition, features=["CALFMT"] if calendars else [], values=values)
        self._calendars = tuple(calendars)

    def attached(self) -> None:
        """Leave a calendar that was kept by a version that knew it."""
        if self._calendars and self.get("active_calendar_type") not in self._calendars:
            self.set(active_calendar_type=self._calendars[0])

    @writer("active_calendar_type")
    def write_active_calendar_type(self, context: InteractionContext, value: Value) -> None:
        """Choose a supported calendar."""
        if value not in self._calendars:
            raise StatusError(
                Status.CONSTRAINT_ERROR, reason=f"calendar {value!r} is not supported"
            )
        self.set(active_calendar_type=value)
