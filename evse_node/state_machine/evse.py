"""The charger as a function: a state, an event and the time give the next state and its effects.

An event first changes the facts (pilot, permissions, limits, faults). What that means for
the vehicle's side of the story is one of a few inputs, and `transitions.TABLE` says what each input
does in each state. A pair that is not in the table changes nothing. Last, `outputs.drive`
brings the hardware in line.

Spec: Matter Application Clusters 1.3 "Energy EVSE Cluster"
"""

from __future__ import annotations

from msgspec.structs import replace

from evse_node.state_machine import outputs
from evse_node.state_machine.control_pilot import PilotOutput, PilotState
from evse_node.state_machine.effects import (
    BeginDiagnostics,
    Effect,
    Refused,
    RfidRead,
)
from evse_node.state_machine.enums import State, SupplyState
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
)
from evse_node.state_machine.faults import ENDED_BY_UNPLUGGING, FaultState
from evse_node.state_machine.limits import LimitSource
from evse_node.state_machine.session import NO_READING, counter_offset, shifted
from evse_node.state_machine.state import (
    ContactorState,
    EvseState,
    Permission,
)
from evse_node.state_machine.transitions import Input, apply_input, update_transfer
from evse_node.units import Milliamps


def step(state: EvseState, event: Event, now: float) -> tuple[EvseState, tuple[Effect, ...]]:
    """Take in one event at monotonic time `now` (seconds); return the new state and the effects."""
    effects: list[Effect] = []
    state = _on_event(state, event, now, effects)
    state = outputs.drive(state, now, effects)
    return state, tuple(effects)


# What an event changes


def _on_event(state: EvseState, event: Event, now: float, effects: list[Effect]) -> EvseState:
    match event:
        case MeterRead():
            return _on_meter(state, event)
        case PilotChanged(pilot):
            return _on_pilot(state, pilot, now, effects)
        case ContactorReported(is_closed):
            state, fault = outputs.on_contactor(state, is_closed, now, effects)
            return state if fault is None else on_fault(state, fault, now, effects)
        case CableChanged(ampacity_ma):
            return _on_cable(state, ampacity_ma, now, effects)
        case FaultRaised(fault):
            return on_fault(state, fault, now, effects)
        case FaultCleared(fault_or_all):
            return on_fault_cleared(state, fault_or_all, now, effects)
        case CausesObserved(causes):
            return on_causes(state, causes, now, effects)
        case EnableCharging() | EnableDischarging() | Disable() | StartDiagnostics():
            return _on_command(state, event, now, effects)
        case SelfTestCompleted():
            return replace(state, is_diagnosing=False).without_timer(Timer.DIAGNOSTICS)
        case LimitClaimed(source, current_ma, directions):
            for direction in directions:
                state = _claim(state, source, current_ma, direction)
            return update_transfer(state, now, effects)
        case DischargeRequested(is_requested):
            return _on_discharge_requested(state, is_requested, now, effects)
        case ChargingHeld(is_held):
            return update_transfer(replace(state, is_held=is_held), now, effects)
        case ClockRead(epoch_s):
            return _on_clock(state, epoch_s, now, effects)
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
    if pilot is PilotState.F and state.outputs.pilot is PilotOutput.F:
        return state  # our own signal hides the vehicle
    before = state
    if pilot is state.pilot:
        return state
    state = replace(state, pilot=pilot)
    if pilot is not PilotState.B:
        state = state.without_timer(Timer.WAKE_UP, Timer.WAKE_PAUSE)
    if pilot is PilotState.A:
        state = state.with_outputs(replace(state.outputs, is_awake=False))
    elif state.is_vehicle_ready:
        state = state.with_outputs(replace(state.outputs, is_awake=True))

    if pilot in PILOT_FAULTS:
        # Power goes off with the fault. Whether the vehicle is still there cannot be seen.
        return on_fault(state, PILOT_FAULTS[pilot], now, effects)
    if before.pilot is None and state.session is not None and state.session.is_active:
        state = _resume_session(state)
    was_connected = state.session is not None and state.session.is_active
    if pilot.is_connected and not was_connected:
        state = apply_input(state, Input.PLUGGED_IN, now, effects)
    if not pilot.is_connected and was_connected:
        state = apply_input(state, Input.UNPLUGGED, now, effects)
    elif pilot.is_ready:
        state = apply_input(state, Input.DEMAND, now, effects)
        state = update_transfer(state, now, effects)  # C and D are not the same to everyone
    elif pilot.is_connected:
        state = apply_input(state, Input.NO_DEMAND, now, effects)
    if pilot is PilotState.A:
        for fault in ENDED_BY_UNPLUGGING.intersection(state.faults):
            state = on_fault_cleared(state, fault, now, effects)
    return state


def _resume_session(state: EvseState) -> EvseState:
    """Take the session that was running before a restart as going on: nothing to announce."""
    if state.state is State.NOT_PLUGGED_IN:
        return replace(state, state=State.PLUGGED_IN_NO_DEMAND)
    return state


