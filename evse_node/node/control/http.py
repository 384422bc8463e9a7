"""Just enough of HTTP/1.1 for the control API: one request a connection, small bodies.

A web framework would cost the node a third of its memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Final, TypeAlias

from msgspec import Struct

from evse_node.node.control.api import MAX_BODY, ApiError, JsonObject

_LOGGER: Final = logging.getLogger(__name__)
_MAX_HEAD: Final = 16 * 1024
_MAX_CONNECTIONS: Final = 64
_REQUEST_TIMEOUT_S: Final = 10.0
# Who takes nothing for so long does not hold a connection any more.
_SEND_TIMEOUT_S: Final = 30.0


class Request(Struct, frozen=True):
    """A request that was read completely. Header names are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    def header(self, name: str) -> str:
        """Return a header's value, or an empty string."""
        return self.headers.get(name, "")


class EventStream:
    """An answer that goes on: server-sent events, until the reader is gone."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def start(self) -> None:
        """Send the head of the answer."""
        self._writer.write(_head(HTTPStatus.OK, "text/event-stream"))
        await self._writer.drain()

    async def send(self, text: str) -> None:
        """Send text; waits while the reader is slow. Raises OSError when it is gone or stuck."""
        self._writer.write(text.encode())
        async with asyncio.timeout(_SEND_TIMEOUT_S):
            await self._writer.drain()

    async def wait_gone(self) -> None:
        """Return when the reader has closed the connection."""
        with contextlib.suppress(OSError):
            while await self._reader.read(1024):
                pass


Handler: TypeAlias = Callable[[Request], Awaitable[JsonObject]]
StreamHandler: TypeAlias = Callable[[Request, EventStream], Awaitable[None]]


class HttpServer:
    """Reads requests, and sends what the handlers return or raise as JSON.

    `handle` answers all requests but those for `stream_path`, which `stream` answers;
    both begin after `check`, which raises ApiError for a caller that is not welcome.
    """

    def __init__(
        self,
        handle: Handler,
        stream_path: str,
        stream: StreamHandler,
        check: Callable[[Request], None],
    ) -> None:
        self._handle = handle
        self._stream_path = stream_path
        self._stream = stream
        self._check = check
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self, host: str, port: int) -> int:
        """Listen; return the port. Raises OSError."""
        self._server = await asyncio.start_server(self._accept, host, port, limit=_MAX_HEAD)
        chosen: int = self._server.sockets[0].getsockname()[1]
        return chosen

    async def close(self) -> None:
        """Stop listening and end all connections."""
        if self._server is not None:
            self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= _MAX_CONNECTIONS:
            writer.close()
            return
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            status, answer = await self._answer(reader, writer)
            if answer is not None:
                body = json.dumps(answer).encode()
                writer.write(_head(status, "application/json", len(body)) + body)
            writer.close()
            async with asyncio.timeout(_SEND_TIMEOUT_S):
                await writer.wait_closed()
        except (OSError, asyncio.IncompleteReadError) as error:
            _LOGGER.debug("connection ended: %r", error)
        finally:
            # Nobody waits for a reader that does not take what is left.
            writer.transport.abort()

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> tuple[HTTPStatus, JsonObject | None]:
        what = "request"
        try:
            async with asyncio.timeout(_REQUEST_TIMEOUT_S):
                request = await _read_request(reader)
            what = f"{request.method} {request.path}"
            self._check(request)
            if request.path == self._stream_path and request.method == "GET":
                await self._stream(request, EventStream(reader, writer))
                return HTTPStatus.OK, None
            return HTTPStatus.OK, await self._handle(request)
        except ApiError as error:
            return error.status, error.to_json()
        except (ConnectionError, asyncio.IncompleteReadError, TimeoutError):
            raise
        except Exception:
            _LOGGER.exception("%s failed", what)
            failure = ApiError(HTTPStatus.INTERNAL_SERVER_ERROR, "the node's log tells more")
            return failure.status, failure.to_json()


async def _read_request(reader: asyncio.StreamReader) -> Request:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        raise ApiError(
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the headers are too large"
        ) from None
    try:
        first, *lines = head.decode("ascii").split("\r\n")[:-2]
        method, target, version = first.split(" ")
        pairs = [line.split(":", 1) for line in lines]
        headers = {name.lower(): value.strip() for name, value in pairs}
        length = int(headers.get("content-length", "0"))
    except ValueError:
        raise ApiError(HTTPStatus.BAD_REQUEST, "this is not an HTTP request") from None
    if not version.startswith("HTTP/1.") or length < 0 or len(headers) != len(pairs):
        raise ApiError(HTTPStatus.BAD_REQUEST, "this is not an HTTP/1.1 request")
    if "transfer-encoding" in headers:
        raise ApiError(HTTPStatus.LENGTH_REQUIRED, "send Content-Length")
    if length > MAX_BODY:
        raise ApiError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {MAX_BODY} bytes")
    body = await reader.readexactly(length)
    return Request(method, target.partition("?")[0], headers, body)


def _head(status: HTTPStatus, media_type: str, length: int | None = None) -> bytes:
    lines = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        f"Content-Type: {media_type}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        "Connection: close",
    ]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
