"""What energy management has to tell, in the order in which it happened."""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

from evse_node.energy_management.enums import EndCause
from evse_node.units import MilliwattHours


class PowerAdjustStarted(Struct, frozen=True):
    """A power adjustment began."""


class PowerAdjustEnded(Struct, frozen=True):
    """A power adjustment is over. `energy_mwh` is what was drawn from its start on."""

    cause: EndCause
    duration_s: int
    energy_mwh: MilliwattHours


class Paused(Struct, frozen=True):
    """A pause began."""


class Resumed(Struct, frozen=True):
    """A pause is over."""

    cause: EndCause


Notification: TypeAlias = PowerAdjustStarted | PowerAdjustEnded | Paused | Resumed
