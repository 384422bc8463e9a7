"""Latency from pilot loss to opening the contactor, and from state C to closing it.

Runs the GPIO backend with its threads and an event loop on this machine; converter, PWM
and lines are simulated. `--load` keeps the loop's thread busy, as traffic does.

    python -m benchmarks.pilot_loss [--rounds N] [--load]
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import random
import statistics
import time
from typing import Final

from msgspec.structs import replace

from evse_node.hal.gpio.backend import GpioBackend
from evse_node.hal.gpio.board import load_board
from evse_node.hal.gpio.specs import LineSpec
from evse_node.hal.interface import HalEvent
from evse_node.platform.systemd import ServiceManager
from evse_node.state_machine.control_pilot import PilotState
from evse_node.state_machine.events import PilotChanged
from evse_node.units import Milliamps
from tests.support.hal.gpio_electronics import SimulatedElectronics, SimulatedOutput

_TURN_S: Final = 0.01


class TimedOutput(SimulatedOutput):
    """Output that records when it was switched."""

    switched: dict[bool, float]

    def set(self, is_active: bool) -> None:
        super().set(is_active)
        self.switched[is_active] = time.perf_counter()


class TimedElectronics(SimulatedElectronics):
    """Electronics with a timed first coil."""

    coil: TimedOutput

    def open_output(self, name: str, spec: LineSpec) -> SimulatedOutput:
        if name != "contactor 1":
            return super().open_output(name, spec)
        self.coil = TimedOutput(self, name)
        self.coil.switched = {}
        self.coil.set(False)
        return self.coil


async def measure(rounds: int, is_loaded: bool) -> tuple[list[float], list[float]]:
    """Return milliseconds to open and to close of each round."""
    board = load_board("reference")
    rcd = None if board.rcd is None else replace(board.rcd, test=None)
    board = replace(board, watchdog=None, rcd=rcd, meter=None, rfid=None, lock=None)
    electronics = TimedElectronics(board, time.monotonic)
    backend = GpioBackend(board, electronics, service_manager=ServiceManager({}))
    pilot = PilotState.A

    def receive(event: HalEvent) -> None:
        nonlocal pilot
        if isinstance(event, PilotChanged):
            pilot = event.pilot
            if pilot is PilotState.C:
                backend.contactor.close()

    await backend.start(receive)
    backend.control_pilot.offer(Milliamps(16_000))
    load = asyncio.create_task(_load()) if is_loaded else None
    opened, closed = [], []
    for _ in range(rounds):
        electronics.coil.switched.clear()
        began = time.perf_counter()
        electronics.vehicle = PilotState.C
        while True not in electronics.coil.switched:
            await asyncio.sleep(0.002)
        closed.append((electronics.coil.switched[True] - began) * 1000)
        await asyncio.sleep(random.uniform(0.02, 0.06))
        electronics.coil.switched.pop(False, None)
        began = time.perf_counter()
        electronics.vehicle = random.choice((PilotState.A, PilotState.B, PilotState.E))
        while False not in electronics.coil.switched:
            await asyncio.sleep(0.002)
        opened.append((electronics.coil.switched[False] - began) * 1000)
        electronics.vehicle = PilotState.B
        while pilot is not PilotState.B:
            await asyncio.sleep(0.005)
    if load is not None:
        load.cancel()
    await backend.stop()
    return opened, closed


async def _load() -> None:
    """Use nine tenths of the time for short calls of pure Python, as messages do."""
    while True:
        end = time.perf_counter() + _TURN_S * 0.9
        value = b""
        while time.perf_counter() < end:
            value = hashlib.sha256(value).digest()
            sum(range(200))
        await asyncio.sleep(_TURN_S * 0.1)


def _show(name: str, values: list[float]) -> None:
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    print(
        f"{name:20} median {cuts[49]:6.1f} ms   p95 {cuts[94]:6.1f} ms   "
        f"p99 {cuts[98]:6.1f} ms   worst {max(values):6.1f} ms"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--load", action="store_true")
    arguments = parser.parse_args()
    opened, closed = asyncio.run(measure(arguments.rounds, arguments.load))
    _show("pilot loss to open", opened)
    _show("state C to closed", closed)


if __name__ == "__main__":
    main()
