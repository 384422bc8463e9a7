"""Charge from solar surplus: a simulated day in summer.

    python examples/solar_surplus.py

No network and no hardware: a charger, a simulated car, and a clock set by the program.
A running node receives the surplus by `POST /surplus` of its control API, or by hardware
that measures it (`SurplusReported`), and follows it in the modes with solar charging.
"""

from __future__ import annotations

import argparse
import math

from evse_node.charger import Charger, ChargerSettings
from evse_node.charger.hardware_monitor import MonitorSettings
from evse_node.hal.simulated.backend import SimulatedBackend
from evse_node.state_machine.events import EnableCharging
from evse_node.testing.memory_store import MemoryStore
from evse_node.units import Milliamps, Milliwatts

HOUR = 3600
SUNRISE, SUNSET = 6, 20


class Day:
    """One charger with a car, and the time since midnight in seconds."""

    def __init__(self) -> None:
        self.now = 0.0
        self.house = SimulatedBackend(clock=lambda: self.now)
        # Polled once a minute instead of once a second, to simulate a day quickly.
        settings = ChargerSettings(monitor=MonitorSettings(interval_s=60))
        self.charger = Charger(self.house, MemoryStore(), now=self.now, settings=settings)
        self.house.attach(lambda event: self.charger.receive(event, self.now))

    def run_until(self, end: float) -> None:
        while self.now < end:
            due = [self.house.board.next_deadline(), self.charger.next_deadline(), self.now + 60]
            self.now = min(max(self.now, min(each for each in due if each is not None)), end)
            self.house.advance()
            self.charger.on_timer(self.now)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--peak", type=int, default=5_000, help="watts at noon")
    peak_w: int = parser.parse_args().peak

    def surplus_w(now: float) -> float:
        """Return the solar surplus of the house in W; at two o'clock, a thunderstorm."""
        hour = now / HOUR
        if not SUNRISE < hour < SUNSET or 14 <= hour < 15:
            return 0
        return peak_w * math.sin(math.pi * (hour - SUNRISE) / (SUNSET - SUNRISE))

    day = Day()
    day.charger.follow_surplus(True, day.now)
    day.charger.handle(EnableCharging(None, Milliamps(6_000), Milliamps(32_000)), day.now)
    day.house.car.charger_maximum_ma = Milliamps(32_000)
    day.house.plug_in()
    day.house.demand()
    starts, was_closed = 0, False
    for minute in range(24 * 60):
        surplus = Milliwatts(int(surplus_w(day.now) * 1000))
        day.charger.set_surplus(surplus, day.now, valid_s=120)
        day.run_until((minute + 1) * 60)
        status = day.house.status()
        is_closed = status["contactor"] == "closed"
        starts, was_closed = starts + (is_closed and not was_closed), is_closed
        if day.now % HOUR == 0:
            taken = status["power_mw"] // 1_000_000
            print(f"{day.now / HOUR:2.0f}:00  surplus {surplus // 1000:5} W  charging {taken} kW")
    print(f"{day.house.status()['imported_mwh'] / 1e6:.1f} kWh, {starts} starts of the contactor")


if __name__ == "__main__":
    main()
