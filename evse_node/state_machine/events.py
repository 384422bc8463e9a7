"""What can happen to the charger. `step` takes one of these at a time."""

from __future__ import annotations

from enum import Enum
from typing import TypeAlias

from msgspec import Struct

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


class PilotChanged(Struct, frozen=True):
    """The pilot shows a state, reported at start and on each change.

    The filter before it must stay under 50 ms for leaving C.
    """

    pilot: PilotState


class ContactorReported(Struct, frozen=True):
    """The state of the mirror contact, reported at start and on each change.

    Hardware without a mirror contact repeats each order as if it had been carried out.
    """

    is_closed: bool


class CableChanged(Struct, frozen=True):
    """The ampacity of the cable in the socket, or None without a cable."""

    ampacity_ma: Milliamps | None


class MeterRead(Struct, frozen=True):
    """The energy meter's totals now.

    `is_counter_reset`: they have nothing to do with those before. Totals that are lower than
    before are taken so anyway.
    """

    reading: MeterReading
    is_counter_reset: bool = False


class FaultRaised(Struct, frozen=True):
    """The hardware reports a fault. It lasts, also over a restart, until it is cleared."""

    fault: FaultState


class FaultCleared(Struct, frozen=True):
    """A fault is gone or acknowledged; None means all of them."""

    fault: FaultState | None = None


class CausesObserved(Struct, frozen=True):
    """Of the faults that are watched for, the causes of these can be seen now, of others not."""

    faults: frozenset[FaultState]


class SelfTestCompleted(Struct, frozen=True):
    """The self-test has ended; the faults that it found were raised before."""


class RfidTapped(Struct, frozen=True):
    """A card was held to the reader. `uid` has 1 to 10 bytes."""

    uid: bytes


class BatteryReported(Struct, frozen=True):
    """What the vehicle tells of its battery; None is not known."""

    state_of_charge_percent: int | None
    capacity_mwh: MilliwattHours | None


class VehicleIdentified(Struct, frozen=True):
    """The vehicle's identifier, at most 32 characters, or None when not known."""

    vehicle_id: str | None


# From a person, a controller or the configuration


class EnableCharging(Struct, frozen=True):
    """Allow charging until a time, or without end with None. Refused during a fault or self-test.

    Spec: Matter Application Clusters 1.3 "EnableCharging Command"
    """

    until: EpochSeconds | None
    minimum_ma: Milliamps
    maximum_ma: Milliamps


class EnableDischarging(Struct, frozen=True):
    """Allow discharging until a time, or without end with None.

    Spec: Matter Application Clusters 1.3 "EnableDischarging Command"
    """

    until: EpochSeconds | None
    maximum_ma: Milliamps


class Disable(Struct, frozen=True):
    """Withdraw both permissions. Spec: Matter Application Clusters 1.3 "Disable Command"."""


class StartDiagnostics(Struct, frozen=True):
    """Begin a self-test. Spec: Matter Application Clusters 1.3 "StartDiagnostics Command"."""


class LimitClaimed(Struct, frozen=True):
    """A source allows at most this current, or withdraws its claim with None."""

    source: LimitSource
    current_ma: Milliamps | None
    directions: tuple[Direction, ...] = (Direction.CHARGE, Direction.DISCHARGE)


class DischargeRequested(Struct, frozen=True):
    """Where both directions are allowed, energy is to come from the vehicle, or no longer."""

    is_requested: bool


class ChargingHeld(Struct, frozen=True):
    """A schedule holds charging back, or lets it go."""

    is_held: bool


class ClockRead(Struct, frozen=True):
    """The wall clock now; permissions that have run out end."""

    epoch_s: EpochSeconds


class Reset(Struct, frozen=True):
    """Return to no vehicle, no permission, no fault, without telling anyone. Limits stay."""


# From the machine's own deadlines


class TimerExpired(Struct, frozen=True):
    """A deadline of the state has passed. One that is not pending or not due is ignored."""

    timer: Timer


Event: TypeAlias = (
    PilotChanged
    | ContactorReported
    | CableChanged
    | MeterRead
    | FaultRaised
    | FaultCleared
    | CausesObserved
    | SelfTestCompleted
    | RfidTapped
    | BatteryReported
    | VehicleIdentified
    | EnableCharging
    | EnableDischarging
    | Disable
    | StartDiagnostics
    | LimitClaimed
    | DischargeRequested
    | ChargingHeld
    | ClockRead
    | Reset
    | TimerExpired
)
