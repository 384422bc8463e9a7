"""EVSE controllers for the tests: small models behind pymodbus's own servers, TCP and RTU.

A model has a vehicle, a relay, a current and a clock that moves by `advance`. `Wire` is a
serial line of two pseudo-terminals; `Faults` spoils what the server says.
"""

from __future__ import annotations

import asyncio
import os
import struct
import threading
import tty
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pymodbus.constants import ExcCodes
from pymodbus.exceptions import NoSuchIdException
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

_T = TypeVar("_T")
COILS, HOLDING, INPUT = "coil", "holding", "input"
_TABLES = {1: COILS, 5: COILS, 15: COILS, 3: HOLDING, 6: HOLDING, 16: HOLDING, 4: INPUT}


class Controller:
    """What all have: a vehicle in state A, B or C, and a relay that opens when it leaves C."""

    unit = 1
    vehicle = "A"
    cable_a = 32
    is_closed = False
    now = 0.0
    car_a = 16.0
    energy_wh = 0.0

    def __init__(self) -> None:
        self.writes: list[tuple[str, int, int]] = []

    def read(self, table: str, address: int) -> int | None:
        """Return a register, or None where there is none."""
        raise NotImplementedError

    def write(self, table: str, address: int, value: int) -> bool:
        raise NotImplementedError

    def refresh(self) -> None:
        """Do what follows from what changed."""
        raise NotImplementedError

    def restart(self) -> None:
        """Lose power for a moment."""
        raise NotImplementedError

    def is_addressed(self, unit: int) -> bool:
        return unit == self.unit

    def is_broadcast(self, unit: int) -> bool:
        return False

    @property
    def limit_a(self) -> float:
        """What is offered now."""
        raise NotImplementedError

    def turn_to(self, vehicle: str) -> None:
        self.vehicle = vehicle
        self.refresh()

    @property
    def current_a(self) -> float:
        return min(self.car_a, self.limit_a) if self.is_closed else 0.0

    def advance(self, seconds: float) -> None:
        self.energy_wh += self.current_a * 230 * 3 * seconds / 3600
        self.now += seconds
        self.refresh()


class SimpleEvse(Controller):
    """As the EVSE-WB/DIN manual tells."""

    def __init__(self, boot_a: int = 32) -> None:
        super().__init__()
        self.eeprom = {2000: boot_a, 2001: 1, 2002: 6, 2003: 0, 2004: 0, 2005: 0}
        self.failures = 0
        self.restart()

    def restart(self) -> None:
        self.configured = self.eeprom[2000]
        self.command = 0
        self.refresh()

    @property
    def limit_a(self) -> float:
        return self.configured / (100 if self.eeprom[2005] & 0x80 else 1)

    @property
    def has_pwm(self) -> bool:
        return self.limit_a >= 6 and not self.command & 1 and not self.failures

    def refresh(self) -> None:
        self.is_closed = self.vehicle == "C" and self.has_pwm

    def read(self, table: str, address: int) -> int | None:
        if table != HOLDING:
            return None
        vehicle = 5 if self.failures else {"A": 1, "B": 2, "C": 3}[self.vehicle]
        state = 3 if self.command & 1 else 2 if self.has_pwm else 1
        return {
            1000: self.configured,
            1001: self.configured if self.has_pwm else 0,
            1002: vehicle,
            1003: 5 if self.vehicle == "A" else self.cable_a,
            1004: self.command,
            1005: 18,
            1006: state,
            1007: self.failures | self.is_closed,
            **self.eeprom,
        }.get(address)

    def write(self, table: str, address: int, value: int) -> bool:
        if table != HOLDING or address not in (1000, 1004, *self.eeprom):
            return False
        self.writes.append((table, address, value))
        if address == 1000:
            self.configured = value
        elif address == 1004:
            self.command = value
        else:
            self.eeprom[address] = value
        self.refresh()
        return True


