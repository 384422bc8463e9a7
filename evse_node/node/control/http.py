"""Control API of a node over HTTP.

The API has no passwords. Access is limited by the address it listens on, and by two checks
against requests that a web page makes a local browser send: the Host header must be an address
or a name of this machine (DNS rebinding), and an Origin header must be the API's own.

aiohttp parses and writes HTTP. It needs 14 to 19 MB of memory and 0.2 s to import, so this module
is imported on the first connection. microdot, the alternative at 0.1 MB, limits neither time nor
header lines nor connections, ignores Transfer-Encoding, accepts duplicate headers and prints
malformed requests with a traceback; with that added in front, little of it would be in use.

Each connection serves one request and has one deadline at a time: for the request, then for
the client to read the response. Event streams count separately from short requests.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

import msgspec
from aiohttp import HttpVersion10, web
from aiohttp.http_exceptions import LineTooLong
from msgspec import Struct

from evse_node.errors import EvseNodeError
from evse_node.node.control import messages
from evse_node.node.control.messages import ApiError
from evse_node.node.control.node_control import NodeControl
from evse_node.node.control.operations import OPERATIONS, decode_request, openapi

_LOGGER: Final = logging.getLogger(__name__)

# Of a request. Larger ones are answered with 431 or 413.
_MAX_HEADER_LINES: Final = 64
_MAX_HEADER_LINE: Final = 8 * 1024
_MAX_BODY: Final = 64 * 1024
# At the same time. Short requests beyond that are disconnected, streams answered with 503.
_MAX_REQUESTS: Final = 64
_MAX_STREAMS: Final = 64
_REQUEST_TIMEOUT_S: Final = 10.0
# Drop clients that do not read for this long.
_SEND_TIMEOUT_S: Final = 30.0
_KEEP_ALIVE_S: Final = 15.0
_CLOSE_TIMEOUT_S: Final = 1.0
_EVENTS: Final = "/events"
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Connection": "close",
    "Server": "evse-node",
}


class _Connection(web.RequestHandler):
    """Connection that is aborted at its deadline, and answers HTTP errors in JSON."""

    def __init__(self, server: web.Server) -> None:
        self._deadline: asyncio.TimerHandle | None = None
        self._tcp: asyncio.BaseTransport | None = None
        self.on_lost: Callable[[], None] = lambda: None
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            logger=_LOGGER,
            access_log=None,  # type: ignore[arg-type]
            max_line_size=_MAX_HEADER_LINE,
            max_field_size=_MAX_HEADER_LINE,
            max_headers=_MAX_HEADER_LINES,
            lingering_time=_CLOSE_TIMEOUT_S,
            auto_decompress=False,
        )

    @property
    def is_lost(self) -> bool:
        """Whether the client has disconnected."""
        return self._tcp is None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the deadline for the request."""
        self._tcp = transport
        super().connection_made(transport)
        self.set_deadline(_REQUEST_TIMEOUT_S)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Report the end to the stream, if any."""
        self._tcp = None
        self.set_deadline(None)
        super().connection_lost(exc)
        self.on_lost()

    def set_deadline(self, seconds: float | None) -> None:
        """Replace the deadline, after which the connection is aborted."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if seconds is not None and not self.is_lost:
            self._deadline = asyncio.get_running_loop().call_later(seconds, self.abort)

    def abort(self) -> None:
        """Disconnect without sending the buffered data."""
        if isinstance(self._tcp, asyncio.WriteTransport):
            self._tcp.abort()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Return the response to a malformed request."""
        self.set_deadline(_SEND_TIMEOUT_S)
        if isinstance(exc, LineTooLong):
            error = ApiError(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the headers are too large"
            )
        else:
            error = ApiError(HTTPStatus(status), "this is not an HTTP/1.1 request")
        return _error_response(error)


class _Refused(asyncio.Protocol):
    """Connection beyond the limit."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Disconnect."""
        transport.close()


