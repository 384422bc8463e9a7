"""Raising and clearing of faults.

A fault lasts until an event clears it, or for a retried fault the end of its wait; while its
cause is present, it cannot be cleared.

Spec: Matter Application Clusters 1.3 "FaultState Attribute"
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec.structs import replace

from evse_node.state_machine import retries
from evse_node.state_machine.control_pilot import PilotState
from evse_node.state_machine.effects import Effect, FaultChanged, Refused
from evse_node.state_machine.events import Timer
from evse_node.state_machine.faults import (
    ENDED_BY_UNPLUGGING,
    FaultState,
    clear_fault,
    raise_fault,
)
from evse_node.state_machine.state import ContactorState, EvseState
from evse_node.state_machine.transitions import Input, apply_input

PILOT_FAULTS: Final[Mapping[PilotState, FaultState]] = {
    PilotState.E: FaultState.PILOT_SHORT_CIRCUIT,
    PilotState.F: FaultState.OTHER,
}


def on_fault(
    state: EvseState,
    fault: FaultState,
    now: float,
    effects: list[Effect],
    *,
    is_momentary: bool = False,
) -> EvseState:
    """Raise a fault; one that is already present is refused.

    `is_momentary`: no event will report its end, so it may be retried.
    """
    faults = raise_fault(state.faults, fault)
    if faults == state.faults:
        if fault is not FaultState.NO_ERROR:
            effects.append(Refused(f"fault {fault.value} is already present"))
        if not is_momentary and fault in state.retried_faults:
            # From now on the hardware reports its end.
            return retries.without(state, fault)
        return state
    if not state.faults:
        state = state.with_timer(Timer.UNLOCK, now + state.settings.unlock_delay_s)
        if state.state.is_transferring and state.settings.state_f_s > 0:
            state = state.with_timer(Timer.STATE_F, now + state.settings.state_f_s)
    state = _show_faults(state, faults, effects)
    if is_momentary:
        state = retries.begin_wait(state, fault, now)
    return apply_input(state, Input.FAULT, now, effects)


def on_fault_cleared(
    state: EvseState, fault: FaultState | None, now: float, effects: list[Effect]
) -> EvseState:
    """Clear a fault, or all with None, unless their causes are still present.

    Clearing a retried fault before the end of its wait also clears the count.
    """
    if fault is None or fault in state.retried_faults:
        state = replace(state, retry_count=0)
    return _clear(state, fault, now, effects)


def on_retry(state: EvseState, now: float, effects: list[Effect]) -> EvseState:
    """End the wait: clear the retried faults whose cause is gone."""
    for fault in state.faults:
        if fault in state.retried_faults:
            state = _clear(state, fault, now, effects)
    return retries.restart_wait(state, now)


def on_unplugged(state: EvseState, now: float, effects: list[Effect]) -> EvseState:
    """Clear the faults of this vehicle, cable or attempt, and their count."""
    ended = ENDED_BY_UNPLUGGING | state.retried_faults
    for fault in state.faults:
        if fault in ended:
            state = _clear(state, fault, now, effects)
    return replace(state, retry_count=0) if state.retry_count else state


def _clear(
    state: EvseState, fault: FaultState | None, now: float, effects: list[Effect]
) -> EvseState:
    lasting = _lasting_faults(state)
    faults = clear_fault(state.faults, fault)
    faults = tuple(kept for kept in state.faults if kept in faults or kept in lasting)
    if faults == state.faults:
        return state
    removed = (each for each in state.retried_faults if each not in faults)
    state = _show_faults(retries.without(state, *removed), faults, effects)
    if faults:
        return state
    return apply_input(state.without_timer(Timer.STATE_F), Input.FAULT_CLEARED, now, effects)


def on_causes(
    state: EvseState, causes: frozenset[FaultState], now: float, effects: list[Effect]
) -> EvseState:
    """Raise the faults whose causes are new, and clear those whose causes are gone."""
    gone = [fault for fault in state.faults if fault in state.observed_causes - causes]
    state = replace(state, observed_causes=causes)
    for fault in FaultState:
        if fault in causes and fault not in state.faults:
            state = on_fault(state, fault, now, effects)
    for fault in gone:
        state = on_fault_cleared(state, fault, now, effects)
    return state


def _lasting_faults(state: EvseState) -> set[FaultState]:
    """Return the faults whose cause is still present, so that they cannot be cleared."""
    lasting = set(state.observed_causes)
    if state.outputs.is_reported_closed and state.outputs.contactor is ContactorState.OPENING:
        lasting.add(FaultState.CONTACT_WET_FAILURE)
    if state.pilot is not None and state.pilot in PILOT_FAULTS:
        lasting.add(PILOT_FAULTS[state.pilot])
    if state.is_cable_missing and state.pilot is not None and state.pilot.is_connected:
        lasting.add(FaultState.EV_DISCONNECTED)
    return lasting


def _show_faults(
    state: EvseState, faults: tuple[FaultState, ...], effects: list[Effect]
) -> EvseState:
    before = state.fault
    state = replace(state, faults=faults)
    if state.fault is not before:
        session = state.session
        session_id = session.id if session is not None and session.is_active else None
        effects.append(FaultChanged(session_id, state.state, before, state.fault))
    return state