class Phoenix(Controller):
    """As manual 104924 tells, with a meter."""

    unit = 180

    def __init__(self) -> None:
        super().__init__()
        self.errors = 0
        self.restart()

    def restart(self) -> None:
        self.setting_a, self.is_enabled = 16, False
        self.refresh()

    @property
    def limit_a(self) -> float:
        return self.setting_a

    def refresh(self) -> None:
        self.is_closed = self.vehicle == "C" and self.is_enabled and not self.errors

    def read(self, table: str, address: int) -> int | None:
        if table == COILS:
            return int(self.is_enabled) if address == 400 else None
        if table == HOLDING:
            return self.setting_a if address == 300 else None
        plain = {
            100: ord(self.vehicle),
            101: 0 if self.vehicle == "A" else self.cable_a,
            107: self.errors,
        }
        wide = {
            102: 0,
            105: 430,
            **dict.fromkeys((108, 110, 112), 23_000),
            **dict.fromkeys((114, 116, 118), round(self.current_a * 1000)),
            120: round(self.current_a * 230 * 3 / 10),
            122: 0,
            124: 0,
            126: 0,
            128: round(self.energy_wh / 10),
        }
        if address in plain:
            return plain[address]
        if address in wide:
            return wide[address] & 0xFFFF
        return wide[address - 1] >> 16 if address - 1 in wide else (0 if address == 104 else None)

    def write(self, table: str, address: int, value: int) -> bool:
        self.writes.append((table, address, value))
        if (table, address) == (HOLDING, 300) and 6 <= value <= 80:
            self.setting_a = value
        elif (table, address) == (COILS, 400):
            self.is_enabled = bool(value)
        else:
            return False
        self.refresh()
        return True


class SmartEvse(Controller):
    """A load balancing node, as SmartEVSE-3's main.cpp has it."""

    unit = 2
    A, B, C, COMM_B, COMM_B_OK, COMM_C, COMM_C_OK, B1, C1 = 0, 1, 2, 4, 5, 6, 7, 9, 10

    def __init__(self) -> None:
        super().__init__()
        self.maximum_a = 32
        self.restart()

    def restart(self) -> None:
        self.state, self.errors, self.balanced = self.A, 0, 0
        self.heard_at = self.state_at = self.now
        self.refresh()

    def is_broadcast(self, unit: int) -> bool:
        return unit == 9

    @property
    def limit_a(self) -> float:
        return self.balanced / 10

    def _go(self, state: int) -> None:
        if state != self.state:
            self.state, self.state_at = state, self.now

    def refresh(self) -> None:
        before = None
        while before != self.state:
            before = self.state
            self._step()
        self.is_closed = self.state in (self.C, self.C1)

    def _step(self) -> None:
        if self.now - self.heard_at >= 11:
            if not self.errors & 2:
                self._cut_off()
            self.errors |= 2
        elif self.errors & 2:
            self.errors &= ~2
        state, waited = self.state, self.now - self.state_at
        if self.vehicle == "A":
            self._go(self.A)
        elif state == self.A or (state == self.B1 and waited >= 3):
            if not self.errors:
                self._go(self.COMM_B)
        elif state == self.COMM_B_OK:
            self._go(self.B)
        elif state == self.B and self.vehicle == "C" and not self.errors:
            self._go(self.COMM_C)
        elif state == self.COMM_C_OK:
            self._go(self.C)
        elif state in (self.C, self.COMM_C) and self.vehicle == "B":
            self._go(self.B)
        elif state == self.C1 and (self.vehicle == "B" or waited >= 6):
            self._go(self.B1)

    def _cut_off(self) -> None:
        if self.state == self.C:
            self._go(self.C1)
        elif self.state not in (self.A, self.C1):
            self._go(self.B1)

    def read(self, table: str, address: int) -> int | None:
        registers = [self.state, self.errors, self.balanced, 0, 0, 1, 0, self.maximum_a, 0, 0, 298]
        return registers[address] if table != COILS and address < len(registers) else None

    def write(self, table: str, address: int, value: int) -> bool:
        self.writes.append((table, address, value))
        if address == 0x20 + self.unit - 1:
            self.balanced, self.heard_at = value, self.now
            if value == 0 and self.state == self.C:
                self._go(self.C1)
        elif address == 0:
            self._go(value)
        elif address == 1:
            self.errors = value
        self.refresh()
        return True


