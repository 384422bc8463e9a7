"""The simulated backend and its car as a configuration describes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from evse_node.errors import ConfigError
from evse_node.hal.interface import Ratings
from evse_node.hal.simulated.backend import SimulatedBackend
from evse_node.hal.simulated.electric_vehicle import ElectricCar, Habits
from evse_node.units import Milliamps, MilliwattHours

_FEATURES: Final = ("PNC", "RFID", "SOC", "V2X")


def create(options: Mapping[str, object]) -> SimulatedBackend:
    """Make the backend from the `[hal]` table of a configuration; all keys may be left out.

    Raises ConfigError naming the key, its value and what would be right.
    """
    left = {key.replace("_", "-"): value for key, value in options.items()}

    def number(key: str, low: float, high: float, default: float) -> float:
        value = left.pop(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigError(f"hal.{key}: {value!r} cannot be used: give {low:g} to {high:g}")
        if not low <= value <= high:
            raise ConfigError(f"hal.{key}: {value} cannot be used: give {low:g} to {high:g}")
        return value

    def whole(key: str, low: int, high: int, default: int) -> int:
        value = number(key, low, high, default)
        if value != int(value):
            raise ConfigError(f"hal.{key}: {value} cannot be used: give a whole number")
        return int(value)

    def flag(key: str, default: bool) -> bool:
        value = left.pop(key, default)
        if not isinstance(value, bool):
            raise ConfigError(f"hal.{key}: {value!r} cannot be used: give true or false")
        return value

    def features(key: str) -> frozenset[str]:
        value = left.pop(key, [])
        if not isinstance(value, list) or any(item not in _FEATURES for item in value):
            raise ConfigError(
                f"hal.{key}: {value!r} cannot be used: give a list of {', '.join(_FEATURES)}"
            )
        return frozenset(value)

    maximum_ma = Milliamps(int(number("maximum-current-a", 6, 80, 32) * 1000))
    phases = whole("phases", 1, 3, 3)
    car = ElectricCar(
        capacity_mwh=MilliwattHours(int(number("battery-kwh", 0.001, 1000, 60) * 1_000_000)),
        charger_maximum_ma=Milliamps(int(number("car-current-a", 6, 80, 16) * 1000)),
        phases=whole("car-phases", 1, 3, 3),
        habits=Habits(
            asks_at_once=flag("asks-at-once", False),
            stops_at_percent=whole("stops-at-percent", 1, 100, 100),
            pauses_after_s=int(number("pauses-after-s", 0, 1e6, 0)),
            pauses_for_s=int(number("pauses-for-s", 0, 1e6, 0)),
            leaves_after_s=int(number("leaves-after-s", 0, 1e6, 0)),
            asks_without_offer=flag("asks-without-offer", True),
            heeds_offer=flag("heeds-offer", True),
        ),
    )
    car.state_of_charge_percent = whole("soc-percent", 0, 100, 40)
    backend = SimulatedBackend(
        speed=number("speed", 0.001, 100_000, 1),
        ratings=Ratings(maximum_ma, maximum_ma, phases),
        cable_ma=Milliamps(int(number("cable-a", 6, 80, 32) * 1000)),
        car=car,
        without=features("without"),
        has_grid_meter=flag("grid-meter", False),
    )
    if "port" in left:
        raise ConfigError(
            f"device: the simulated backend has no serial port, as for '{left['port']}': "
            "choose a --backend that has one"
        )
    if left:
        raise ConfigError(f"hal.{min(left)}: the simulated backend has no such key")
    return backend
