"""A charger for energy management that follows and records orders."""

from __future__ import annotations

from msgspec.structs import replace

from evse_node.energy_management.appliance import Appliance
from evse_node.energy_management.conditions import Availability, Conditions, EnergyDemand, Supply
from evse_node.energy_management.events import Notification
from evse_node.energy_management.forecast import Forecast, PowerRange
from evse_node.energy_management.requests import (
    Event,
    Problem,
    RequestRefusedError,
)
from evse_node.energy_management.state import NO_ORDERS, Orders
from evse_node.units import EpochSeconds, Milliamps, Millivolts, MilliwattHours, Milliwatts

PFR = frozenset({"PA", "PFR", "STA", "PAU", "FA", "CON"})
SFR = frozenset({"SFR", "STA", "PAU", "FA", "CON"})
EPOCH = EpochSeconds(800_000_000)
HOUR = 3600
# 6 to 16 A on one phase
POWER = PowerRange(Milliwatts(1_380_000), Milliwatts(3_680_000))
SUPPLY = Supply(Millivolts(230_000), 1, Milliamps(6_000), Milliamps(16_000), Milliamps(16_000))


def limited(current_ma: int, intended_ma: int | None = None) -> Supply:
    """Return the supply with another limit."""
    intended = current_ma if intended_ma is None else intended_ma
    return replace(SUPPLY, maximum_ma=Milliamps(current_ma), intended_ma=Milliamps(intended))


AWAY = Conditions(Availability.ONLINE, POWER, SUPPLY)
PLUGGED_IN = replace(AWAY, is_connected=True, requests_energy=True)


def needs(energy_mwh: int, deadline_s: int | None, goal: int = 0) -> EnergyDemand:
    """Return a need of so much energy until so many seconds after the start of the test."""
    deadline = None if deadline_s is None else EpochSeconds(EPOCH + deadline_s)
    return EnergyDemand(remaining_mwh=MilliwattHours(energy_mwh), deadline=deadline, goal=(goal,))


# Two hours at full power, of six.
PROMISED = replace(PLUGGED_IN, demand=needs(7_360_000, 6 * HOUR))


class Bench:
    """An appliance with its plant and a clock. `is_clock_known` may be changed."""

    def __init__(self, conditions: Conditions = PLUGGED_IN, features: frozenset[str] = PFR) -> None:
        self.now = 100.0
        self.is_clock_known = True
        self.meter = 0
        self.given: list[Orders] = []
        self.notifications: list[Notification] = []
        self.prompts: list[bool] = []
        self.current = conditions
        self.appliance = Appliance(self, features=features, epoch_s=self.epoch_s, first_id=7)
        self.appliance.observers.append(self._observe)
        self.change(conditions)

    # Plant

    def conditions(self) -> Conditions:
        return self.current

    def apply(self, orders: Orders, now: float) -> None:
        self.given.append(orders)

    def meter_mwh(self) -> MilliwattHours:
        return MilliwattHours(self.meter)

    def _observe(
        self, notifications: tuple[Notification, ...], is_prompt: bool, now: float
    ) -> None:
        self.notifications += notifications
        self.prompts.append(is_prompt)

    def epoch_s(self) -> EpochSeconds | None:
        return EpochSeconds(EPOCH + int(self.now) - 100) if self.is_clock_known else None

    # Inputs

    def change(self, conditions: Conditions) -> None:
        self.current = conditions
        self.appliance.on_timer(self.now)

    def ask(self, event: Event) -> Problem | None:
        """Process an event; return why it was refused."""
        try:
            self.appliance.handle(event, self.now)
        except RequestRefusedError as error:
            return error.problem
        return None

    def wait(self, seconds: float) -> None:
        """Let time pass; deadlines must come to an end."""
        end = self.now + seconds
        for _ in range(10_000):
            deadline = self.appliance.next_deadline()
            if deadline is None or deadline > end:
                break
            self.now = max(self.now, deadline)
            self.appliance.on_timer(self.now)
        else:
            raise AssertionError("deadlines do not come to an end")
        self.now = end

    def take(self) -> list[Notification]:
        taken, self.notifications = self.notifications, []
        return taken

    @property
    def orders(self) -> Orders:
        return self.given[-1] if self.given else NO_ORDERS

    @property
    def forecast(self) -> Forecast:
        forecast = self.appliance.forecast()
        assert forecast is not None
        return forecast
