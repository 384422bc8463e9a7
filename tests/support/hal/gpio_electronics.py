"""A charger board in software, below the drivers: contactor, pilot, plug, meter, reader.

`SimulatedElectronics` is a `Drivers`. Faults are injected by `failing`, for a call that raises,
or by wrong readings. With a reset input the RCD's trip is a latch, which also keeps
the contactor open, and a heartbeat that is late sets it, as on Nick Sayer's hat.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from evse_node.hal.gpio.board import Board
from evse_node.hal.gpio.drivers import Edge
from evse_node.hal.gpio.specs import (
    AdcSpec,
    Calibration,
    LineSpec,
    ModbusMeterSpec,
    PwmSpec,
    RfidSpec,
    TemperatureSpec,
)
from evse_node.hal.interface import MeterValues
from evse_node.state_machine.control_pilot import NOMINAL_MV, PilotState
from evse_node.units import Milliamps, Millivolts, MilliwattHours, Milliwatts

MIRROR_S = 0.03
POWER_MW = 11_000_000


@dataclass
class SimulatedElectronics:
    """`vehicle` is what the pilot's positive level would show with +12 V applied."""

    board: Board
    clock: Callable[[], float]
    vehicle: PilotState = PilotState.A
    has_diode: bool = True
    plug_ohm: int | None = None
    duty_permille: int = 0
    coils: dict[str, bool] = field(default_factory=dict)
    lines: dict[str, bool] = field(default_factory=dict)
    inputs: dict[str, bool] = field(default_factory=dict)
    edges: list[Edge] = field(default_factory=list)
    is_welded: bool = False
    is_stuck_open: bool = False
    stuck_mv: int | None = None
    ignored_pwm: bool = False
    failing: set[str] = field(default_factory=set)
    card: bytes | None = None
    temperature_mc: int = 31_500
    imported_mwh: float = 5_000_000
    house_mw: int = 0
    open_count: int = 0
    _moved_at: float = 0.0
    _was_powered: bool = False
    _counted_at: float = 0.0
    _readings: int = 0
    _beaten_at: float = 0.0
    test_edges: int = 0
    is_latch_broken: bool = False
    ignores_rcd_test: bool = False

    def check(self, part: str) -> None:
        if part in self.failing:
            raise OSError(5, f"{part} is broken")

    # State of the electronics

    def is_powered(self) -> bool:
        if self.is_welded:
            return True
        self.check_heartbeat()
        if self.has_latch and self.inputs.get("RCD trip"):
            return False
        return not self.is_stuck_open and bool(self.coils) and all(self.coils.values())

    @property
    def has_latch(self) -> bool:
        return self.board.rcd is not None and self.board.rcd.reset is not None

    def check_heartbeat(self) -> None:
        """The board's own watchdog: it counts while a coil's line is driven."""
        heartbeat = self.board.heartbeat
        if heartbeat is None or not any(self.coils.values()):
            self._beaten_at = max(self._beaten_at, self.clock())
        elif self.clock() - self._beaten_at > heartbeat.limit_ms / 1000 + 1e-9:
            self.inputs["RCD trip"] = True

    def on_line(self, name: str, is_active: bool) -> None:
        """Simulate the board's reaction to an edge."""
        was_active, self.lines[name] = self.lines.get(name, False), is_active
        if name == "heartbeat" and is_active is not was_active:
            self.check_heartbeat()
            self._beaten_at = self.clock()
        elif name == "RCD test" and "RCD trip" in self.inputs:
            if not self.has_latch:
                self.inputs["RCD trip"] = is_active
            elif is_active is not was_active:
                self.test_edges += 1
                # A level makes no alternating current.
                if self.test_edges >= 6 and not self.ignores_rcd_test:
                    self.inputs["RCD trip"] = True
        elif name == "RCD reset" and is_active and not any(self.coils.values()):
            self.test_edges = 0
            self.inputs["RCD trip"] = self.is_latch_broken
        elif name in ("lock", "unlock") and is_active:
            self.inputs["lock feedback"] = name == "lock"

    def is_mirror_closed(self) -> bool:
        if self.clock() - self._moved_at >= MIRROR_S:
            return self.is_powered()
        return self._was_powered

    def move(self, change: Callable[[], None]) -> None:
        before = self.is_mirror_closed()
        self.count()
        powered = self.is_powered()
        change()
        if self.is_powered() is not powered:
            self._was_powered, self._moved_at = before, self.clock()

    def count(self) -> None:
        elapsed_s, self._counted_at = self.clock() - self._counted_at, self.clock()
        self.imported_mwh += self.power_mw() * elapsed_s / 3600

    def power_mw(self) -> int:
        return POWER_MW if self.is_powered() and self.vehicle.is_ready else 0

    def pilot_mv(self) -> int:
        """Return one reading at some moment of the PWM's period."""
        if self.stuck_mv is not None:
            return self.stuck_mv
        self._readings += 1
        is_high = (self._readings * 137) % 1000 < self.duty_permille
        return self._level_mv(is_high)

    def peak_mv(self, *, is_high: bool) -> int:
        """Return the voltage of a peak detector."""
        if self.stuck_mv is not None:
            return self.stuck_mv
        constant = {0: False, 1000: True}.get(self.duty_permille, is_high)
        return self._level_mv(constant)

    def _level_mv(self, is_high: bool) -> int:
        if self.vehicle is PilotState.E:
            return 0
        if is_high:
            return NOMINAL_MV[self.vehicle]
        return -12_000 if self.has_diode or not self.vehicle.is_connected else -5_000

    # Drivers

    def open_output(self, name: str, spec: LineSpec) -> SimulatedOutput:
        self.check(f"open {name}")
        output = SimulatedOutput(self, name)
        output.set(False)
        self.open_count += 1
        return output

    def open_inputs(self, specs: Mapping[str, LineSpec]) -> SimulatedInputs:
        self.check("open inputs")
        self.open_count += 1
        for name in specs:
            self.inputs.setdefault(name, False)
        return SimulatedInputs(self)

    def open_pwm(self, spec: PwmSpec) -> SimulatedPwm:
        self.check("open pwm")
        self.open_count += 1
        self.duty_permille = 0
        return SimulatedPwm(self)

    def open_adc(self, spec: AdcSpec) -> SimulatedAdc:
        self.check("open adc")
        self.open_count += 1
        return SimulatedAdc(self)

    def open_meter(self, spec: ModbusMeterSpec, *, is_port_shared: bool = False) -> SimulatedMeter:
        self.check("open meter")
        self.open_count += 1
        if spec == self.board.grid_meter:
            return SimulatedGridMeter(self)
        return SimulatedMeter(self)

    def open_rfid(self, spec: RfidSpec) -> SimulatedReader:
        self.check("open rfid")
        self.open_count += 1
        return SimulatedReader(self)

    def open_temperature(self, spec: TemperatureSpec) -> SimulatedThermometer:
        self.check("open temperature")
        self.open_count += 1
        return SimulatedThermometer(self)


