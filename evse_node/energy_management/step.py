"""Energy management as a function: state, event and moment give a new state and notifications.

The event is processed first. Then the state is reconciled with the conditions of the charger:
without a vehicle nothing is adjusted, and a forecast whose basis has changed is computed
again.

Spec: Matter Application Clusters 1.3 "Device Energy Management Cluster"
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from evse_node.energy_management.adjusting import (
    adjust_power,
    cancel_adjustment,
    end_adjustment,
    end_pause,
    pause,
    resume,
)
from evse_node.energy_management.conditions import Availability, Moment
from evse_node.energy_management.enums import AdjustmentCause, EndCause
from evse_node.energy_management.events import Notification
from evse_node.energy_management.forecast import PowerRange
from evse_node.energy_management.forecasting import (
    adjust_start,
    cancel,
    constrain,
    modify,
    own_forecast,
    return_to_own,
)
from evse_node.energy_management.requests import (
    CancelPowerAdjustRequest,
    CancelRequest,
    ConditionsChanged,
    ConstraintRequest,
    Event,
    ModifyForecastRequest,
    OptOutChanged,
    PauseRequest,
    PowerAdjustRequest,
    ResumeRequest,
    Script,
    ScriptChanged,
    StartTimeAdjustRequest,
    TimePassed,
)
from evse_node.energy_management.state import EnergyState, ForecastBasis
from evse_node.units import EpochSeconds

_IDLE_AFTER_S: Final = 60.0
"""Cars take some seconds to request energy again after an offer was withdrawn."""


def step(
    state: EnergyState, event: Event, moment: Moment
) -> tuple[EnergyState, tuple[Notification, ...]]:
    """Process one event; return the new state and the notifications.

    Expired deadlines must have been processed before, by `TimePassed`. Raises
    RequestRefusedError for a request that is refused.
    """
    notifications: list[Notification] = []
    state = _on_event(state, event, moment, notifications)
    if state.script is None:
        state = _reconcile(state, moment, notifications)
    return state, tuple(notifications)


def _on_event(
    state: EnergyState, event: Event, moment: Moment, notifications: list[Notification]
) -> EnergyState:
    match event:
        case PowerAdjustRequest():
            return adjust_power(state, event, moment, notifications)
        case CancelPowerAdjustRequest():
            return cancel_adjustment(state, moment, notifications)
        case StartTimeAdjustRequest():
            return adjust_start(state, event, moment)
        case PauseRequest():
            return pause(state, event, moment, notifications)
        case ResumeRequest():
            return resume(state, moment, notifications)
        case ModifyForecastRequest():
            return modify(state, event, moment)
        case ConstraintRequest():
            return constrain(state, event, moment)
        case CancelRequest():
            return cancel(state, moment, notifications)
        case OptOutChanged(causes):
            return _on_opt_out(state, causes, moment, notifications)
        case ConditionsChanged(conditions):
            return replace(state, conditions=conditions)
        case TimePassed():
            return _on_time(state, moment, notifications)
        case ScriptChanged(script):
            return _on_script(state, script, moment, notifications)


def _on_time(state: EnergyState, moment: Moment, notifications: list[Notification]) -> EnergyState:
    if state.adjustment is not None and moment.now >= state.adjustment.ends_at:
        state = end_adjustment(state, EndCause.NORMAL_COMPLETION, moment, notifications)
    if state.pause is not None and moment.now >= state.pause.ends_at:
        state = end_pause(state, EndCause.NORMAL_COMPLETION, moment, notifications)
    return state


def _on_opt_out(
    state: EnergyState,
    causes: frozenset[AdjustmentCause],
    moment: Moment,
    notifications: list[Notification],
) -> EnergyState:
    state = replace(state, opted_out=causes)
    if state.adjustment is not None and state.adjustment.cause in causes:
        state = end_adjustment(state, EndCause.USER_OPT_OUT, moment, notifications)
    if state.pause is not None and state.pause.cause in causes:
        state = end_pause(state, EndCause.USER_OPT_OUT, moment, notifications)
    if state.altered_by in causes:
        state = return_to_own(state)
    return state


def _on_script(
    state: EnergyState, script: Script | None, moment: Moment, notifications: list[Notification]
) -> EnergyState:
    state = _stop(state, EndCause.CANCELLED, moment, notifications)
    state = replace(state, script=script, altered_by=None, forecast=None, basis=())
    return state if script is None else state.with_forecast(script.forecast)


def _stop(
    state: EnergyState, cause: EndCause, moment: Moment, notifications: list[Notification]
) -> EnergyState:
    state = end_adjustment(state, cause, moment, notifications)
    return end_pause(state, cause, moment, notifications)


# Reconciling the state with the charger


def _reconcile(
    state: EnergyState, moment: Moment, notifications: list[Notification]
) -> EnergyState:
    state = _detect_vehicle(state, moment)
    if state.is_idle:
        is_fault = state.conditions.availability is Availability.FAULT
        cause = EndCause.FAULT if is_fault else EndCause.OFFLINE
        state = _stop(state, cause, moment, notifications)
        return replace(state, forecast=None, altered_by=None, basis=())
    if not _is_adjustment_possible(state):
        state = end_adjustment(state, EndCause.CANCELLED, moment, notifications)
    if state.pause is not None or state.idle_at is not None:
        return state  # the forecast does not change meanwhile
    if moment.epoch_s is None:
        return replace(state, forecast=None, altered_by=None, basis=())
    return _update_forecast(state, moment, moment.epoch_s)


def _is_adjustment_possible(state: EnergyState) -> bool:
    """Return whether energy may still flow in the requested direction."""
    if state.adjustment is None:
        return True
    supply = state.conditions.supply
    power = supply.discharge_power if state.adjustment.power_mw < 0 else supply.power
    return power is not None or state.idle_at is not None


def _detect_vehicle(state: EnergyState, moment: Moment) -> EnergyState:
    """Update whether a vehicle requests energy."""
    if not state.is_available:
        return replace(state, is_idle=True, idle_at=None)
    supply = state.conditions.supply
    has_supply = supply.power is not None or supply.discharge_power is not None
    if state.conditions.requests_energy and has_supply:
        return replace(state, is_idle=False, idle_at=None)
    if state.is_idle:
        return state
    idle_at = moment.now + _IDLE_AFTER_S if state.idle_at is None else state.idle_at
    if moment.now >= idle_at:
        return replace(state, is_idle=True, idle_at=None)
    return replace(state, idle_at=idle_at)


def _update_forecast(state: EnergyState, moment: Moment, epoch_s: EpochSeconds) -> EnergyState:
    basis = _basis(state)
    forecast = state.forecast
    is_over = forecast is None or epoch_s >= forecast.end_time or _is_set_back(state, epoch_s)
    if not is_over and (basis == state.basis or _has_begun_as_planned(state, epoch_s)):
        return replace(state, basis=basis)
    power = state.supply_power
    if not is_over and power is not None and _still_holds(state, power, epoch_s):
        return replace(state, basis=basis)
    own = own_forecast(state, epoch_s, moment.now)
    return replace(state, altered_by=None, basis=basis).with_forecast(own)


def _is_set_back(state: EnergyState, epoch_s: EpochSeconds) -> bool:
    """Return whether the own forecast starts later only because the clock was set back."""
    return (
        state.forecast is not None
        and state.forecast.start_time > epoch_s
        and state.conditions.start_time is None
        and state.altered_by is None
        and state.adjustment is None
    )


def _basis(state: EnergyState) -> ForecastBasis:
    """Return the inputs of a forecast, except for its own progress."""
    conditions = state.conditions
    demand, discharge_plan = conditions.demand, conditions.discharge_plan
    return (
        demand.deadline,
        demand.goal,
        None
        if discharge_plan is None
        else (discharge_plan.until, discharge_plan.available_mwh is None),
        conditions.supply,
        demand.reserve_s > 0,
        state.adjustment,
        conditions.start_time,
    )


def _has_begun_as_planned(state: EnergyState, epoch_s: EpochSeconds) -> bool:
    """Return whether the only change is that the charger started as planned."""
    return (
        state.forecast is not None
        and state.conditions.start_time is None
        and _basis(state)[:-1] == state.basis[:-1]
        and state.forecast.start_time <= epoch_s
    )


def _still_holds(state: EnergyState, power: PowerRange, epoch_s: EpochSeconds) -> bool:
    """Return whether a forecast changed by a request can still be followed."""
    if state.altered_by is None or state.forecast is None or not state.basis:
        return False
    if _basis(state)[:3] != state.basis[:3]:
        return False  # another target, or another direction of energy
    left = state.forecast.left_at(epoch_s)
    return all(slot.power_mw <= power.maximum_mw for slot in left.slots)
