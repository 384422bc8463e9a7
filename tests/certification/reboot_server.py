"""Server through which YAML suites restart and reset the node.

The SDK's suites call it at a fixed address on the controller's host.
"""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Thread
from types import TracebackType
from typing import Self
from xmlrpc.server import SimpleXMLRPCServer

from tests.certification.node_process import NodeProcess
from tests.interop.hosts import TwoHosts

ADDRESS = ("10.10.10.5", 9000)
_CLONE_NEWNET = 0x4000_0000


class RebootServer:
    """Server for `node` on the controller's host, while its context is open."""

    def __init__(self, hosts: TwoHosts, node: NodeProcess) -> None:
        subprocess.run(
            ["ip", "-n", hosts.controller, "addr", "add", f"{ADDRESS[0]}/32", "dev", "lo"],
            check=True,
        )
        self._server = SimpleXMLRPCServer(
            ADDRESS, logRequests=False, allow_none=True, bind_and_activate=False
        )
        self._server.socket.close()
        self._server.socket = _listen(hosts.controller)
        for name, action in (
            ("start", node.start),
            ("stop", node.stop),
            ("reboot", node.reboot),
            ("factoryReset", node.factory_reset),
        ):
            self._server.register_function(_function(action), name)
        self._thread = Thread(target=self._server.serve_forever)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _function(action: Callable[[], None]) -> Callable[..., bool]:
    """Return `action` with the signature of an accessory call, whose arguments are ignored."""

    def call(*arguments: object) -> bool:
        action()
        return True

    return call


def _listen(host: str) -> socket.socket:
    # A socket stays in the network namespace of the thread that created it.
    def make() -> socket.socket:
        namespace = os.open(f"/run/netns/{host}", os.O_RDONLY)
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.setns(namespace, _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
        finally:
            os.close(namespace)
        return socket.create_server(ADDRESS)

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(make).result()
