"""The asyncio shell around the stack: one UDP socket, one timer, one turn at a time.

A turn receives, lets the stack process, commits changes, and only then sends. So a peer never
holds an answer that a power cut could undo.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import select
import socket
import time
from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar

from evse_node.errors import ConfigError, StorageError
from evse_node.matter.messaging.session import Address

_LOGGER: Final = logging.getLogger(__name__)

Event = TypeVar("Event")
CovariantEvent = TypeVar("CovariantEvent", covariant=True)

# Bounds the time spent on the socket under a flood.
_DATAGRAMS_PER_VISIT: Final = 32
_MAX_DATAGRAM: Final = 2048
_RECEIVE_BUFFER: Final = 1 << 19


class Stack(Protocol[CovariantEvent]):
    """The entry points of a sans-IO stack that the runtime uses."""

    def receive_datagram(self, data: bytes, address: Address, now: float) -> None:
        """Process a datagram. Never raises."""

    def handle_timer(self, now: float) -> None:
        """Run all timers that are due."""

    def get_timer(self) -> float | None:
        """Return the time of the next timer, or None."""

    def datagrams_to_send(self, now: float) -> list[tuple[bytes, Address]]:
        """Return the datagrams to send, in order, and clear them."""

    def next_event(self) -> CovariantEvent | None:
        """Return the next event, or None."""


class Durable(Protocol):
    """A store that is committed before answers are sent."""

    @property
    def is_dirty(self) -> bool:
        """Whether there are changes to commit."""

    def commit(self) -> None:
        """Make all changes durable. Raises StorageError, and then stays dirty."""


class Runtime(Generic[Event]):
    """Driver of one stack on one UDP socket in the running asyncio loop.

    `on_event` receives the stack's events, one at a time, before the datagrams of the
    same turn are sent. Call `wake` after a change outside of the stack that it may have
    to report; from another thread, use `call`.
    """

    def __init__(
        self,
        stack: Stack[Event],
        udp: socket.socket,
        store: Durable,
        on_event: Callable[[Event], None],
    ) -> None:
        self._stack = stack
        self._receive_datagram = stack.receive_datagram
        self._udp = udp
        self._store = store
        self._on_event = on_event
        self._loop = asyncio.get_running_loop()
        self._poll = select.poll()
        self._poll.register(udp, select.POLLIN)
        self._timer: asyncio.TimerHandle | None = None
        self._deadline: float | None = None
        self._is_turn_due = False
        self._is_closed = False
        self._is_failing = False

    @property
    def port(self) -> int:
        """Return the UDP port that the socket is bound to."""
        port: int = self._udp.getsockname()[1]
        return port

    def start(self) -> None:
        """Start to receive, and take the first turn."""
        self._loop.add_reader(self._udp.fileno(), self._on_readable)
        self._finish_turn(time.monotonic())

    def wake(self) -> None:
        """Schedule a turn after a change outside of the stack. Cheap when repeated."""
        if not self._is_turn_due and not self._is_closed:
            self._is_turn_due = True
            self._loop.call_soon(self._on_wake)

    def call(self, function: Callable[[], None]) -> None:
        """Run `function` in the loop's thread, then take a turn. Callable from any thread."""

        def run() -> None:
            if not self._is_closed:
                function()
                self.wake()

        # A hardware thread may outlive the loop briefly.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(run)

    def flush(self) -> None:
        """Take a turn now."""
        if not self._is_closed:
            self._finish_turn(time.monotonic())

    def close(self) -> None:
        """Commit, send pending datagrams, and close the socket. May be repeated."""
        if self._is_closed:
            return
        self._loop.remove_reader(self._udp.fileno())
        self._finish_turn(time.monotonic())
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._udp.close()

    def _on_readable(self) -> None:
        now = time.monotonic()
        for _ in range(_DATAGRAMS_PER_VISIT):
            try:
                data, address = self._udp.recvfrom(_MAX_DATAGRAM)
            except BlockingIOError:
                pass
            except OSError as error:  # an ICMP error of an earlier datagram, for instance
                _LOGGER.debug("receiving failed: %s", error)
            else:
                self._receive_datagram(data, address, now)
            # Waiting datagrams share the commit, which is expensive.
            if not (self._store.is_dirty and self._poll.poll(0)):
                break
            now = time.monotonic()
        self._finish_turn(now)

    def _on_wake(self) -> None:
        if self._is_turn_due and not self._is_closed:
            self._finish_turn(time.monotonic())

    def _on_timer(self) -> None:
        self._timer = None
        self._deadline = None
        self._finish_turn(time.monotonic())

    def _finish_turn(self, now: float) -> None:
        """Run timers, handle events, commit and send."""
        stack = self._stack
        self._is_turn_due = False
        deadline = stack.get_timer()
        try:
            if deadline is not None and deadline <= now:
                stack.handle_timer(now)
                deadline = stack.get_timer()
            while (event := stack.next_event()) is not None:
                self._handle(event)
                deadline = stack.get_timer()
            outgoing = stack.datagrams_to_send(now)
            if self._store.is_dirty and not self._commit():
                outgoing = []
            for data, address in outgoing:
                try:
                    self._udp.sendto(data, address)
                except OSError as error:
                    # Unreachable, no buffer, interface gone: left to retransmissions.
                    _LOGGER.debug("sending to %s failed: %s", address[0], error)
        finally:
            # Also after an exception, deadlines are kept.
            if deadline is not None and (self._deadline is None or deadline < self._deadline):
                self._arm(deadline, now)

    def _handle(self, event: Event) -> None:
        try:
            self._on_event(event)
        except Exception:
            # A defect must not cost peers their answers.
            _LOGGER.exception("event %s", type(event).__name__)

    def _commit(self) -> bool:
        """Return whether the commit succeeded. If not, answers are left to retransmissions."""
        try:
            self._store.commit()
        except StorageError as error:
            if not self._is_failing:
                _LOGGER.error("nothing is sent until the state can be stored: %s", error)
            self._is_failing = True
            return False
        self._is_failing = False
        return True

    def _arm(self, deadline: float, now: float) -> None:
        """Set the timer to `deadline`, which is earlier than the one set.

        A later deadline does not move the timer: most deadlines are for a loss that does not
        happen, and one early call is cheaper than a new timer in each turn.
        """
        self._deadline = deadline
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(max(0.0, deadline - now), self._on_timer)


def open_udp(port: int, interface: str = "") -> socket.socket:
    """Return a non-blocking UDP socket for IPv6 and IPv4, bound to `port` (0: any free one).

    With `interface` it receives from that one only.

    Raises ConfigError when the port is taken or there is no IPv6.
    """
    try:
        udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    except OSError as error:
        raise ConfigError(f"port: no IPv6 on this machine ({error.strerror})") from None
    try:
        udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        if interface:
            udp.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode() + b"\0")
        udp.bind(("::", port))
    except OSError as error:
        udp.close()
        is_taken = error.errno == errno.EADDRINUSE
        reason = "is taken" if is_taken else f"cannot be used ({error.strerror})"
        raise ConfigError(
            f"port: {port} {reason}: give another one, or 0 for any free port"
        ) from None
    return udp