class SimulatedPart:
    def __init__(self, electronics: SimulatedElectronics) -> None:
        self.electronics = electronics
        self._is_open = True

    def close(self) -> None:
        if self._is_open:
            self.electronics.open_count -= 1
        self._is_open = False


class SimulatedOutput(SimulatedPart):
    def __init__(self, electronics: SimulatedElectronics, name: str) -> None:
        super().__init__(electronics)
        self._name = name

    def set(self, is_active: bool) -> None:
        name, electronics = self._name, self.electronics
        electronics.check(name)
        if not name.startswith("contactor"):
            electronics.on_line(name, is_active)
            return

        def change() -> None:
            electronics.coils[name] = is_active

        electronics.move(change)

    def close(self) -> None:
        """Close the line, which the board then pulls down."""
        super().close()
        if self._name in self.electronics.coils:
            self.electronics.coils[self._name] = False


class SimulatedInputs(SimulatedPart):
    def filenos(self) -> list[int]:
        return []

    def read_edges(self) -> Iterable[Edge]:
        self.electronics.check("edges")
        edges, self.electronics.edges = self.electronics.edges, []
        return edges

    def is_active(self, name: str) -> bool:
        self.electronics.check("inputs")
        self.electronics.check_heartbeat()
        if "mirror" in name:
            return self.electronics.is_mirror_closed()
        return self.electronics.inputs[name]


class SimulatedPwm(SimulatedPart):
    def drive(self, duty_permille: int) -> None:
        self.electronics.check("pwm")
        if not self.electronics.ignored_pwm:
            self.electronics.duty_permille = duty_permille

    def disable(self) -> None:
        self.electronics.check("pwm")
        self.electronics.duty_permille = 0


class SimulatedAdc(SimulatedPart):
    def read(self, channel: int) -> int:
        electronics = self.electronics
        electronics.check("adc")
        board = electronics.board
        if board.proximity is not None and channel == board.proximity.channel:
            ohm = electronics.plug_ohm
            supply, pull_up = board.proximity.supply_mv, board.proximity.pull_up_ohm
            input_mv = supply if ohm is None else supply * ohm / (ohm + pull_up)
            return _to_raw(board.proximity.calibration, input_mv)
        pilot = board.pilot
        if pilot.low_calibration is None:
            return _to_raw(pilot.calibration, electronics.pilot_mv())
        if channel == pilot.low_channel:
            return _to_raw(pilot.low_calibration, electronics.peak_mv(is_high=False))
        return _to_raw(pilot.calibration, electronics.peak_mv(is_high=True))


def _to_raw(calibration: Calibration, mv: float) -> int:
    (raw_1, mv_1), (raw_2, mv_2) = calibration.first, calibration.second
    return round(raw_1 + (mv - mv_1) * (raw_2 - raw_1) / (mv_2 - mv_1))


class SimulatedMeter(SimulatedPart):
    def read(self) -> MeterValues:
        self.electronics.check("meter")
        self.electronics.count()
        phases = self.electronics.board.ratings.phases
        return MeterValues(
            MilliwattHours(int(self.electronics.imported_mwh)),
            MilliwattHours(0),
            Milliwatts(self.electronics.power_mw()),
            (Millivolts(230_000),) * phases,
            (Milliamps(0),) * phases,
        )


class SimulatedGridMeter(SimulatedMeter):
    """A meter at the house's connection, which measures charger and house."""

    def read(self) -> MeterValues:
        self.electronics.check("grid meter")
        power_mw = self.electronics.house_mw + self.electronics.power_mw()
        return MeterValues(MilliwattHours(0), MilliwattHours(0), Milliwatts(power_mw), (), ())


class SimulatedReader(SimulatedPart):
    def poll(self) -> bytes | None:
        self.electronics.check("rfid")
        return self.electronics.card


class SimulatedThermometer(SimulatedPart):
    def read(self) -> int:
        self.electronics.check("temperature")
        return self.electronics.temperature_mc
