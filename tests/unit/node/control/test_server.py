"""The control API over a loopback socket, with a node that records requests."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from evse_node.cli.control_client import (
    ControlClient,
    ControlError,
    JsonObject,
    JsonValue,
    find_node,
    is_object,
)
from evse_node.config.values import HostPort
from evse_node.errors import ConfigError
from evse_node.node.control import http
from evse_node.node.control.operations import OPERATIONS
from evse_node.node.control.server import ControlServer
from evse_node.platform.control_file import write_control_file
from tests.support.journal_node import JournalNode


@pytest.fixture
def node() -> JournalNode:
    return JournalNode()


@pytest.fixture
async def address(node: JournalNode) -> AsyncIterator[HostPort]:
    started = ControlServer(node)
    yield await started.start(HostPort("127.0.0.1", 0))
    await started.close()
    assert node.observers == []


async def call(
    address: HostPort, method: str, path: str, parameters: JsonObject | None = None
) -> JsonObject:
    return await asyncio.to_thread(ControlClient(address).call, method, path, parameters)


async def request(
    address: HostPort, method: str, path: str, body: str = "", **headers: str
) -> tuple[int, JsonObject]:
    def send() -> tuple[int, JsonObject]:
        connection = HTTPConnection(address.host, address.port, timeout=5)
        connection.request(
            method, path, body, {key.replace("_", "-"): value for key, value in headers.items()}
        )
        response = connection.getresponse()
        answer = json.loads(response.read())
        connection.close()
        assert is_object(answer)
        return response.status, answer

    return await asyncio.to_thread(send)


def message_of(answer: JsonObject) -> JsonValue:
    error = answer["error"]
    assert is_object(error)
    return error["message"]


def journal_of(status: JsonValue) -> JsonValue:
    assert is_object(status)
    node = status["node"]
    assert is_object(node)
    return node["interfaces"]


async def test_every_operation_is_served(address: HostPort, node: JournalNode) -> None:
    codes = await call(address, "GET", "/onboarding")
    assert codes["manual_code"] == "34970112332"
    assert await call(address, "POST", "/factory-reset") == {"done": True}
    await call(address, "POST", "/sim/plug-in", {})
    await call(address, "POST", "/sim/tap", {"uid": "04A1"})
    await call(address, "POST", "/surplus", {"watts": 5})
    await call(address, "POST", "/clear-faults")
    assert journal_of(await call(address, "GET", "/status")) == [
        "factory_reset",
        "PlugIn {}",
        "Tap {'uid': '04A1'}",
        "SetSurplus {'watts': 5.0, 'seconds': None}",
        "clear_faults",
    ]
    document = await call(address, "GET", "/openapi.json")
    paths = document["paths"]
    assert is_object(paths)
    assert set(paths) == {operation.path for operation in OPERATIONS}


async def test_failed_operation_is_answered_with_its_error(address: HostPort) -> None:
    with pytest.raises(ControlError, match=r"^uid is missing"):
        await call(address, "POST", "/sim/tap", {})
    with pytest.raises(ControlError, match=r"^the lock is stuck$"):
        await call(address, "POST", "/sim/unplug")
    assert (await request(address, "POST", "/sim/unplug"))[0] == 409
    assert (await request(address, "POST", "/sim/demand"))[0] == 409
    with pytest.raises(ControlError, match=r"^no such path: /nothing; see /openapi.json$"):
        await call(address, "GET", "/nothing")
    status, answer = await request(address, "GET", "/factory-reset")
    assert (status, message_of(answer)) == (405, "use POST")
    status, answer = await request(
        address, "POST", "/sim/tap", "x" * 70_000, Content_Type="application/json"
    )
    assert status == 413


async def test_internal_error_is_logged_but_not_disclosed(
    address: HostPort, caplog: pytest.LogCaptureFixture
) -> None:
    status, answer = await request(address, "POST", "/sim/no-demand")
    assert (status, message_of(answer)) == (500, "internal error: see the node's log")
    assert "a secret" in caplog.text


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:80"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": ""},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
    ],
)
async def test_requests_from_other_sites_are_forbidden(
    address: HostPort, node: JournalNode, headers: dict[str, str]
) -> None:
    status, _ = await request(address, "POST", "/factory-reset", **headers)
    assert status == 403
    assert node.journal == []


@pytest.mark.parametrize("body", ["a=1", ""])
async def test_form_posts_are_rejected(address: HostPort, node: JournalNode, body: str) -> None:
    status, _ = await request(address, "POST", "/factory-reset", body, Content_Type="text/plain")
    assert status == 415
    assert node.journal == []


@pytest.mark.parametrize("host", ["localhost:{port}", "127.0.0.1:{port}", "[::1]:{port}", "[::1]"])
async def test_names_of_this_machine_are_accepted(address: HostPort, host: str) -> None:
    own = host.format(port=address.port)
    status, _ = await request(address, "GET", "/status", Host=own, Origin=f"http://{own}")
    assert status == 200


async def test_event_stream_sends_status_after_every_change(
    address: HostPort, node: JournalNode
) -> None:
    reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")

    async def next_status() -> tuple[str, JsonValue]:
        async with asyncio.timeout(5):
            await reader.readuntil(b"id: ")
            number = (await reader.readline()).decode().strip()
            assert await reader.readline() == b"event: status\n"
            data: JsonValue = json.loads((await reader.readline()).removeprefix(b"data: "))
        return number, journal_of(data)

    assert await next_status() == ("1", [])
    await call(address, "POST", "/sim/plug-in", {})
    assert await next_status() == ("2", ["PlugIn {}"])
    node.is_restarting = True
    node.observers[0]()
    await asyncio.sleep(0.01)
    node.is_restarting = False
    node.observers[0]()
    assert await next_status() == ("3", ["PlugIn {}"])
    writer.close()
    await writer.wait_closed()
    async with asyncio.timeout(5):
        while node.observers:
            await asyncio.sleep(0.001)


async def test_quiet_event_stream_sends_keep_alive_comments(
    address: HostPort, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "_KEEP_ALIVE_S", 0.01)
    reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    async with asyncio.timeout(5):
        await reader.readuntil(b"data: ")
        for _ in range(2):
            await reader.readuntil(b": still here\n\n")
    writer.close()


_FIRST_REQUESTS = """
import asyncio, sys
from evse_node.config.values import HostPort
from evse_node.node.control.server import ControlServer
from tests.support.journal_node import JournalNode

