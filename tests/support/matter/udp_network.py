"""The `Network` of `tests.support.fakes` over real UDP on loopback, for one host of its own.

The host's calls block, so it needs a thread of its own when the node runs in an asyncio
loop of the same process.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable

from evse_node.matter.messaging.session import Address
from tests.support.fakes import Host, Network

_STEP_S = 0.02


class UdpNetwork(Network):
    """Network that carries the datagrams of one host over a socket, with the real clock."""

    def __init__(self) -> None:
        super().__init__()
        self._udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._udp.bind(("::1", 0))
        self._host: Host | None = None
        self.now = time.monotonic()

    def attach(self, where: Address, host: Host) -> None:
        self._host = host

    def close(self) -> None:
        self._udp.close()

    def run(self, seconds: float = 0.0, *, until: Callable[[], bool] | None = None) -> None:
        assert self._host is not None
        end = time.monotonic() + (seconds or _STEP_S)
        while True:
            self._turn(self._host)
            if (until is not None and until()) or self.now >= end:
                return
            timer = self._host.get_timer()
            wait = min(end, timer if timer is not None else end) - self.now
            select.select([self._udp], [], [], max(0.0, wait))

    def _turn(self, host: Host) -> None:
        self.now = time.monotonic()
        while True:
            try:
                data, address = self._udp.recvfrom(2048)
            except BlockingIOError:
                break
            host.receive_datagram(data, address, self.now)
        host.handle_timer(self.now)
        for data, destination in host.datagrams_to_send(self.now):
            self._udp.sendto(data, destination)
