"""Control of pilot, contactor, lock and discharging, with the timing of IEC 61851.

`drive` runs after each event. It compares the required outputs with the last orders and issues
the orders that the timing allows; for the others it sets a timer.

Spec: IEC 61851-1:2017 Table A.6, to whose sequences the comments refer.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from evse_node.state_machine import retries
from evse_node.state_machine.control_pilot import PilotOutput, PilotState, offer_ma
from evse_node.state_machine.effects import (
    CloseContactor,
    ClosingsLimited,
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
_MINUTE_S: Final = 60.0


def may_close(state: EvseState) -> bool:
    """Return whether the contactor may close: PWM on, vehicle ready, transfer permitted, no fault.

    `CloseContactor` is ordered under this condition only.
    """
    return (
        state.state.is_transferring
        and state.is_vehicle_ready
        and not state.faults
        and not state.is_diagnosing
        and not state.is_closing_limited
        and state.outputs.pilot is PilotOutput.X2
    )


def may_stay_closed(state: EvseState) -> bool:
    """Return whether a closed contactor may stay closed: as above, or in the grace period.

    After the end of PWM, a vehicle in state C has some seconds to reduce its current, because
    opening under load wears the contacts. A fault, or leaving state C, ends the period at once.
    Spec: IEC 61851-1:2017 Table A.6, sequences 9.1, 10.1 and 10.2
    """
    return may_close(state) or (
        Timer.STOP_GRACE in state.timers and state.is_vehicle_ready and not state.faults
    )


def drive(state: EvseState, now: float, effects: list[Effect]) -> EvseState:
    """Move the outputs towards what the state requires; append the orders to `effects`."""
    state = _drive_pilot(state, now, effects)
    # Before the contactor: the plug is locked before energy flows.
    state = _drive_lock(state, effects)
    state = _drive_contactor(state, now, effects)
    state = retries.with_reset_timer(_limit_closings(state, now, effects), now)
    return _drive_discharge(state, effects)


# Control pilot


def _required_offer(state: EvseState) -> Milliamps | None:
    """Return the current to offer, or None for no PWM."""
    if state.pilot is None or not state.pilot.is_connected or Timer.WAKE_PAUSE in state.timers:
        return None
    if state.transfer is not None and state.is_permitted(state.transfer.direction):
        direction: Direction | None = state.transfer.direction
    else:
        direction = state.permitted_direction
    return None if direction is None else offer_ma(state.limits(direction).current_ma)


def _drive_pilot(state: EvseState, now: float, effects: list[Effect]) -> EvseState:
    if Timer.STATE_F in state.timers or _is_stuck_closed(state):
        if state.outputs.pilot is not PilotOutput.F:
            effects.append(SignalUnavailable())
            state = _end_pwm(state, PilotOutput.F, now)
        return state
    offer = _required_offer(state)
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
    effects.append(OfferCurrent(offer))  # sequence 3.1 in state B, 3.2 in state C
    outputs = replace(state.outputs, pilot=PilotOutput.X2, offered_ma=offer, offer_changed_at=now)
    state = state.without_timer(Timer.X1_PAUSE, Timer.STOP_GRACE).with_outputs(outputs)
    if state.pilot is PilotState.B and not state.outputs.is_awake:
        state = state.with_timer(Timer.WAKE_UP, now + state.settings.wake_up_after_s)
    return state


def _end_pwm(state: EvseState, output: PilotOutput, now: float) -> EvseState:
    """Note the end of PWM: sequence 9.1 in state C, 9.2 in state B, 9.3 in state A."""
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
    effects.append(OfferCurrent(offer))  # sequence 6
    outputs = replace(state.outputs, offered_ma=offer, offer_changed_at=now)
    return state.without_timer(Timer.DUTY_CHANGE).with_outputs(outputs)


def on_wake_up(state: EvseState, now: float) -> EvseState:
    """Interrupt the offer once to wake a sleeping vehicle.

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
        # Sequence 8.1: state B; 2.2: state A; 10.2: still in state C after the grace period.
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
        effects.append(CloseContactor())  # sequence 4
        times = (*state.outputs.closed_at, now)[-state.settings.closings_per_minute :]
        return (
            state.with_outputs(replace(state.outputs, closed_at=times))
            .with_contactor(ContactorState.CLOSING)
            .with_timer(Timer.CONTACTOR, now + state.settings.contactor_timeout_s)
        )
    return state


