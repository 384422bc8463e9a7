"""Capabilities whose words others use as well, each as an object of its own."""

from __future__ import annotations

from typing import Protocol

from evse_node.errors import HalError
from evse_node.hal.external.link import ControllerStatus
from evse_node.hal.interface import MeterValues


class Orders(Protocol):
    """What they need of the controller's backend."""

    def order_closed(self, is_closed: bool) -> None:
        """Switch the contactor."""

    def order_locked(self, is_locked: bool) -> None:
        """Move the lock."""

    def status(self) -> ControllerStatus:
        """Return the newest status. Raises HalError."""


class OrderedContactor:
    """The `Contactor` capability, whose words other capabilities use as well."""

    def __init__(self, controller: Orders) -> None:
        self._controller = controller

    def open(self) -> None:
        """Switch off."""
        self._controller.order_closed(False)

    def close(self) -> None:
        """Switch on."""
        self._controller.order_closed(True)


class OrderedLock:
    """The `CableLock` capability."""

    def __init__(self, controller: Orders) -> None:
        self._controller = controller

    def lock(self) -> None:
        """Hold the plug."""
        self._controller.order_locked(True)

    def unlock(self) -> None:
        """Release the plug."""
        self._controller.order_locked(False)


class OrderedMeter:
    """The `Meter` capability."""

    def __init__(self, controller: Orders) -> None:
        self._controller = controller

    def read(self) -> MeterValues:
        """Return the newest values."""
        values = self._controller.status().meter
        if values is None:
            raise HalError("the controller tells no measured values")
        return values
