"""Events of energy management; `step` takes one at a time.

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
    """Kind of reason why a request is refused."""

    CONSTRAINT = "out of bounds, or the user has opted out"
    STATE = "not possible in the present state"
    INCOMPLETE = "a required value is missing"
    IMPOSSIBLE = "cannot be satisfied"


class RequestRefusedError(EvseNodeError):
    """A request is refused and nothing has changed. `problem` is the kind of reason."""

    def __init__(self, problem: Problem, reason: str) -> None:
        self.problem = problem
        super().__init__(reason)


# From a controller


class PowerAdjustRequest(Struct, frozen=True):
    """Draw this power for a time in seconds."""

    power_mw: Milliwatts
    duration_s: int
    cause: AdjustmentCause


class CancelPowerAdjustRequest(Struct, frozen=True):
    """End the power adjustment."""


class StartTimeAdjustRequest(Struct, frozen=True):
    """Move the whole forecast to another start time."""

    start_time: EpochSeconds
    cause: AdjustmentCause


class PauseRequest(Struct, frozen=True):
    """Draw nothing for a time in seconds, then continue."""

    duration_s: int
    cause: AdjustmentCause


class ResumeRequest(Struct, frozen=True):
    """End the pause."""


class SlotAdjustment(Struct, frozen=True):
    """A new duration, and for power forecasts a new power, of one slot."""

    slot_index: int
    duration_s: int
    power_mw: Milliwatts | None = None


class ModifyForecastRequest(Struct, frozen=True):
    """Change slots of the forecast with this id."""

    forecast_id: int
    adjustments: tuple[SlotAdjustment, ...]
    cause: AdjustmentCause


class Constraint(Struct, frozen=True):
    """A limit from a start time on, for a duration.

    `load_control` is -100 (lowest load) to 100 percent.
    Spec: Matter Application Clusters 1.3 "ConstraintsStruct"
    """

    start_time: EpochSeconds
    duration_s: int
    power_mw: Milliwatts | None = None
    maximum_mwh: MilliwattHours | None = None
    load_control: int | None = None

    @property
    def end_time(self) -> EpochSeconds:
        """The end of the constraint."""
        return EpochSeconds(self.start_time + self.duration_s)


class ConstraintRequest(Struct, frozen=True):
    """Compute a forecast that satisfies constraints."""

    constraints: tuple[Constraint, ...]
    cause: AdjustmentCause


class CancelRequest(Struct, frozen=True):
    """Discard requested changes of the forecast, and return to the charger's own."""


# From the user, the charger, the clock, and tests


class OptOutChanged(Struct, frozen=True):
    """The user opted out of requests of these origins (the complete set)."""

    causes: frozenset[AdjustmentCause]


class ConditionsChanged(Struct, frozen=True):
    """The state of charger or vehicle changed."""

    conditions: Conditions


class TimePassed(Struct, frozen=True):
    """Passage of time, which executes due actions."""


class PowerOption(Struct, frozen=True):
    """A power adjustment that may be requested. Spec: "PowerAdjustStruct"."""

    power: PowerRange
    shortest_s: int
    longest_s: int

    def covers(self, power_mw: int, duration_s: int) -> bool:
        """Return whether this option covers a request."""
        return self.power.contains(power_mw) and self.shortest_s <= duration_s <= self.longest_s


class Script(Struct, frozen=True):
    """Simulated charger and vehicle of a test event; the real ones get no orders.

    `options` and `forecast` are used unchanged, but for the id of the forecast; its slots do
    not progress with time.
    """

    power: PowerRange
    options: tuple[PowerOption, ...] = ()
    forecast: Forecast | None = None


class ScriptChanged(Struct, frozen=True):
    """A script starts or is replaced; None returns to the real charger."""

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
