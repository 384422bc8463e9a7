"""Former home of `evse_node.hal.simulated.electric_vehicle`; importing it warns."""

from __future__ import annotations

import warnings

from evse_node.hal.simulated.electric_vehicle import ElectricCar, Habits

__all__ = ["ElectricCar", "Habits"]

warnings.warn(
    "evse_node.hal.electric_car is deprecated, import evse_node.hal.simulated.electric_vehicle",
    DeprecationWarning,
    stacklevel=2,
)