class HttpServer:
    """Connections of the control API. `own_host` is the name that it listens on."""

    def __init__(self, node: NodeControl, own_host: str) -> None:
        self._node = node
        self._own_host = own_host.lower()
        self._server = web.Server(self._serve)
        self._requests: set[asyncio.Task[object]] = set()
        self._streams: set[_Connection] = set()
        self._description = openapi()

    def accept(self) -> asyncio.Protocol:
        """Return the protocol of a new connection."""
        short = len(self._server.connections) - len(self._streams)
        return _Refused() if short >= _MAX_REQUESTS else _Connection(self._server)

    async def close(self) -> None:
        """End all requests and streams."""
        for task in self._requests:
            task.cancel()
        await asyncio.gather(*self._requests, return_exceptions=True)
        for connection in self._server.connections:
            assert isinstance(connection, _Connection)
            connection.abort()
        # One turn of the loop, in which asyncio closes the sockets.
        await asyncio.sleep(0)
        await self._server.shutdown(_CLOSE_TIMEOUT_S)

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = request.protocol
        assert isinstance(connection, _Connection)
        task = asyncio.current_task()
        assert task is not None
        self._requests.add(task)
        task.add_done_callback(self._requests.discard)
        try:
            return await self._answer(request, connection)
        except ApiError as error:
            return _error_response(error)
        except EvseNodeError as error:
            return _error_response(ApiError(HTTPStatus.CONFLICT, str(error)))
        except ConnectionError:
            raise
        except Exception:
            _LOGGER.exception("%s %s failed", request.method, request.path)
            return _error_response(
                ApiError(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error: see the node's log")
            )
        finally:
            connection.set_deadline(_SEND_TIMEOUT_S)

    async def _answer(
        self, request: web.BaseRequest, connection: _Connection
    ) -> web.StreamResponse:
        _check_form(request)
        body = await request.read()
        self._check_client(request)
        path = request.raw_path.partition("?")[0]
        operations = {each.method: each for each in OPERATIONS if each.path == path}
        if not operations:
            raise ApiError(HTTPStatus.NOT_FOUND, f"no such path: {path}; see /openapi.json")
        operation = operations.get(request.method)
        if operation is None:
            raise ApiError(HTTPStatus.METHOD_NOT_ALLOWED, f"use {' or '.join(operations)}")
        connection.set_deadline(None)
        if path == _EVENTS:
            return await self._stream(request, connection)
        if operation.request is None:
            return _response(self._get(path))
        _check_media_type(request, body)
        return _response(await self._post(decode_request(body, operation.request)))

    def _get(self, path: str) -> object:
        match path:
            case "/status":
                return self._node.status()
            case "/onboarding":
                return self._node.onboarding()
            case _:
                return self._description

    async def _post(self, request: messages.Request) -> Struct:
        match request:
            case messages.FactoryReset():
                await self._node.factory_reset()
                return messages.Done()
            case messages.SetSurplus():
                self._node.set_surplus(request)
            case messages.ClearFaults():
                self._node.clear_faults()
            case messages.CarRequest():
                self._node.simulate(request)
        return self._node.status()

    async def _stream(
        self, request: web.BaseRequest, connection: _Connection
    ) -> web.StreamResponse:
        if len(self._streams) >= _MAX_STREAMS:
            raise ApiError(HTTPStatus.SERVICE_UNAVAILABLE, "too many event streams are open")
        response = web.StreamResponse(headers={**_HEADERS, "Content-Type": "text/event-stream"})
        response.force_close()
        # Only the newest status is sent: a slow client skips some and delays no other client.
        changed = asyncio.Event()
        changed.set()
        connection.on_lost = changed.set
        unwatch = self._node.watch(changed.set)
        self._streams.add(connection)
        number = 0
        try:
            await response.prepare(request)
            while not connection.is_lost:
                try:
                    async with asyncio.timeout(_KEEP_ALIVE_S):
                        await changed.wait()
                except TimeoutError:
                    await self._send(response, connection, b": still here\n\n")
                    continue
                changed.clear()
                try:
                    data = msgspec.json.encode(self._node.status())
                except ApiError:  # restarting; another change follows
                    continue
                number += 1
                await self._send(
                    response, connection, b"id: %d\nevent: status\ndata: %b\n\n" % (number, data)
                )
        finally:
            unwatch()
            self._streams.discard(connection)
        return response

    async def _send(
        self, response: web.StreamResponse, connection: _Connection, data: bytes
    ) -> None:
        """Send to a stream. Raises ConnectionError when the client is gone or does not read."""
        connection.set_deadline(_SEND_TIMEOUT_S)
        await response.write(data)
        connection.set_deadline(None)

    def _check_client(self, request: web.BaseRequest) -> None:
        host = request.headers.get("Host", "")
        name = _host_name(host)
        if not (name in ("localhost", self._own_host) or _is_address(name)):
            raise ApiError(HTTPStatus.FORBIDDEN, f"this API is not for '{host}'")
        origin = request.headers.get("Origin")
        if origin is not None and origin.removeprefix("http://") != host:
            raise ApiError(HTTPStatus.FORBIDDEN, "this API is not for other sites' pages")


def _check_form(request: web.BaseRequest) -> None:
    """Raise ApiError for requests that the HTTP parser accepts but this API does not."""
    if request.version < HttpVersion10:
        raise ApiError(HTTPStatus.BAD_REQUEST, "this is not an HTTP/1.1 request")
    names = [name.lower() for name, _ in request.raw_headers]
    if len(set(names)) != len(names):
        raise ApiError(HTTPStatus.BAD_REQUEST, "a header is repeated")
    if not all(name.isascii() and value.isascii() for name, value in request.raw_headers):
        raise ApiError(HTTPStatus.BAD_REQUEST, "the headers are not ASCII")
    if "Transfer-Encoding" in request.headers:
        raise ApiError(HTTPStatus.LENGTH_REQUIRED, "send Content-Length")
    if (request.content_length or 0) > _MAX_BODY:
        raise ApiError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {_MAX_BODY} bytes")


def _check_media_type(request: web.BaseRequest, body: bytes) -> None:
    # A page can make a browser post forms and text, but not JSON.
    media_type = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if (body or media_type) and media_type != "application/json":
        raise ApiError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send Content-Type: application/json")


def _response(answer: object, status: HTTPStatus = HTTPStatus.OK) -> web.Response:
    response = web.Response(
        body=msgspec.json.encode(answer),
        status=status,
        headers=_HEADERS,
        content_type="application/json",
    )
    response.force_close()
    return response


def _error_response(error: ApiError) -> web.Response:
    code = error.status.phrase.lower().replace(" ", "-")
    return _response(messages.Error(messages.ErrorDetail(code, str(error))), error.status)


def _host_name(host: str) -> str:
    name = host.lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name.rpartition(":")[0] if ":" in name else name


def _is_address(name: str) -> bool:
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(name)
        return True
    return False
