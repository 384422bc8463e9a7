"""Connections of the control server: limits, deadlines, malformed requests, event streams."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress

import pytest

from evse_node.config.values import HostPort
from evse_node.node.control import http
from evse_node.node.control.messages import Onboarding, Status
from evse_node.node.control.server import ControlServer
from tests.support.journal_node import JournalNode

HOST = b"Host: localhost\r\n"
STREAM = b"GET /events HTTP/1.1\r\n" + HOST + b"\r\n"
GET = b"GET /status HTTP/1.1\r\n" + HOST
STATUS = GET + b"\r\n"
POST = b"POST /factory-reset HTTP/1.1\r\n" + HOST
JSON = b"Content-Type: application/json\r\n"


@pytest.fixture
def node() -> JournalNode:
    return JournalNode()


@pytest.fixture
async def port(node: JournalNode) -> AsyncIterator[int]:
    started = ControlServer(node)
    yield (await started.start(HostPort("127.0.0.1", 0))).port
    async with asyncio.timeout(5):
        await started.close()


async def exchange(port: int, data: bytes) -> tuple[int, dict[str, object]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    async with asyncio.timeout(5):
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    assert b"Connection: close" in head
    assert b"Cache-Control: no-store" in head
    return int(head.split(b" ")[1]), json.loads(body)


async def open_stream(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open an event stream and read up to its first status."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(STREAM)
    async with asyncio.timeout(5):
        await reader.readuntil(b"event: status")
    return reader, writer


async def test_connection_serves_one_request(port: int, node: JournalNode) -> None:
    body = b'{"uid": "04"}'
    status, answer = await exchange(
        port,
        b"POST /sim/tap?c=d HTTP/1.1\r\nHOST: localhost\r\n"
        + JSON
        + b"CONTENT-LENGTH:  %d\r\n\r\n%b" % (len(body), body)
        + STATUS,
    )
    assert status == 200
    assert "charger" in answer
    assert node.journal == ["Tap {'uid': '04'}"]


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /\r\n\r\n", 400),
        (b"GET / HTTP/2\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"SSH-2.0-client\r\n", 400),
        (GET + b"no colon\r\n\r\n", 400),
        (GET + b"X: \xff\r\n\r\n", 400),
        (GET + b"X: \x00\r\n\r\n", 400),
        (GET + b"Content-Length: x\r\n\r\n", 400),
        (GET + b"Content-Length: -1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (GET + b"Origin: a\r\norigin: b\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n", 411),
        (POST + b"Content-Length: 70000\r\n\r\n", 413),
        (GET + b"X: " + b"x" * 40_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"x" * 40_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 431),
        (GET + b"".join(b"X%d: \r\n" % n for n in range(200)) + b"\r\n", 400),
    ],
)
async def test_malformed_or_large_request_is_answered_with_its_status(
    port: int, data: bytes, status: int
) -> None:
    found, answer = await exchange(port, data)
    assert found == status
    assert "error" in answer


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n",
        POST + JSON + b"Content-Length: 5\r\n\r\n{",
    ],
)
async def test_incomplete_request_is_dropped_after_timeout(
    port: int, node: JournalNode, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "_REQUEST_TIMEOUT_S", 0.01)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    async with asyncio.timeout(5):
        with suppress(ConnectionResetError):
            assert await reader.read() == b""
    writer.close()
    assert node.journal == []


async def test_client_that_disconnects_in_its_request_leaves_nothing_behind(
    port: int, node: JournalNode
) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(POST + b"Content-Length: 5\r\n\r\nab")
    writer.close()
    await writer.wait_closed()
    assert (await exchange(port, STATUS))[0] == 200
    assert node.journal == []


async def test_connections_beyond_the_limit_are_closed(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "_MAX_REQUESTS", 2)
    async with AsyncExitStack() as closing:
        for _ in range(2):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            closing.callback(writer.close)
        refused, writer = await asyncio.open_connection("127.0.0.1", port)
        closing.callback(writer.close)
        async with asyncio.timeout(5):
            assert await refused.read() == b""
    async with asyncio.timeout(5):
        while True:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(STATUS)
            answer = await reader.read()
            writer.close()
            if answer:
                break
    assert answer.startswith(b"HTTP/1.1 200")


async def test_short_requests_are_served_beside_all_event_streams(port: int) -> None:
    async with AsyncExitStack() as closing:
        for _ in range(http._MAX_STREAMS):
            _, writer = await open_stream(port)
            closing.callback(writer.close)
        assert (await exchange(port, STATUS))[0] == 200
        status, answer = await exchange(port, STREAM)
        assert status == 503
        assert answer["error"] == {
            "code": "service-unavailable",
            "message": "too many event streams are open",
        }
        assert (await exchange(port, STATUS))[0] == 200


async def test_ended_stream_makes_room_for_another(
    port: int, node: JournalNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "_MAX_STREAMS", 1)
    _, writer = await open_stream(port)
    writer.close()
    async with asyncio.timeout(5):
        while node.observers:
            await asyncio.sleep(0.001)
    _, writer = await open_stream(port)
    writer.close()


class FloodNode(JournalNode):
    """Answers with more than all buffers on the way can hold."""

    def status(self) -> Status:
        self.journal = ["x" * 20_000_000]
        return super().status()

    def onboarding(self) -> Onboarding:
        return Onboarding("x" * 20_000_000, "", 0, 0, 0, 0)


@pytest.mark.parametrize("path", [b"/events", b"/onboarding"])
async def test_closing_does_not_wait_for_a_client_that_does_not_read(path: bytes) -> None:
    flooding = ControlServer(FloodNode())
    port = (await flooding.start(HostPort("127.0.0.1", 0))).port
    writer = await stuck_client(port, path)
    async with asyncio.timeout(0.9):
        await flooding.close()
    writer.close()


@pytest.mark.parametrize("path", [b"/events", b"/onboarding"])
async def test_client_that_does_not_read_is_dropped_after_timeout(
    path: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "_SEND_TIMEOUT_S", 0.01)
    node = FloodNode()
    flooding = ControlServer(node)
    port = (await flooding.start(HostPort("127.0.0.1", 0))).port
    writer = await stuck_client(port, path)
    assert flooding._http is not None
    async with asyncio.timeout(5):
        while flooding._http._server.connections:
            await asyncio.sleep(0.001)
    assert node.observers == []
    await flooding.close()
    writer.close()


async def stuck_client(port: int, path: bytes) -> asyncio.StreamWriter:
    """Send a request, read the head of the response, and read no more."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
    writer.write(b"GET %b HTTP/1.1\r\n%b\r\n" % (path, HOST))
    async with asyncio.timeout(5):
        await reader.readuntil(b"\r\n\r\n")
    return writer


async def test_closing_ends_streams_and_idle_connections(node: JournalNode) -> None:
    started = ControlServer(node)
    port = (await started.start(HostPort("127.0.0.1", 0))).port
    reader, writer = await open_stream(port)
    idle_reader, idle_writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(0.9):
        await started.close()
        for each in (reader, idle_reader):
            with suppress(ConnectionResetError):
                await each.read()
    assert node.observers == []
    writer.close()
    idle_writer.close()
    with pytest.raises(OSError, match="Connect call failed"):
        await asyncio.open_connection("127.0.0.1", port)
