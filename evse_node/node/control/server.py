"""Listener of the control API, which loads the HTTP server on the first connection.

So the API costs its memory only where it is used, and delays neither discovery nor charging.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Final

from evse_node.config.values import HostPort
from evse_node.errors import ConfigError
from evse_node.node.control.node_control import NodeControl

if TYPE_CHECKING:
    from evse_node.node.control.http import HttpServer

_LOGGER: Final = logging.getLogger(__name__)
_MAX_WAITING: Final = 64


class _Waiting(asyncio.Protocol):
    """Connection that is not read before the HTTP server is loaded."""

    def __init__(self, on_connected: Callable[[asyncio.Transport], None]) -> None:
        self._on_connected = on_connected

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Hand the connection over."""
        assert isinstance(transport, asyncio.Transport)
        self._on_connected(transport)


class ControlServer:
    """The control API of one node."""

    def __init__(self, node: NodeControl) -> None:
        self._node = node
        self._own_host = ""
        self._listener: asyncio.Server | None = None
        self._http: HttpServer | None = None
        self._waiting: list[asyncio.Transport] = []
        self._loading: asyncio.Task[None] | None = None

    async def start(self, address: HostPort) -> HostPort:
        """Listen, and return the address with the port that was chosen.

        Raises ConfigError when the address cannot be used.
        """
        self._own_host = address.host
        try:
            loop = asyncio.get_running_loop()
            listener = await loop.create_server(self._accept, address.host, address.port)
        except OSError as error:
            # The event loop's own text repeats the address.
            reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
            raise ConfigError(
                f"control: '{address}' cannot be used ({reason}): give another HOST:PORT or off"
            ) from None
        except UnicodeError:
            raise ConfigError(
                f"control: '{address}' cannot be used (not a host name): "
                "give another HOST:PORT or off"
            ) from None
        self._listener = listener
        if not _is_loopback(address.host):
            _LOGGER.warning("the control API on %s is open to every host that reaches it", address)
        return HostPort(address.host, listener.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop listening, and end all connections."""
        if self._listener is None:
            return
        self._listener.close()
        if self._loading is not None:
            self._loading.cancel()
            await asyncio.gather(self._loading, return_exceptions=True)
        for transport in self._waiting:
            transport.abort()
        if self._http is not None:
            await self._http.close()

    def _accept(self) -> asyncio.Protocol:
        return _Waiting(self._on_connected) if self._http is None else self._http.accept()

    def _on_connected(self, transport: asyncio.Transport) -> None:
        if self._http is not None:
            _serve(transport, self._http)
        elif len(self._waiting) >= _MAX_WAITING:
            transport.abort()
        else:
            self._waiting.append(transport)
            loop = asyncio.get_running_loop()
            # Later, since Python 3.11 starts to read after this call.
            loop.call_soon(transport.pause_reading)
            if self._loading is None:
                self._loading = loop.create_task(self._load())

    async def _load(self) -> None:
        # In a thread: neither controllers nor the hardware's watchdog wait for the imports.
        await asyncio.to_thread(import_module, "evse_node.node.control.http")
        from evse_node.node.control.http import HttpServer

        self._http = HttpServer(self._node, self._own_host)
        waiting, self._waiting = self._waiting, []
        for transport in waiting:
            _serve(transport, self._http)


def _serve(transport: asyncio.Transport, server: HttpServer) -> None:
    protocol = server.accept()
    transport.set_protocol(protocol)
    protocol.connection_made(transport)
    transport.resume_reading()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
