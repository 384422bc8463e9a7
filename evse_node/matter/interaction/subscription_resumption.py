"""Resumption of subscriptions after a restart.

A subscriber that still holds its subscription receives a complete report; one that does
not answers INVALID_SUBSCRIPTION, which ends the subscription.

Spec: Matter Core 1.3 "Subscription Activation", "Persisting subscriptions"
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Container
from typing import Final, TypeAlias

from evse_node.errors import DecodeError, SessionError, StatusError
from evse_node.matter.interaction.subscribe import Subscriptions
from evse_node.matter.interaction.subscription import State, decode_record
from evse_node.matter.messaging.session import Address, SecureSession
from evse_node.matter.store import Store
from evse_node.matter.timers import Timers

_LOGGER: Final = logging.getLogger(__name__)

OnConnected: TypeAlias = Callable[[SecureSession | None, float], None]
Connect: TypeAlias = Callable[[int, int, Address, OnConnected, float], object]
"""`connect(fabric_index, node_id, address, on_done, now)` establishes a CASE session.

`on_done(session, now)` is called once, with None on failure, unless SessionError is raised.
"""

FIRST_DELAY_S = 2.0
RETRY_DELAYS_S = (10.0, 30.0, 90.0, 300.0, 900.0)
"""Delays between attempts; after the last one the peer's subscriptions end."""


class Resumer:
    """Reconnection to the peers of stored subscriptions on existing fabrics."""

    def __init__(
        self,
        subscriptions: Subscriptions,
        fabrics: Container[int],
        store: Store,
        timers: Timers,
        connect: Connect,
    ) -> None:
        self._subscriptions = subscriptions
        self._fabrics = fabrics
        self._store = store
        self._timers = timers
        self._connect = connect

    def start(self, now: float) -> None:
        """Load all subscriptions and schedule connections to their peers."""
        peers: dict[tuple[int, int], Address] = {}
        for key, data in self._store.items("sub/"):
            try:
                subscription, address = decode_record(
                    data, self._timers, self._subscriptions.report
                )
                if subscription.fabric_index not in self._fabrics:
                    # It was never committed, or a power cut interrupted its removal.
                    raise DecodeError("the fabric does not exist")
                self._subscriptions.add(subscription)
            except (DecodeError, StatusError) as error:
                _LOGGER.warning("deleting subscription record %s: %s", key, error)
                self._store.delete(key)
            else:
                peers[subscription.key] = address
        for number, (peer, address) in enumerate(peers.items()):
            self._attempt_at(now + FIRST_DELAY_S + 0.25 * number, peer, address, 0)

    def _attempt_at(
        self, when: float, peer: tuple[int, int], address: Address, attempt: int
    ) -> None:
        self._timers.call_at(when, lambda now: self._attempt(peer, address, attempt, now))

    def _attempt(self, peer: tuple[int, int], address: Address, attempt: int, now: float) -> None:
        waiting = [s for s in self._subscriptions if s.key == peer and s.state is State.RESUMING]
        if not waiting:
            return
        # The peer may have established a session itself.
        session = self._subscriptions.exchanges.sessions.find_case(*peer)
        if session is not None:
            self._resume(peer, session, now)
            return

        def on_done(session: SecureSession | None, now: float) -> None:
            if session is not None:
                self._resume(peer, session, now)
            elif attempt < len(RETRY_DELAYS_S):
                self._attempt_at(now + RETRY_DELAYS_S[attempt], peer, address, attempt + 1)
            else:
                self._give_up(peer)

        try:
            self._connect(*peer, address, on_done, now)
        except SessionError as error:
            _LOGGER.debug("cannot connect to a subscriber: %s", error)
            on_done(None, now)

    def _resume(self, peer: tuple[int, int], session: SecureSession, now: float) -> None:
        for subscription in self._subscriptions:
            if subscription.key == peer and subscription.state is State.RESUMING:
                subscription.expand(self._subscriptions.access, session)
                if subscription.is_empty:
                    self._subscriptions.end(subscription)
                else:
                    subscription.mark_all()
                    self._subscriptions.start_report(subscription, session, now)

    def _give_up(self, peer: tuple[int, int]) -> None:
        _LOGGER.info("subscriber %016x of fabric %d is unreachable", peer[1], peer[0])
        for subscription in self._subscriptions:
            if subscription.key == peer and subscription.state is State.RESUMING:
                self._subscriptions.end(subscription)
