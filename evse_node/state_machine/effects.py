"""What the machine wants done: orders to the hardware, and notices for whoever listens.

Orders of class `SafetyEffect` are carried out first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from evse_node.state_machine.faults import FaultState
from evse_node.state_machine.names import State, StoppedReason
from evse_node.units import Milliamps, MilliwattHours

# Orders to the hardware


@dataclass(frozen=True, slots=True)
class OpenContactor:
    """Switch the power off."""


@dataclass(frozen=True, slots=True)
class CloseContactor:
    """Switch the power on. Feedback follows as an event."""


@dataclass(frozen=True, slots=True)
class OfferCurrent:
    """Put PWM on the pilot; `current_ma` has a duty cycle."""

    current_ma: Milliamps


@dataclass(frozen=True, slots=True)
class WithdrawOffer:
    """Put constant +12 V on the pilot (X1)."""


@dataclass(frozen=True, slots=True)
class SignalUnavailable:
    """Put constant -12 V on the pilot (state F), and hold it until told otherwise."""


@dataclass(frozen=True, slots=True)
class LockCable:
    """Hold the plug in the socket."""


@dataclass(frozen=True, slots=True)
class UnlockCable:
    """Release the plug."""


@dataclass(frozen=True, slots=True)
class SetDischarge:
    """Let the vehicle feed back at most this current; None ends it."""

    current_ma: Milliamps | None


@dataclass(frozen=True, slots=True)
class BeginDiagnostics:
    """Start the hardware's self-test."""


SafetyEffect: TypeAlias = OpenContactor | SignalUnavailable | WithdrawOffer
Order: TypeAlias = (
    SafetyEffect
    | CloseContactor
    | OfferCurrent
    | LockCable
    | UnlockCable
    | SetDischarge
    | BeginDiagnostics
)

# Notices, in the order in which they happened


@dataclass(frozen=True, slots=True)
class EvConnected:
    """A session began."""

    session_id: int


@dataclass(frozen=True, slots=True)
class EvNotDetected:
    """A session ended. `state` is the one before."""

    session_id: int
    state: State
    duration_s: int
    energy_charged_mwh: MilliwattHours
    energy_discharged_mwh: MilliwattHours


@dataclass(frozen=True, slots=True)
class EnergyTransferStarted:
    """Energy may flow. `state` is the new one; `maximum_ma` the limit in that direction."""

    session_id: int
    state: State
    maximum_ma: Milliamps


@dataclass(frozen=True, slots=True)
class EnergyTransferStopped:
    """No more energy. `state` is the one before; energies are those since the start notice."""

    session_id: int
    state: State
    reason: StoppedReason
    energy_charged_mwh: MilliwattHours
    energy_discharged_mwh: MilliwattHours


@dataclass(frozen=True, slots=True)
class FaultChanged:
    """The shown fault changed. `state` is the one before; no session id without a session."""

    session_id: int | None
    state: State
    previous: FaultState
    current: FaultState


@dataclass(frozen=True, slots=True)
class RfidRead:
    """A card was read."""

    uid: bytes


@dataclass(frozen=True, slots=True)
class SessionChanged:
    """The session's values are to be reported even if they are the same as before."""


Notice: TypeAlias = (
    EvConnected
    | EvNotDetected
    | EnergyTransferStarted
    | EnergyTransferStopped
    | FaultChanged
    | RfidRead
    | SessionChanged
)


@dataclass(frozen=True, slots=True)
class Refused:
    """The event asked for something that cannot be done now; nothing has changed."""

    reason: str


Effect: TypeAlias = Order | Notice | Refused