async def get(address):
    reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(b"GET /status HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n")
    answer = await reader.read()
    writer.close()
    return answer[:15]

async def main():
    server = ControlServer(JournalNode())
    address = await server.start(HostPort("127.0.0.1", 0))
    print("aiohttp" in sys.modules)
    print(*await asyncio.gather(get(address), get(address)), "aiohttp" in sys.modules)
    await server.close()

asyncio.run(main())
"""


def test_http_library_is_loaded_on_the_first_connection() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", _FIRST_REQUESTS],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["False", "b'HTTP/1.1 200 OK' b'HTTP/1.1 200 OK' True"]


async def test_close_while_the_http_library_is_loaded_ends_connections(node: JournalNode) -> None:
    started = ControlServer(node)
    address = await started.start(HostPort("127.0.0.1", 0))
    reader, writer = await asyncio.open_connection(address.host, address.port)
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await started.close()
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
    writer.close()


async def test_close_ends_event_streams(node: JournalNode) -> None:
    started = ControlServer(node)
    address = await started.start(HostPort("127.0.0.1", 0))
    reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await reader.readuntil(b"\n\n")
    await started.close()
    async with asyncio.timeout(5):
        await reader.read()
    writer.close()
    assert node.observers == []


async def test_start_rejects_a_taken_port(address: HostPort, node: JournalNode) -> None:
    second = ControlServer(node)
    with pytest.raises(ConfigError, match=f"control: '{address}' cannot be used"):
        await second.start(address)
    await second.close()


@pytest.mark.parametrize("host", ["x" * 64, "a..b"])
async def test_start_rejects_an_invalid_host(node: JournalNode, host: str) -> None:
    server = ControlServer(node)
    with pytest.raises(ConfigError, match=f"control: '{host}:0' cannot be used"):
        await server.start(HostPort(host, 0))
    await server.close()


def test_client_finds_node_by_its_folder(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match=f"no node runs on {tmp_path}: start one with"):
        find_node(tmp_path)
    write_control_file(tmp_path, HostPort("::1", 8080))
    assert find_node(tmp_path) == HostPort("::1", 8080)
    assert (tmp_path / "control.json").stat().st_mode & 0o777 == 0o600
    (tmp_path / "control.json").write_text("{}")
    with pytest.raises(ControlError, match=r"control\.json: cannot be read"):
        find_node(tmp_path)


def test_client_reports_a_node_that_does_not_listen(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = HostPort("127.0.0.1", unused.getsockname()[1])
        with pytest.raises(ControlError, match=f"no node listens on {address}"):
            ControlClient(address).call("GET", "/status")
        with pytest.raises(ControlError, match="no node runs on"):
            ControlClient(address, tmp_path).call("GET", "/status")


@pytest.mark.parametrize("host", ["a b", "a..b", "x" * 64])
def test_client_rejects_an_invalid_address(host: str) -> None:
    with pytest.raises(ControlError, match=f"^{host}:1 is not an address$"):
        ControlClient(HostPort(host, 1)).call("GET", "/status")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\nhello", "is not an evse-node (HTTP 200)"),
        (b"HTTP/1.1 404 Not Found\r\n\r\n[]", "is not an evse-node (HTTP 404)"),
        (b"HTTP/1.1 500 No\r\n\r\n{}", "the node rejects the request"),
        (b"SSH-2.0-server\r\n", "does not answer: SSH-2.0-server"),
        (b"", "does not answer: Remote end closed connection without response"),
    ],
)
async def test_client_reports_a_server_that_is_not_a_node(answer: bytes, message: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    other = await asyncio.start_server(serve, "127.0.0.1", 0)
    address = HostPort(*other.sockets[0].getsockname())
    with pytest.raises(ControlError) as caught:
        await call(address, "GET", "/status")
    assert str(caught.value).endswith(message)
    other.close()
