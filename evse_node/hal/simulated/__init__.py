"""Simulated hardware: a charger's board and an electric vehicle."""

from evse_node.hal.simulated.backend import SimulatedBackend
from evse_node.hal.simulated.electric_vehicle import ElectricCar, Habits

__all__ = ["ElectricCar", "Habits", "SimulatedBackend"]
