"""Serves the control API over HTTP on loopback.

The API has no passwords. What keeps others out is where it listens, and two checks for
requests that a browser on this machine was tricked into: the Host header must not be a
foreign name (DNS rebinding), and an Origin header must be the API's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final, Protocol

from aiohttp import web

from evse_node.config import HostPort
from evse_node.control.api import MAX_BODY, ApiError, JsonObject, Operation, openapi
from evse_node.control.operations import OPERATIONS, SCHEMAS
from evse_node.errors import ConfigError, EvseNodeError

_LOGGER: Final = logging.getLogger(__name__)
_KEEP_ALIVE_S: Final = 15.0
_MAX_WATCHERS: Final = 32
_SIMULATION_PREFIX: Final = "/sim/"

Observer = Callable[[], None]


class Controlled(Protocol):
    """What the API needs of a node."""

    def status(self) -> JsonObject:
        """Return the data of /status."""

    def onboarding(self) -> JsonObject:
        """Return the data of /onboarding."""

    async def factory_reset(self) -> None:
        """Forget all that a factory reset forgets, and start anew."""

    def simulate(self, action: str, parameters: JsonObject) -> None:
        """Act on the simulated car. Raises ApiError when there is none or it cannot."""

    def watch(self, observer: Observer) -> Callable[[], None]:
        """Call `observer` after every change; return what ends that."""


class ControlServer:
    """The HTTP server of one node."""

    def __init__(self, node: Controlled) -> None:
        self._node = node
        self._own_host = ""
        self._runner: web.AppRunner | None = None
        self._watchers: set[asyncio.Event] = set()
        self._closing = asyncio.Event()
        self._description = openapi(OPERATIONS, SCHEMAS)

    async def start(self, address: HostPort) -> HostPort:
        """Listen, and return the address with the port that was chosen.

        Raises ConfigError when the address cannot be used.
        """
        self._own_host = address.host.lower()
        app = web.Application(client_max_size=MAX_BODY)
        for operation in OPERATIONS:
            app.router.add_route(operation.method, operation.path, self._handler(operation))
        app.router.add_route("*", "/{path:.*}", self._guarded(_no_such_path))
        self._runner = web.AppRunner(
            app, access_log=None, handle_signals=False, shutdown_timeout=1.0
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, address.host, address.port)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            reason = error.strerror or str(error)
            raise ConfigError(
                f"control: '{address}' cannot be used ({reason}): give another HOST:PORT or off"
            ) from None
        if not _is_loopback(address.host):
            _LOGGER.warning("the control API on %s is open to everyone who reaches it", address)
        port: int = self._runner.addresses[0][1]
        return HostPort(address.host, port)

    async def close(self) -> None:
        """End all event streams and stop listening."""
        self._closing.set()
        for watcher in self._watchers:
            watcher.set()
        if self._runner is not None:
            await self._runner.cleanup()

    def _handler(
        self, operation: Operation
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            if operation.path == "/events":
                return await self._stream(request)
            parameters: JsonObject = {}
            if operation.method == "POST":
                parameters = operation.read_body(await _read(request))
            return _answer(HTTPStatus.OK, await self._carry_out(operation, parameters))

        return self._guarded(handle)

    async def _carry_out(self, operation: Operation, parameters: JsonObject) -> JsonObject:
        node = self._node
        match operation.path:
            case "/status":
                return node.status()
            case "/onboarding":
                return node.onboarding()
            case "/openapi.json":
                return self._description
            case "/factory-reset":
                await node.factory_reset()
                return {"done": True}
            case _:
                node.simulate(operation.path.removeprefix(_SIMULATION_PREFIX), parameters)
                return node.status()

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        if len(self._watchers) >= _MAX_WATCHERS:
            raise ApiError(HTTPStatus.SERVICE_UNAVAILABLE, "too many event streams are open")
        # Only the newest status counts: a slow reader skips some, and none wait for it.
        changed = asyncio.Event()
        changed.set()
        self._watchers.add(changed)
        unwatch = self._node.watch(changed.set)
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
        )
        number = 0
        try:
            await response.prepare(request)
            while not self._closing.is_set():
                try:
                    async with asyncio.timeout(_KEEP_ALIVE_S):
                        await changed.wait()
                except TimeoutError:
                    await response.write(b": still here\n\n")
                    continue
                if self._closing.is_set():
                    break
                changed.clear()
                number += 1
                data = json.dumps(self._node.status())
                await response.write(f"id: {number}\nevent: status\ndata: {data}\n\n".encode())
        except ConnectionError:
            pass
        finally:
            unwatch()
            self._watchers.discard(changed)
        return response

    def _guarded(
        self, handle: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def guarded(request: web.Request) -> web.StreamResponse:
            try:
                self._check_caller(request)
                return await handle(request)
            except ApiError as error:
                return _answer(error.status, error.to_json())
            except web.HTTPException as error:
                return _fail(HTTPStatus(error.status), error.reason)
            except EvseNodeError as error:
                return _fail(HTTPStatus.CONFLICT, str(error))
            except Exception:
                _LOGGER.exception("%s %s failed", request.method, request.path)
                return _fail(HTTPStatus.INTERNAL_SERVER_ERROR, "the node's log tells more")

        return guarded

    def _check_caller(self, request: web.Request) -> None:
        host = request.headers.get("Host", "")
        name = _host_name(host)
        if not (name in ("localhost", self._own_host) or _is_address(name)):
            raise ApiError(HTTPStatus.FORBIDDEN, f"this API is not for {host}")
        origin = request.headers.get("Origin")
        if origin is not None and origin.removeprefix("http://") != host:
            raise ApiError(HTTPStatus.FORBIDDEN, "this API is not for other sites' pages")


async def _read(request: web.Request) -> bytes:
    body = await request.read()
    # A page can make a browser post forms and text unasked, but not JSON.
    if body and request.content_type != "application/json":
        raise ApiError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send Content-Type: application/json")
    return body


async def _no_such_path(request: web.Request) -> web.StreamResponse:
    methods = [each.method for each in OPERATIONS if each.path == request.path]
    if methods:
        raise ApiError(HTTPStatus.METHOD_NOT_ALLOWED, f"use {' or '.join(methods)}")
    raise ApiError(HTTPStatus.NOT_FOUND, f"no such path: {request.path}; see /openapi.json")


def _answer(status: HTTPStatus, value: JsonObject) -> web.Response:
    return web.json_response(value, status=status, headers={"Cache-Control": "no-store"})


def _fail(status: HTTPStatus, message: str) -> web.Response:
    return _answer(status, ApiError(status, message).to_json())


def _host_name(host: str) -> str:
    name = host.lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name.rpartition(":")[0] or name if ":" in name else name


def _is_address(name: str) -> bool:
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(name)
        return True
    return False


def _is_loopback(host: str) -> bool:
    return host.lower() == "localhost" or (
        _is_address(host) and ipaddress.ip_address(host).is_loopback
    )
