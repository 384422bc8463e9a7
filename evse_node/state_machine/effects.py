"""What the machine wants done: orders to the hardware, and notices for whoever listens.

A `SafetyOrder` is carried out before all other orders. The base classes only tell the
kinds apart; the unions `Order`, `Notice` and `Effect` say which effects there are.
"""

from __future__ import annotations

from typing import TypeAlias

from evse_node.records import dataclass
from evse_node.state_machine.enums import State, StoppedReason
from evse_node.state_machine.faults import FaultState
from evse_node.units import Milliamps, MilliwattHours


class AnyOrder:
    """An effect that is for the hardware."""

    __slots__ = ()


class SafetyOrder(AnyOrder):
    """An order that makes things safer and so does not wait for others."""

    __slots__ = ()


class AnyNotice:
    """An effect that is for whoever listens."""

    __slots__ = ()


# Orders to the hardware


@dataclass(frozen=True, slots=True)
class OpenContactor(SafetyOrder):
    """Switch the power off."""


@dataclass(frozen=True, slots=True)
class CloseContactor(AnyOrder):
    """Switch the power on. Feedback follows as an event."""


@dataclass(frozen=True, slots=True)
class OfferCurrent(AnyOrder):
    """Put PWM on the pilot; `current_ma` has a duty cycle."""

    current_ma: Milliamps


@dataclass(frozen=True, slots=True)
class WithdrawOffer(SafetyOrder):
    """Put constant +12 V on the pilot (X1)."""


@dataclass(frozen=True, slots=True)
class SignalUnavailable(SafetyOrder):
    """Put constant -12 V on the pilot (state F), and hold it until told otherwise."""


@dataclass(frozen=True, slots=True)
class LockCable(AnyOrder):
    """Hold the plug in the socket."""


@dataclass(frozen=True, slots=True)
class UnlockCable(AnyOrder):
    """Release the plug."""


@dataclass(frozen=True, slots=True)
class SetDischarge(AnyOrder):
    """Let the vehicle feed back at most this current; None ends it."""

    current_ma: Milliamps | None


@dataclass(frozen=True, slots=True)
class BeginDiagnostics(AnyOrder):
    """Start the hardware's self-test."""


Order: TypeAlias = (
    OpenContactor
    | SignalUnavailable
    | WithdrawOffer
    | CloseContactor
    | OfferCurrent
    | LockCable
    | UnlockCable
    | SetDischarge
    | BeginDiagnostics
)

# Notices, in the order in which they happened


@dataclass(frozen=True, slots=True)
class EvConnected(AnyNotice):
    """A session began."""

    session_id: int


@dataclass(frozen=True, slots=True)
class EvNotDetected(AnyNotice):
    """A session ended. `state` is the one before."""

    session_id: int
    state: State
    duration_s: int
    energy_charged_mwh: MilliwattHours
    energy_discharged_mwh: MilliwattHours


@dataclass(frozen=True, slots=True)
class EnergyTransferStarted(AnyNotice):
    """Energy may flow. `state` is the new one; `maximum_ma` the limit in that direction."""

    session_id: int
    state: State
    maximum_ma: Milliamps


@dataclass(frozen=True, slots=True)
class EnergyTransferStopped(AnyNotice):
    """No more energy. `state` is the one before; energies are those since the start notice."""

    session_id: int
    state: State
    reason: StoppedReason
    energy_charged_mwh: MilliwattHours
    energy_discharged_mwh: MilliwattHours


@dataclass(frozen=True, slots=True)
class FaultChanged(AnyNotice):
    """The shown fault changed. `state` is the one before; no session id without a session."""

    session_id: int | None
    state: State
    previous: FaultState
    current: FaultState


@dataclass(frozen=True, slots=True)
class RfidRead(AnyNotice):
    """A card was read."""

    uid: bytes


@dataclass(frozen=True, slots=True)
class SessionChanged(AnyNotice):
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
