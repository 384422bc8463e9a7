"""The three localization clusters."""

from __future__ import annotations

from evse_node.cluster.servers.root.localization import (
    CalendarType,
    HourFormat,
    LocalizationConfigurationServer,
    TemperatureUnit,
    TimeFormatLocalizationServer,
    UnitLocalizationServer,
)
from evse_node.matter.interaction.status import Status
from tests.support.matter.root_node import RootNode
from tests.unit.cluster.servers.optional_clusters import add, restart, shipped, write

LOCALES = ("en-US", "de-DE")


def locales(root: RootNode, *supported: str) -> LocalizationConfigurationServer:
    definition = shipped("Localization Configuration")
    return add(root, LocalizationConfigurationServer(definition, supported or LOCALES))


def test_locale_is_validated_and_survives_restart() -> None:
    root = RootNode()
    server = locales(root)
    assert root.read(server, "supported_locales") == list(LOCALES)
    assert root.read(server, "active_locale") == "en-US"
    assert write(root, server, "active_locale", "fw-GB") == Status.CONSTRAINT_ERROR
    assert write(root, server, "active_locale", "x" * 36) == Status.CONSTRAINT_ERROR
    assert server.active_locale == "en-US"
    assert write(root, server, "active_locale", "de-DE") == Status.SUCCESS
    assert locales(restart(root)).active_locale == "de-DE"
    assert locales(restart(root), "fr-FR").active_locale == "fr-FR"


def test_default_locales_are_distinct_and_valid() -> None:
    root = RootNode()
    server = LocalizationConfigurationServer(shipped("Localization Configuration"))
    supported = root.read(add(root, server), "supported_locales")
    assert isinstance(supported, list)
    assert len(set(map(str, supported))) == len(supported) <= 32


def time_format(root: RootNode, *calendars: CalendarType) -> TimeFormatLocalizationServer:
    definition = shipped("Time Format Localization")
    if calendars:
        return add(root, TimeFormatLocalizationServer(definition, calendars))
    return add(root, TimeFormatLocalizationServer(definition))


def test_hour_format_survives_restart() -> None:
    root = RootNode()
    server = time_format(root)
    assert root.read(server, "hour_format") == HourFormat.USE_ACTIVE_LOCALE
    for value in HourFormat:
        assert write(root, server, "hour_format", value) == Status.SUCCESS
        assert root.read(server, "hour_format") == value
    assert write(root, server, "hour_format", 5) == Status.CONSTRAINT_ERROR
    write(root, server, "hour_format", HourFormat.TWELVE)
    again = restart(root)
    assert again.read(time_format(again), "hour_format") == HourFormat.TWELVE


def test_calendar_is_validated_and_survives_restart() -> None:
    root = RootNode()
    server = time_format(root)
    supported = root.read(server, "supported_calendar_types")
    assert isinstance(supported, list)
    assert root.read(server, "active_calendar_type") in supported
    for value in CalendarType:
        expected = Status.SUCCESS if value in supported else Status.CONSTRAINT_ERROR
        assert write(root, server, "active_calendar_type", value) == expected
    assert write(root, server, "active_calendar_type", 50) == Status.CONSTRAINT_ERROR
    write(root, server, "active_calendar_type", CalendarType.GREGORIAN)
    again = restart(root)
    assert again.read(time_format(again), "active_calendar_type") == CalendarType.GREGORIAN
    again = restart(root)
    server = time_format(again, CalendarType.JAPANESE)
    assert again.read(server, "active_calendar_type") == CalendarType.JAPANESE


def test_calendar_attributes_are_absent_without_calendars() -> None:
    root = RootNode()
    server = add(root, TimeFormatLocalizationServer(shipped("Time Format Localization"), ()))
    assert root.read(server, "feature_map") == 0
    assert root.read(server, "attribute_list") == [0, 0xFFF8, 0xFFF9, 0xFFFB, 0xFFFC, 0xFFFD]


def units(root: RootNode, *supported: TemperatureUnit) -> UnitLocalizationServer:
    definition = shipped("Unit Localization")
    server = UnitLocalizationServer(definition, supported or tuple(TemperatureUnit))
    return add(root, server)


def test_temperature_unit_is_validated_and_survives_restart() -> None:
    root = RootNode()
    server = units(root)
    assert root.read(server, "temperature_unit") == TemperatureUnit.FAHRENHEIT
    for unit in TemperatureUnit:
        assert write(root, server, "temperature_unit", unit) == Status.SUCCESS
        assert root.read(server, "temperature_unit") == unit
    assert write(root, server, "temperature_unit", 3) == Status.CONSTRAINT_ERROR
    again = restart(root)
    assert again.read(units(again), "temperature_unit") == TemperatureUnit.KELVIN
    again = restart(root)
    server = units(again, TemperatureUnit.CELSIUS, TemperatureUnit.FAHRENHEIT)
    assert again.read(server, "temperature_unit") == TemperatureUnit.CELSIUS
    kelvin = write(again, server, "temperature_unit", TemperatureUnit.KELVIN)
    assert kelvin == Status.CONSTRAINT_ERROR
