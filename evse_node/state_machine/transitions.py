"""Transitions of the vehicle state: one table of state and input.

Spec: Matter Application Clusters 1.3 "Energy EVSE Cluster"
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Final, TypeAlias

from msgspec.structs import replace

from evse_node.state_machine.effects import (
    Effect,
    EnergyTransferStarted,
    EnergyTransferStopped,
    EvConnected,
    EvNotDetected,
    SessionChanged,
)
from evse_node.state_machine.enums import State, StoppedReason
from evse_node.state_machine.events import Direction, Timer
from evse_node.state_machine.session import next_session
from evse_node.state_machine.state import UNKNOWN_VEHICLE, EvseState, Transfer


class Input(Enum):
    """Effect of an event on the vehicle state."""

    PLUGGED_IN = "a vehicle was plugged in"
    UNPLUGGED = "the vehicle was unplugged"
    UNSEEN = "the vehicle is not seen, perhaps for a moment"
    DEMAND = "the vehicle requests energy"
    NO_DEMAND = "the vehicle requests no energy"
    POWER = "energy may flow"
    NO_POWER = "energy may not flow"
    FAULT = "a fault is present"
    FAULT_CLEARED = "no fault is left"

    __hash__ = object.__hash__  # see `limits.LimitSource`


_Action: TypeAlias = Callable[[EvseState, float, list[Effect]], EvseState]


def _transfer_state(direction: Direction) -> State:
    if direction is Direction.CHARGE:
        return State.PLUGGED_IN_CHARGING
    return State.PLUGGED_IN_DISCHARGING


def _begin_transfer(state: EvseState, direction: Direction, effects: list[Effect]) -> EvseState:
    assert state.session is not None, "a vehicle is connected, so a session runs"
    reached = _transfer_state(direction)
    limit_ma = state.limits(direction).current_ma
    effects.append(EnergyTransferStarted(state.session.id, reached, limit_ma))
    return replace(state, state=reached, transfer=Transfer(direction, state.meter))


def _end_transfer(state: EvseState, reason: StoppedReason, effects: list[Effect]) -> EvseState:
    transfer, session = state.transfer, state.session
    if transfer is None or session is None:
        return state
    since_start = replace(session, is_active=True, start=transfer.start)
    effects.append(
        EnergyTransferStopped(
            session.id,
            state.state,
            reason,
            since_start.energy_charged_mwh(state.meter),
            since_start.energy_discharged_mwh(state.meter),
        )
    )
    return replace(state, transfer=None)


def _connect(state: EvseState, now: float, effects: list[Effect]) -> EvseState:
    session = next_session(state.session, state.meter, now)
    effects += (EvConnected(session.id), SessionChanged())
    state = replace(state, session=session, state=State.PLUGGED_IN_NO_DEMAND)
    return state.without_timer(Timer.AUTHORIZATION)


def _disconnect(state: EvseState, now: float, effects: list[Effect]) -> EvseState:
    before = state.state
    if state.session is not None and state.session.is_active:
        session = state.session.ended(state.meter, now)
        effects += (
            EvNotDetected(
                session.id,
                before,
                session.duration_s(now),
                session.energy_charged_mwh(state.meter),
                session.energy_discharged_mwh(state.meter),
            ),
            SessionChanged(),
        )
        state = replace(state, session=session)
    return replace(state, state=State.NOT_PLUGGED_IN, vehicle=UNKNOWN_VEHICLE, is_authorized=False)


def _disconnect_in_transfer(state: EvseState, now: float, effects: list[Effect]) -> EvseState:
    return _disconnect(_end_transfer(state, StoppedReason.OTHER, effects), now, effects)


def _lose_sight(state: EvseState, now: float, effects: list[Effect]) -> EvseState:
    state = _end_transfer(state, StoppedReason.OTHER, effects)
    return replace(state, state=State.PLUGGED_IN_NO_DEMAND)


def _lose_sight_in_fault(state: EvseState, now: float, effects: list[Effect]) -> EvseState:
    return _end_transfer(state, StoppedReason.OTHER, effects)


def _answer_demand(state: EvseState, now: float, effects: list[Effect]) -> EvseState:
    direction = state.permitted_direction
    if direction is None or not state.is_vehicle_ready:
        return replace(state, state=State.PLUGGED_IN_DEMAND)
    return _begin_transfer(state, direction, effects)


def _start_supply(state: EvseState, now: float, effects: list[Effect]) -> EvseState:
    direction = state.permitted_direction
    return state if direction is None else _begin_transfer(state, direction, effects)


def _end_demand(state: EvseState, now: float, effects: list[Effect]) -> EvseState:
    return replace(state, state=State.PLUGGED_IN_NO_DEMAND)


def _finish(state: EvseState, now: float, effects: list[Effect]) -> EvseState:
    state = _end_transfer(state, StoppedReason.EV_STOPPED, effects)
    effects.append(SessionChanged())
    return replace(state, state=State.PLUGGED_IN_NO_DEMAND)


def _interrupt(state: EvseState, now: float, effects: list[Effect]) -> EvseState:
    state = _end_transfer(state, StoppedReason.EVSE_STOPPED, effects)
    return replace(state, state=State.PLUGGED_IN_DEMAND)


def _fail(state: EvseState, now: float, effects: list[Effect]) -> EvseState:
    return replace(state, state=State.FAULT)


def _recover(state: EvseState, now: float, effects: list[Effect]) -> EvseState:
    """Leave the fault state for the one that matches the facts; a transfer may continue."""
    if state.session is None or not state.session.is_active:
        return replace(state, state=State.NOT_PLUGGED_IN)
    if state.pilot is None or not state.pilot.is_ready:
        return replace(state, state=State.PLUGGED_IN_NO_DEMAND)
    if state.transfer is not None:
        if state.is_vehicle_ready and state.is_permitted(state.transfer.direction):
            return replace(state, state=_transfer_state(state.transfer.direction))
        state = _interrupt(state, now, effects)
    return _answer_demand(state, now, effects)


def _connect_in_fault(state: EvseState, now: float, effects: list[Effect]) -> EvseState:
    return replace(_connect(state, now, effects), state=State.FAULT)


def _disconnect_in_fault(state: EvseState, now: float, effects: list[Effect]) -> EvseState:
    return replace(_disconnect_in_transfer(state, now, effects), state=State.FAULT)


def _stop_in_fault(state: EvseState, now: float, effects: list[Effect]) -> EvseState:
    return _end_transfer(state, StoppedReason.EVSE_STOPPED, effects)


TABLE: Final[Mapping[tuple[State, Input], _Action]] = {
    (State.NOT_PLUGGED_IN, Input.PLUGGED_IN): _connect,
    (State.NOT_PLUGGED_IN, Input.FAULT): _fail,
    #
    (State.PLUGGED_IN_NO_DEMAND, Input.UNPLUGGED): _disconnect,
    (State.PLUGGED_IN_NO_DEMAND, Input.DEMAND): _answer_demand,
    (State.PLUGGED_IN_NO_DEMAND, Input.FAULT): _fail,
    #
    (State.PLUGGED_IN_DEMAND, Input.UNPLUGGED): _disconnect,
    (State.PLUGGED_IN_DEMAND, Input.UNSEEN): _end_demand,
    (State.PLUGGED_IN_DEMAND, Input.NO_DEMAND): _end_demand,
    (State.PLUGGED_IN_DEMAND, Input.POWER): _start_supply,
    (State.PLUGGED_IN_DEMAND, Input.FAULT): _fail,
    #
    (State.PLUGGED_IN_CHARGING, Input.UNPLUGGED): _disconnect_in_transfer,
    (State.PLUGGED_IN_CHARGING, Input.UNSEEN): _lose_sight,
    (State.PLUGGED_IN_CHARGING, Input.NO_DEMAND): _finish,
    (State.PLUGGED_IN_CHARGING, Input.NO_POWER): _interrupt,
    (State.PLUGGED_IN_CHARGING, Input.FAULT): _fail,
    #
    (State.PLUGGED_IN_DISCHARGING, Input.UNPLUGGED): _disconnect_in_transfer,
    (State.PLUGGED_IN_DISCHARGING, Input.UNSEEN): _lose_sight,
    (State.PLUGGED_IN_DISCHARGING, Input.NO_DEMAND): _finish,
    (State.PLUGGED_IN_DISCHARGING, Input.NO_POWER): _interrupt,
    (State.PLUGGED_IN_DISCHARGING, Input.FAULT): _fail,
    #
    (State.FAULT, Input.PLUGGED_IN): _connect_in_fault,
    (State.FAULT, Input.UNPLUGGED): _disconnect_in_fault,
    (State.FAULT, Input.UNSEEN): _lose_sight_in_fault,
    (State.FAULT, Input.NO_DEMAND): _stop_in_fault,
    (State.FAULT, Input.FAULT_CLEARED): _recover,
}


def apply_input(state: EvseState, input_: Input, now: float, effects: list[Effect]) -> EvseState:
    """Run the table's action for this state and input; without an entry nothing changes."""
    action = TABLE.get((state.state, input_))
    return state if action is None else action(state, now, effects)


def update_transfer(state: EvseState, now: float, effects: list[Effect]) -> EvseState:
    """Start, stop or reverse the transfer after a change of permissions or limits."""
    if state.state.is_transferring:
        direction = None if state.transfer is None else state.transfer.direction
        if direction is not None and state.is_vehicle_ready and state.is_permitted(direction):
            return state
        state = apply_input(state, Input.NO_POWER, now, effects)
    if state.is_vehicle_ready and state.permitted_direction is not None:
        return apply_input(state, Input.POWER, now, effects)
    return state
