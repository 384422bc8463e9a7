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
import os
from collections.abc import Callable
from http import HTTPStatus
from typing import Final, Protocol, TypeAlias

from evse_node.config.values import HostPort
from evse_node.errors import ConfigError, EvseNodeError
from evse_node.node.control.api import ApiError, JsonObject, openapi
from evse_node.node.control.http import EventStream, HttpServer, Request
from evse_node.node.control.operations import OPERATIONS, SCHEMAS

_LOGGER: Final = logging.getLogger(__name__)
_KEEP_ALIVE_S: Final = 15.0
_EVENTS: Final = "/events"
_SIMULATION: Final = "/sim/"

Observer: TypeAlias = Callable[[], None]


class Controlled(Protocol):
    """What the API needs of a node."""

    def status(self) -> JsonObject:
        """Return the data of /status."""

    def onboarding(self) -> JsonObject:
        """Return the data of /onboarding."""

    async def factory_reset(self) -> None:
        """Forget all that a factory reset forgets, and start anew."""

    def act(self, action: str, parameters: JsonObject) -> None:
        """Act on the charger, whatever its hardware is."""

    def simulate(self, action: str, parameters: JsonObject) -> None:
        """Act on the simulated car. Raises EvseNodeError when there is none or it cannot."""

    def watch(self, observer: Observer) -> Callable[[], None]:
        """Call `observer` after every change; return what ends that."""


class ControlServer:
    """The control API of one node."""

    def __init__(self, node: Controlled) -> None:
        self._node = node
        self._own_host = ""
        self._http = HttpServer(self._handle, _EVENTS, self._stream, self._check_caller)
        self._description = openapi(OPERATIONS, SCHEMAS)

    async def start(self, address: HostPort) -> HostPort:
        """Listen, and return the address with the port that was chosen.

        Raises ConfigError when the address cannot be used.
        """
        self._own_host = address.host.lower()
        try:
            port = await self._http.start(address.host, address.port)
        except OSError as error:
            # The event loop's own text says everything twice.
            reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
            raise ConfigError(
                f"control: '{address}' cannot be used ({reason}): give another HOST:PORT or off"
            ) from None
        except UnicodeError:
            raise ConfigError(
                f"control: '{address}' cannot be used (no name of a host): "
                "give another HOST:PORT or off"
            ) from None
        if not _is_loopback(address.host):
            _LOGGER.warning("the control API on %s is open to everyone who reaches it", address)
        return HostPort(address.host, port)

    async def close(self) -> None:
        """End all event streams and stop listening."""
        await self._http.close()

    async def _handle(self, request: Request) -> JsonObject:
        operations = {each.method: each for each in OPERATIONS if each.path == request.path}
        if not operations:
            raise ApiError(HTTPStatus.NOT_FOUND, f"no such path: {request.path}; see /openapi.json")
        operation = operations.get(request.method)
        if operation is None:
            raise ApiError(HTTPStatus.METHOD_NOT_ALLOWED, f"use {' or '.join(operations)}")
        parameters: JsonObject = {}
        if operation.method == "POST":
            parameters = operation.read_body(_json_body(request))
        try:
            return await self._carry_out(operation.path, parameters)
        except (ApiError, ConnectionError):
            raise
        except EvseNodeError as error:
            raise ApiError(HTTPStatus.CONFLICT, str(error)) from None

    async def _carry_out(self, path: str, parameters: JsonObject) -> JsonObject:
        node = self._node
        match path:
            case "/status":
                return node.status()
            case "/onboarding":
                return node.onboarding()
            case "/openapi.json":
                return self._description
            case "/factory-reset":
                await node.factory_reset()
                return {"done": True}
            case "/surplus" | "/clear-faults":
                node.act(path.removeprefix("/"), parameters)
                return node.status()
            case _:
                node.simulate(path.removeprefix(_SIMULATION), parameters)
                return node.status()

    async def _stream(self, request: Request, stream: EventStream) -> None:
        # Only the newest status counts: a slow reader skips some, and none wait for it.
        changed = asyncio.Event()
        changed.set()
        unwatch = self._node.watch(changed.set)
        gone = asyncio.ensure_future(stream.wait_gone())
        gone.add_done_callback(lambda _: changed.set())
        number = 0
        try:
            await stream.start()
            while True:
                try:
                    async with asyncio.timeout(_KEEP_ALIVE_S):
                        await changed.wait()
                except TimeoutError:
                    await stream.send(": still here\n\n")
                    continue
                if gone.done():
                    return
                changed.clear()
                try:
                    data = json.dumps(self._node.status())
                except ApiError:  # it restarts, and tells when it is back
                    continue
                number += 1
                await stream.send(f"id: {number}\nevent: status\ndata: {data}\n\n")
        finally:
            unwatch()
            gone.cancel()

    def _check_caller(self, request: Request) -> None:
        host = request.header("host")
        name = _host_name(host)
        if not (name in ("localhost", self._own_host) or _is_address(name)):
            raise ApiError(HTTPStatus.FORBIDDEN, f"this API is not for '{host}'")
        origin = request.headers.get("origin")
        if origin is not None and origin.removeprefix("http://") != host:
            raise ApiError(HTTPStatus.FORBIDDEN, "this API is not for other sites' pages")


def _json_body(request: Request) -> bytes:
    # A page can make a browser post forms and text unasked, but not JSON.
    media_type = request.header("content-type").partition(";")[0].strip().lower()
    if (request.body or media_type) and media_type != "application/json":
        raise ApiError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send Content-Type: application/json")
    return request.body


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


def _is_loopback(host: str) -> bool:
    return host.lower() == "localhost" or (
        _is_address(host) and ipaddress.ip_address(host).is_loopback
    )
