from __future__ import annotations

import asyncio
import socket
import struct
import threading
import time
from collections.abc import Callable

import pytest

from evse_node.errors import DecodeError
from evse_node.matter.wall_clock import GivenTime, Granularity
from evse_node.platform import sntp
from evse_node.platform.sntp import NtpClient, decode_response, encode_request

NONCE = bytes(range(1, 9))
# 2026-07-01 12:00:00 UTC in seconds since 1900 and since 2000.
NTP_S, EPOCH_S = 3_991_896_000, 836_222_400
HALF = 1 << 31


def response(
    *,
    flags: int = 0x24,
    stratum: int = 2,
    origin: bytes = NONCE,
    received: tuple[int, int] = (NTP_S, 0),
    sent: tuple[int, int] = (NTP_S, 0),
) -> bytes:
    return (
        struct.pack("!BBBb3I", flags, stratum, 6, -20, 0, 0, 0x7F000001)
        + bytes(8)
        + origin
        + struct.pack("!4I", *received, *sent)
    )


def test_request_has_version_mode_and_nonce() -> None:
    request = encode_request(NONCE)
    assert len(request) == 48
    assert request[0] == 0x23
    assert request[1:40] == bytes(39)
    assert request[40:] == NONCE


@pytest.mark.parametrize(
    ("answer", "round_trip_s", "epoch_us"),
    [
        (response(), 0.0, EPOCH_S * 1_000_000),
        (response(sent=(NTP_S, HALF)), 0.0, EPOCH_S * 1_000_000 + 500_000),
        (response(), 0.2, EPOCH_S * 1_000_000 + 100_000),
        # The server took half a second of the round trip.
        (response(sent=(NTP_S, HALF)), 0.7, EPOCH_S * 1_000_000 + 600_000),
        (response(sent=(NTP_S, HALF)), 0.1, EPOCH_S * 1_000_000 + 500_000),
        (response(flags=0x64, stratum=15), 0.0, EPOCH_S * 1_000_000),
        # The count restarts on 2036-02-07 06:28:16.
        (response(sent=(1, 0), received=(1, 0)), 0.0, 1_139_293_697_000_000),
    ],
)
def test_response_is_decoded_to_matter_time(
    answer: bytes, round_trip_s: float, epoch_us: int
) -> None:
    assert abs(decode_response(answer, NONCE, round_trip_s) - epoch_us) <= 1
    assert abs(decode_response(answer + b"more", NONCE, round_trip_s) - epoch_us) <= 1


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        response()[:-1],
        response(origin=bytes(8)),
        response(flags=0x23),
        response(flags=0xE4),
        response(stratum=0),
        response(stratum=16),
        response(sent=(0, 0)),
    ],
)
def test_invalid_response_is_rejected(answer: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_response(answer, NONCE, 0.0)


class Server(asyncio.DatagramProtocol):
    def __init__(self, answer: Callable[[bytes], bytes | None]) -> None:
        self.answer = answer

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        answer = self.answer(data)
        if answer is not None:
            self.transport.sendto(answer, address)


async def ask(
    host: str, answer: Callable[[bytes], bytes | None], timeout_s: float = 2.0
) -> list[GivenTime | None]:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: Server(answer), ("127.0.0.1", 0), family=socket.AF_INET
    )
    port = transport.get_extra_info("sockname")[1]
    done = asyncio.Event()
    client = NtpClient(lambda size: NONCE[:size], time.monotonic, done.set, port)
    answers: list[GivenTime | None] = []
    client.query(host, lambda given, now: answers.append(given), 0.0)
    try:
        async with asyncio.timeout(timeout_s):
            await done.wait()
    except TimeoutError:
        pass
    finally:
        await client.close()
        transport.close()
    return answers


async def test_query_returns_time_of_server() -> None:
    (given,) = await ask("127.0.0.1", lambda request: response(origin=request[40:]))
    assert given is not None
    assert given.granularity is Granularity.MILLISECONDS
    assert 0 <= given.epoch_us - EPOCH_S * 1_000_000 < 1_000_000


async def test_query_with_invalid_response_returns_none() -> None:
    assert await ask("127.0.0.1", lambda request: b"hello") == [None]


async def test_query_of_invalid_name_returns_none() -> None:
    """No label of a name has more than 63 characters."""
    assert await ask(f"{'a' * 64}.example", lambda request: None) == [None]


async def test_close_cancels_a_query() -> None:
    assert await ask("127.0.0.1", lambda request: None, 0.1) == []


async def test_query_of_unknown_name_returns_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> object:
        raise socket.gaierror("unknown")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    answers: list[GivenTime | None] = []
    done = asyncio.Event()
    client = NtpClient(lambda size: NONCE, time.monotonic, done.set)
    client.query("time.example", lambda given, now: answers.append(given), 0.0)
    async with asyncio.timeout(2):
        await done.wait()
    await client.close()
    assert answers == [None]


async def test_silent_name_server_blocks_four_threads_at_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    is_over = threading.Event()

    def wait(*arguments: object, **options: object) -> list[object]:
        is_over.wait(10)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", wait)
    monkeypatch.setattr(sntp, "_TIMEOUT_S", 0.05)
    answers: list[GivenTime | None] = []
    client = NtpClient(lambda size: NONCE, time.monotonic, lambda: None)

    async def ask(count: int) -> None:
        wanted = len(answers) + count
        for _ in range(count):
            client.query("time.example", lambda given, now: answers.append(given), 0.0)
        async with asyncio.timeout(5):
            while len(answers) < wanted:
                await asyncio.sleep(0.005)

    def resolvers() -> int:
        return sum(thread.name == "evse-resolver" for thread in threading.enumerate())

    try:
        await ask(20)
        assert resolvers() == 4
    finally:
        is_over.set()
    async with asyncio.timeout(5):
        while resolvers():
            await asyncio.sleep(0.005)
    # The name server answers again, so that new queries are sent.
    is_over.clear()
    try:
        await ask(20)
        assert resolvers() == 4
    finally:
        is_over.set()
    assert answers == [None] * 40
    await client.close()


def test_silent_name_server_does_not_delay_the_end_of_the_program(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked, is_over, ended = threading.Event(), threading.Event(), threading.Event()

    def wait(*arguments: object, **options: object) -> list[object]:
        asked.set()
        is_over.wait(10)
        return []

    async def ask_and_end() -> None:
        client = NtpClient(lambda size: NONCE, time.monotonic, lambda: None)
        client.query("time.example", lambda given, now: None, 0.0)
        while not asked.is_set():
            await asyncio.sleep(0.001)
        await client.close()

    def run() -> None:
        asyncio.run(ask_and_end())
        ended.set()

    monkeypatch.setattr(socket, "getaddrinfo", wait)
    program = threading.Thread(target=run)
    program.start()
    try:
        assert ended.wait(5)
    finally:
        is_over.set()
        program.join()
