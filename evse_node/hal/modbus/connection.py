"""Modbus connections: address of a device, its keys in TOML, and the library that connects."""

from __future__ import annotations

import logging
from types import ModuleType
from typing import Annotated, Final, Literal, cast

from msgspec import Meta, Struct

from evse_node.config.reading import FieldError, TomlStruct, missing, unusable
from evse_node.hal.optional_packages import load_extra

_SERIAL_PORT: Final = "a serial port like /dev/ttyUSB0, or a host"


class ModbusSpec(Struct, frozen=True):
    """Address of a Modbus device: RTU on `port`, or TCP to `host`."""

    port: str = ""
    baud: int = 9_600
    parity: str = "N"
    host: str = ""
    tcp_port: int = 502
    unit: int = 1


class ModbusKeys(TomlStruct, frozen=True, kw_only=True):
    """Keys of a TOML table that names a Modbus device. With `host`, `port` is a TCP port."""

    host: Annotated[str, Meta(min_length=1)] | None = None
    port: Annotated[str | int, Meta(description=_SERIAL_PORT)] | None = None
    baud: Annotated[int, Meta(ge=1_200, le=115_200)] | None = None
    parity: Literal["N", "E", "O"] | None = None
    unit: Annotated[int, Meta(ge=1, le=247)] | None = None

    def __post_init__(self) -> None:
        if self.host is not None:
            port = 1 if self.port is None else self.port
            if isinstance(port, str) or not 1 <= port <= 65_535:
                raise unusable("port", self.port, "1 to 65535, or no host")
            for key in ("baud", "parity"):
                if getattr(self, key) is not None:
                    raise FieldError(key, "no such key beside host: it is for a serial port")
        elif self.port is None:
            raise missing("port", _SERIAL_PORT)
        elif isinstance(self.port, int) or not self.port:
            raise unusable("port", self.port, _SERIAL_PORT)

    def modbus_spec(self, usual: ModbusSpec | None = None) -> ModbusSpec:
        """Return the address; `usual` holds where a key is not given."""
        usual = usual or ModbusSpec()
        unit = self.unit or usual.unit
        if self.host is not None:
            tcp_port = self.port if isinstance(self.port, int) else usual.tcp_port
            return ModbusSpec(host=self.host, tcp_port=tcp_port, unit=unit)
        return ModbusSpec(
            port=str(self.port),
            baud=self.baud or usual.baud,
            parity=self.parity or usual.parity,
            unit=unit,
        )


def load_pymodbus(purpose: str) -> ModuleType:
    """Import the clients of pymodbus. Raises ConfigError when it is not installed."""
    client = load_extra("pymodbus.client", purpose)
    # Failures raise exceptions; pymodbus's own log lines would repeat them.
    logging.getLogger("pymodbus").setLevel(logging.CRITICAL)
    logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)
    return client


def create_client(
    spec: ModbusSpec, purpose: str, timeout_s: float, *, is_async: bool
) -> tuple[object, type[Exception]]:
    """Return a client of pymodbus, not yet connected, and the class of its exceptions.

    Raises ConfigError when a package is missing.
    """
    clients = load_pymodbus(purpose)
    options: dict[str, float] = {"timeout": timeout_s, "retries": 0}
    if is_async:
        options["reconnect_delay"] = 0
    if spec.host:
        create = clients.AsyncModbusTcpClient if is_async else clients.ModbusTcpClient
        client = create(spec.host, port=spec.tcp_port, **options)
    else:
        load_extra("serial", f"{purpose} on a serial port")
        create = clients.AsyncModbusSerialClient if is_async else clients.ModbusSerialClient
        client = create(spec.port, baudrate=spec.baud, parity=spec.parity, **options)
    return client, cast(type[Exception], load_extra("pymodbus", purpose).ModbusException)
