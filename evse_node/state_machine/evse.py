"""State machine of the charger: `step` takes a state, an event and the time.

Theory of operation
===================

Parties
    The vehicle shows its state on the control pilot as a voltage: A not connected, B connected,
    C requests energy, D requests energy with ventilation. E is a short circuit or loss of the
    pilot, F a charger that is not available.

    The charger answers on the same wire: X1 (constant +12 V) offers nothing, X2 (PWM) offers the
    current of its duty cycle, F (constant -12 V) is the charger's own state F. A pilot state is
    written with a 2 during PWM and a 1 without: B1, B2, C1, C2.

    Controllers, users and schedules enable and disable charging and discharging, and limit the
    current.

    The hardware executes orders and reports facts: pilot, contactor feedback, cable, meter, cards,
    faults. It may open the contactor at any time; it never closes it without an order.

Axes of state (`EvseState`)
    Vehicle state: `state`, `pilot`, `session`, `transfer`. Apart from a restart or `Reset`, only
    `transitions.TABLE` moves `state`, the StateEnum of the cluster; a pair that is not in the
    table changes nothing.

    Permission: `charging`, `discharging`, the limits by source, `is_held`, `is_authorized` and the
    cable. `permitted_direction` combines them, `supply_state` is what the cluster shows.

    Faults: `faults`, of which `retried_faults` end after a wait, and `observed_causes`, the
    monitored causes that are present. `faults.FAULT_CLASSES` is the table of how each one ends.

    Outputs: `outputs`, the last orders to pilot, contactor, lock and discharger, with the contactor
    as CLOSING or OPENING until its feedback arrives.

    `timers` holds the deadlines of all four; each one returns as the event `TimerExpired`.

Invariants
    - The contactor is ordered closed only in state C2 (or D2 with ventilation), during a transfer,
      with no fault and no self-test (`outputs.may_close`).
    - As soon as that no longer holds, the same step orders it open. The one exception is the
      grace period after the end of PWM, which ends with a fault or when the vehicle leaves
      state C (`outputs.may_stay_closed`).
    - The plug is locked before the contactor closes, and unlocked only when it is reported open.
    - A fault lasts until an event or the end of its wait clears it, and cannot be cleared while
      its cause is present.
    - Each EnergyTransferStarted is followed by one EnergyTransferStopped, each EvConnected by one
      EvNotDetected, before the next of its kind (except over a `Reset`).

One step
    1. `_on_event` changes the facts: pilot, permissions, limits, faults.
    2. Where they concern the vehicle state, they are an `Input` to `transitions.TABLE`, whose
       action changes `state` and appends notifications.
    3. `outputs.drive` compares the outputs with what the state requires, appends orders as far as
       the timing of IEC 61851-1 allows, and sets a timer for what has to wait.
    4. The caller executes the orders, those for safety first; their feedback returns as events.

Spec: Matter Application Clusters 1.3 "Energy EVSE Cluster"; IEC 61851-1:2017 Annex A
"""

from __future__ import annotations

from msgspec.structs import replace

from evse_node.state_machine import outputs, retries
from evse_node.state_machine.control_pilot import PilotOutput, PilotState
from evse_node.state_machine.effects import (
    Effect,
    RfidRead,
)
from evse_node.state_machine.enums import State
from evse_node.state_machine.events import (
    BatteryReported,
    CableChanged,
    CausesObserved,
    ChargingHeld,
    ClockRead,
    ContactorReported,
    Direction,
    Disable,
    DischargeRequested,
    EnableCharging,
    EnableDischarging,
    Event,
    FaultCleared,
    FaultRaised,
    LimitClaimed,
    MeterRead,
    PilotChanged,
    Reset,
    RfidTapped,
    SelfTestCompleted,
    StartDiagnostics,
    Timer,
    TimerExpired,
    VehicleIdentified,
)
from evse_node.state_machine.fault_handling import (
    PILOT_FAULTS,
    on_causes,
    on_fault,
    on_fault_cleared,
    on_retry,
    on_unplugged,
)
from evse_node.state_machine.faults import FaultState
from evse_node.state_machine.limits import LimitSource
from evse_node.state_machine.permissions import (
    on_clock,
    on_command,
    on_discharge_requested,
    on_start_diagnostics,
)
from evse_node.state_machine.session import NO_READING, counter_offset, shifted
from evse_node.state_machine.state import (
    ContactorState,
    EvseState,
)
from evse_node.state_machine.transitions import Input, apply_input, update_transfer
from evse_node.units import Milliamps


