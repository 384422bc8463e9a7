"""Contactor, cable lock and meter of a backend whose own members bear those names."""

from __future__ import annotations

from typing import Protocol

from evse_node.hal.interface import MeterValues


class HardwareOrders(Protocol):
    """Orders and readings that `Actuators` passes on."""

    def order_closed(self, is_closed: bool) -> None:
        """Switch the contactor."""

    def order_locked(self, is_locked: bool) -> None:
        """Move the cable lock."""

    def read_meter(self) -> MeterValues:
        """Return the newest values. Raises HalError."""


class Actuators:
    """`Contactor`, `CableLock` and `Meter` of one backend.

    A backend cannot be its own `CableLock`: `lock` would be both a member and a method.
    """

    def __init__(self, hardware: HardwareOrders) -> None:
        self._hardware = hardware

    def open(self) -> None:
        self._hardware.order_closed(False)

    def close(self) -> None:
        self._hardware.order_closed(True)

    def lock(self) -> None:
        self._hardware.order_locked(True)

    def unlock(self) -> None:
        self._hardware.order_locked(False)

    def read(self) -> MeterValues:
        return self._hardware.read_meter()
