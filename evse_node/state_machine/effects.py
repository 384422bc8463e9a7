"""Effects of a step: orders to the hardware, and notifications to the observers.

A `SafetyOrder` is carried out before all other orders. The base classes distinguish the kinds;
the unions `Order`, `Notification` and `Effect` list the members.
"""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

from evse_node.state_machine.enums import State, StoppedReason
from evse_node.state_machine.faults import FaultState
from evse_node.units import Milliamps, MilliwattHours


class BaseOrder:
    """Base of all orders to the hardware."""

    __slots__ = ()


class SafetyOrder(BaseOrder):
    """An order that reduces risk, carried out before others."""

    __slots__ = ()


class BaseNotification:
    """Base of all notifications to observers."""

    __slots__ = ()


# Orders to the hardware


class OpenContactor(Struct, SafetyOrder, frozen=True):
    """Switch power off."""


class CloseContactor(Struct, BaseOrder, frozen=True):
    """Switch power on; feedback follows as an event."""


class OfferCurrent(Struct, BaseOrder, frozen=True):
    """Put PWM on the pilot (X2) with the duty cycle of `current_ma`."""

    current_ma: Milliamps


class WithdrawOffer(Struct, SafetyOrder, frozen=True):
    """Put constant +12 V on the pilot (X1)."""


class SignalUnavailable(Struct, SafetyOrder, frozen=True):
    """Put constant -12 V on the pilot (state F) until the next pilot order."""


class LockCable(Struct, BaseOrder, frozen=True):
    """Lock the plug in the socket."""


class UnlockCable(Struct, BaseOrder, frozen=True):
    """Unlock the plug."""


class SetDischarge(Struct, BaseOrder, frozen=True):
    """Limit the current that the vehicle feeds back; None ends discharging."""

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

# Notifications, in the order of the events


class EvConnected(Struct, BaseNotification, frozen=True):
    """A session started."""

    session_id: int


class EvNotDetected(Struct, BaseNotification, frozen=True):
    """A session ended. `state` is the previous one."""

    session_id: int
    state: State
    duration_s: int
    energy_charged_mwh: MilliwattHours
    energy_discharged_mwh: MilliwattHours


class EnergyTransferStarted(Struct, BaseNotification, frozen=True):
    """Energy may flow. `state` is the new one, `maximum_ma` the limit in that direction."""

    session_id: int
    state: State
    maximum_ma: Milliamps


class EnergyTransferStopped(Struct, BaseNotification, frozen=True):
    """Energy transfer ended. `state` is the previous one; energies count from its start."""

    session_id: int
    state: State
    reason: StoppedReason
    energy_charged_mwh: MilliwattHours
    energy_discharged_mwh: MilliwattHours


class FaultChanged(Struct, BaseNotification, frozen=True):
    """The shown fault changed. `state` is the previous one; `session_id` None without a session."""

    session_id: int | None
    state: State
    previous: FaultState
    current: FaultState


class RfidRead(Struct, BaseNotification, frozen=True):
    """A card was read."""

    uid: bytes


class ClosingsLimited(Struct, BaseNotification, frozen=True):
    """The contactor closed too often in a minute, and stays open for `pause_s`."""

    pause_s: float


class SessionChanged(Struct, BaseNotification, frozen=True):
    """The session's attributes must be reported, even if their values are unchanged."""


Notification: TypeAlias = (
    EvConnected
    | EvNotDetected
    | EnergyTransferStarted
    | EnergyTransferStopped
    | FaultChanged
    | RfidRead
    | ClosingsLimited
    | SessionChanged
)


class Refused(Struct, frozen=True):
    """The event was rejected; the state is unchanged."""

    reason: str


Effect: TypeAlias = Order | Notification | Refused
