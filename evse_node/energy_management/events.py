"""What energy management has to tell, in the order in which it happened."""

from __future__ import annotations

from typing import TypeAlias

from evse_node.energy_management.enums import EndCause
from evse_node.records import dataclass
from evse_node.units import MilliwattHours


@dataclass(frozen=True, slots=True)
class PowerAdjustStarted:
    """A power adjustment began."""


@dataclass(frozen=True, slots=True)
class PowerAdjustEnded:
    """A power adjustment is over. `energy_mwh` is what was drawn from its start on."""

    cause: EndCause
    duration_s: int
    energy_mwh: MilliwattHours


@dataclass(frozen=True, slots=True)
class Paused:
    """A pause began."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """A pause is over."""

    cause: EndCause


Notice: TypeAlias = PowerAdjustStarted | PowerAdjustEnded | Paused | Resumed
