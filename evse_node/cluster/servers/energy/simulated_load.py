"""Test event triggers of Electrical Energy Measurement: a simulated load or generator.

While one is active, the power and energy clusters show it in place of the meter. No current
flows.

Spec: Matter Core 1.3 "TestEventTrigger Command"
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

from msgspec import Struct, field

from evse_node.cluster.servers.energy.electrical_energy_measurement import (
    ElectricalEnergyMeasurement,
)
from evse_node.cluster.servers.energy.electrical_power_measurement import (
    ElectricalPowerMeasurement,
    PowerReading,
)
from evse_node.cluster.servers.energy.energy_ledger import PowerIntegrator
from evse_node.matter.timers import Timer, Timers

_STOP: Final = 0x0091_0000_0000_0000
_START_LOAD: Final = 0x0091_0000_0000_0001
_START_GENERATOR: Final = 0x0091_0000_0000_0002

# Tests require consecutive readings to differ.
_DISTINCT_READINGS: Final = 3
_DRAWS: Final = 64


class Quantity(Struct, frozen=True):
    """A value that varies by up to `spread` in either direction."""

    value: int
    spread: int

    def draw(self, draw: Callable[[], float]) -> int:
        """Return a random value; `draw` returns a number from 0 up to 1."""
        return self.value - self.spread + int(draw() * (2 * self.spread + 1))


class Load(Struct, frozen=True):
    """A load measured every `interval_s`. Power and current have the same sign."""

    power_mw: Quantity
    voltage_mv: Quantity
    current_ma: Quantity
    interval_s: int


ONE_KILOWATT_LOAD: Final = Load(
    Quantity(1_000_000, 20_000), Quantity(230_000, 1_000), Quantity(4_348, 500), 2
)
THREE_KILOWATT_GENERATOR: Final = Load(
    Quantity(-3_000_000, 20_000), Quantity(230_000, 1_000), Quantity(-13_043, 500), 5
)


class SimulatedLoad(Struct, eq=False):
    """Feeds both clusters with readings of a simulated load."""

    power: ElectricalPowerMeasurement
    energy: ElectricalEnergyMeasurement
    timers: Timers
    draw: Callable[[], float]
    _timer: Timer | None = None
    _integrator: PowerIntegrator = field(default_factory=PowerIntegrator)
    _recent: deque[tuple[PowerReading, int]] = field(
        default_factory=lambda: deque(maxlen=_DISTINCT_READINGS)
    )

    @property
    def is_active(self) -> bool:
        """Whether a load is active."""
        return self._timer is not None

    @property
    def triggers(self) -> Mapping[int, Callable[[float], None]]:
        """Actions, called with `now`, by code of the test event trigger."""
        return {
            _STOP: self.stop,
            _START_LOAD: lambda now: self.start(ONE_KILOWATT_LOAD, now),
            _START_GENERATOR: lambda now: self.start(THREE_KILOWATT_GENERATOR, now),
        }

    def start(self, load: Load, now: float) -> None:
        """Replace any other load; totals start at zero, with a first reading at once."""
        if self._timer is not None:
            self._timer.cancel()
        self._integrator = PowerIntegrator()
        self._recent.clear()
        self.energy.start_simulation(now, load.interval_s)
        self._measure(load, now, now)

    def stop(self, now: float) -> None:
        """Show the meter again. Idempotent."""
        if self._timer is None:
            return
        self._timer.cancel()
        self._timer = None
        self.power.simulate(None, now)
        self.energy.end_simulation()

    def _measure(self, load: Load, due: float, now: float) -> None:
        reading = self._new_reading(load)
        energy_mwh = self._integrator.add(abs(reading.power_mw), load.interval_s * 1000)
        imported = energy_mwh if reading.power_mw > 0 else 0
        self.power.simulate(reading, now)
        self.energy.simulate(imported, energy_mwh - imported, now)
        # From the due time, so that delays do not add up.
        following = due + load.interval_s
        self._timer = self.timers.call_at(
            following, lambda now: self._measure(load, following, now)
        )

    def _new_reading(self, load: Load) -> PowerReading:
        """Draw a reading whose values all differ from the last few."""
        for _ in range(_DRAWS):
            reading = PowerReading(
                load.power_mw.draw(self.draw),
                (load.voltage_mv.draw(self.draw),),
                (load.current_ma.draw(self.draw),),
            )
            energy_mwh = abs(reading.power_mw) * load.interval_s // 3600
            if not any(_resembles(reading, energy_mwh, *other) for other in self._recent):
                break
        self._recent.append((reading, energy_mwh))
        return reading


def _resembles(
    reading: PowerReading, energy_mwh: int, other: PowerReading, other_energy_mwh: int
) -> bool:
    # A carried remainder may add one to either energy.
    return (
        abs(energy_mwh - other_energy_mwh) <= 1
        or reading.voltages_mv == other.voltages_mv
        or reading.active_current_ma == other.active_current_ma
    )