def _on_cable(
    state: EvseState, ampacity_ma: Milliamps | None, now: float, effects: list[Effect]
) -> EvseState:
    for direction in Direction:
        state = _claim(state, LimitSource.CABLE, ampacity_ma, direction)
    is_connected = state.pilot is not None and state.pilot.is_connected
    is_powered = state.outputs.contactor is not ContactorState.OPEN
    if ampacity_ma is None and is_connected and is_powered:
        return on_fault(state, FaultState.EV_DISCONNECTED, now, effects)
    return update_transfer(state, now, effects)


def _claim(
    state: EvseState, source: LimitSource, current_ma: int | None, direction: Direction
) -> EvseState:
    before = state.limits(direction)
    limits = before.with_claim(source, current_ma)
    if limits is before:
        return state
    if direction is Direction.CHARGE:
        return replace(state, charge_limits=limits)
    return replace(state, discharge_limits=limits)


# Commands


def _on_command(
    state: EvseState,
    command: EnableCharging | EnableDischarging | Disable | StartDiagnostics,
    now: float,
    effects: list[Effect],
) -> EvseState:
    supply = state.supply_state
    if isinstance(command, StartDiagnostics):
        if supply is not SupplyState.DISABLED:
            effects.append(Refused(f"supply is {supply.value}, not Disabled"))
            return state
        if state.outputs.contactor is not ContactorState.OPEN:
            # A vehicle may still have its grace, and its current would pass for a fault.
            effects.append(Refused("the contactor is not open"))
            return state
        effects.append(BeginDiagnostics())
        state = replace(state, is_diagnosing=True)
        return state.with_timer(Timer.DIAGNOSTICS, now + state.settings.diagnostics_timeout_s)
    if supply in (SupplyState.DISABLED_ERROR, SupplyState.DISABLED_DIAGNOSTICS):
        effects.append(Refused(f"supply is {supply.value}"))
        return state
    match command:
        case EnableCharging(until, minimum_ma, maximum_ma):
            state = _withdraw_opposite(Direction.CHARGE, state)
            state = replace(
                state,
                charging=Permission(until),
                minimum_charge_ma=minimum_ma,
                charge_limits=state.charge_limits.with_claim(LimitSource.COMMAND, maximum_ma),
            )
            return update_transfer(state, now, effects)
        case EnableDischarging(until, maximum_ma):
            state = _withdraw_opposite(Direction.DISCHARGE, state)
            state = replace(state, discharging=Permission(until))
            state = _claim(state, LimitSource.COMMAND, maximum_ma, Direction.DISCHARGE)
            return update_transfer(state, now, effects)
        case Disable():
            return _disable(state, now, effects)


def _withdraw_opposite(direction: Direction, state: EvseState) -> EvseState:
    """Withdraw what is allowed the other way, where there is no state for both.

    Spec: Matter Application Clusters 1.3 "SupplyStateEnum"
    """
    if state.settings.has_enabled_state:
        return state
    if direction is Direction.CHARGE:
        return _withdraw_permission(state, Direction.DISCHARGE)
    return _withdraw_permission(state, Direction.CHARGE)


def _withdraw_permission(state: EvseState, direction: Direction) -> EvseState:
    if direction is Direction.CHARGE:
        state = replace(state, charging=None, minimum_charge_ma=Milliamps(0))
    elif state.discharging is not None:
        state = replace(state, discharging=None)
    return _claim(state, LimitSource.COMMAND, 0, direction)


def _disable(state: EvseState, now: float, effects: list[Effect]) -> EvseState:
    for direction in Direction:
        state = _withdraw_permission(state, direction)
    return update_transfer(state, now, effects)


def _on_discharge_requested(
    state: EvseState, is_requested: bool, now: float, effects: list[Effect]
) -> EvseState:
    """Turn the energy round if it may flow the other way, too."""
    state = replace(state, is_discharge_requested=is_requested)
    transfer, direction = state.transfer, state.permitted_direction
    if transfer is not None and direction is not None and transfer.direction is not direction:
        state = apply_input(state, Input.NO_POWER, now, effects)
    return update_transfer(state, now, effects)


def _on_clock(state: EvseState, epoch_s: int, now: float, effects: list[Effect]) -> EvseState:
    has_ended = [
        direction
        for direction, permission in (
            (Direction.CHARGE, state.charging),
            (Direction.DISCHARGE, state.discharging),
        )
        if permission is not None and permission.until is not None and permission.until <= epoch_s
    ]
    if not has_ended:
        return state
    for direction in has_ended:
        state = _withdraw_permission(state, direction)
    if state.charging is None and state.discharging is None:
        return _disable(state, now, effects)
    return update_transfer(state, now, effects)


# The rest


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
    """Tell of a card; one that is allowed starts what it is needed for, or ends it."""
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
            return on_fault(state, fault, now, effects)
        case Timer.WAKE_UP:
            return outputs.on_wake_up(state, now)
        case Timer.AUTHORIZATION:
            return replace(state, is_authorized=False)
        case Timer.DIAGNOSTICS:
            return on_fault(replace(state, is_diagnosing=False), FaultState.OTHER, now, effects)
        case _:
            return state  # its being gone is all that `drive` needs to know
