"""The backend "modbus-evse" from its `[hal]` table.

[hal]
controller = "simpleevse"        # a shipped map, or a map's file
port = "/dev/ttyUSB0"            # or host = "192.168.1.8", with port = 502
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from evse_node.errors import ConfigError
from evse_node.hal.external.backend import ExternalController
from evse_node.hal.external.modbus.link import ModbusEvse, ModbusEvseLink
from evse_node.hal.external.modbus.register_file import load_controller
from evse_node.hal.external.modbus.registers import ControllerMap, Write
from evse_node.hal.external.poller import PollTimings
from evse_node.hal.interface import Ratings
from evse_node.hal.modbus.bus_meter import MeterOnBus
from evse_node.hal.modbus.connection import ModbusSpec, read_modbus
from evse_node.hal.modbus.meter import load_map
from evse_node.hal.toml_table import TomlTable
from evse_node.units import Milliamps

_OWN_METER: Final = "controller"
_NO_METER: Final = "none"
# The order waits for the bus, the controller for its relay, and the news for the next poll.
_CONTACTOR_TIMEOUT_S: Final = 5.0
# No document tells how soon they open by themselves.
_OPENING_S: Final = 1.0
# An answer that is lost takes two seconds until the next request; two of them are no reason
# to end a session.
_PACE: Final = PollTimings(call_s=4.0, lost_s=6.0)


def create(options: Mapping[str, object]) -> ExternalController:
    """Make the backend. Raises ConfigError naming the key, its value and what would be right."""
    table = TomlTable(
        {key.replace("_", "-"): value for key, value in options.items()}, "configuration", "hal."
    )
    evse, maximum_ma = read_evse(table)
    ratings = Ratings(
        maximum_current_ma=maximum_ma,
        phases=evse.phases,
        contactor_timeout_s=_CONTACTOR_TIMEOUT_S,
        opening_s=_OPENING_S,
    )
    return ExternalController(ModbusEvseLink(evse), ratings, pace=_PACE)


def read_evse(table: TomlTable) -> tuple[ModbusEvse, Milliamps]:
    """Read a whole `[hal]` table; return the controller and its highest current."""
    chart = load_controller(
        table.text("controller", right="a shipped controller's name, or a register map's file")
    )
    modbus = read_modbus(table, chart.link)
    _check_broadcasts(table, chart, modbus)
    meter = _meter(table, chart, modbus)
    measured = 3 if meter is None else len(meter.chart.quantities.current_a.registers)
    phases = table.whole("phases", 1, 3, measured)
    if meter is not None and phases > measured:
        raise table.wrong("phases", phases, f"{measured} at most: the meter measures no more")
    maximum_a = chart.maximum_current_ma / 1000
    maximum_ma = round(table.number("maximum-current-a", 6, maximum_a, min(32, maximum_a)) * 1000)
    evse = ModbusEvse(
        chart=chart,
        modbus=modbus,
        phases=phases,
        meter=meter,
        has_socket=table.one_of("cable", ("fixed", "socket"), "fixed") == "socket",
        fallback_ma=_fallback_ma(table, chart, maximum_ma),
        fallback_s=table.number("fallback-after-s", 2, 3_600, 10),
    )
    if evse.has_socket and chart.cable is None:
        raise table.wrong("cable", "socket", f"fixed: {chart.name} does not tell what its cable is")
    table.finish()
    return evse, Milliamps(maximum_ma)


def _check_broadcasts(table: TomlTable, chart: ControllerMap, modbus: ModbusSpec) -> None:
    def count(write: Write) -> int:
        return 247 if write.broadcast_unit is None else write.count

    highest = min(count(write) for writes in chart.orders.values() for write in writes)
    if modbus.unit > highest:
        raise table.wrong("unit", modbus.unit, f"1 to {highest}: {chart.name} knows no more")


def _meter(table: TomlTable, chart: ControllerMap, modbus: ModbusSpec) -> MeterOnBus | None:
    name = table.text("meter", _NO_METER)
    if name == _NO_METER:
        return None
    if name != _OWN_METER:
        return MeterOnBus(load_map(name), table.whole("meter-unit", 1, 247))
    if chart.meter is None:
        raise table.wrong(
            "meter", name, f"a meter's map and meter-unit: {chart.name} has no meter of its own"
        )
    return MeterOnBus(chart.meter, modbus.unit)


def _fallback_ma(table: TomlTable, chart: ControllerMap, maximum_ma: int) -> Milliamps | None:
    key, fallback = "fallback-current-a", chart.fallback
    if not table.has(key):
        return None
    current_a = table.number(key, 0, maximum_ma / 1000)
    if fallback.current is None and fallback.restart_current is None:
        raise ConfigError(f"{table.where(key)}: {chart.name} cannot be told: leave it out")
    if 0 < current_a < 6:
        raise ConfigError(
            f"{table.where(key)}: {current_a!r} cannot be used: "
            f"give 0 for no charging, or 6 to {maximum_ma / 1000:g}"
        )
    return Milliamps(round(current_a * 1000))
