"""The GPIO backend on simulated electronics, with a manual clock."""

from __future__ import annotations

from msgspec.structs import replace

from evse_node.hal.gpio.backend import GpioBackend
from evse_node.hal.gpio.board import Board, load_board
from evse_node.hal.gpio.specs import ModbusMeterSpec
from evse_node.hal.interface import HalEvent
from evse_node.platform.systemd import ServiceManager
from evse_node.state_machine.control_pilot import PilotState
from tests.support.hal.gpio_electronics import SimulatedElectronics

SETTLE_S = 0.12
CABLE_32_A_OHM = 220


def bench_board() -> Board:
    """Return the reference board without the kernel's watchdog, and with a grid meter."""
    grid_meter = ModbusMeterSpec(map="sdm630", host="192.0.2.1")
    return replace(load_board("reference"), watchdog=None, grid_meter=grid_meter)


class GpioBench:
    """Bench that runs the backend's threads and loop alternately in one thread."""

    def __init__(self, board: Board | None = None) -> None:
        self.now = 10.0
        self.board = board or bench_board()
        self.electronics = SimulatedElectronics(self.board, lambda: self.now)
        self.backend = GpioBackend(
            self.board,
            self.electronics,
            clock=lambda: self.now,
            service_manager=ServiceManager({}),
        )
        # A ready vehicle is reported only after the test of a latch.
        rcd = self.board.rcd
        self.rcd_test_s = 0.8 if rcd is not None and rcd.test_on_demand else 0.0
        self.events: list[HalEvent] = []
        self.runs_loop = True
        self.runs_sampler = True
        self.runs_waves = True
        self._tick_at = self._sample_at = self._poll_at = self.now

    async def start(self) -> None:
        self.attach()

    def attach(self) -> None:
        self.backend.attach(self.events.append)
        self.wait(0.5 + self.rcd_test_s)

    async def stop(self) -> None:
        await self.backend.stop()

    def plug_in(self) -> None:
        self.electronics.plug_ohm = CABLE_32_A_OHM
        self.turn_to(PilotState.B)

    def demand(self) -> None:
        self.turn_to(PilotState.C)

    def no_demand(self) -> None:
        self.turn_to(PilotState.B)

    def unplug(self) -> None:
        self.electronics.plug_ohm = None
        self.turn_to(PilotState.A)

    def turn_to(self, vehicle: PilotState) -> None:
        self.electronics.vehicle = vehicle
        self.wait(SETTLE_S + (self.rcd_test_s if vehicle is PilotState.C else 0))

    def tap(self, uid: bytes) -> None:
        self.electronics.card = uid
        self.backend.poll_cards()
        self.electronics.card = None

    def wait(self, seconds: float) -> None:
        end = self.now + seconds
        step = 0.004 if seconds < 5 or self.board.heartbeat is not None else 0.02
        while self.now < end:
            self.now = min(end, self.now + step)
            if self.runs_waves:
                self.backend.beat()
            if self.runs_sampler:
                self.backend.sample()
            if self.runs_loop and self.now >= self._tick_at:
                self._tick_at = self.now + 0.02
                self.backend.tick()
            if self.now >= self._poll_at:
                self._poll_at = self.now + 0.5
                self.backend.poll_meter()
                self.backend.poll_temperature()
        self.backend.poll_meter()

    def is_powered(self) -> bool:
        return self.electronics.is_powered()
