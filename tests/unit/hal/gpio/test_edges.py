"""Input lines whose edges cannot be read, in a loop that would ask again at once."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from evse_node.errors import HalError
from evse_node.hal.gpio.drivers import Edge
from evse_node.state_machine.events import FaultCleared, FaultRaised
from evse_node.state_machine.faults import FaultState
from evse_node.units import Milliamps
from tests.contract.gpio_bench import GpioBench

LOST = FaultRaised(FaultState.OTHER)
BACK = FaultCleared(FaultState.OTHER)


@pytest.fixture
def bench() -> GpioBench:
    made = GpioBench()
    made.attach()
    made.plug_in()
    made.backend.control_pilot.offer(Milliamps(16_000))
    made.demand()
    made.events.clear()
    return made


@pytest.fixture
def line() -> Iterator[int]:
    """A descriptor that can always be read."""
    with ExitStack() as stack:
        one, other = (stack.enter_context(each) for each in socket.socketpair())
        other.send(b"x")
        yield one.fileno()


def test_fault_lasts_while_edges_cannot_be_read(bench: GpioBench) -> None:
    bench.electronics.failing.add("edges")
    bench.backend.on_edges()
    bench.wait(1)
    assert bench.events == [LOST]
    with pytest.raises(HalError, match="input lines"):
        bench.backend.contactor.close()
    bench.electronics.failing.clear()
    bench.wait(0.1)
    assert bench.events == [LOST, BACK]
    bench.backend.contactor.close()


async def test_failing_edges_are_not_read_in_busy_loop(
    bench: GpioBench, line: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0

    def read_edges() -> list[Edge]:
        nonlocal asked
        asked += 1
        if "edges" in bench.electronics.failing:
            raise OSError(19, "gone")
        os.read(line, 1)
        return []

    parts = bench.backend._open_parts
    monkeypatch.setattr(parts.inputs, "filenos", lambda: [line])
    monkeypatch.setattr(parts.inputs, "read_edges", read_edges)
    bench.backend._loop = asyncio.get_running_loop()
    bench.electronics.failing.add("edges")
    bench.backend._add_readers(parts)
    for _ in range(50):
        await asyncio.sleep(0)
    assert asked == 1
    bench.backend.tick()
    assert asked == 2
    bench.electronics.failing.clear()
    bench.backend.tick()
    assert bench.events == [LOST, BACK]
    assert asyncio.get_running_loop().remove_reader(line)
    await bench.backend.stop()
