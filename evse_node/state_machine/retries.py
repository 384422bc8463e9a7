"""Retries: a moment's fault clears itself after a wait, until the waits are used up.

The contactor opens at once and FaultState shows the fault during the wait, which begins when the
cause has ended. Faults that occur together share one wait. Each further one waits longer; after
the last wait the fault latches. Charging for a while, unplugging and acknowledgement clear the
count.
"""

from __future__ import annotations

from msgspec.structs import replace

from evse_node.state_machine.events import Timer
from evse_node.state_machine.faults import FAULT_CLASSES, FaultClass, FaultState
from evse_node.state_machine.state import ContactorState, EvseState


def begin_wait(state: EvseState, fault: FaultState, now: float) -> EvseState:
    """Let a fault that was just raised clear itself, if its class allows that."""
    if FAULT_CLASSES[fault] is not FaultClass.RETRIED:
        return state
    is_first = not state.retried_faults
    state = replace(state, retried_faults=state.retried_faults | {fault})
    if not is_first:
        return state
    latched = len(state.settings.retry_after_s) + 1
    return restart_wait(replace(state, retry_count=min(state.retry_count + 1, latched)), now)


def restart_wait(state: EvseState, now: float) -> EvseState:
    """Let the present wait begin now; without effect when no fault waits, or it has latched."""
    waits, number = state.settings.retry_after_s, state.retry_count - 1
    if not state.retried_faults or not 0 <= number < len(waits):
        return state.without_timer(Timer.RETRY)
    return state.with_timer(Timer.RETRY, now + waits[number])


def without(state: EvseState, *faults: FaultState) -> EvseState:
    """Return the state in which these faults do not wait, and no wait without any fault."""
    if not faults:
        return state
    left = state.retried_faults.difference(faults)
    state = replace(state, retried_faults=left)
    return state if left else state.without_timer(Timer.RETRY)


def with_reset_timer(state: EvseState, now: float) -> EvseState:
    """Let the time of charging run that clears the count, or end it."""
    if state.retry_count and state.outputs.contactor is ContactorState.CLOSED and not state.faults:
        if Timer.RETRY_RESET in state.timers:
            return state
        return state.with_timer(Timer.RETRY_RESET, now + state.settings.retry_reset_s)
    return state.without_timer(Timer.RETRY_RESET)
