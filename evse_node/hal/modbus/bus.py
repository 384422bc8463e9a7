"""A Modbus bus, RTU or TCP, in the event loop: one request at a time, and no stale answers.

Answers in Modbus RTU do not name their request. After a failure the connection is closed, and
late answers are awaited before the next request. An answer with another function, length or
address counts as a failure.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol, TypeAlias, cast

from evse_node.errors import HalError
from evse_node.hal.modbus.connection import ModbusSpec, create_client
from evse_node.hal.modbus.table import Block, Table

Sleep: TypeAlias = Callable[[float], Awaitable[None]]

_PURPOSE: Final = "a Modbus EVSE controller"


class _Answer(Protocol):
    function_code: int
    address: int
    count: int
    registers: list[int]
    bits: list[bool]
    exception_code: int

    def isError(self) -> bool: ...  # noqa: N802 - pymodbus's name


class _Client(Protocol):
    @property
    def connected(self) -> bool: ...

    async def connect(self) -> bool: ...

    def close(self) -> None: ...

    async def read_coils(self, address: int, *, count: int, device_id: int) -> _Answer: ...

    async def read_discrete_inputs(
        self, address: int, *, count: int, device_id: int
    ) -> _Answer: ...

    async def read_input_registers(
        self, address: int, *, count: int, device_id: int
    ) -> _Answer: ...

    async def read_holding_registers(
        self, address: int, *, count: int, device_id: int
    ) -> _Answer: ...

    async def write_coil(self, address: int, value: bool, *, device_id: int) -> _Answer: ...

    async def write_register(self, address: int, value: int, *, device_id: int) -> _Answer: ...

    async def write_registers(
        self,
        address: int,
        values: Sequence[int],
        *,
        device_id: int,
        no_response_expected: bool = False,
    ) -> _Answer | None: ...


_READ_FUNCTIONS: Final = {Table.COIL: 1, Table.DISCRETE: 2, Table.HOLDING: 3, Table.INPUT: 4}
_WRITE_COIL: Final = 5
_WRITE_REGISTER: Final = 6
_WRITE_REGISTERS: Final = 16
_REASONS: Final = {
    1: "unknown function",
    2: "no such register",
    3: "invalid value",
    4: "device failure",
    6: "device busy",
    10: "no path from the gateway",
    11: "no answer to the gateway",
}


class ModbusBus:
    """One connection. Every failure raises HalError, and the next request reconnects.

    `timeout_s`: longest time of an answer. `pause_s`: idle time between requests.
    `turnaround_s`: idle time after a broadcast, for all to process it. `has_single_writes`: one
    register is written by function 6 instead of 16. To be created in the event loop in use.
    """

    def __init__(
        self,
        spec: ModbusSpec,
        *,
        timeout_s: float = 1.0,
        pause_s: float = 0.0,
        turnaround_s: float = 0.1,
        has_single_writes: bool = False,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        client, self._error = create_client(spec, _PURPOSE, timeout_s, is_async=True)
        self._client = cast(_Client, client)
        self._where = spec.host or spec.port
        self._timeout_s = timeout_s
        self._pause_s = pause_s
        self._turnaround_s = turnaround_s
        self._has_single_writes = has_single_writes
        self._sleep = sleep
        self._lock = asyncio.Lock()
        self._stale_until: float | None = None
        self._loop = asyncio.get_running_loop()
        self._quiet_since = 0.0

    async def read(self, block: Block, unit: int) -> list[int]:
        """Return a block's words; bits are 0 and 1."""
        client, start, count = self._client, block.start, block.length
        match block.table:
            case Table.COIL:
                read = client.read_coils
            case Table.DISCRETE:
                read = client.read_discrete_inputs
            case Table.INPUT:
                read = client.read_input_registers
            case Table.HOLDING:
                read = client.read_holding_registers
        answer = await self._ask(lambda: read(start, count=count, device_id=unit), unit)
        self._check(answer.function_code == _READ_FUNCTIONS[block.table], unit)
        is_bits = block.table in (Table.COIL, Table.DISCRETE)
        # Bits come in whole bytes.
        words = [int(bit) for bit in answer.bits[:count]] if is_bits else answer.registers
        self._check(len(words) == count, unit)
        return list(words)

    async def write(self, table: Table, address: int, word: int, unit: int) -> None:
        """Write a coil or a holding register."""
        client = self._client
        if table is Table.COIL:
            answer = await self._ask(
                lambda: client.write_coil(address, bool(word), device_id=unit), unit
            )
            written = (answer.function_code, answer.address, *answer.bits)
            self._check(written == (_WRITE_COIL, address, bool(word)), unit)
        elif self._has_single_writes:
            answer = await self._ask(
                lambda: client.write_register(address, word, device_id=unit), unit
            )
            written = (answer.function_code, answer.address, *answer.registers)
            self._check(written == (_WRITE_REGISTER, address, word), unit)
        else:
            answer = await self._ask(
                lambda: client.write_registers(address, [word], device_id=unit), unit
            )
            written = (answer.function_code, answer.address, answer.count)
            self._check(written == (_WRITE_REGISTERS, address, 1), unit)

    async def broadcast(self, start: int, values: Sequence[int], unit: int) -> None:
        """Write holding registers of all devices of a broadcast unit, which do not answer."""

        async def send() -> None:
            await self._client.write_registers(
                start, values, device_id=unit, no_response_expected=True
            )

        async with self._lock:
            await self._try(send, unit)
            await self._sleep(self._turnaround_s)

    def close(self) -> None:
        self._client.close()

    async def _ask(self, request: Callable[[], Awaitable[_Answer | None]], unit: int) -> _Answer:
        async with self._lock:
            answer = await self._try(request, unit)
        if answer is None:
            raise HalError(f"{self._name(unit)} does not answer")
        if answer.isError():
            code = answer.exception_code
            reason = _REASONS.get(code, f"exception {code}")
            raise HalError(f"{self._name(unit)} refused the request: {reason}")
        return answer

    async def _try(
        self, request: Callable[[], Awaitable[_Answer | None]], unit: int
    ) -> _Answer | None:
        is_sent = False
        try:
            if self._stale_until is not None:
                # A late answer passes.
                await self._sleep(max(0.0, self._stale_until - self._loop.time()))
                self._stale_until = None
            elif self._pause_s:
                left_s = self._quiet_since + self._pause_s - self._loop.time()
                if left_s > 0:
                    await self._sleep(left_s)
            if not self._client.connected and not await self._client.connect():
                raise HalError(f"{self._where} cannot be opened")
            is_sent = True
            answer = await request()
            self._quiet_since = self._loop.time()
            return answer
        except self._error as error:
            self._abandon()
            raise HalError(f"{self._name(unit)} does not answer: {error}") from None
        except OSError as error:
            self._abandon()
            raise HalError(f"{self._name(unit)}: {error}") from None
        except asyncio.CancelledError:
            if is_sent:
                self._abandon()
            raise

    def _check(self, is_answer: bool, unit: int) -> None:
        if not is_answer:
            self._abandon()
            raise HalError(f"{self._name(unit)} sent an answer to something else")

    def _abandon(self) -> None:
        self._client.close()
        self._stale_until = self._loop.time() + self._timeout_s

    def _name(self, unit: int) -> str:
        return f"unit {unit} on {self._where}"
