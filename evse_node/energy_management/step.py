"""Energy management as a function: a state, an event and a moment give state and notices.

An event first does its own work; then the state is brought in line with what the charger
tells: without a vehicle there is nothing to adjust, and when the grounds of the forecast
have changed, it is made anew.

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
from evse_node.energy_management.state import EnergyState, Grounds
from evse_node.units import EpochSeconds

_IDLE_AFTER_S: Final = 60.0
"""A car takes some seconds to ask for energy again after it was not offered any."""


def step(
    state: EnergyState, event: Event, moment: Moment
) -> tuple[EnergyState, tuple[Notification, ...]]:
    """Take in one event; return the new state and what is to be told.

    What is due by itself should have happened before, by `TimePassed`. Raises
    RequestRefusedError for a request that cannot be followed.
    """
    notices: list[Notification] = []
    state = _on_event(state, event, moment, notices)
    if state.script is None:
        state = _settle(state, moment, notices)
    return state, tuple(notices)


def _on_event(
    state: EnergyState, event: Event, moment: Moment, notices: list[Notification]
) -> EnergyState:
    match event:
        case PowerAdjustRequest():
            return adjust_power(state, event, moment, notices)
        case CancelPowerAdjustRequest():
            return cancel_adjustment(state, moment, notices)
        case StartTimeAdjustRequest():
            return adjust_start(state, event, moment)
        case PauseRequest():
            return pause(state, event, moment, notices)
        case ResumeRequest():
            return resume(state, moment, notices)
        case ModifyForecastRequest():
            return modify(state, event, moment)
        case ConstraintRequest():
            return constrain(state, event, moment)
        case CancelRequest():
            return cancel(state, moment, notices)
        case OptOutChanged(causes):
            return _on_opt_out(state, causes, moment, notices)
        case ConditionsChanged(conditions):
            return replace(state, conditions=conditions)
        case TimePassed():
            return _on_time(state, moment, notices)
        case ScriptChanged(script):
            return _on_script(state, script, moment, notices)


def _on_time(state: EnergyState, moment: Moment, notices: list[Notification]) -> EnergyState:
    if state.adjustment is not None and moment.now >= state.adjustment.ends_at:
        state = end_adjustment(state, EndCause.NORMAL_COMPLETION, moment, notices)
    if state.pause is not None and moment.now >= state.pause.ends_at:
        state = end_pause(state, EndCause.NORMAL_COMPLETION, moment, notices)
    return state


def _on_opt_out(
    state: EnergyState,
    causes: frozenset[AdjustmentCause],
    moment: Moment,
    notices: list[Notification],
) -> EnergyState:
    state = replace(state, opted_out=causes)
    if state.adjustment is not None and state.adjustment.cause in causes:
        state = end_adjustment(state, EndCause.USER_OPT_OUT, moment, notices)
    if state.pause is not None and state.pause.cause in causes:
        state = end_pause(state, EndCause.USER_OPT_OUT, moment, notices)
    if state.altered_by in causes:
        state = return_to_own(state)
    return state


def _on_script(
    state: EnergyState, script: Script | None, moment: Moment, notices: list[Notification]
) -> EnergyState:
    state = _stop(state, EndCause.CANCELLED, moment, notices)
    state = replace(state, script=script, altered_by=None, forecast=None, grounds=())
    return state if script is None else state.with_forecast(script.forecast)


def _stop(
    state: EnergyState, cause: EndCause, moment: Moment, notices: list[Notification]
) -> EnergyState:
    state = end_adjustment(state, cause, moment, notices)
    return end_pause(state, cause, moment, notices)


# Bringing the state in line with the charger


def _settle(state: EnergyState, moment: Moment, notices: list[Notification]) -> EnergyState:
    state = _look_for_vehicle(state, moment)
    if state.is_idle:
        is_fault = state.conditions.availability is Availability.FAULT
        cause = EndCause.FAULT if is_fault else EndCause.OFFLINE
        state = _stop(state, cause, moment, notices)
        return replace(state, forecast=None, altered_by=None, grounds=())
    if not _is_adjustment_possible(state):
        state = end_adjustment(state, EndCause.CANCELLED, moment, notices)
    if state.pause is not None or state.idle_at is not None:
        return state  # the forecast stands still
    if moment.epoch_s is None:
        return replace(state, forecast=None, altered_by=None, grounds=())
    return _renew_forecast(state, moment, moment.epoch_s)


def _is_adjustment_possible(state: EnergyState) -> bool:
    """Tell whether the energy may still flow the way that it was asked to."""
    if state.adjustment is None:
        return True
    supply = state.conditions.supply
    way = supply.discharge_power if state.adjustment.power_mw < 0 else supply.power
    return way is not None or state.idle_at is not None


def _look_for_vehicle(state: EnergyState, moment: Moment) -> EnergyState:
    """Note whether there is a vehicle that wants energy."""
    if not state.is_available:
        return replace(state, is_idle=True, idle_at=None)
    supply = state.conditions.supply
    has_supply = supply.power is not None or supply.discharge_power is not None
    if state.conditions.wants_energy and has_supply:
        return replace(state, is_idle=False, idle_at=None)
    if state.is_idle:
        return state
    idle_at = moment.now + _IDLE_AFTER_S if state.idle_at is None else state.idle_at
    if moment.now >= idle_at:
        return replace(state, is_idle=True, idle_at=None)
    return replace(state, idle_at=idle_at)


def _renew_forecast(state: EnergyState, moment: Moment, epoch_s: EpochSeconds) -> EnergyState:
    grounds = _grounds(state)
    forecast = state.forecast
    is_over = forecast is None or epoch_s >= forecast.end_time or _is_set_back(state, epoch_s)
    if not is_over and (grounds == state.grounds or _has_begun_as_planned(state, epoch_s)):
        return replace(state, grounds=grounds)
    power = state.supply_power
    if not is_over and power is not None and _still_holds(state, power, epoch_s):
        return replace(state, grounds=grounds)
    own = own_forecast(state, epoch_s, moment.now)
    return replace(state, altered_by=None, grounds=grounds).with_forecast(own)


def _is_set_back(state: EnergyState, epoch_s: EpochSeconds) -> bool:
    """Tell whether only a clock that was set back makes the charger's own forecast begin later."""
    return (
        state.forecast is not None
        and state.forecast.start_time > epoch_s
        and state.conditions.start_time is None
        and state.altered_by is None
        and state.adjustment is None
    )


def _grounds(state: EnergyState) -> Grounds:
    """Return what a forecast is made from, save the progress that it makes itself."""
    conditions, need, giving = state.conditions, state.conditions.need, state.conditions.giving
    return (
        need.deadline,
        need.goal,
        None if giving is None else (giving.until, giving.available_mwh is None),
        conditions.supply,
        need.reserve_s > 0,
        state.adjustment,
        conditions.start_time,
    )


def _has_begun_as_planned(state: EnergyState, epoch_s: EpochSeconds) -> bool:
    """Tell whether all that changed is that the charger no longer waits for the start."""
    return (
        state.forecast is not None
        and state.conditions.start_time is None
        and _grounds(state)[:-1] == state.grounds[:-1]
        and state.forecast.start_time <= epoch_s
    )


def _still_holds(state: EnergyState, power: PowerRange, epoch_s: EpochSeconds) -> bool:
    """Tell whether what a request made of the forecast can still be followed."""
    if state.altered_by is None or state.forecast is None or not state.grounds:
        return False
    if _grounds(state)[:3] != state.grounds[:3]:
        return False  # the target is another, or the way that the energy goes
    left = state.forecast.left_at(epoch_s)
    return all(slot.power_mw <= power.maximum_mw for slot in left.slots)
