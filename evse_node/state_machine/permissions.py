"""Permissions: commands that enable or disable the supply, their expiry, and the self-test.

Spec: Matter Application Clusters 1.3 "Energy EVSE Cluster"
"""

from __future__ import annotations

from msgspec.structs import replace

from evse_node.state_machine.effects import BeginDiagnostics, Effect, Refused
from evse_node.state_machine.enums import SupplyState
from evse_node.state_machine.events import (
    Direction,
    Disable,
    EnableCharging,
    EnableDischarging,
    Timer,
)
from evse_node.state_machine.limits import LimitSource
from evse_node.state_machine.state import ContactorState, EvseState, Permission
from evse_node.state_machine.transitions import Input, apply_input, update_transfer
from evse_node.units import Milliamps


def on_start_diagnostics(state: EvseState, now: float, effects: list[Effect]) -> EvseState:
    """Start the self-test, if the supply is disabled and the contactor open."""
    supply = state.supply_state
    if supply is not SupplyState.DISABLED:
        effects.append(Refused(f"supply is {supply.value}, not Disabled"))
        return state
    if state.outputs.contactor is not ContactorState.OPEN:
        # In the grace period, the vehicle's current would look like a fault.
        effects.append(Refused("the contactor is not open"))
        return state
    effects.append(BeginDiagnostics())
    state = replace(state, is_diagnosing=True)
    return state.with_timer(Timer.DIAGNOSTICS, now + state.settings.diagnostics_timeout_s)


def on_command(
    state: EvseState,
    command: EnableCharging | EnableDischarging | Disable,
    now: float,
    effects: list[Effect],
) -> EvseState:
    """Enable or disable the supply, unless a fault or the self-test forbids it."""
    supply = state.supply_state
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
            state = state.with_claim(LimitSource.COMMAND, maximum_ma, Direction.DISCHARGE)
            return update_transfer(state, now, effects)
        case Disable():
            return _disable(state, now, effects)


def _withdraw_opposite(direction: Direction, state: EvseState) -> EvseState:
    """Withdraw the permission of the other direction where SupplyState has no value for both.

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
    return state.with_claim(LimitSource.COMMAND, 0, direction)


def _disable(state: EvseState, now: float, effects: list[Effect]) -> EvseState:
    for direction in Direction:
        state = _withdraw_permission(state, direction)
    return update_transfer(state, now, effects)


def on_discharge_requested(
    state: EvseState, is_requested: bool, now: float, effects: list[Effect]
) -> EvseState:
    """Reverse the transfer if the other direction is now preferred and permitted."""
    state = replace(state, is_discharge_requested=is_requested)
    transfer, direction = state.transfer, state.permitted_direction
    if transfer is not None and direction is not None and transfer.direction is not direction:
        state = apply_input(state, Input.NO_POWER, now, effects)
    return update_transfer(state, now, effects)


def on_clock(state: EvseState, epoch_s: int, now: float, effects: list[Effect]) -> EvseState:
    """Withdraw the permissions that have expired."""
    expired = [
        direction
        for direction, permission in (
            (Direction.CHARGE, state.charging),
            (Direction.DISCHARGE, state.discharging),
        )
        if permission is not None and permission.until is not None and permission.until <= epoch_s
    ]
    if not expired:
        return state
    for direction in expired:
        state = _withdraw_permission(state, direction)
    if state.charging is None and state.discharging is None:
        return _disable(state, now, effects)
    return update_transfer(state, now, effects)