class Meter(Controller):
    """An SDM630 on the same bus."""

    unit = 105

    def __init__(self, evse: Controller) -> None:
        super().__init__()
        self.evse = evse

    def refresh(self) -> None:
        pass

    def read(self, table: str, address: int) -> int | None:
        evse = self.evse
        values = {
            **dict.fromkeys((0x00, 0x02, 0x04), 230.0),
            **dict.fromkeys((0x06, 0x08, 0x0A), evse.current_a),
            0x34: evse.current_a * 230 * 3,
            0x46: 50.0,
            0x48: evse.energy_wh / 1000,
        }
        words = struct.unpack(">HH", struct.pack(">f", values.get(address & ~1, 0.0)))
        return words[address & 1] if table == INPUT and address < 0x50 else None


@dataclass
class Faults:
    """What happens to answers; each spoils as many as it counts."""

    silent: int = 0
    garbage: int = 0
    bad_crc: int = 0
    half: int = 0
    slow_s: float = 0.0
    refuse: list[ExcCodes] = field(default_factory=list)
    requests: int = 0

    def spoil(self, is_sending: bool, packet: bytes) -> bytes:
        if not is_sending:
            return packet
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


class Registers:
    """The server's view: units, tables, addresses."""

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
        controller, faults = self._find(device_id), self.faults
        faults.requests += 1
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
                raise NoSuchIdException("nobody answers a broadcast")
        controller = self._find(device_id)
        done = [controller.write(table, each, int(v)) for each, v in enumerate(values, address)]
        return None if all(done) else ExcCodes.ILLEGAL_ADDRESS


class LoopThread:
    """An event loop in a thread, and a way to wait for what it does."""

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
    """A serial line: two pseudo-terminals, and what joins them."""

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


class Peer:
    """Controllers behind a server. `port` is where to find it: a number, or a serial port."""

    def __init__(self, *controllers: Controller) -> None:
        self.faults = Faults()
        self.spoil = self.faults.spoil
        self.registers = Registers(list(controllers), self.faults)
        self.port: int | str = 0
        self._wire: Wire | None = None
        self._server: ModbusTcpServer | ModbusSerialServer | None = None

    async def serve_tcp(self) -> None:
        server = ModbusTcpServer(
            _NOBODY,
            address=("127.0.0.1", int(self.port)),
            ignore_missing_devices=True,
            trace_packet=self.spoil,
        )
        await self._serve(server)
        assert server.transport is not None
        self.port = server.transport.sockets[0].getsockname()[1]

    async def serve_rtu(self) -> None:
        self._wire = self._wire or Wire()
        self.port = self._wire.ports[0]
        server = ModbusSerialServer(
            _NOBODY,
            port=self._wire.ports[1],
            baudrate=9600,
            ignore_missing_devices=True,
            trace_packet=self.spoil,
        )
        await self._serve(server)

    async def _serve(self, server: ModbusTcpServer | ModbusSerialServer) -> None:
        server.context = self.registers  # type: ignore[assignment]
        await server.serve_forever(background=True)
        self._server = server

    async def hang_up(self) -> None:
        """Stop serving and close all connections; it can serve again."""
        if self._server is not None:
            await self._server.shutdown()
            self._server = None

    async def close(self) -> None:
        await self.hang_up()
        if self._wire is not None:
            self._wire.close()
            self._wire = None


_NOBODY = SimDevice(1, simdata=[SimData(0, values=[0], datatype=DataType.REGISTERS)])
