"""The backend with its real threads and clock, in an event loop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable

import pytest
from msgspec.structs import replace

from evse_node.hal.gpio.backend import GpioBackend
from evse_node.hal.gpio.board import Board, load_board
from evse_node.hal.interface import HalEvent
from evse_node.platform.systemd import ServiceManager
from evse_node.state_machine.control_pilot import PilotState
from evse_node.state_machine.events import ContactorReported, FaultRaised, PilotChanged, RfidTapped
from evse_node.state_machine.faults import FaultState
from evse_node.units import Milliamps
from tests.contract.gpio_bench import bench_board
from tests.support.hal.gpio_electronics import SimulatedElectronics


class Hanging(SimulatedElectronics):
    """Any part can be made to hang until `release` is set."""

    release: threading.Event

    def check(self, part: str) -> None:
        if f"hang {part}" in self.failing:
            self.release.wait(20)
        super().check(part)


class Running:
    def __init__(self, board: Board | None = None) -> None:
        board = board or replace(bench_board(), lock=None)
        self.electronics = Hanging(board, time.monotonic)
        self.electronics.release = threading.Event()
        self.backend = GpioBackend(
            self.electronics.board, self.electronics, service_manager=ServiceManager({})
        )
        self.events: list[HalEvent] = []

    async def until(self, condition: Callable[[], bool], limit_s: float = 5) -> float:
        began = time.monotonic()
        while not condition():
            assert time.monotonic() - began < limit_s, self.events
            await asyncio.sleep(0.002)
        return time.monotonic() - began

    async def charge(self) -> None:
        self.backend.control_pilot.offer(Milliamps(16_000))
        self.electronics.vehicle = PilotState.C
        await self.until(lambda: PilotChanged(PilotState.C) in self.events)
        self.backend.contactor.close()
        await self.until(lambda: ContactorReported(True) in self.events)
        assert self.electronics.is_powered()


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    before = threading.active_count()
    made = Running()
    await made.backend.start(made.events.append)
    assert PilotChanged(PilotState.A) in made.events
    yield made
    made.electronics.release.set()
    await made.backend.stop()
    assert not made.electronics.is_powered()
    assert made.electronics.open_count == 0
    assert threading.active_count() == before


async def test_threads_charge_and_stop(running: Running) -> None:
    await running.charge()


async def test_backend_restarts_after_stop(running: Running) -> None:
    await running.backend.stop()
    running.events.clear()
    await running.backend.start(running.events.append)
    await running.charge()


@pytest.mark.parametrize("vehicle", [PilotState.A, PilotState.B, PilotState.E])
async def test_contactor_opens_within_100_ms(running: Running, vehicle: PilotState) -> None:
    await running.charge()
    running.electronics.vehicle = vehicle
    took_s = await running.until(lambda: not any(running.electronics.coils.values()))
    assert took_s < 0.1
    await running.until(lambda: running.events[-1] == ContactorReported(False))
    assert PilotChanged(vehicle) in running.events


async def test_contactor_opens_when_converter_hangs(running: Running) -> None:
    await running.charge()
    running.electronics.failing.add("hang adc")
    took_s = await running.until(lambda: not any(running.electronics.coils.values()))
    assert took_s < 1
    await running.until(lambda: FaultRaised(FaultState.OTHER) in running.events)


async def test_contactor_opens_when_loop_hangs(running: Running) -> None:
    await running.charge()
    time.sleep(2.2)  # this is what is tested
    assert not any(running.electronics.coils.values())
    await running.until(lambda: ContactorReported(False) in running.events)


async def test_hanging_meter_delays_nothing(running: Running) -> None:
    running.electronics.failing.add("hang meter")
    await running.charge()
    running.electronics.vehicle = PilotState.B
    took_s = await running.until(lambda: not any(running.electronics.coils.values()))
    assert took_s < 0.1


@pytest.mark.parametrize("part", ["heartbeat", "adc"])
async def test_board_with_heartbeat_opens_when_thread_hangs(part: str) -> None:
    """With threads: one that hangs while it beats, and one that hangs while it measures."""
    board = load_board("pi-evse-hat")
    assert board.heartbeat is not None
    patient = replace(board.heartbeat, interval_ms=5.0, limit_ms=400.0)  # a test's machine is busy
    running = Running(replace(board, watchdog=None, heartbeat=patient))
    await running.backend.start(running.events.append)
    parts = running.backend._open_parts
    try:
        await running.charge()
        await asyncio.sleep(0.5)
        assert running.electronics.is_powered()
        if part == "adc":
            parts.contactor.try_open = lambda: False  # type: ignore[method-assign]
            parts.sampler._open_contactor = lambda: False
        running.electronics.failing.add(f"hang {part}")
        await running.until(lambda: not running.electronics.is_powered(), 2.5)
        if part == "heartbeat":
            await running.until(lambda: FaultRaised(FaultState.GROUND_FAULT) in running.events)
    finally:
        running.electronics.release.set()
        await running.backend.stop()
    assert running.electronics.open_count == 0


async def test_card_is_reported_from_its_thread(running: Running) -> None:
    running.electronics.card = b"\1\2\3\4"
    await running.until(lambda: RfidTapped(b"\1\2\3\4") in running.events)
