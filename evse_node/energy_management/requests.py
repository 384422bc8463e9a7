"""What can happen to energy management. `step` takes one of these at a time.

Spec: Matter Application Clusters 1.3 "Device Energy Management Cluster", "Commands"
"""

from __future__ import annotations

from enum import Enum
from typing import TypeAlias

from evse_node.energy_management.conditions import Conditions
from evse_node.energy_management.enums import AdjustmentCause
from evse_node.energy_management.forecast import Forecast, PowerRange
from evse_node.errors import EvseNodeError
from evse_node.records import dataclass
from evse_node.units import EpochSeconds, MilliwattHours, Milliwatts


class Problem(Enum):
    """Why a request is refused."""

    CONSTRAINT = "it is out of bounds, or the user has opted out of it"
    STATE = "it does not fit the present state"
    INCOMPLETE = "a needed value is missing"
    IMPOSSIBLE = "it cannot be done"


class RequestRefusedError(EvseNodeError):
    """A request is not followed; nothing has changed. `problem` is the kind of the trouble."""

    def __init__(self, problem: Problem, reason: str) -> None:
        self.problem = problem
        super().__init__(reason)


# From a controller


@dataclass(frozen=True, slots=True)
class PowerAdjustRequest:
    """Draw this power for a time, seconds."""

    power_mw: Milliwatts
    duration_s: int
    cause: AdjustmentCause


@dataclass(frozen=True, slots=True)
class CancelPowerAdjustRequest:
    """End the power adjustment."""


@dataclass(frozen=True, slots=True)
class StartTimeAdjustRequest:
    """Move the whole forecast to another start."""

    start_time: EpochSeconds
    cause: AdjustmentCause


@dataclass(frozen=True, slots=True)
class PauseRequest:
    """Draw nothing for a time, seconds, then go on."""

    duration_s: int
    cause: AdjustmentCause


@dataclass(frozen=True, slots=True)
class ResumeRequest:
    """End the pause."""


@dataclass(frozen=True, slots=True)
class SlotAdjustment:
    """Another length, and where power is forecast another power, for one slot."""

    slot_index: int
    duration_s: int
    power_mw: Milliwatts | None = None


@dataclass(frozen=True, slots=True)
class ModifyForecastRequest:
    """Change slots of the forecast with this number."""

    forecast_id: int
    adjustments: tuple[SlotAdjustment, ...]
    cause: AdjustmentCause


@dataclass(frozen=True, slots=True)
class Constraint:
    """What to keep to from a time on for a duration.

    `load_control` is -100 (turn down all the way) to 100 percent.
    Spec: Matter Application Clusters 1.3 "ConstraintsStruct"
    """

    start_time: EpochSeconds
    duration_s: int
    power_mw: Milliwatts | None = None
    maximum_mwh: MilliwattHours | None = None
    load_control: int | None = None

    @property
    def end_time(self) -> EpochSeconds:
        """When it ends."""
        return EpochSeconds(self.start_time + self.duration_s)


@dataclass(frozen=True, slots=True)
class ConstraintRequest:
    """Make a forecast that keeps to constraints."""

    constraints: tuple[Constraint, ...]
    cause: AdjustmentCause


@dataclass(frozen=True, slots=True)
class CancelRequest:
    """Forget what was asked of the forecast, and follow one's own."""


# From the user, the charger, the clock, and tests


@dataclass(frozen=True, slots=True)
class OptOutChanged:
    """The user does not want to be managed for these causes (the complete set)."""

    causes: frozenset[AdjustmentCause]


@dataclass(frozen=True, slots=True)
class ConditionsChanged:
    """The charger tells how things stand."""

    conditions: Conditions


@dataclass(frozen=True, slots=True)
class TimePassed:
    """It is later than before; what is due happens."""


@dataclass(frozen=True, slots=True)
class PowerOption:
    """A power adjustment that may be asked for. Spec: "PowerAdjustStruct"."""

    power: PowerRange
    shortest_s: int
    longest_s: int

    def holds(self, power_mw: int, duration_s: int) -> bool:
        """Tell whether this option covers a request."""
        return self.power.holds(power_mw) and self.shortest_s <= duration_s <= self.longest_s


@dataclass(frozen=True, slots=True)
class Script:
    """A stand-in for charger and vehicle: with it, nothing is asked of them.

    `options` and `forecast` are taken as they are; the forecast's slots do not run on with
    time, and its number is chosen anew.
    """

    power: PowerRange
    options: tuple[PowerOption, ...] = ()
    forecast: Forecast | None = None


@dataclass(frozen=True, slots=True)
class ScriptChanged:
    """A script begins or is replaced; None gives the charger back."""

    script: Script | None


Request: TypeAlias = (
    PowerAdjustRequest
    | CancelPowerAdjustRequest
    | StartTimeAdjustRequest
    | PauseRequest
    | ResumeRequest
    | ModifyForecastRequest
    | ConstraintRequest
    | CancelRequest
)
Event: TypeAlias = Request | OptOutChanged | ConditionsChanged | TimePassed | ScriptChanged
