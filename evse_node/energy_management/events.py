"""Notifications of energy management, in the order in which things happened."""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

from evse_node.energy_management.enums import EndCause
from evse_node.units import MilliwattHours


class PowerAdjustStarted(Struct, frozen=True):
    """A power adjustment started."""


class PowerAdjustEnded(Struct, frozen=True):
    """A power adjustment ended. `energy_mwh` is the energy drawn since its start."""

    cause: EndCause
    duration_s: int
    energy_mwh: MilliwattHours


class Paused(Struct, frozen=True):
    """A pause started."""


class Resumed(Struct, frozen=True):
    """A pause ended."""

    cause: EndCause


Notification: TypeAlias = PowerAdjustStarted | PowerAdjustEnded | Paused | Resumed
