"""HTTP by hand: what is not a small HTTP/1.1 request is refused, and nothing hangs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from evse_node.node.control import http
from evse_node.node.control.api import JsonObject
from evse_node.node.control.http import EventStream, HttpServer, Request


async def echo(request: Request) -> JsonObject:
    return {"method": request.method, "path": request.path, "body": request.body.decode()}


async def stream(request: Request, stream: EventStream) -> None:
    await stream.start()
    await stream.wait_gone()


@pytest.fixture
async def port() -> AsyncIterator[int]:
    server = HttpServer(echo, "/events", stream, lambda request: None)
    yield await server.start("127.0.0.1", 0)
    await server.close()


async def exchange(port: int, data: bytes) -> tuple[int, JsonObject]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    async with asyncio.timeout(5):
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    assert b"Connection: close" in head
    return int(head.split(b" ")[1]), json.loads(body)


async def test_a_request_is_answered_and_the_connection_closed(port: int) -> None:
    status, answer = await exchange(
        port, b"POST /a/b?c=d HTTP/1.1\r\nHost: x\r\nCONTENT-LENGTH:  3\r\n\r\nxyz"
    )
    assert status == 200
    assert answer == {"method": "POST", "path": "/a/b", "body": "xyz"}


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"GET / HTTP/2\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nX: \xff\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
        (b"POST / HTTP/1.1\r\nContent-Length: 70000\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 40_000 + b"\r\n\r\n", 431),
    ],
)
async def test_what_is_no_small_request_is_refused(port: int, data: bytes, status: int) -> None:
    found, answer = await exchange(port, data)
    assert found == status
    assert "error" in answer


async def test_half_a_request_leaves_nothing_behind(port: int) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nab")
    writer.close()
    await writer.wait_closed()
    assert (await exchange(port, b"GET / HTTP/1.0\r\n\r\n"))[0] == 200


async def flood(request: Request, stream: EventStream) -> None:
    """Send more than all the buffers on the way can hold."""
    await stream.start()
    await stream.send("x" * 20_000_000)


async def stuck_reader(port: int) -> asyncio.StreamWriter:
    """Ask for the stream, see it begin, and read no more."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
    writer.write(b"GET /events HTTP/1.1\r\n\r\n")
    async with asyncio.timeout(5):
        await reader.readuntil(b"\r\n\r\n")
    return writer


async def test_closing_the_server_does_not_wait_for_a_stuck_reader() -> None:
    server = HttpServer(echo, "/events", flood, lambda request: None)
    writer = await stuck_reader(await server.start("127.0.0.1", 0))
    async with asyncio.timeout(5):
        await server.close()
    writer.close()


async def test_a_stuck_reader_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_SEND_TIMEOUT_S", 0.01)
    ended = asyncio.Event()

    async def flood_to_the_end(request: Request, stream: EventStream) -> None:
        try:
            await flood(request, stream)
        finally:
            ended.set()

    server = HttpServer(echo, "/events", flood_to_the_end, lambda request: None)
    writer = await stuck_reader(await server.start("127.0.0.1", 0))
    async with asyncio.timeout(5):
        await ended.wait()
        await server.close()
    writer.close()


async def test_a_silent_caller_is_given_up(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_REQUEST_TIMEOUT_S", 0.01)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\n")
    async with asyncio.timeout(5):
        assert await reader.read() == b""
    writer.close()


async def test_callers_beyond_the_limit_are_turned_away(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "_MAX_CONNECTIONS", 1)
    first, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /events HTTP/1.1\r\n\r\n")
    async with asyncio.timeout(5):
        await first.readuntil(b"\r\n\r\n")
        second, other = await asyncio.open_connection("127.0.0.1", port)
        assert await second.read() == b""
    other.close()
    writer.close()


async def test_closing_the_server_ends_a_stream() -> None:
    server = HttpServer(echo, "/events", stream, lambda request: None)
    port = await server.start("127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /events HTTP/1.1\r\n\r\n")
    async with asyncio.timeout(5):
        await reader.readuntil(b"\r\n\r\n")
        await server.close()
        assert await reader.read() == b""
    writer.close()
