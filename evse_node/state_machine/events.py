"""Events of the charger; `step` takes one at a time."""

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
    """Direction of the energy, seen from the charger."""

    CHARGE = "charge"
    DISCHARGE = "discharge"

    __hash__ = object.__hash__  # see `limits.LimitSource`


class Timer(Enum):
    """Deadlines of the machine; `EvseSettings` has the durations."""

    STOP_GRACE = "vehicle must leave state C"
    CONTACTOR = "contactor feedback is due"
    DUTY_CHANGE = "next duty cycle is allowed"
    X1_PAUSE = "next PWM is allowed"
    STATE_F = "state F ends"
    WAKE_UP = "wake-up of a vehicle that ignores the offer"
    WAKE_PAUSE = "wake-up ends"
    UNLOCK = "unlocking after a fault is allowed"
    AUTHORIZATION = "card expires without a vehicle"
    DIAGNOSTICS = "self-test must have ended"
    UNPLUGGED = "vehicle that is not seen counts as unplugged"
    CLOSING_PAUSE = "contactor may close again"
    RETRY = "retried faults are cleared"
    RETRY_RESET = "earlier faults no longer count"

    __hash__ = object.__hash__  # see `limits.LimitSource`


# From the hardware


class PilotChanged(Struct, frozen=True):
    """The vehicle state on the pilot, reported at start and on each change.

    Filtering must delay leaving C by less than 50 ms (IEC 61851-1:2017 Table A.6, sequence 8.1).
    """

    pilot: PilotState


class ContactorReported(Struct, frozen=True):
    """The state of the mirror contact, reported at start and on each change.

    Hardware without a mirror contact reports each order as carried out.
    """

    is_closed: bool


class CableChanged(Struct, frozen=True):
    """Ampacity of the cable in the socket, or None without a cable."""

    ampacity_ma: Milliamps | None


class MeterRead(Struct, frozen=True):
    """Totals of the energy meter.

    `is_counter_reset`: unrelated to the previous totals. Lower totals always count as a reset.
    """

    reading: MeterReading
    is_counter_reset: bool = False


class FaultRaised(Struct, frozen=True):
    """A fault, which lasts (also over a restart) until `FaultCleared`.

    `is_momentary`: nothing reports its end; the machine retries where the fault's class allows.
    """

    fault: FaultState
    is_momentary: bool = False


class FaultCleared(Struct, frozen=True):
    """A fault is gone or acknowledged; None means all."""

    fault: FaultState | None = None


class CausesObserved(Struct, frozen=True):
    """The monitored faults whose cause is present; those of all others are gone."""

    faults: frozenset[FaultState]


class SelfTestCompleted(Struct, frozen=True):
    """The self-test ended; its findings were raised before."""


class RfidTapped(Struct, frozen=True):
    """A card was read. `uid` has 1 to 10 bytes."""

    uid: bytes


class BatteryReported(Struct, frozen=True):
    """The vehicle's battery as reported by it; None when unknown."""

    state_of_charge_percent: int | None
    capacity_mwh: MilliwattHours | None


class VehicleIdentified(Struct, frozen=True):
    """The vehicle's identifier of at most 32 characters, or None when unknown."""

    vehicle_id: str | None


# From a person, a controller or the configuration


class EnableCharging(Struct, frozen=True):
    """Allow charging until a time (None: without end). Refused during a fault or self-test.

    Spec: Matter Application Clusters 1.3 "EnableCharging Command"
    """

    until: EpochSeconds | None
    minimum_ma: Milliamps
    maximum_ma: Milliamps


class EnableDischarging(Struct, frozen=True):
    """Allow discharging until a time (None: without end).

    Spec: Matter Application Clusters 1.3 "EnableDischarging Command"
    """

    until: EpochSeconds | None
    maximum_ma: Milliamps


class Disable(Struct, frozen=True):
    """Withdraw both permissions. Spec: Matter Application Clusters 1.3 "Disable Command"."""


class StartDiagnostics(Struct, frozen=True):
    """Start a self-test. Spec: Matter Application Clusters 1.3 "StartDiagnostics Command"."""


class LimitClaimed(Struct, frozen=True):
    """A source limits the current, or withdraws its claim with None."""

    source: LimitSource
    current_ma: Milliamps | None
    directions: tuple[Direction, ...] = (Direction.CHARGE, Direction.DISCHARGE)


class DischargeRequested(Struct, frozen=True):
    """Prefer discharging, or no longer, where both directions are allowed."""

    is_requested: bool


class ChargingHeld(Struct, frozen=True):
    """A schedule holds charging back, or releases it."""

    is_held: bool


class ClockRead(Struct, frozen=True):
    """The wall-clock time; permissions expire by it."""

    epoch_s: EpochSeconds


class Reset(Struct, frozen=True):
    """Return to no vehicle, permission or fault, without notifications. Limits stay."""


# From the machine's own deadlines


class TimerExpired(Struct, frozen=True):
    """A deadline has passed. Ignored unless it is pending and due."""

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
