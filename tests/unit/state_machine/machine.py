"""A machine under test, with simulated time and contactor."""

from __future__ import annotations

from typing import TypeVar

from evse_node.state_machine import events as e
from evse_node.state_machine.control_pilot import PilotState
from evse_node.state_machine.effects import (
    BaseNotification,
    BaseOrder,
    CloseContactor,
    Effect,
    EnergyTransferStarted,
    EnergyTransferStopped,
    EvConnected,
    EvNotDetected,
    FaultChanged,
    OpenContactor,
    RfidRead,
    SessionChanged,
)
from evse_node.state_machine.enums import State
from evse_node.state_machine.evse import step
from evse_node.state_machine.faults import FaultState
from evse_node.state_machine.limits import LimitSource
from evse_node.state_machine.session import MeterReading
from evse_node.state_machine.state import EvseSettings, EvseState, next_deadline
from evse_node.units import EpochSeconds, Milliamps, MilliwattHours

A, B, C, D, E, F = PilotState

ENABLE = e.EnableCharging(None, Milliamps(6_000), Milliamps(16_000))
DISCHARGE = e.EnableDischarging(None, Milliamps(10_000))

NONE, NO_DEMAND, DEMAND = (
    State.NOT_PLUGGED_IN,
    State.PLUGGED_IN_NO_DEMAND,
    State.PLUGGED_IN_DEMAND,
)
CHARGING, DISCHARGING, FAULT = (
    State.PLUGGED_IN_CHARGING,
    State.PLUGGED_IN_DISCHARGING,
    State.FAULT,
)
GROUND = e.FaultRaised(FaultState.GROUND_FAULT)

# Names of the notifications in `summary`.
_WORDS = {
    EvConnected: "connected",
    EvNotDetected: "gone",
    EnergyTransferStarted: "started",
    FaultChanged: "fault",
    RfidRead: "card",
}

_Kind = TypeVar("_Kind")


class Machine:
    """State under test. The contactor gives feedback `feedback_s` seconds later, or never."""

    def __init__(
        self, settings: EvseSettings | None = None, *, feedback_s: float | None = 0.05
    ) -> None:
        self.now = 0.0
        # By default without the delay of unplugging, which has tests of its own.
        self.state = EvseState(settings=settings or EvseSettings(unplugged_after_s=0.0))
        self.effects: list[Effect] = []
        self.feedback_s = feedback_s
        self._feedback: tuple[float, bool] | None = None
        self.is_closed = False
        for source in (LimitSource.HARDWARE, LimitSource.CIRCUIT):
            self.put(e.LimitClaimed(source, Milliamps(32_000)))
        self.put(e.LimitClaimed(LimitSource.USER, Milliamps(80_000), (e.Direction.CHARGE,)))
        self.take()

    def put(self, *events: e.Event | PilotState) -> None:
        """Process events now; a bare pilot state stands for PilotChanged."""
        for event in events:
            if isinstance(event, PilotState):
                event = e.PilotChanged(event)
            self.state, effects = step(self.state, event, self.now)
            self.effects += effects
            for effect in effects:
                if isinstance(effect, CloseContactor | OpenContactor):
                    self._command_contactor(isinstance(effect, CloseContactor))

    def _command_contactor(self, is_closed: bool) -> None:
        if self.feedback_s is not None:
            self._feedback = (self.now + self.feedback_s, is_closed)

    def wait(self, seconds: float) -> None:
        """Advance the time, with deadlines and feedback of the contactor."""
        end = self.now + seconds
        while True:
            deadline = next_deadline(self.state)
            due = end if deadline is None else deadline[0]
            if self._feedback is not None and self._feedback[0] <= min(due, end):
                self.now, is_closed = self._feedback
                self._feedback = None
                if is_closed is not self.is_closed:
                    self.is_closed = is_closed
                    self.put(e.ContactorReported(is_closed))
                continue
            if deadline is None or due > end:
                break
            self.now = max(self.now, due)
            self.put(e.TimerExpired(deadline[1]))
        self.now = end

    def take(self) -> list[Effect]:
        """Return the effects since the last call."""
        effects, self.effects = self.effects, []
        return effects

    def orders(self) -> list[Effect]:
        return [effect for effect in self.take() if isinstance(effect, BaseOrder)]

    def notifications(self) -> list[Effect]:
        return [effect for effect in self.take() if isinstance(effect, BaseNotification)]

    def find(self, kind: type[_Kind]) -> list[_Kind]:
        """Return the effects of one kind since the last `take`, without removing them."""
        return [effect for effect in self.effects if isinstance(effect, kind)]

    # Initial states

    def charge(self) -> Machine:
        """Start charging."""
        self.put(ENABLE, B, C)
        self.wait(1)
        assert self.state.state is State.PLUGGED_IN_CHARGING
        self.take()
        return self

    def set_clock(self, epoch_s: int) -> None:
        self.put(e.ClockRead(EpochSeconds(epoch_s)))


def machine_in(state: State, settings: EvseSettings | None = None) -> Machine:
    """Return a machine in a state, by the usual events."""
    machine = Machine(settings)
    match state:
        case State.NOT_PLUGGED_IN:
            machine.put(A)
        case State.PLUGGED_IN_NO_DEMAND:
            machine.put(B)
        case State.PLUGGED_IN_DEMAND:
            machine.put(C)
        case State.PLUGGED_IN_CHARGING:
            machine.charge()
        case State.PLUGGED_IN_DISCHARGING:
            machine.put(
                e.LimitClaimed(LimitSource.HARDWARE, Milliamps(32_000), (e.Direction.DISCHARGE,)),
                DISCHARGE,
                C,
            )
            machine.wait(1)
        case State.FAULT:
            machine.put(B, e.FaultRaised(FaultState.GROUND_FAULT))
        case State.SESSION_ENDING:
            raise ValueError("the machine does not use SessionEnding")
    assert machine.state.state is state
    machine.take()
    return machine


USED_STATES = [state for state in State if state is not State.SESSION_ENDING]


def meter(imported_mwh: int, exported_mwh: int = 0) -> MeterReading:
    """Return a reading of the meter."""
    return MeterReading(MilliwattHours(imported_mwh), MilliwattHours(exported_mwh))


def summary(machine: Machine) -> str:
    """Take the effects and return the names of the notifications."""
    words = []
    for notification in machine.notifications():
        if isinstance(notification, EnergyTransferStopped):
            words.append(f"stop:{notification.reason.value}")
        elif not isinstance(notification, SessionChanged):
            words.append(_WORDS[type(notification)])
    return " ".join(words)
