"""Fakes of time, randomness and the network: deterministic and without waiting."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from itertools import count
from typing import Protocol

from evse_node.matter.crypto import AeadKey
from evse_node.matter.data_model import AuthMode, Subject
from evse_node.matter.messaging.exchange import Exchange
from evse_node.matter.messaging.exchange_manager import ExchangeManager
from evse_node.matter.messaging.message import Message
from evse_node.matter.messaging.message_layer import MessageLayer
from evse_node.matter.messaging.session import Address, SecureSession, SessionParameters
from evse_node.matter.timers import Timers


def seeded_bytes(seed: int) -> Callable[[int], bytes]:
    """Return a source of random bytes that is the same in every run."""
    return random.Random(seed).randbytes


def address(number: int, port: int = 5540) -> Address:
    """Return the link-local address of host `number`."""
    return (f"fe80::{number:x}", port, 0, 1)


class Host(Protocol):
    """Host with the four methods of a stack."""

    def receive_datagram(self, data: bytes, address: Address, now: float) -> None: ...

    def handle_timer(self, now: float) -> None: ...

    def get_timer(self) -> float | None: ...

    def datagrams_to_send(self, now: float) -> list[tuple[bytes, Address]]: ...


class Network:
    """Network of hosts with its own clock, which may drop, repeat and reorder datagrams.

    `drop`, `repeat` and `reorder` are probabilities; a reordered datagram arrives up to
    50 ms late. `lost` decides by content: it takes (data, source, destination) and returns
    True for a datagram to drop. `log` has every datagram that was sent.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        drop: float = 0.0,
        repeat: float = 0.0,
        reorder: float = 0.0,
        latency_s: float = 0.001,
    ) -> None:
        self.now = 1000.0
        self.drop, self.repeat, self.reorder = drop, repeat, reorder
        self.latency_s = latency_s
        self.lost: Callable[[bytes, Address, Address], bool] = lambda data, source, to: False
        self.log: list[tuple[float, bytes, Address, Address]] = []
        self._random = random.Random(seed)
        self._hosts: dict[Address, Host] = {}
        self._flying: list[tuple[float, int, bytes, Address, Address]] = []
        self._order = count()

    def attach(self, where: Address, host: Host) -> None:
        self._hosts[where] = host

    def send(self, data: bytes, source: Address, destination: Address) -> None:
        self.log.append((self.now, data, source, destination))
        if self.lost(data, source, destination) or self._random.random() < self.drop:
            return
        copies = 2 if self._random.random() < self.repeat else 1
        for _ in range(copies):
            when = self.now + self.latency_s
            if self._random.random() < self.reorder:
                when += self._random.random() * 0.05
            heapq.heappush(self._flying, (when, next(self._order), data, source, destination))

    def collect(self) -> None:
        """Collect the datagrams that the hosts have to send."""
        for where, host in list(self._hosts.items()):
            for data, destination in host.datagrams_to_send(self.now):
                self.send(data, where, destination)

    def run(self, seconds: float = 0.0, *, until: Callable[[], bool] | None = None) -> None:
        """Let time pass: at most `seconds`, or until a condition holds.

        Without `seconds`, at most 10 ms pass: messages are delivered, and no timer of the
        protocol is due.
        """
        end = self.now + (seconds or 0.01)
        self.collect()
        while not (until is not None and until()):
            due = [
                timer for host in self._hosts.values() if (timer := host.get_timer()) is not None
            ]
            if self._flying:
                due.append(self._flying[0][0])
            when = min(due, default=end)
            if when > end:
                break
            self.now = max(self.now, when)
            if not due:
                break
            while self._flying and self._flying[0][0] <= self.now:
                _, _, data, source, destination = heapq.heappop(self._flying)
                host = self._hosts.get(destination)
                if host is not None:
                    host.receive_datagram(data, source, self.now)
                self.collect()
            for host in list(self._hosts.values()):
                timer = host.get_timer()
                if timer is not None and timer <= self.now:
                    host.handle_timer(self.now)
            self.collect()
        else:
            return
        self.now = max(self.now, end)


class MessageHost:
    """Host with the message layer only; tests register responders themselves."""

    def __init__(
        self,
        seed: int,
        *,
        session_capacity: int | None = None,
    ) -> None:
        self.timers = Timers()
        self.random_bytes = seeded_bytes(seed)
        self.layer = MessageLayer(
            self.timers,
            self.random_bytes,
            session_capacity=session_capacity,
        )
        self.exchanges: ExchangeManager = self.layer.exchanges
        self.sessions = self.layer.sessions

    def receive_datagram(self, data: bytes, address: Address, now: float) -> None:
        self.layer.receive_datagram(data, address, now)

    def handle_timer(self, now: float) -> None:
        self.timers.run(now)

    def get_timer(self) -> float | None:
        return self.timers.deadline()

    def datagrams_to_send(self, now: float) -> list[tuple[bytes, Address]]:
        return self.layer.datagrams_to_send(now)


class RecordingHandler:
    """Exchange handler that records messages, with an optional response."""

    def __init__(self, answer: Callable[[Exchange, Message, float], None] | None = None) -> None:
        self.messages: list[Message] = []
        self.closed: list[bool] = []
        self.answer = answer

    def on_message(self, exchange: Exchange, message: Message, now: float) -> None:
        self.messages.append(message)
        if self.answer is not None:
            self.answer(exchange, message, now)

    def on_closed(self, exchange: Exchange, now: float, failed: bool) -> None:
        self.closed.append(failed)


def secure_pair(
    one: MessageHost,
    one_address: Address,
    other: MessageHost,
    other_address: Address,
    now: float,
    *,
    auth_mode: AuthMode = AuthMode.CASE,
    fabric_index: int = 1,
    node_ids: tuple[int, int] = (0x1111, 0x2222),
    parameters: SessionParameters | None = None,
) -> tuple[SecureSession, SecureSession]:
    """Add both ends of a secure session to the tables of two hosts."""
    keys = (bytes(range(16)), bytes(range(16, 32)))
    ids = (one.sessions.reserve_id(), other.sessions.reserve_id())
    if auth_mode is AuthMode.PASE:
        node_ids = (0, 0)
    ends = []
    for index, (host, peer_address) in enumerate(((one, other_address), (other, one_address))):
        session = SecureSession(
            local_id=ids[index],
            peer_id=ids[1 - index],
            subject=Subject(auth_mode, fabric_index, node_ids[1 - index]),
            encrypt_key=AeadKey(keys[index]),
            decrypt_key=AeadKey(keys[1 - index]),
            attestation_challenge=bytes(16),
            address=peer_address,
            parameters=parameters or SessionParameters(),
            random_bytes=host.random_bytes,
            now=now,
            local_node_id=node_ids[index],
            peer_node_id=node_ids[1 - index],
        )
        host.sessions.add(session, now)
        ends.append(session)
    return ends[0], ends[1]
