"""Tests inside the virtual machine: a board with a heartbeat and a latch, on real lines."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from evse_node.errors import HalError
from evse_node.hal.gpio.backend import GpioBackend
from evse_node.hal.gpio.board import load_board
from evse_node.hal.interface import HalEvent
from evse_node.platform.systemd import ServiceManager
from evse_node.state_machine.control_pilot import PilotState
from evse_node.state_machine.events import FaultCleared, FaultRaised, PilotChanged
from evse_node.state_machine.faults import FaultState
from evse_node.units import Milliamps
from tests.hw.gpio_sim import SimulatedChip
from tests.hw.guest_board import BOARD, CONTACTOR, LABEL, MIRROR, STOP, GuestAdc, GuestElectronics

HEARTBEAT, TRIP, TEST, RESET = "GPIO4", "GPIO22", "GPIO24", "GPIO25"
LINES = (*(CONTACTOR, MIRROR, STOP), *(HEARTBEAT, TRIP, TEST, RESET))
# Slow enough to be observed in emulation.
PULSES = f"""
[heartbeat]
line = "{HEARTBEAT}"
interval-ms = 20
limit-ms = 1000
[rcd]
trip = {{ line = "{TRIP}" }}
test = {{ line = "{TEST}" }}
test-hz = 10
reset = {{ line = "{RESET}" }}
reset-ms = 200
"""
TRIPS_AFTER_EDGES = 2


class Latch:
    """Flip-flop of the board: edges of the test line set it, the reset input clears it."""

    def __init__(self, chip: SimulatedChip) -> None:
        self.heartbeats = self.test_edges = self.resets = 0
        self._chip = chip
        self._halt = threading.Event()
        # The state after power-on is undefined.
        chip.pull(TRIP, True)
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        heartbeat = test = reset = False
        edges = 0
        while not self._halt.wait(0.005):
            was = heartbeat, test, reset
            heartbeat, test, reset = map(self._chip.is_high, (HEARTBEAT, TEST, RESET))
            self.heartbeats += heartbeat is not was[0]
            edges += test is not was[1]
            self.test_edges = max(self.test_edges, edges)
            if reset and not was[2]:
                self.resets += 1
                edges = 0
                self._chip.pull(TRIP, False)
            elif edges >= TRIPS_AFTER_EDGES:
                self._chip.pull(TRIP, True)

    def close(self) -> None:
        self._halt.set()
        self._thread.join()


class Guest:
    def __init__(self, folder: Path) -> None:
        file = folder / "board.toml"
        file.write_text(BOARD + PULSES)
        self.chip = SimulatedChip(LABEL, {int(name[4:]): name for name in LINES})
        self.electronics = GuestElectronics(self.chip)
        self.latch = Latch(self.chip)
        self.backend = GpioBackend(
            load_board(str(file)), self.electronics.drivers(), service_manager=ServiceManager({})
        )
        self.events: list[HalEvent] = []

    async def close_until(self, condition: Callable[[], bool]) -> None:
        """Close it again and again: in emulation, sampler or loop may seem dead at times."""

        def is_met() -> bool:
            if not self.chip.is_high(CONTACTOR):
                with contextlib.suppress(HalError):
                    self.backend.contactor.close()
            return condition()

        await self.until(is_met)

    async def until(self, condition: Callable[[], bool], limit_s: float = 30) -> None:
        end = time.monotonic() + limit_s
        while not condition():
            assert time.monotonic() < end, self.events
            await asyncio.sleep(0.01)

    def close(self) -> None:
        self.latch.close()
        self.electronics.close()
        self.chip.close()


@pytest.fixture
async def guest(tmp_path: Path) -> AsyncIterator[Guest]:
    made = Guest(tmp_path)
    try:
        await made.backend.start(made.events.append)
        yield made
    finally:
        await made.backend.stop()
        still = not any(map(made.chip.is_high, (CONTACTOR, HEARTBEAT, TEST, RESET)))
        made.close()
        assert still


async def test_heartbeat_stops_with_sampler(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    chip, latch, backend = guest.chip, guest.latch, guest.backend
    # The self-test has reset the latch, tripped it, and reset it again.
    assert latch.test_edges >= TRIPS_AFTER_EDGES
    assert latch.resets == 2
    assert backend._open_parts.check.failure == ""
    assert FaultRaised(FaultState.GROUND_FAULT) not in guest.events
    assert latch.heartbeats == 0

    backend.control_pilot.offer(Milliamps(16_000))
    guest.electronics.vehicle = PilotState.C
    await guest.until(lambda: PilotChanged(PilotState.C) in guest.events)
    await guest.close_until(lambda: latch.heartbeats > 5)

    chip.pull(TRIP, True)
    await guest.until(lambda: not chip.is_high(CONTACTOR))
    await guest.until(lambda: FaultRaised(FaultState.GROUND_FAULT) in guest.events)
    backend.reset()
    await guest.until(lambda: guest.events.count(FaultCleared(FaultState.GROUND_FAULT)) == 2)
    assert latch.resets == 3

    beaten = latch.heartbeats
    await guest.close_until(lambda: latch.heartbeats > beaten + 5)
    release = threading.Event()
    monkeypatch.setattr(GuestAdc, "read", lambda adc, channel: release.wait(20) or 0)
    # Opening cannot drive the coil now, but the heartbeat stops nevertheless.
    coil = backend._open_parts.contactor._coils[0]
    monkeypatch.setattr(coil, "set", lambda is_active: None)
    await asyncio.sleep(2)
    beaten = latch.heartbeats
    await asyncio.sleep(0.5)
    release.set()
    assert chip.is_high(CONTACTOR)
    assert latch.heartbeats == beaten
    monkeypatch.undo()
