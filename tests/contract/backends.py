"""Benches of the built-in backends, for the contract suite. A new backend gets one here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from evse_node.hal.interface import HalEvent
from evse_node.hal.simulated.backend import SimulatedBackend
from evse_node.testing.backend_contract import Bench
from tests.contract.gpio_bench import GpioBench
from tests.contract.modbus_bench import phoenix_bench, simpleevse_bench, smartevse_bench
from tests.contract.openevse_bench import OpenEvseBench


class SimulatedBench:
    """Bench of the simulated backend, with a clock that only `wait` moves."""

    def __init__(self) -> None:
        self.now = 10.0
        self.backend = SimulatedBackend(clock=lambda: self.now, has_grid_meter=True)
        self.events: list[HalEvent] = []

    async def start(self) -> None:
        await self.backend.start(self.events.append)

    async def stop(self) -> None:
        await self.backend.stop()

    def plug_in(self) -> None:
        self.backend.plug_in()

    def demand(self) -> None:
        self.backend.demand()

    def no_demand(self) -> None:
        self.backend.no_demand()

    def unplug(self) -> None:
        self.backend.unplug()

    def tap(self, uid: bytes) -> None:
        self.backend.tap(uid)

    def wait(self, seconds: float) -> None:
        end = self.now + seconds
        while (deadline := self.backend.next_deadline()) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            self.backend.advance()
        self.now = end
        self.backend.advance()

    def is_powered(self) -> bool:
        return self.backend.board.is_closed


BENCHES: Final[dict[str, Callable[[], Bench]]] = {
    "gpio": GpioBench,
    "openevse": OpenEvseBench,
    "phoenix-em-cp-pp-eth over TCP": phoenix_bench,
    "simpleevse over RTU": simpleevse_bench,
    "smartevse over RTU": smartevse_bench,
    "simulated": SimulatedBench,
}
