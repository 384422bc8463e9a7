"""What the machine wants done: orders to the hardware, and notifications for whoever listens.

A `SafetyOrder` is carried out before all other orders. The base classes only tell the
kinds apart; the unions `Order`, `Notification` and `Effect` say which effects there are.
"""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

from evse_node.state_machine.enums import State, StoppedReason
from evse_node.state_machine.faults import FaultState
from evse_node.units import Milliamps, MilliwattHours


class BaseOrder:
    """An effect that is for the hardware."""

    __slots__ = ()


class SafetyOrder(BaseOrder):
    """An order that makes things safer and so does not wait for others."""

    __slots__ = ()


class BaseNotification:
    """An effect that is for whoever listens."""

    __slots__ = ()


# Orders to the hardware


class OpenContactor(Struct, SafetyOrder, frozen=True):
    """Switch the power off."""


class CloseContactor(Struct, BaseOrder, frozen=True):
    """Switch the power on. Feedback follows as an event."""


class OfferCurrent(Struct, BaseOrder, frozen=True):
    """Put PWM on the pilot; `current_ma` has a duty cycle."""

    current_ma: Milliamps


class WithdrawOffer(Struct, SafetyOrder, frozen=True):
    """Put constant +12 V on the pilot (X1)."""


class SignalUnavailable(Struct, SafetyOrder, frozen=True):
    """Put constant -12 V on the pilot (state F), and hold it until told otherwise."""


class LockCable(Struct, BaseOrder, frozen=True):
    """Hold the plug in the socket."""


class UnlockCable(Struct, BaseOrder, frozen=True):
    """Release the plug."""


class SetDischarge(Struct, BaseOrder, frozen=True):
    """Let the vehicle feed back at most this current; None ends it."""

    current_ma: Milliamps | None


class BeginDiagnostics(Struct, BaseOrder, frozen=True):
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

# Notifications, in the order in which they happened


class EvConnected(Struct, BaseNotification, frozen=True):
    """A session began."""

    session_id: int


class EvNotDetected(Struct, BaseNotification, frozen=True):
    """A session ended. `state` is the one before."""

    session_id: int
    state: State
    duration_s: int
    energy_charged_mwh: MilliwattHours
    energy_discharged_mwh: MilliwattHours


class EnergyTransferStarted(Struct, BaseNotification, frozen=True):
    """Energy may flow. `state` is the new one; `maximum_ma` the limit in that direction."""

    session_id: int
    state: State
    maximum_ma: Milliamps


class EnergyTransferStopped(Struct, BaseNotification, frozen=True):
    """No more energy. `state` is the one before; energies count from its start."""

    session_id: int
    state: State
    reason: StoppedReason
    energy_charged_mwh: MilliwattHours
    energy_discharged_mwh: MilliwattHours


class FaultChanged(Struct, BaseNotification, frozen=True):
    """The shown fault changed. `state` is the one before; no session id without a session."""

    session_id: int | None
    state: State
    previous: FaultState
    current: FaultState


class RfidRead(Struct, BaseNotification, frozen=True):
    """A card was read."""

    uid: bytes


class SessionChanged(Struct, BaseNotification, frozen=True):
    """The session's values are to be reported even if they are the same as before."""


Notification: TypeAlias = (
    EvConnected
    | EvNotDetected
    | EnergyTransferStarted
    | EnergyTransferStopped
    | FaultChanged
    | RfidRead
    | SessionChanged
)


class Refused(Struct, frozen=True):
    """The event asked for something that cannot be done now; nothing has changed."""

    reason: str


Effect: TypeAlias = Order | Notification | Refused
