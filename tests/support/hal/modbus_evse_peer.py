"""Models of EVSE controllers behind pymodbus's servers, TCP and RTU.

`Wire` is a serial line of two pseudo-terminals; `Faults` damages answers of the server.
"""

from __future__ import annotations

import asyncio
import os
import threading
import tty
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from msgspec.structs import replace
from pymodbus.constants import ExcCodes
from pymodbus.exceptions import NoSuchIdException
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.server.base import ModbusBaseServer
from pymodbus.simulator import DataType, SimData, SimDevice

from evse_node.hal.external.modbus.controller_map import ControllerMap, load_controller
from evse_node.hal.modbus.connection import ModbusSpec
from tests.support.hal.modbus_evse_models import COILS, HOLDING, INPUT, Controller

_T = TypeVar("_T")
_TABLES = {1: COILS, 5: COILS, 15: COILS, 3: HOLDING, 6: HOLDING, 16: HOLDING, 4: INPUT}


@dataclass
class Faults:
    """Damage to answers: the number of answers per kind, and `held`, which delays one."""

    silent: int = 0
    garbage: int = 0
    bad_crc: int = 0
    half: int = 0
    slow_s: float = 0.0
    held: asyncio.Event | None = None
    refuse: list[ExcCodes] = field(default_factory=list)
    requests: int = 0
    sent: int = 0

    def spoil(self, is_sending: bool, packet: bytes) -> bytes:
        if not is_sending:
            return packet
        self.sent += 1
        if self.silent:
            self.silent -= 1
            return b""
        if self.garbage:
            self.garbage -= 1
            return bytes(range(200, 200 + len(packet)))
        if self.bad_crc:
            self.bad_crc -= 1
            return packet[:-1] + bytes([packet[-1] ^ 0x55])
        if self.half:
            self.half -= 1
            return packet[: len(packet) // 2]
        return packet


async def short_sleep(seconds: float) -> None:
    """Sleep for 10 ms at most: here no late answers have to be awaited."""
    await asyncio.sleep(min(seconds, 0.01))


class Registers:
    """Registers of several units, as the server requests them."""

    def __init__(self, controllers: list[Controller], faults: Faults) -> None:
        self.controllers = controllers
        self.faults = faults
        self.functions: set[int] = set()

    def device_ids(self) -> list[int]:
        return [controller.unit for controller in self.controllers]

    def _find(self, unit: int) -> Controller:
        for controller in self.controllers:
            if controller.is_addressed(unit):
                return controller
        raise NoSuchIdException(f"unit {unit}")

    async def async_getValues(  # noqa: N802 - pymodbus's name
        self, device_id: int, func_code: int, address: int, count: int = 1
    ) -> list[int] | ExcCodes:
        faults = self.faults
        faults.requests += 1
        controller = self._find(device_id)
        if faults.held is not None:
            held, faults.held = faults.held, None
            await held.wait()
        if faults.slow_s:
            await asyncio.sleep(faults.slow_s)
        if faults.refuse:
            return faults.refuse.pop()
        table = _TABLES[func_code]
        words = [controller.read(table, each) for each in range(address, address + count)]
        found = [word for word in words if word is not None]
        return found if len(found) == count else ExcCodes.ILLEGAL_ADDRESS

    async def async_setValues(  # noqa: N802 - pymodbus's name
        self, device_id: int, func_code: int, address: int, values: list[int]
    ) -> ExcCodes | None:
        table = _TABLES[func_code]
        self.functions.add(func_code)
        for controller in self.controllers:
            if controller.is_broadcast(device_id):
                for each, value in enumerate(values, address):
                    controller.write(table, each, value)
                raise NoSuchIdException("broadcasts are not answered")
        controller = self._find(device_id)
        done = [controller.write(table, each, int(v)) for each, v in enumerate(values, address)]
        return None if all(done) else ExcCodes.ILLEGAL_ADDRESS


class LoopThread:
    """An event loop in a thread, for whose results the caller waits."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, task: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(task, self._loop).result(20)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Wire:
    """A serial line: two pseudo-terminals, each forwarding to the other."""

    def __init__(self) -> None:
        self._masters: list[int] = []
        self._slaves: list[int] = []
        self.ports: list[str] = []
        for _ in range(2):
            master, slave = os.openpty()
            tty.setraw(slave)
            os.set_blocking(master, False)
            self._masters.append(master)
            self._slaves.append(slave)
            self.ports.append(os.ttyname(slave))
        self._loop = asyncio.get_running_loop()
        one, other = self._masters
        self._loop.add_reader(one, self._forward, one, other)
        self._loop.add_reader(other, self._forward, other, one)

    def _forward(self, source: int, target: int) -> None:
        os.write(target, os.read(source, 4096))

    def close(self) -> None:
        for master in self._masters:
            self._loop.remove_reader(master)
        for each in (*self._masters, *self._slaves):
            os.close(each)


def quick_map(name: str, **timings: float) -> ControllerMap:
    """Return a shipped register map with these timings, such as timeout_ms, and no pauses."""
    registers = load_controller(name)
    return replace(registers, link=replace(registers.link, pause_ms=0.0, **timings))


class Peer:
    """Controllers behind a server. `port` is a TCP port or the name of a serial port."""

    def __init__(self, *controllers: Controller) -> None:
        self.faults = Faults()
        self.spoil: Callable[[bool, bytes], bytes] = self.faults.spoil
        self.registers = Registers(list(controllers), self.faults)
        self.port: int | str = 0
        self._wire: Wire | None = None
        self._server: ModbusBaseServer | None = None

    async def serve_tcp(self) -> None:
        server = ModbusTcpServer(
            _PLACEHOLDER,
            address=("127.0.0.1", int(self.port)),
            ignore_missing_devices=True,
            trace_packet=self.spoil,
        )
        await self._serve(server)
        assert isinstance(server.transport, asyncio.Server)
        self.port = server.transport.sockets[0].getsockname()[1]

    async def serve_rtu(self) -> None:
        self._wire = self._wire or Wire()
        self.port = self._wire.ports[0]
        server = ModbusSerialServer(
            _PLACEHOLDER,
            port=self._wire.ports[1],
            baudrate=9600,
            ignore_missing_devices=True,
            trace_packet=self.spoil,
        )
        await self._serve(server)

    async def _serve(self, server: ModbusBaseServer) -> None:
        server.context = self.registers  # type: ignore[assignment]
        await server.serve_forever(background=True)
        self._server = server

    def spec(self, unit: int = 1) -> ModbusSpec:
        """Return the address of a unit."""
        if self._wire is not None:
            return ModbusSpec(port=str(self.port), unit=unit)
        return ModbusSpec(host="127.0.0.1", tcp_port=int(self.port), unit=unit)

    async def hang_up(self) -> None:
        """Stop the server and close all connections; it can be started again."""
        if self._server is not None:
            await self._server.shutdown()
            self._server = None

    async def close(self) -> None:
        await self.hang_up()
        if self._wire is not None:
            self._wire.close()
            self._wire = None


_PLACEHOLDER = SimDevice(1, simdata=[SimData(0, values=[0], datatype=DataType.REGISTERS)])
