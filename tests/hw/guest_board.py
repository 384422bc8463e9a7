"""Inside the virtual machine: the board's electronics, played on real lines and a real PWM."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

from evse_node.hal.gpio.board import Board, load_board
from evse_node.hal.gpio.lines import GpioOutput
from evse_node.hal.gpio.linux import LinuxDrivers
from evse_node.hal.gpio.specs import AdcSpec, LineSpec
from evse_node.state_machine.control_pilot import NOMINAL_MV, PilotState
from tests.hw.gpio_sim import SimulatedChip
from tests.hw.virtual_machine import PWM_DEVICE

LABEL = "pinctrl-bcm2711"
CONTACTOR, MIRROR, STOP = "GPIO17", "GPIO27", "GPIO5"
_LOOK_S = 0.02
PWM = Path("/sys/class/pwm/pwmchip0/pwm0")

BOARD = f"""
name = "guest"
[contactor]
timeout-ms = 5000  # emulation is slow
output = {{ line = "{CONTACTOR}" }}
feedback = {{ line = "{MIRROR}", active = "low", bias = "pull-up" }}
[pilot]
pwm-device = ["3f20c000.pwm", "{PWM_DEVICE}"]
pwm-channel = 0
channel = 0
calibration = [[0, -15000], [4095, 15000]]
low-channel = 1
low-calibration = [[0, -15000], [4095, 15000]]
[adc]
kind = "mcp3208"
[emergency-stop]
line = "{STOP}"
active = "high"
bias = "pull-down"
"""


def write_board(folder: Path) -> Path:
    file = folder / "guest.toml"
    file.write_text(BOARD)
    return file


def add_measured(name: str, taken_ms: list[float]) -> None:
    """Keep how long something took, for the machine's host to print."""
    file = Path("/mnt/out/measured.json")
    kept = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps({**kept, name: taken_ms}))


def make_chip() -> SimulatedChip:
    return SimulatedChip(LABEL, {number: f"GPIO{number}" for number in (5, 17, 27)})


class GuestAdc:
    """Measures a pilot whose generator is the real PWM: levels follow from its files."""

    def __init__(self, electronics: GuestElectronics) -> None:
        self._electronics = electronics
        self._looked_at = 0.0
        self._output = (False, 0)

    def _read_card(self) -> tuple[bool, int]:
        """Read the files now and then: reading is slow in emulation."""
        if time.monotonic() - self._looked_at > _LOOK_S:
            is_on = (PWM / "enable").read_text().strip() == "1"
            self._output = is_on, int((PWM / "duty_cycle").read_text())
            self._looked_at = time.monotonic()
        return self._output

    def read(self, channel: int) -> int:
        is_on, duty_ns = self._read_card()
        vehicle = self._electronics.vehicle
        high_mv = NOMINAL_MV[vehicle] if is_on and duty_ns > 0 else -12_000
        low_mv = -12_000 if duty_ns < 1_000_000 else high_mv
        mv = high_mv if channel == 0 else low_mv
        return round((mv + 15_000) * 4095 / 30_000)

    def close(self) -> None:
        pass


class TimedOutput:
    """A real line that notes when it was last switched either way."""

    def __init__(self, output: GpioOutput, switched_at: dict[bool, float]) -> None:
        self._output, self._switched_at = output, switched_at
        self.close = output.close

    def set(self, is_active: bool) -> None:
        self._output.set(is_active)
        self._switched_at.setdefault(is_active, time.monotonic())


class GuestDrivers(LinuxDrivers):
    """Everything of the real kernel but the converter: there is no SPI here."""

    def __init__(self, electronics: GuestElectronics) -> None:
        self._electronics = electronics
        self.switched_at: dict[bool, float] = {}

    def open_output(self, name: str, spec: LineSpec) -> TimedOutput:  # type: ignore[override]
        return TimedOutput(super().open_output(name, spec), self.switched_at)

    def open_adc(self, spec: AdcSpec) -> GuestAdc:
        return GuestAdc(self._electronics)


class GuestElectronics:
    """A vehicle, and a contactor whose mirror contact follows its coil's line."""

    def __init__(self, chip: SimulatedChip, on_coil: Callable[[bool], None] | None = None) -> None:
        self.vehicle = PilotState.A
        self.is_stuck = False
        self._chip = chip
        self._on_coil = on_coil
        self._halt = threading.Event()
        self._is_closed = False
        chip.pull(MIRROR, True)
        chip.pull(STOP, False)
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def drivers(self) -> GuestDrivers:
        return GuestDrivers(self)

    def _follow(self) -> None:
        while not self._halt.wait(0.01):
            is_closed = self._chip.is_high(CONTACTOR)
            if is_closed is not self._is_closed and not self.is_stuck:
                self._is_closed = is_closed
                self._chip.pull(MIRROR, not is_closed)
                if self._on_coil is not None:
                    self._on_coil(is_closed)

    def close(self) -> None:
        self._halt.set()
        self._thread.join()


def guest_board(folder: Path) -> Board:
    return load_board(str(write_board(folder)))
