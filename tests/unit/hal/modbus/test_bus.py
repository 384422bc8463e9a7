"""Tests of the Modbus bus against pymodbus's servers, TCP and RTU."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable

import pytest
from pymodbus.constants import ExcCodes

from evse_node.errors import HalError
from evse_node.hal.modbus.bus import ModbusBus, Sleep
from evse_node.hal.modbus.connection import ModbusSpec
from evse_node.hal.modbus.table import Block, Table
from tests.support.hal.modbus_evse_models import Phoenix, SimpleEvse
from tests.support.hal.modbus_evse_peer import Peer, short_sleep

STATUS = Block(Table.HOLDING, 1000, 8)
TIMEOUT_S = 0.2


class Line:
    """A SimpleEVSE behind a server, and the bus to it."""

    def __init__(self, kind: str) -> None:
        self.evse = SimpleEvse()
        self.peer = Peer(self.evse)
        self.kind = kind

    async def serve(self) -> None:
        await (self.peer.serve_rtu() if self.kind == "RTU" else self.peer.serve_tcp())

    async def open(self, *, timeout_s: float = TIMEOUT_S, sleep: Sleep = short_sleep) -> None:
        await self.serve()
        self.bus = ModbusBus(self.peer.spec(), timeout_s=timeout_s, turnaround_s=0.01, sleep=sleep)

    async def read(self) -> list[int]:
        return await self.bus.read(STATUS, 1)

    async def close(self) -> None:
        self.bus.close()
        await self.peer.close()


@pytest.fixture(params=["RTU", "TCP"])
async def line(request: pytest.FixtureRequest) -> AsyncIterator[Line]:
    made = Line(request.param)
    await made.open()
    yield made
    await made.close()


async def test_written_register_reads_back(line: Line) -> None:
    assert (await line.read())[:3] == [32, 32, 1]
    await line.bus.write(Table.HOLDING, 1000, 16, 1)
    assert line.evse.configured == 16


@pytest.mark.parametrize("fault", ["silent", "garbage", "half"])
async def test_invalid_answer_raises(line: Line, fault: str) -> None:
    await line.read()
    setattr(line.peer.faults, fault, 1)
    with pytest.raises(HalError, match="does not answer"):
        await line.read()
    assert (await line.read())[0] == 32


async def test_wrong_checksum_raises() -> None:
    line = Line("RTU")
    await line.open()
    line.peer.faults.bad_crc = 1
    with pytest.raises(HalError, match="does not answer"):
        await line.read()
    assert (await line.read())[0] == 32
    await line.close()


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (ExcCodes.ILLEGAL_FUNCTION, "unknown function"),
        (ExcCodes.ILLEGAL_ADDRESS, "no such register"),
        (ExcCodes.DEVICE_FAILURE, "device failure"),
        (ExcCodes.DEVICE_BUSY, "device busy"),
    ],
)
async def test_refusal_names_reason(line: Line, code: ExcCodes, reason: str) -> None:
    line.peer.faults.refuse.append(code)
    with pytest.raises(HalError, match=f"unit 1 on .* refused the request: {reason}"):
        await line.read()
    assert (await line.read())[0] == 32


async def test_missing_register_is_refused(line: Line) -> None:
    with pytest.raises(HalError, match="no such register"):
        await line.bus.read(Block(Table.HOLDING, 5000, 1), 1)
    with pytest.raises(HalError, match="no such register"):
        await line.bus.write(Table.HOLDING, 5000, 1, 1)


def changed(at: int, byte: int) -> Callable[[bool, bytes], bytes]:
    """Change one byte of each answer over TCP; 7 is the function."""

    def spoil(is_sending: bool, packet: bytes) -> bytes:
        return packet[:at] + bytes([byte]) + packet[at + 1 :] if is_sending else packet

    return spoil


@pytest.mark.parametrize(
    ("table", "has_single_writes", "at", "byte"),
    [
        (None, False, 7, 4),  # input registers instead of holding ones
        (Table.HOLDING, False, 9, 0xE9),  # another address
        (Table.HOLDING, False, 11, 2),  # another count
        (Table.HOLDING, False, 7, 6),  # another function
        (Table.HOLDING, True, 9, 0xE9),
        (Table.HOLDING, True, 11, 15),  # another value
        (Table.COIL, False, 9, 0x91),
        (Table.COIL, False, 10, 0),  # off instead of on
    ],
)
async def test_answer_to_another_request_raises(
    table: Table | None, has_single_writes: bool, at: int, byte: int
) -> None:
    controller = Phoenix() if table is Table.COIL else SimpleEvse()
    address = 400 if table is Table.COIL else 1000
    peer = Peer(controller)
    await peer.serve_tcp()
    spec = peer.spec()
    bus = ModbusBus(
        spec, timeout_s=TIMEOUT_S, has_single_writes=has_single_writes, sleep=short_sleep
    )

    async def ask() -> None:
        if table is None:
            await bus.read(STATUS, controller.unit)
        else:
            await bus.write(table, address, 16, controller.unit)

    await ask()
    await peer.hang_up()
    peer.spoil = changed(at, byte)
    await peer.serve_tcp()
    with pytest.raises(HalError, match="sent an answer to something else"):
        await ask()
    assert bus._stale_until is not None
    bus.close()
    await peer.close()


async def test_missing_unit_does_not_answer(line: Line) -> None:
    with pytest.raises(HalError, match=r"unit 9 .* does not answer"):
        await line.bus.read(STATUS, 9)


@pytest.mark.parametrize("kind", ["RTU", "TCP"])
async def test_late_answer_is_not_used_for_next_request(kind: str) -> None:
    line = Line(kind)
    faults = line.peer.faults
    held = faults.held = asyncio.Event()
    waits: list[float] = []

    async def let_by(seconds: float) -> None:
        waits.append(seconds)
        held.set()
        async with asyncio.timeout(10):
            while line.kind == "RTU" and not faults.sent:
                await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)

    await line.open(timeout_s=20, sleep=let_by)
    late = asyncio.create_task(line.bus.read(Block(Table.HOLDING, 1002, 1), 1))
    async with asyncio.timeout(10):
        while not faults.requests:
            await asyncio.sleep(0.001)
    late.cancel()
    with pytest.raises(asyncio.CancelledError):
        await late
    # Also one register, requested after the late one: only time distinguishes the two.
    assert await line.bus.read(Block(Table.HOLDING, 1000, 1), 1) == [32]
    [waited] = waits
    assert 10 < waited <= 20
    await line.close()


async def test_request_cancelled_before_sending_causes_no_wait() -> None:
    line = Line("TCP")
    reached = asyncio.Event()
    waits = 0

    async def sleep(seconds: float) -> None:
        nonlocal waits
        waits += 1
        reached.set()
        if waits == 1:
            await asyncio.sleep(3600)

    await line.serve()
    spec = line.peer.spec()
    line.bus = ModbusBus(spec, timeout_s=20, pause_s=15, sleep=sleep)
    await line.read()
    early = asyncio.create_task(line.read())
    await reached.wait()
    early.cancel()
    with pytest.raises(asyncio.CancelledError):
        await early
    assert line.bus._stale_until is None
    assert (await line.read())[0] == 32
    await line.close()


async def test_slow_answer_is_accepted(line: Line) -> None:
    line.peer.faults.slow_s = TIMEOUT_S / 8
    assert (await line.read())[0] == 32


async def test_bus_reconnects_to_restarted_server(line: Line) -> None:
    await line.read()
    await line.peer.hang_up()
    with pytest.raises(HalError):
        await line.read()
    await line.serve()
    assert (await line.read())[0] == 32


async def test_bus_reconnects_after_connection_was_closed(line: Line) -> None:
    await line.read()
    await line.peer.hang_up()
    await line.serve()
    await asyncio.sleep(0.01)
    assert (await line.read())[0] == 32


async def test_missing_port_raises() -> None:
    for spec in (ModbusSpec(port="/dev/no-such-port"), ModbusSpec(host="127.0.0.1", tcp_port=9)):
        bus = ModbusBus(spec, timeout_s=TIMEOUT_S)
        with pytest.raises(HalError, match="cannot be opened"):
            await bus.read(STATUS, 1)
        bus.close()
        bus.close()


async def test_coils_are_read_and_written() -> None:
    phoenix = Phoenix()
    peer = Peer(phoenix)
    await peer.serve_tcp()
    bus = ModbusBus(peer.spec(), timeout_s=TIMEOUT_S)
    coil = Block(Table.COIL, 400, 1)
    assert await bus.read(coil, 180) == [0]
    await bus.write(Table.COIL, 400, 1, 180)
    assert phoenix.is_enabled
    assert await bus.read(coil, 180) == [1]
    bus.close()
    await peer.close()


async def test_pause_between_requests() -> None:
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    peer = Peer(SimpleEvse())
    await peer.serve_tcp()
    spec = peer.spec()
    bus = ModbusBus(spec, timeout_s=1, pause_s=10, sleep=sleep)
    for _ in range(3):
        await bus.read(STATUS, 1)
    assert len(waited) == 2
    assert all(9 < seconds <= 10 for seconds in waited)
    bus.close()
    await peer.close()


async def test_random_answers_never_yield_wrong_values() -> None:
    line = Line("TCP")
    await line.serve()
    spec = line.peer.spec()
    bus = ModbusBus(spec, timeout_s=0.04, sleep=short_sleep)
    draw = random.Random(1)
    spoilt = 0

    def spoil(is_sending: bool, packet: bytes) -> bytes:
        nonlocal spoilt
        if not is_sending:
            return packet
        spoilt += 1
        cut = draw.randbytes(draw.randrange(30))
        return packet[: draw.randrange(len(packet))] + cut

    line.peer.spoil = spoil
    await line.peer.hang_up()
    await line.serve()
    for _ in range(40):
        with contextlib.suppress(HalError):
            assert len(await bus.read(STATUS, 1)) == 8
    assert spoilt >= 40
    line.peer.spoil = line.peer.faults.spoil
    await line.peer.hang_up()
    await line.serve()
    answer: list[int] = []
    for _ in range(20):
        with contextlib.suppress(HalError):
            answer = await bus.read(STATUS, 1)
            break
    assert answer[:1] == [32]
    bus.close()
    await line.peer.close()


async def test_concurrent_requests_are_serialized(line: Line) -> None:
    line.peer.faults.slow_s = 0.01
    answers = await asyncio.gather(
        line.bus.read(Block(Table.HOLDING, 1000, 1), 1),
        line.bus.read(Block(Table.HOLDING, 1002, 1), 1),
        line.bus.read(Block(Table.HOLDING, 1003, 1), 1),
    )
    assert answers == [[32], [1], [5]]