def _limit_closings(state: EvseState, now: float, effects: list[Effect]) -> EvseState:
    """Pause an open contactor that has closed as often as it may in one minute.

    A vehicle that chatters between states B and C would wear it out within days.
    """
    times = state.outputs.closed_at
    if (
        len(times) < state.settings.closings_per_minute
        or now >= times[0] + _MINUTE_S
        or state.outputs.contactor in (ContactorState.CLOSED, ContactorState.CLOSING)
        or state.is_closing_limited
    ):
        return state
    effects.append(ClosingsLimited(times[0] + _MINUTE_S - now))
    return state.with_timer(Timer.CLOSING_PAUSE, times[0] + _MINUTE_S)


def with_closing_cancelled(state: EvseState) -> EvseState:
    """Return the state as if `CloseContactor` had not been ordered, because it was not executed."""
    return state.with_contactor(ContactorState.OPEN).without_timer(Timer.CONTACTOR)


def on_contactor(
    state: EvseState, is_closed: bool, now: float, effects: list[Effect]
) -> tuple[EvseState, FaultState | None]:
    """Process the feedback of the mirror contact; return the fault that it shows, if any.

    A backend may open by itself at any time. It then has the feedback time to report its reason
    as another event; without one, the fault is that the contactor did not close. The order to
    open is repeated at once: with a broken mirror-contact wire, the coil is still energised.
    """
    state = state.with_outputs(replace(state.outputs, is_reported_closed=is_closed))
    contactor = state.outputs.contactor
    if is_closed:
        if contactor is ContactorState.CLOSING:
            state = state.without_timer(Timer.CONTACTOR).with_contactor(ContactorState.CLOSED)
        elif contactor is ContactorState.OPEN and Timer.CONTACTOR in state.timers:
            # It dropped a moment ago and bounces, before the order to open has its effect.
            return state.with_contactor(ContactorState.OPENING), FaultState.CONTACT_DRY_FAILURE
        elif contactor is ContactorState.OPEN:
            # As CLOSED it is opened again: `drive` finds that it may not stay closed.
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
    """Return whether the contactor is welded; state F keeps the vehicle from drawing current."""
    return (
        FaultState.CONTACT_WET_FAILURE in state.faults
        and state.outputs.contactor is ContactorState.OPENING
        and state.outputs.is_reported_closed
    )


def on_contactor_timeout(
    state: EvseState, now: float, effects: list[Effect]
) -> tuple[EvseState, FaultState | None]:
    """Compare the contactor's last feedback with its order, once the feedback time is over."""
    contactor = state.outputs.contactor
    if contactor is ContactorState.OPENING:
        if state.outputs.is_reported_closed:
            # Repeated until it opens: an order may have been lost or failed once.
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
    limit_ma: Milliamps | None = None
    if (
        state.state is State.PLUGGED_IN_DISCHARGING
        and state.outputs.contactor is ContactorState.CLOSED
    ):
        limit_ma = state.limits(Direction.DISCHARGE).current_ma
    if limit_ma == state.outputs.discharge_ma:
        return state
    effects.append(SetDischarge(limit_ma))
    return state.with_outputs(replace(state.outputs, discharge_ma=limit_ma))


def restate_unlocking(state: EvseState) -> EvseState:
    """Let the plug be unlocked again without a vehicle: the order may have failed."""
    if state.pilot is not PilotState.A or state.outputs.pilot is PilotOutput.X2:
        return state
    return state.with_outputs(replace(state.outputs, is_locked=True))


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
