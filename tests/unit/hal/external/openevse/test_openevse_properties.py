"""Any sequence of events: an order opens, and only a new order closes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from evse_node.errors import HalError
from evse_node.state_machine.events import (
    ContactorReported,
    FaultCleared,
    FaultRaised,
    PilotChanged,
)
from evse_node.units import Milliamps
from tests.contract.openevse_bench import OpenEvseBench
from tests.support.hal.rapi_peer import GFCI, HOT, A, B, C, sealed

STEPS: dict[str, Callable[[OpenEvseBench], object]] = {
    "plug in": lambda bench: setattr(bench.model, "car", B),
    "demand": lambda bench: setattr(bench.model, "car", C),
    "unplug": lambda bench: setattr(bench.model, "car", A),
    "offer 16": lambda bench: bench.backend.offer(Milliamps(16_000)),
    "offer 10": lambda bench: bench.backend.offer(Milliamps(10_000)),
    "withdraw": lambda bench: bench.backend.withdraw(),
    "close": lambda bench: bench.backend.contactor.close(),
    "open": lambda bench: bench.backend.contactor.open(),
    "state F": lambda bench: bench.backend.signal_unavailable(),
    "restart": lambda bench: bench.model.restart(),
    "trip": lambda bench: setattr(bench.model, "fault", GFCI),
    "heat": lambda bench: setattr(bench.model, "fault", HOT),
    "mend": lambda bench: setattr(bench.model, "fault", 0),
    "button: stop": lambda bench: bench.model.press("FS"),
    "button: start": lambda bench: bench.model.press("FE"),
    "menu: off": lambda bench: bench.model.press("FD"),
    "pull out": lambda bench: bench.port.pull_out(),
    "plug back": lambda bench: setattr(bench.port, "is_missing", False),
    "garbled": lambda bench: setattr(bench.port, "spoil", lambda data: sealed("NK")),
    "no word of starts": lambda bench: setattr(
        bench.port, "spoil", lambda data: b"" if b"$AB" in data else data
    ),
    "clear again": lambda bench: setattr(bench.port, "spoil", lambda data: data),
    "heat up": lambda bench: setattr(bench.model, "is_hot", True),
    "cool down": lambda bench: setattr(bench.model, "is_hot", False),
    "stubborn": lambda bench: setattr(bench.model, "is_stubborn", True),
    "a moment": lambda bench: bench.wait(0.03),
    "a second": lambda bench: bench.wait(1),
    "a while": lambda bench: bench.wait(9),
}


async def run_steps(steps: list[str]) -> None:
    bench = OpenEvseBench()
    bench.step_s = 0.02
    await bench.start()
    for step in steps:
        with contextlib.suppress(HalError):
            STEPS[step](bench)
    bench.port.is_missing = False
    bench.port.spoil = lambda data: data
    bench.model.is_hot = False
    bench.wait(2)

    bench.backend.contactor.open()
    bench.backend.withdraw()
    bench.wait(0.2)
    assert not bench.is_powered()
    bench.model.car = C
    bench.wait(4)
    assert not bench.is_powered()

    bench.model.fault = 0
    bench.wait(2)
    bench.backend.offer(Milliamps(12_000))
    bench.backend.contactor.close()
    bench.wait(3)
    assert bench.is_powered()
    assert bench.model.amperes == 12

    # After a loss, the offer alone does not close it.
    bench.model.events.clear()
    bench.port.spoil = lambda data: sealed("NK")
    bench.wait(9)
    bench.port.spoil = lambda data: data
    bench.wait(3)
    assert [kind for kind, _ in bench.model.events] == ["open"]

    events = [
        event for event in bench.events if isinstance(event, PilotChanged | ContactorReported)
    ]
    for kind in (PilotChanged, ContactorReported):
        changes = [event for event in events if isinstance(event, kind)]
        assert all(one != next_one for one, next_one in pairwise(changes))
    present = set()
    for event in bench.events:
        if isinstance(event, FaultRaised):
            assert event.fault not in present
            present.add(event.fault)
        elif isinstance(event, FaultCleared):
            present.discard(event.fault)
    assert not present
    await bench.stop()
    assert not bench.is_powered()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(sorted(STEPS)), max_size=14))
def test_contactor_obeys_orders_after_any_sequence_of_events(steps: list[str]) -> None:
    asyncio.run(run_steps(steps))
