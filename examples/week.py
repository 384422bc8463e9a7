"""A week of a charger with a target for every morning, simulated.

    python examples/week.py

No network and no hardware: a charger, a simulated car that drives by day and is plugged in
each evening, and a clock set by the program. Each night the charger starts just in time for the
car to be ready; on the first evening it charges for two minutes to learn what the car draws.
During the week, the power fails once.
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime, timedelta

from evse_node.charger import Charger, ChargerSettings
from evse_node.charger.hardware_monitor import MonitorSettings
from evse_node.hal.simulated.backend import SimulatedBackend
from evse_node.hal.simulated.electric_vehicle import ElectricCar, Habits
from evse_node.state_machine.events import EnableCharging
from evse_node.state_machine.targets import ChargingTarget, ChargingTargetSchedule
from evse_node.testing.memory_store import MemoryStore
from evse_node.units import MATTER_EPOCH_UNIX_S, Milliamps

MONDAY = datetime(2025, 6, 9, tzinfo=UTC)
WORKDAYS, WEEKEND = 0b0111110, 0b1000001  # bit 0 is Sunday
TARGETS = [
    ChargingTargetSchedule(WORKDAYS, (ChargingTarget(6 * 60 + 30, 80),)),
    ChargingTargetSchedule(WEEKEND, (ChargingTarget(10 * 60, 60),)),
]


class House:
    """Charger that can lose power, its car, and the time in seconds since Monday, 0:00."""

    def __init__(self) -> None:
        self.now = 0.0
        self.store = MemoryStore()
        self.car = ElectricCar(habits=Habits(asks_at_once=True, stops_at_percent=80))
        self.power_on()

    def power_on(self) -> None:
        self.backend = SimulatedBackend(clock=lambda: self.now, car=self.car)
        self.charger = Charger(
            self.backend,
            self.store,
            now=self.now,
            # Meter and thermometer are read once a minute, to simulate a week quickly.
            settings=ChargerSettings(
                zone=UTC, monitor=MonitorSettings(interval_s=60), are_vehicles_known=True
            ),
            utc_ms=lambda: int((MONDAY.timestamp() + self.now) * 1000),
        )
        self.charger.follow_schedule(True, self.now)
        self.backend.attach(lambda event: self.charger.receive(event, self.now))

    def power_off(self, seconds: float) -> None:
        self.backend.board.connect(None)
        self.backend.board.open()
        self.now += seconds

    def run_until(self, end: datetime) -> None:
        end_s = (end - MONDAY).total_seconds()
        while self.now < end_s:
            due = [self.backend.board.next_deadline(), self.charger.next_deadline(), self.now + 60]
            moment = min(each for each in due if each is not None)
            self.now = min(max(self.now, moment), end_s)
            self.backend.advance()
            self.charger.on_timer(self.now)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--days", type=int, default=7)
    arguments = parser.parse_args()

    house = House()
    house.charger.set_targets(TARGETS, house.now)
    house.charger.handle(EnableCharging(None, Milliamps(6_000), Milliamps(16_000)), house.now)
    for number in range(arguments.days):
        day = MONDAY + timedelta(days=number)
        house.run_until(day + timedelta(hours=20))
        house.car.state_of_charge_percent = 50
        house.backend.plug_in()
        house.run_until(day + timedelta(hours=20, minutes=5))
        start = house.charger.snapshot().next_charge.start_time
        assert start is not None
        begins = datetime.fromtimestamp(start + MATTER_EPOCH_UNIX_S, UTC)
        house.run_until(begins + timedelta(minutes=10))
        house.power_off(300)
        house.power_on()
        ready = day + timedelta(days=1, hours=6, minutes=30)
        house.run_until(ready if (number + 1) % 7 < 5 else ready.replace(hour=10, minute=0))
        percent = house.car.state_of_charge_percent
        house.backend.unplug()
        session = house.charger.snapshot().session
        assert session is not None
        energy = session.energy_charged_mwh(house.charger.snapshot().meter) / 1e6
        print(f"{day:%a} starts {begins:%a %H:%M}, ready with {percent} %, {energy:.3f} kWh")


if __name__ == "__main__":
    main()
