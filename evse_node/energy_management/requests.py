"""What can happen to energy management. `step` takes one of these at a time.

Spec: Matter Application Clusters 1.3 "Device Energy Management Cluster", "Commands"
"""

from __future__ import annotations

from enum import Enum
from typing import TypeAlias

from msgspec import Struct

from evse_node.energy_management.conditions import Conditions
from evse_node.energy_management.enums import AdjustmentCause
from evse_node.energy_management.forecast import Forecast, PowerRange
from evse_node.errors import EvseNodeError
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


class PowerAdjustRequest(Struct, frozen=True):
    """Draw this power for a time, seconds."""

    power_mw: Milliwatts
    duration_s: int
    cause: AdjustmentCause


class CancelPowerAdjustRequest(Struct, frozen=True):
    """End the power adjustment."""


class StartTimeAdjustRequest(Struct, frozen=True):
    """Move the whole forecast to another start."""

    start_time: EpochSeconds
    cause: AdjustmentCause


class PauseRequest(Struct, frozen=True):
    """Draw nothing for a time, seconds, then go on."""

    duration_s: int
    cause: AdjustmentCause


class ResumeRequest(Struct, frozen=True):
    """End the pause."""


class SlotAdjustment(Struct, frozen=True):
    """Another length, and where power is forecast another power, for one slot."""

    slot_index: int
    duration_s: int
    power_mw: Milliwatts | None = None


class ModifyForecastRequest(Struct, frozen=True):
    """Change slots of the forecast with this number."""

    forecast_id: int
    adjustments: tuple[SlotAdjustment, ...]
    cause: AdjustmentCause


class Constraint(Struct, frozen=True):
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


class ConstraintRequest(Struct, frozen=True):
    """Make a forecast that keeps to constraints."""

    constraints: tuple[Constraint, ...]
    cause: AdjustmentCause


class CancelRequest(Struct, frozen=True):
    """Forget what was asked of the forecast, and follow one's own."""


# From the user, the charger, the clock, and tests


class OptOutChanged(Struct, frozen=True):
    """The user does not want to be managed for these causes (the complete set)."""

    causes: frozenset[AdjustmentCause]


class ConditionsChanged(Struct, frozen=True):
    """The charger tells how things stand."""

    conditions: Conditions


class TimePassed(Struct, frozen=True):
    """It is later than before; what is due happens."""


class PowerOption(Struct, frozen=True):
    """A power adjustment that may be asked for. Spec: "PowerAdjustStruct"."""

    power: PowerRange
    shortest_s: int
    longest_s: int

    def holds(self, power_mw: int, duration_s: int) -> bool:
        """Tell whether this option covers a request."""
        return self.power.holds(power_mw) and self.shortest_s <= duration_s <= self.longest_s


class Script(Struct, frozen=True):
    """A stand-in for charger and vehicle: with it, nothing is asked of them.

    `options` and `forecast` are taken as they are; the forecast's slots do not run on with
    time, and its number is chosen anew.
    """

    power: PowerRange
    options: tuple[PowerOption, ...] = ()
    forecast: Forecast | None = None


class ScriptChanged(Struct, frozen=True):
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
