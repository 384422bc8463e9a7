"""The node's event loop: a direct reader beside everything that asyncio does."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Iterator

import pytest

from evse_node.node.loop import NodeLoop


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner(loop_factory=NodeLoop) as runner:
        yield runner


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ours.setblocking(False)
    with ours, theirs:
        yield ours, theirs


def node_loop() -> NodeLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, NodeLoop)
    return loop


def test_the_direct_reader_gets_what_comes(
    runner: asyncio.Runner, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    received: list[bytes] = []

    async def main() -> None:
        loop = node_loop()
        over = asyncio.Event()

        def on_readable() -> None:
            received.append(ours.recv(100))
            if len(received) < 3:
                theirs.send(b"more")
            else:
                over.set()

        loop.add_direct_reader(ours.fileno(), on_readable)
        theirs.send(b"first")
        await asyncio.wait_for(over.wait(), 5)
        loop.remove_direct_reader(ours.fileno())
        loop.remove_direct_reader(ours.fileno())
        theirs.send(b"nobody listens")
        await asyncio.sleep(0.01)

    runner.run(main())
    assert received == [b"first", b"more", b"more"]


def test_what_the_direct_reader_queues_goes_before_the_next_datagram(
    runner: asyncio.Runner, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    journal: list[str] = []

    async def main() -> None:
        loop = node_loop()
        over = asyncio.Event()

        def on_readable() -> None:
            number = ours.recv(100).decode()
            journal.append(f"read {number}")
            loop.call_soon(journal.append, f"soon {number}")
            if number == "2":
                loop.call_later(0, over.set)

        loop.add_direct_reader(ours.fileno(), on_readable)
        theirs.send(b"1")
        theirs.send(b"2")
        await asyncio.wait_for(over.wait(), 5)

    runner.run(main())
    assert journal == ["read 1", "soon 1", "read 2", "soon 2"]


def test_a_second_reader_is_an_ordinary_one(
    runner: asyncio.Runner, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    journal: list[str] = []

    async def main() -> None:
        loop = node_loop()
        over = asyncio.Event()

        def read(one: socket.socket, name: str) -> None:
            one.recv(100)
            journal.append(name)
            if len(journal) == 2:
                over.set()

        theirs.setblocking(False)
        loop.add_direct_reader(ours.fileno(), lambda: read(ours, "first"))
        loop.add_direct_reader(theirs.fileno(), lambda: read(theirs, "second"))
        theirs.send(b"one")
        ours.send(b"two")
        await asyncio.wait_for(over.wait(), 5)
        loop.remove_direct_reader(theirs.fileno())
        loop.remove_direct_reader(ours.fileno())

    runner.run(main())
    assert sorted(journal) == ["first", "second"]


def test_an_error_of_the_direct_reader_does_not_end_the_loop(
    runner: asyncio.Runner, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    errors: list[object] = []

    async def main() -> None:
        loop = node_loop()
        told = asyncio.Event()

        def on_error(loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
            errors.append(context["exception"])
            told.set()

        def on_readable() -> None:
            ours.recv(100)
            raise ValueError("defect")

        loop.set_exception_handler(on_error)
        loop.add_direct_reader(ours.fileno(), on_readable)
        for _ in range(2):
            told.clear()
            theirs.send(b"one")
            await asyncio.wait_for(told.wait(), 5)

    runner.run(main())
    assert [str(error) for error in errors] == ["defect", "defect"]


def test_timers_run_in_spite_of_a_busy_direct_reader(
    runner: asyncio.Runner, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    rounds = 0

    async def main() -> None:
        def on_readable() -> None:
            nonlocal rounds
            rounds += 1
            if rounds < 100_000:  # or this would never end if it failed
                theirs.send(ours.recv(100))
            else:
                ours.recv(100)

        node_loop().add_direct_reader(ours.fileno(), on_readable)
        theirs.send(b"round and round")
        await asyncio.sleep(0.02)

    runner.run(main())
    assert 2 < rounds < 100_000


def test_other_descriptors_are_served_beside_it(
    runner: asyncio.Runner, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair

    async def main() -> bytes:
        loop = node_loop()

        def on_readable() -> None:
            theirs.send(ours.recv(100))

        loop.add_direct_reader(ours.fileno(), on_readable)
        theirs.send(b"round and round")
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            # More than the buffers hold, so that writers have to wait for their turn, too.
            writer.write(b"x" * 3_000_000 + b"\n")
            await writer.drain()
            answer = await reader.readexactly(3_000_001)
            writer.close()
            await writer.wait_closed()
        return answer

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    assert runner.run(main()) == b"x" * 3_000_000 + b"\n"


def test_child_processes_threads_and_pipes_work(runner: asyncio.Runner) -> None:
    async def main() -> tuple[bytes, int]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", "print('child')", stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
        return output, await asyncio.to_thread(os.getpid)

    assert runner.run(main()) == (b"child\n", os.getpid())


def test_a_descriptor_closed_before_its_reader_does_not_matter(runner: asyncio.Runner) -> None:
    async def main() -> bool:
        loop = node_loop()
        ours, theirs = socket.socketpair()
        with theirs:
            descriptor = ours.fileno()
            loop.add_reader(descriptor, lambda: None)
            ours.close()
            return loop.remove_reader(descriptor)

    assert runner.run(main())


def test_a_hang_up_wakes_reader_and_writer(runner: asyncio.Runner) -> None:
    async def main() -> set[str]:
        loop = node_loop()
        seen: set[str] = set()
        reading, writing = os.pipe()
        loop.add_reader(reading, seen.add, "reader")
        os.close(writing)
        while not seen:
            await asyncio.sleep(0)
        loop.remove_reader(reading)
        os.close(reading)
        reading, writing = os.pipe()
        loop.add_writer(writing, seen.add, "writer")
        os.close(reading)
        while len(seen) < 2:
            await asyncio.sleep(0)
        loop.remove_writer(writing)
        os.close(writing)
        return seen

    assert runner.run(main()) == {"reader", "writer"}
