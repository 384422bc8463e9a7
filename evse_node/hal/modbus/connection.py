"""Modbus connections: how a device is reached, and the library that reaches it."""

from __future__ import annotations

import logging
from types import ModuleType

from msgspec import Struct

from evse_node.hal.optional_packages import load_extra
from evse_node.hal.toml_table import TomlTable


class ModbusSpec(Struct, frozen=True):
    """Address of a Modbus device: a serial port or a host, and a unit."""

    port: str = ""
    baud: int = 9_600
    parity: str = "N"
    host: str = ""
    tcp_port: int = 502
    unit: int = 1


def load_pymodbus(purpose: str) -> ModuleType:
    """Import pymodbus's clients. Raises ConfigError when the package is not installed."""
    client = load_extra("pymodbus.client", purpose)
    # Each failure raises an exception; pymodbus's own log lines would repeat it.
    logging.getLogger("pymodbus").setLevel(logging.CRITICAL)
    logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)
    return client


def read_modbus(table: TomlTable, usual: ModbusSpec | None = None) -> ModbusSpec:
    """Read how to reach a Modbus device; `usual` is what holds without the keys."""
    usual = usual or ModbusSpec()
    unit = table.whole("unit", 1, 247, usual.unit)
    if table.has("host"):
        return ModbusSpec(
            host=table.text("host"),
            tcp_port=table.whole("port", 1, 65_535, usual.tcp_port),
            unit=unit,
        )
    return ModbusSpec(
        port=table.text("port", right="a serial port like /dev/ttyUSB0, or a host"),
        baud=table.whole("baud", 1_200, 115_200, usual.baud),
        parity=table.one_of("parity", ("N", "E", "O"), usual.parity),
        unit=unit,
    )