def step(state: EvseState, event: Event, now: float) -> tuple[EvseState, tuple[Effect, ...]]:
    """Process one event at monotonic time `now` (seconds); return the new state and the effects."""
    effects: list[Effect] = []
    state = _on_event(state, event, now, effects)
    was_limited = state.is_closing_limited
    state = outputs.drive(state, now, effects)
    if state.is_closing_limited and not was_limited:
        state = outputs.drive(update_transfer(state, now, effects), now, effects)
    return state, tuple(effects)


# Facts


def _on_event(state: EvseState, event: Event, now: float, effects: list[Effect]) -> EvseState:
    match event:
        case MeterRead():
            return _on_meter(state, event)
        case PilotChanged(pilot):
            return _on_pilot(state, pilot, now, effects)
        case ContactorReported(is_closed):
            state, fault = outputs.on_contactor(state, is_closed, now, effects)
            if fault is None:
                return state
            return on_fault(state, fault, now, effects, is_momentary=True)
        case CableChanged(ampacity_ma):
            return _on_cable(state, ampacity_ma, now, effects)
        case FaultRaised(fault, is_momentary):
            return on_fault(state, fault, now, effects, is_momentary=is_momentary)
        case FaultCleared(fault_or_all):
            return on_fault_cleared(state, fault_or_all, now, effects)
        case CausesObserved(causes):
            return on_causes(state, causes, now, effects)
        case EnableCharging() | EnableDischarging() | Disable():
            return on_command(state, event, now, effects)
        case StartDiagnostics():
            return on_start_diagnostics(state, now, effects)
        case SelfTestCompleted():
            return replace(state, is_diagnosing=False).without_timer(Timer.DIAGNOSTICS)
        case LimitClaimed(source, current_ma, directions):
            for direction in directions:
                state = state.with_claim(source, current_ma, direction)
            return update_transfer(state, now, effects)
        case DischargeRequested(is_requested):
            return on_discharge_requested(state, is_requested, now, effects)
        case ChargingHeld(is_held):
            return update_transfer(replace(state, is_held=is_held), now, effects)
        case ClockRead(epoch_s):
            return on_clock(state, epoch_s, now, effects)
        case RfidTapped(uid):
            return _on_card(state, uid, now, effects)
        case BatteryReported(percent, capacity_mwh):
            vehicle = replace(
                state.vehicle,
                state_of_charge_percent=percent,
                battery_capacity_mwh=capacity_mwh,
            )
            return replace(state, vehicle=vehicle)
        case VehicleIdentified(vehicle_id):
            return replace(state, vehicle=replace(state.vehicle, id=vehicle_id or None))
        case Reset():
            return _on_reset(state, now)
        case TimerExpired(timer):
            return _on_timer(state, timer, now, effects)


def _on_pilot(state: EvseState, pilot: PilotState, now: float, effects: list[Effect]) -> EvseState:
    """Process a change of the vehicle's state on the pilot.

    Spec: IEC 61851-1:2017 Table A.6, sequences 1.1 and 1.2 (plug-in), 2.1 and 2.2 (unplug),
    4 (ready to charge), 7 (stops charging)
    """
    if pilot is PilotState.F and state.outputs.pilot is PilotOutput.F:
        return state  # the charger's own signal hides the vehicle
    before = state
    if pilot is state.pilot:
        return state
    state = replace(state, pilot=pilot)
    if pilot is not PilotState.B:
        state = state.without_timer(Timer.WAKE_UP, Timer.WAKE_PAUSE)
    state = state.without_timer(Timer.UNPLUGGED)
    if pilot is PilotState.A:
        state = state.with_outputs(replace(state.outputs, is_awake=False))
    elif state.is_vehicle_ready:
        state = state.with_outputs(replace(state.outputs, is_awake=True))

    if pilot in PILOT_FAULTS:
        # The fault opens the contactor. The session continues: the vehicle cannot be seen.
        return on_fault(state, PILOT_FAULTS[pilot], now, effects, is_momentary=True)
    if before.pilot in PILOT_FAULTS:
        state = retries.restart_wait(state, now)
    if before.pilot is None and state.session is not None and state.session.is_active:
        state = _resume_session(state)
    was_connected = state.session is not None and state.session.is_active
    if pilot.is_connected and not was_connected:
        state = apply_input(state, Input.PLUGGED_IN, now, effects)
    if not pilot.is_connected:
        if was_connected and before.pilot is not None and state.settings.unplugged_after_s > 0:
            # Without power from now on; the session continues if the plug has only bounced.
            state = state.with_timer(Timer.UNPLUGGED, now + state.settings.unplugged_after_s)
            return apply_input(state, Input.UNSEEN, now, effects)
        return _unplug(state, now, effects)
    if pilot.is_ready:
        state = apply_input(state, Input.DEMAND, now, effects)
        state = update_transfer(state, now, effects)  # C and D may differ in permission
    else:
        state = apply_input(state, Input.NO_DEMAND, now, effects)
    return state


