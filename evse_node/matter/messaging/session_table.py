"""The table of sessions: ids, lookup, limits, eviction.

Spec: Matter Core 1.3 "Secure Session Context", "Minimal Number of CASE Sessions"
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator

from evse_node.errors import SessionError
from evse_node.matter.data_model import is_operational_node_id
from evse_node.matter.messaging.counter import GlobalCounter, initial_counter
from evse_node.matter.messaging.session import (
    Address,
    SecureSession,
    SessionParameters,
    UnsecuredSession,
)

MAX_SECURE_SESSIONS = 64
MAX_UNSECURED_SESSIONS = 32

SessionObserver = Callable[[SecureSession, float], None]


class SessionTable:
    """All sessions of a node.

    `on_removed` observers are called after a secure session was removed. ExchangeManager
    provides `announce_close`, which sends CloseSession to the peer.
    """

    def __init__(
        self,
        random_bytes: Callable[[int], bytes],
        *,
        capacity: int = MAX_SECURE_SESSIONS,
        unsecured_capacity: int = MAX_UNSECURED_SESSIONS,
    ) -> None:
        self._random_bytes = random_bytes
        self._capacity = capacity
        self._unsecured_capacity = unsecured_capacity
        self._secure: dict[int, SecureSession] = {}
        self.get: Callable[[int], SecureSession | None] = self._secure.get
        """Return the secure session with this id, as received in a message header."""
        self._reserved: set[int] = set()
        self._next_id = int.from_bytes(random_bytes(2), "little")
        # By ephemeral node id and, for sessions opened by the peer, address.
        self._unsecured: dict[tuple[int, Address | None], UnsecuredSession] = {}
        self._unencrypted_counter = GlobalCounter(initial_counter(random_bytes))
        self.on_removed: list[SessionObserver] = []
        self.announce_close: SessionObserver | None = None

    # Secure sessions.

    def reserve_id(self) -> int:
        """Return an unused session id, reserved until `add` or `release_id`."""
        for _ in range(0xFFFF):
            candidate = self._next_id & 0xFFFF
            self._next_id = candidate + 1
            if candidate and candidate not in self._secure and candidate not in self._reserved:
                self._reserved.add(candidate)
                return candidate
        raise SessionError("all session ids are in use")

    def release_id(self, local_id: int) -> None:
        """Release a reserved id whose session was not established."""
        self._reserved.discard(local_id)

    def add(self, session: SecureSession, now: float) -> None:
        """Add a new session.

        When the table is full, another session is evicted and its peer notified.
        """
        self._reserved.discard(session.local_id)
        while len(self._secure) >= self._capacity:
            self.remove(self._select_victim(session), now, announce=True)
        self._secure[session.local_id] = session

    def find_case(self, fabric_index: int, peer_node_id: int) -> SecureSession | None:
        """Return the most recently active CASE session with a peer, or None."""
        found: SecureSession | None = None
        for session in self._secure.values():
            if (
                session.is_case
                and session.peer_node_id == peer_node_id
                and session.fabric_index == fabric_index
                and not session.is_closing
                and not session.is_defunct
                and (found is None or session.active_at > found.active_at)
            ):
                found = session
        return found

    def __iter__(self) -> Iterator[SecureSession]:
        return iter(list(self._secure.values()))

    def __len__(self) -> int:
        return len(self._secure)

    def remove(self, session: SecureSession, now: float, *, announce: bool = False) -> None:
        """Remove a session and end its exchanges. With `announce`, notify the peer first."""
        if self._secure.get(session.local_id) is not session:
            return
        if announce and self.announce_close is not None:
            self.announce_close(session, now)
        del self._secure[session.local_id]
        session.is_closing = True
        for observer in self.on_removed:
            observer(session, now)

    def expire(self, session: SecureSession, now: float) -> None:
        """Remove a session as soon as its current exchanges have ended."""
        if session.exchanges:
            session.is_closing = True
        else:
            self.remove(session, now)

    def remove_fabric(
        self, fabric_index: int, now: float, keep: SecureSession | None = None
    ) -> None:
        """Remove all sessions of a fabric. `keep` only expires, so that it can still respond."""
        for session in self:
            if session.fabric_index == fabric_index:
                if session is keep:
                    self.expire(session, now)
                else:
                    self.remove(session, now)

    def _select_victim(self, newcomer: SecureSession) -> SecureSession:
        # A fabric only loses sessions to others while it has the most, which guarantees
        # each fabric its share.
        fabrics = Counter(session.fabric_index for session in self._secure.values())
        peers = Counter(
            (session.fabric_index, session.peer_node_id) for session in self._secure.values()
        )

        def rank(session: SecureSession) -> tuple[int, bool, int, bool, bool, bool, float]:
            fabric, peer = session.fabric_index, session.peer_node_id
            return (
                -fabrics[fabric],
                fabric != newcomer.fabric_index,
                -peers[(fabric, peer)],
                peer != newcomer.peer_node_id,
                not session.is_defunct,
                bool(session.exchanges),
                session.used_at,
            )

        return min(self._secure.values(), key=rank)

    # Unsecured sessions.

    def open_unsecured(
        self, address: Address, parameters: SessionParameters, now: float
    ) -> UnsecuredSession:
        """Open an unsecured session as initiator, with a new ephemeral node id.

        Raises SessionError when all unsecured sessions are busy.
        """
        node_id = 0
        while not is_operational_node_id(node_id):
            node_id = int.from_bytes(self._random_bytes(8), "little")
        return self._add_unsecured((node_id, None), address, parameters, now)

    def find_unsecured(self, node_id: int, address: Address) -> UnsecuredSession | None:
        """Return the session opened by the peer with this ephemeral node id, or None."""
        return self._unsecured.get((node_id, address))

    def accept_unsecured(self, node_id: int, address: Address, now: float) -> UnsecuredSession:
        """Open the session for a first message from this ephemeral node id.

        Raises SessionError when all unsecured sessions are busy.
        """
        return self._add_unsecured((node_id, address), address, SessionParameters(), now)

    def unsecured(self) -> Iterator[UnsecuredSession]:
        """Return all unsecured sessions, the oldest first."""
        return iter(list(self._unsecured.values()))

    def find_own_unsecured(self, node_id: int) -> UnsecuredSession | None:
        """Return the session opened by this node with an ephemeral node id, or None."""
        return self._unsecured.get((node_id, None))

    def _add_unsecured(
        self,
        key: tuple[int, Address | None],
        address: Address,
        parameters: SessionParameters,
        now: float,
    ) -> UnsecuredSession:
        if len(self._unsecured) >= self._unsecured_capacity:
            self._evict_unsecured(now)
        session = UnsecuredSession(
            address,
            parameters,
            now,
            ephemeral_node_id=key[0],
            is_initiator=key[1] is None,
            send_counter=self._unencrypted_counter,
        )
        if session.is_initiator:
            # The peer has not been heard yet, so it may be idle.
            session.active_at = -math.inf
        self._unsecured[key] = session
        return session

    def _evict_unsecured(self, now: float) -> None:
        # A session whose exchanges only wait for acknowledgements can be evicted, so that
        # peers which never acknowledge a rejection cannot lock out others.
        idle = [
            (key, session)
            for key, session in self._unsecured.items()
            if not any(exchange.is_open for exchange in session.exchanges.values())
        ]
        if not idle:
            raise SessionError("all unsecured sessions are busy")
        key, victim = min(idle, key=lambda item: (bool(item[1].exchanges), item[1].used_at))
        del self._unsecured[key]
        for exchange in list(victim.exchanges.values()):
            exchange.end(now, failed=True)
