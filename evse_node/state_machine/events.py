"""What can happen to the charger. `step` takes one of these at a time."""

from __future__ import annotations

from enum import Enum
from typing import TypeAlias

from evse_node.records import dataclass
from evse_node.state_machine.control_pilot import PilotState
from evse_node.state_machine.faults import FaultState
from evse_node.state_machine.limits import LimitSource
from evse_node.state_machine.session import MeterReading
from evse_node.units import EpochSeconds, Milliamps, MilliwattHours


class Direction(Enum):
    """Which way energy flows, seen from the charger."""

    CHARGE = "charge"
    DISCHARGE = "discharge"

    __hash__ = object.__hash__  # see `limits.LimitSource`


class Timer(Enum):
    """The machine's deadlines. Their lengths are in `settings.EvseSettings`."""

    STOP_GRACE = "vehicle must leave state C"
    CONTACTOR = "contactor feedback is due"
    DUTY_CHANGE = "next duty cycle is allowed"
    X1_PAUSE = "next PWM is allowed"
    STATE_F = "state F ends"
    WAKE_UP = "vehicle has not answered the offer"
    WAKE_PAUSE = "wake-up ends"
    UNLOCK = "unlocking after a fault is allowed"
    AUTHORIZATION = "nobody plugged in after the card"
    DIAGNOSTICS = "self-test must have ended"

    __hash__ = object.__hash__  # see `limits.LimitSource`


# From the hardware


@dataclass(frozen=True, slots=True)
class PilotChanged:
    """The pilot shows a state. The filter before it must stay under 50 ms for leaving C."""

    pilot: PilotState


@dataclass(frozen=True, slots=True)
class ContactorReported:
    """The mirror contact says what the contactor really does."""

    is_closed: bool


@dataclass(frozen=True, slots=True)
class CableChanged:
    """A cable with this ampacity is in the socket, or none is."""

    ampacity_ma: Milliamps | None


@dataclass(frozen=True, slots=True)
class MeterRead:
    """The energy meter's totals now.

    `is_new_count`: they have nothing to do with those before. Totals that are lower than
    before are taken so anyway.
    """

    reading: MeterReading
    is_new_count: bool = False


@dataclass(frozen=True, slots=True)
class FaultRaised:
    """The hardware reports a fault."""

    fault: FaultState


@dataclass(frozen=True, slots=True)
class FaultCleared:
    """A fault is gone or acknowledged; None means all of them."""

    fault: FaultState | None = None


@dataclass(frozen=True, slots=True)
class CausesSeen:
    """Of the faults that are watched for, the causes of these can be seen now, of others not."""

    faults: frozenset[FaultState]


@dataclass(frozen=True, slots=True)
class DiagnosticsCompleted:
    """The self-test has ended."""


@dataclass(frozen=True, slots=True)
class RfidTapped:
    """A card was held to the reader. `uid` has 1 to 10 bytes."""

    uid: bytes


@dataclass(frozen=True, slots=True)
class BatteryReported:
    """What the vehicle tells of its battery; None is not known."""

    state_of_charge_percent: int | None
    capacity_mwh: MilliwattHours | None


@dataclass(frozen=True, slots=True)
class VehicleIdentified:
    """The vehicle's identifier, at most 32 characters, or None when not known."""

    vehicle_id: str | None


# From a person, a controller or the configuration


@dataclass(frozen=True, slots=True)
class EnableCharging:
    """Allow charging until a time, or without end with None. Refused during a fault or self-test.

    Spec: Matter Application Clusters 1.3 "EnableCharging Command"
    """

    until: EpochSeconds | None
    minimum_ma: Milliamps
    maximum_ma: Milliamps


@dataclass(frozen=True, slots=True)
class EnableDischarging:
    """Allow discharging until a time, or without end with None.

    Spec: Matter Application Clusters 1.3 "EnableDischarging Command"
    """

    until: EpochSeconds | None
    maximum_ma: Milliamps


@dataclass(frozen=True, slots=True)
class Disable:
    """Withdraw both permissions. Spec: Matter Application Clusters 1.3 "Disable Command"."""


@dataclass(frozen=True, slots=True)
class StartDiagnostics:
    """Begin a self-test. Spec: Matter Application Clusters 1.3 "StartDiagnostics Command"."""


@dataclass(frozen=True, slots=True)
class LimitClaimed:
    """A source allows at most this current, or withdraws its claim with None."""

    source: LimitSource
    current_ma: Milliamps | None
    directions: tuple[Direction, ...] = (Direction.CHARGE, Direction.DISCHARGE)


@dataclass(frozen=True, slots=True)
class DischargeAsked:
    """Where both directions are allowed, energy is to come from the vehicle, or no longer."""

    is_asked: bool


@dataclass(frozen=True, slots=True)
class ChargingHeld:
    """A schedule holds charging back, or lets it go."""

    is_held: bool


@dataclass(frozen=True, slots=True)
class ClockRead:
    """The wall clock now; permissions that have run out end."""

    epoch_s: EpochSeconds


@dataclass(frozen=True, slots=True)
class Reset:
    """Return to no vehicle, no permission, no fault, without telling anyone. Limits stay."""


# From the machine's own deadlines


@dataclass(frozen=True, slots=True)
class TimerExpired:
    """A deadline of the state has passed. One that is not pending or not due is ignored."""

    timer: Timer


Event: TypeAlias = (
    PilotChanged
    | ContactorReported
    | CableChanged
    | MeterRead
    | FaultRaised
    | FaultCleared
    | CausesSeen
    | DiagnosticsCompleted
    | RfidTapped
    | BatteryReported
    | VehicleIdentified
    | EnableCharging
    | EnableDischarging
    | Disable
    | StartDiagnostics
    | LimitClaimed
    | DischargeAsked
    | ChargingHeld
    | ClockRead
    | Reset
    | TimerExpired
)