def _unplug(state: EvseState, now: float, effects: list[Effect]) -> EvseState:
    if state.session is not None and state.session.is_active:
        state = apply_input(state, Input.UNPLUGGED, now, effects)
    if FaultState.OTHER in state.retried_faults:
        state = outputs.restate_unlocking(state)
    return on_unplugged(state, now, effects)


def _resume_session(state: EvseState) -> EvseState:
    """Continue the session of before a restart, without a notification."""
    if state.state is State.NOT_PLUGGED_IN:
        return replace(state, state=State.PLUGGED_IN_NO_DEMAND)
    return state


def _on_cable(
    state: EvseState, ampacity_ma: Milliamps | None, now: float, effects: list[Effect]
) -> EvseState:
    for direction in Direction:
        state = state.with_claim(LimitSource.CABLE, ampacity_ma, direction)
    is_connected = state.pilot is not None and state.pilot.is_connected
    is_powered = state.outputs.contactor is not ContactorState.OPEN
    if ampacity_ma is None and is_connected and is_powered:
        return on_fault(state, FaultState.EV_DISCONNECTED, now, effects, is_momentary=True)
    if FaultState.EV_DISCONNECTED in state.retried_faults:
        state = retries.restart_wait(state, now)
    return update_transfer(state, now, effects)


# Meter, cards, timers


def _on_meter(state: EvseState, event: MeterRead) -> EvseState:
    offset = counter_offset(state.meter, event.reading, is_counter_reset=event.is_counter_reset)
    state = replace(state, meter=event.reading)
    if offset == NO_READING:
        return state
    if state.session is not None and state.session.is_active:
        start = shifted(state.session.start, offset)
        state = replace(state, session=replace(state.session, start=start))
    if state.transfer is not None:
        start = shifted(state.transfer.start, offset)
        state = replace(state, transfer=replace(state.transfer, start=start))
    return state


def _on_card(state: EvseState, uid: bytes, now: float, effects: list[Effect]) -> EvseState:
    """Notify a card; an allowed one authorizes the session, or ends the authorization."""
    effects.append(RfidRead(uid))
    allowed = state.settings.allowed_cards
    if allowed is None or uid not in allowed:
        return state
    state = replace(state, is_authorized=not state.is_authorized)
    state = state.without_timer(Timer.AUTHORIZATION)
    is_session_active = state.session is not None and state.session.is_active
    if state.is_authorized and not is_session_active:
        state = state.with_timer(Timer.AUTHORIZATION, now + state.settings.card_wait_s)
    return update_transfer(state, now, effects)


def _on_reset(state: EvseState, now: float) -> EvseState:
    session = state.session
    if session is not None and session.is_active:
        session = session.ended(state.meter, now)
    fresh = EvseState(
        settings=state.settings,
        pilot=PilotState.A,
        is_discharge_requested=state.is_discharge_requested,
        charge_limits=state.charge_limits.with_claim(LimitSource.COMMAND, 0),
        discharge_limits=state.discharge_limits.with_claim(LimitSource.COMMAND, 0),
        meter=state.meter,
        session=session,
        outputs=state.outputs,
    )
    if Timer.CONTACTOR in state.timers:
        fresh = fresh.with_timer(Timer.CONTACTOR, state.timers[Timer.CONTACTOR])
    return fresh


def _on_timer(state: EvseState, timer: Timer, now: float, effects: list[Effect]) -> EvseState:
    when = state.timers.get(timer)
    if when is None or when > now:
        return state
    state = state.without_timer(timer)
    match timer:
        case Timer.CONTACTOR:
            state, fault = outputs.on_contactor_timeout(state, now, effects)
            if fault is None or fault in state.faults:
                return state
            return on_fault(state, fault, now, effects, is_momentary=True)
        case Timer.UNPLUGGED:
            return _unplug(state, now, effects)
        case Timer.CLOSING_PAUSE:
            return update_transfer(state, now, effects)
        case Timer.RETRY:
            return outputs.restate_unlocking(on_retry(state, now, effects))
        case Timer.RETRY_RESET:
            return replace(state, retry_count=0)
        case Timer.WAKE_UP:
            return outputs.on_wake_up(state, now)
        case Timer.AUTHORIZATION:
            return replace(state, is_authorized=False)
        case Timer.DIAGNOSTICS:
            return on_fault(replace(state, is_diagnosing=False), FaultState.OTHER, now, effects)
        case _:
            return state  # `drive` acts on the absence of the timer
