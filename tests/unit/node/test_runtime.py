"""The asyncio shell: order of commit and send, one timer, wake-ups, threads, shutdown."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Iterator

import pytest

from evse_node.errors import ConfigError, StorageError
from evse_node.matter.messaging.session import Address
from evse_node.node.runtime import Runtime, open_udp


class EchoStack:
    """A stack that echoes datagrams, with a settable deadline and a journal."""

    def __init__(self, journal: list[str]) -> None:
        self.journal = journal
        self.outgoing: list[tuple[bytes, Address]] = []
        self.events: list[str] = []
        self.deadline: float | None = None
        self.timed = asyncio.Event()

    def receive_datagram(self, data: bytes, address: Address, now: float) -> None:
        self.journal.append(f"received {data.decode()}")
        self.outgoing.append((b"re:" + data, address))
        self.events.append(data.decode())

    def handle_timer(self, now: float) -> None:
        assert self.deadline is not None
        if now >= self.deadline:
            self.deadline = None
            self.timed.set()

    def get_timer(self) -> float | None:
        return self.deadline

    def datagrams_to_send(self, now: float) -> list[tuple[bytes, Address]]:
        outgoing, self.outgoing = self.outgoing, []
        return outgoing

    def next_event(self) -> str | None:
        return self.events.pop(0) if self.events else None


class JournalStore:
    """A store that fails the test when a datagram is sent before the commit."""

    def __init__(self, journal: list[str], probe: socket.socket) -> None:
        self.journal = journal
        self.probe = probe
        self.is_dirty = True

    def commit(self) -> None:
        with pytest.raises(BlockingIOError):
            self.probe.recvfrom(100, socket.MSG_PEEK)
        self.journal.append("commit")
        self.is_dirty = False


@pytest.fixture
def peer() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as udp:
        udp.bind(("::1", 0))
        udp.setblocking(False)
        yield udp


def loopback_udp() -> socket.socket:
    udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    udp.bind(("::1", 0))
    return udp


async def receive(peer: socket.socket) -> bytes:
    return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(peer, 100), 5)


async def test_turn_handles_events_and_commits_before_sending(peer: socket.socket) -> None:
    journal: list[str] = []
    store = JournalStore(journal, peer)
    runtime = Runtime(EchoStack(journal), loopback_udp(), store, journal.append)
    runtime.start()
    assert journal == ["commit"]
    store.is_dirty = True
    peer.sendto(b"one", ("::1", runtime.port))
    assert await receive(peer) == b"re:one"
    assert journal == ["commit", "received one", "one", "commit"]
    runtime.close()


async def test_waiting_datagrams_share_one_commit(peer: socket.socket) -> None:
    journal: list[str] = []
    store = JournalStore(journal, peer)
    runtime = Runtime(EchoStack(journal), loopback_udp(), store, lambda _: None)
    for number in b"123":
        peer.sendto(bytes([number]), ("::1", runtime.port))
    runtime.start()
    store.is_dirty = True
    assert [await receive(peer) for _ in range(3)] == [b"re:1", b"re:2", b"re:3"]
    assert journal == ["commit", "received 1", "received 2", "received 3", "commit"]
    runtime.close()


async def test_timer_follows_an_earlier_deadline_of_the_stack(peer: socket.socket) -> None:
    stack = EchoStack([])
    runtime = Runtime(stack, loopback_udp(), JournalStore([], peer), lambda _: None)
    runtime.start()
    loop = asyncio.get_running_loop()
    stack.deadline = loop.time() + 3600
    runtime.flush()
    stack.deadline = loop.time() + 0.01
    runtime.wake()
    runtime.wake()
    await asyncio.wait_for(stack.timed.wait(), 5)
    runtime.close()


async def test_failing_event_handler_affects_neither_answer_nor_timer(
    peer: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(event: str) -> None:
        raise ZeroDivisionError

    stack = EchoStack([])
    runtime = Runtime(stack, loopback_udp(), JournalStore([], peer), fail)
    runtime.start()
    stack.deadline = asyncio.get_running_loop().time() + 0.01
    peer.sendto(b"one", ("::1", runtime.port))
    assert await receive(peer) == b"re:one"
    await asyncio.wait_for(stack.timed.wait(), 5)
    assert "ZeroDivisionError" in caplog.text
    runtime.close()


async def test_due_timer_runs_in_the_turn_of_a_datagram(peer: socket.socket) -> None:
    stack = EchoStack([])
    runtime = Runtime(stack, loopback_udp(), JournalStore([], peer), lambda _: None)
    runtime.start()
    stack.deadline = 0.0
    peer.sendto(b"one", ("::1", runtime.port))
    assert await receive(peer) == b"re:one"
    assert stack.timed.is_set()
    runtime.close()


async def test_flood_of_datagrams_does_not_block_the_loop(peer: socket.socket) -> None:
    class MirrorStack(EchoStack):
        """A stack that sends to itself."""

        def datagrams_to_send(self, now: float) -> list[tuple[bytes, Address]]:
            return [(b"again", ("::1", runtime.port, 0, 0))]

    journal: list[str] = []
    runtime = Runtime(MirrorStack(journal), loopback_udp(), JournalStore([], peer), lambda _: None)
    runtime.start()
    turns = 0
    while journal.count("received again") < 100:
        await asyncio.sleep(0)
        turns += 1
    assert turns > 1
    runtime.close()


async def test_call_from_another_thread_runs_in_the_loop(peer: socket.socket) -> None:
    stack = EchoStack([])
    runtime = Runtime(stack, loopback_udp(), JournalStore([], peer), lambda _: None)
    runtime.start()
    address: Address = ("::1", peer.getsockname()[1], 0, 0)
    thread = threading.Thread(
        target=lambda: runtime.call(lambda: stack.outgoing.append((b"from a thread", address)))
    )
    thread.start()
    thread.join()
    assert await receive(peer) == b"from a thread"
    runtime.close()
    runtime.call(lambda: pytest.fail("called after close"))
    await asyncio.sleep(0)


async def test_unreachable_peer_does_not_stop_other_datagrams(
    peer: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    stack = EchoStack([])
    runtime = Runtime(stack, loopback_udp(), JournalStore([], peer), lambda _: None)
    stack.outgoing.append((b"lost", ("fe80::1", 5540, 0, 9999)))
    stack.outgoing.append((b"last", ("::1", peer.getsockname()[1], 0, 0)))
    runtime.close()
    assert await receive(peer) == b"last"
    assert "sending to fe80::1 failed" in caplog.text
    runtime.close()


async def test_socket_accepts_ipv4_and_rejects_a_taken_port() -> None:
    udp = open_udp(0)
    assert udp.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 0
    port = udp.getsockname()[1]
    with pytest.raises(ConfigError, match=f"port: {port} is taken: give another one"):
        open_udp(port)
    udp.close()
    with pytest.raises(ConfigError, match=r"^port: 0 cannot be used \(No such device\): give"):
        open_udp(0, "nowhere0")


async def test_nothing_is_sent_until_the_commit_succeeds(
    peer: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    stack = EchoStack([])
    store = JournalStore([], peer)
    runtime = Runtime(stack, loopback_udp(), store, lambda _: None)
    runtime.start()
    commit = store.commit

    def fail() -> None:
        raise StorageError("disk full")

    store.is_dirty = True
    store.commit = fail  # type: ignore[method-assign]
    address: Address = ("::1", peer.getsockname()[1], 0, 0)
    for _ in range(2):
        stack.outgoing.append((b"not stored", address))
        runtime.flush()
    assert caplog.text.count("disk full") == 1
    store.commit = commit  # type: ignore[method-assign]
    stack.outgoing.append((b"stored", address))
    runtime.flush()
    assert await receive(peer) == b"stored"
    runtime.close()
