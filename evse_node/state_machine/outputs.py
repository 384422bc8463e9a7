"""From what is allowed to what the pilot, the contactor and the lock do, in IEC 61851's time.

`drive` compares what the hardware should do with what it was told, and closes the gap as
far as the timing allows; what has to wait becomes a deadline. It runs after each event.

Spec: IEC 61851-1:2017 Table A.6
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from evse_node.state_machine.control_pilot import PilotOutput, PilotState, offer_ma
from evse_node.state_machine.effects import (
    CloseContactor,
    Effect,
    LockCable,
    OfferCurrent,
    OpenContactor,
    SetDischarge,
    SignalUnavailable,
    UnlockCable,
    WithdrawOffer,
)
from evse_node.state_machine.enums import State
from evse_node.state_machine.events import Direction, Timer
from evse_node.state_machine.faults import FaultState
from evse_node.state_machine.state import ContactorState, EvseState
from evse_node.units import Milliamps

_REPEAT_OPENING_S: Final = 1.0


def may_close(state: EvseState) -> bool:
    """Tell whether the contactor may close: PWM is on, the vehicle is ready, all permits.

    This is the only condition under which `CloseContactor` is ever ordered.
    """
    return (
        state.state.is_transferring
        and state.is_vehicle_ready
        and not state.faults
        and not state.is_diagnosing
        and state.outputs.pilot is PilotOutput.X2
    )


def may_stay_closed(state: EvseState) -> bool:
    """Tell whether a closed contactor may stay so: as above, or the vehicle still has its grace.

    A vehicle in state C after the end of PWM gets some seconds to end its current, because
    opening under load wears the contacts. A fault, or leaving state C, ends that at once.
    """
    return may_close(state) or (
        Timer.STOP_GRACE in state.timers and state.is_vehicle_ready and not state.faults
    )


def drive(state: EvseState, now: float, effects: list[Effect]) -> EvseState:
    """Bring the hardware towards what the state asks for; orders are appended to `effects`."""
    state = _drive_pilot(state, now, effects)
    # Before the contactor: a plug is held when energy begins to flow.
    state = _drive_lock(state, effects)
    state = _drive_contactor(state, now, effects)
    return _drive_discharge(state, effects)


# Control pilot


def _wanted_offer(state: EvseState) -> Milliamps | None:
    """Return the current to offer, or None for no PWM."""
    if state.pilot is None or not state.pilot.is_connected or Timer.WAKE_PAUSE in state.timers:
        return None
    direction = state.permitted_direction
    if state.transfer is not None and state.is_permitted(state.transfer.direction):
        direction = state.transfer.direction
    return None if direction is None else offer_ma(state.limits(direction).current_ma)


def _drive_pilot(state: EvseState, now: float, effects: list[Effect]) -> EvseState:
    if Timer.STATE_F in state.timers or _is_stuck_closed(state):
        if state.outputs.pilot is not PilotOutput.F:
            effects.append(SignalUnavailable())
            state = _end_pwm(state, PilotOutput.F, now)
        return state
    offer = _wanted_offer(state)
    if offer is None:
        if state.outputs.pilot is not PilotOutput.X1:
            effects.append(WithdrawOffer())
            state = _end_pwm(state, PilotOutput.X1, now)
        return state.without_timer(Timer.DUTY_CHANGE, Timer.X1_PAUSE)
    if state.outputs.pilot is PilotOutput.X2:
        return _change_offer(state, offer, now, effects)
    if state.outputs.pilot is PilotOutput.F:
        effects.append(WithdrawOffer())
        state = _end_pwm(state, PilotOutput.X1, now)
    return _begin_pwm(state, offer, now, effects)


def _begin_pwm(state: EvseState, offer: Milliamps, now: float, effects: list[Effect]) -> EvseState:
    allowed_at = state.outputs.withdrawn_at + state.settings.x1_pause_s
    if now < allowed_at:
        return state.with_timer(Timer.X1_PAUSE, allowed_at)
    effects.append(OfferCurrent(offer))
    outputs = replace(state.outputs, pilot=PilotOutput.X2, offered_ma=offer, offer_changed_at=now)
    state = state.without_timer(Timer.X1_PAUSE, Timer.STOP_GRACE).with_outputs(outputs)
    if state.pilot is PilotState.B and not state.outputs.is_awake:
        state = state.with_timer(Timer.WAKE_UP, now + state.settings.wake_up_after_s)
    return state


def _end_pwm(state: EvseState, output: PilotOutput, now: float) -> EvseState:
    was_offering = state.outputs.pilot is PilotOutput.X2
    outputs = replace(state.outputs, pilot=output, offered_ma=Milliamps(0), withdrawn_at=now)
    if was_offering and Timer.WAKE_PAUSE not in state.timers:
        outputs = replace(outputs, is_awake=False)
    state = state.with_outputs(outputs).without_timer(Timer.DUTY_CHANGE, Timer.WAKE_UP)
    if was_offering and state.outputs.contactor in (
        ContactorState.CLOSED,
        ContactorState.CLOSING,
    ):
        state = state.with_timer(Timer.STOP_GRACE, now + state.settings.stop_grace_s)
    return state


def _change_offer(
    state: EvseState, offer: Milliamps, now: float, effects: list[Effect]
) -> EvseState:
    if offer == state.outputs.offered_ma:
        return state.without_timer(Timer.DUTY_CHANGE)
    allowed_at = state.outputs.offer_changed_at + state.settings.duty_interval_s
    if now < allowed_at:
        return state.with_timer(Timer.DUTY_CHANGE, allowed_at)
    effects.append(OfferCurrent(offer))
    outputs = replace(state.outputs, offered_ma=offer, offer_changed_at=now)
    return state.without_timer(Timer.DUTY_CHANGE).with_outputs(outputs)


def on_wake_up(state: EvseState, now: float) -> EvseState:
    """Interrupt the offer for a moment: the vehicle may be asleep. Only once per offer.

    Spec: IEC 61851-1:2017 A.5.3
    """
    if state.pilot is not PilotState.B or state.outputs.pilot is not PilotOutput.X2:
        return state
    state = state.with_outputs(replace(state.outputs, is_awake=True))
    return state.with_timer(Timer.WAKE_PAUSE, now + state.settings.wake_up_s)


# Contactor


def _drive_contactor(state: EvseState, now: float, effects: list[Effect]) -> EvseState:
    contactor = state.outputs.contactor
    if contactor in (ContactorState.CLOSED, ContactorState.CLOSING):
        if may_stay_closed(state):
            return state
        effects.append(OpenContactor())
        return (
            state.with_contactor(ContactorState.OPENING)
            .without_timer(Timer.STOP_GRACE)
            .with_timer(Timer.CONTACTOR, now + state.settings.contactor_timeout_s)
        )
    state = state.without_timer(Timer.STOP_GRACE)
    if contactor is ContactorState.OPEN and not may_close(state):
        return state.without_timer(Timer.CONTACTOR)
    if contactor is ContactorState.OPEN and Timer.CONTACTOR not in state.timers:
        effects.append(CloseContactor())
        return state.with_contactor(ContactorState.CLOSING).with_timer(
            Timer.CONTACTOR, now + state.settings.contactor_timeout_s
        )
    return state


def with_closing_cancelled(state: EvseState) -> EvseState:
    """Return the state as if `CloseContactor` had not been ordered: it was not given."""
    return state.with_contactor(ContactorState.OPEN).without_timer(Timer.CONTACTOR)


def on_contactor(
    state: EvseState, is_closed: bool, now: float, effects: list[Effect]
) -> tuple[EvseState, FaultState | None]:
    """Take in what the mirror contact says; return the fault that it means, if any.

    A backend may open by itself at any time. It then has the time of the feedback to give
    its reason as another event; without one, no closure is the fault. The order to open
    follows at once: if it was not the backend but the mirror contact's wire, the coil is on.
    """
    state = state.with_outputs(replace(state.outputs, is_reported_closed=is_closed))
    contactor = state.outputs.contactor
    if is_closed:
        if contactor is ContactorState.CLOSING:
            state = state.without_timer(Timer.CONTACTOR).with_contactor(ContactorState.CLOSED)
        elif contactor is ContactorState.OPEN:
            # Told to open again by being made CLOSED: `drive` finds that it may not stay so.
            state = state.with_contactor(ContactorState.CLOSED)
            return state, FaultState.CONTACT_WET_FAILURE
        return state, None
    if contactor is ContactorState.OPENING:
        state = state.without_timer(Timer.CONTACTOR).with_contactor(ContactorState.OPEN)
    elif contactor is ContactorState.CLOSED:
        effects.append(OpenContactor())
        state = state.with_contactor(ContactorState.OPEN).with_timer(
            Timer.CONTACTOR, now + state.settings.contactor_timeout_s
        )
    return state, None


def _is_stuck_closed(state: EvseState) -> bool:
    """Tell whether the contactor stays closed against an order: no vehicle is to draw by it."""
    return (
        FaultState.CONTACT_WET_FAILURE in state.faults
        and state.outputs.contactor is ContactorState.OPENING
        and state.outputs.is_reported_closed
    )


def on_contactor_timeout(
    state: EvseState, now: float, effects: list[Effect]
) -> tuple[EvseState, FaultState | None]:
    """Judge the contactor by its last report, now that there was time enough for it."""
    contactor = state.outputs.contactor
    if contactor is ContactorState.OPENING:
        if state.outputs.is_reported_closed:
            # Ordered again and again: an order may have got lost, or failed just once.
            effects.append(OpenContactor())
            state = state.with_timer(Timer.CONTACTOR, now + _REPEAT_OPENING_S)
            return state, FaultState.CONTACT_WET_FAILURE
        return state.with_contactor(ContactorState.OPEN), None
    if contactor is ContactorState.CLOSING:
        return state, FaultState.CONTACT_DRY_FAILURE
    if contactor is ContactorState.OPEN and may_close(state):
        return state, FaultState.CONTACT_DRY_FAILURE
    return state, None


# Discharging and lock


def _drive_discharge(state: EvseState, effects: list[Effect]) -> EvseState:
    wanted: Milliamps | None = None
    if (
        state.state is State.PLUGGED_IN_DISCHARGING
        and state.outputs.contactor is ContactorState.CLOSED
    ):
        wanted = state.limits(Direction.DISCHARGE).current_ma
    if wanted == state.outputs.discharge_ma:
        return state
    effects.append(SetDischarge(wanted))
    return state.with_outputs(replace(state.outputs, discharge_ma=wanted))


def _drive_lock(state: EvseState, effects: list[Effect]) -> EvseState:
    is_connected = state.pilot is not None and state.pilot.is_connected
    if not state.outputs.is_locked:
        if is_connected and state.outputs.pilot is PilotOutput.X2:
            effects.append(LockCable())
            return state.with_outputs(replace(state.outputs, is_locked=True))
        return state
    if (
        state.outputs.pilot is PilotOutput.X2
        or state.outputs.contactor is not ContactorState.OPEN
        or state.outputs.is_reported_closed
        or Timer.UNLOCK in state.timers
        or Timer.WAKE_PAUSE in state.timers
        or Timer.X1_PAUSE in state.timers
    ):
        return state
    effects.append(UnlockCable())
    return state.with_outputs(replace(state.outputs, is_locked=False))
