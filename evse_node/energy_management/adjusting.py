"""Power adjustments and pauses, which start at once and end by themselves.

Functions that execute a request raise RequestRefusedError; all return the changed state and
append to `notifications`.

Spec: Matter Application Clusters 1.3 "PowerAdjustRequest Command", "PauseRequest Command"
"""

from __future__ import annotations

from msgspec.structs import replace

from evse_node.energy_management.conditions import Moment
from evse_node.energy_management.enums import AdjustmentCause, EndCause
from evse_node.energy_management.events import (
    Notification,
    Paused,
    PowerAdjustEnded,
    PowerAdjustStarted,
    Resumed,
)
from evse_node.energy_management.forecast import Forecast
from evse_node.energy_management.planning import flexible
from evse_node.energy_management.requests import (
    PauseRequest,
    PowerAdjustRequest,
    Problem,
    RequestRefusedError,
)
from evse_node.energy_management.state import EnergyState, Pause, PowerAdjustment
from evse_node.units import MilliwattHours


def check_opt_out(state: EnergyState, cause: AdjustmentCause) -> None:
    """Raise RequestRefusedError if the user opted out of requests of this origin."""
    if cause in state.opted_out:
        raise RequestRefusedError(Problem.CONSTRAINT, f"the user opted out of {cause.value}")


# Power adjustment


def adjust_power(
    state: EnergyState,
    request: PowerAdjustRequest,
    moment: Moment,
    notifications: list[Notification],
) -> EnergyState:
    """Start a power adjustment, or give the running one another power and end."""
    check_opt_out(state, request.cause)
    if state.pause is not None:
        raise RequestRefusedError(Problem.STATE, "the appliance is paused")
    if not any(option.covers(request.power_mw, request.duration_s) for option in state.options):
        raise RequestRefusedError(
            Problem.CONSTRAINT,
            f"no option has {request.power_mw} mW for {request.duration_s} s",
        )
    now, running = moment.now, state.adjustment
    if running is None:
        notifications.append(PowerAdjustStarted())
    adjustment = PowerAdjustment(
        power_mw=request.power_mw,
        cause=request.cause,
        started_at=now if running is None else running.started_at,
        changed_at=now,
        ends_at=now + request.duration_s,
        meter_mwh=moment.meter_mwh if running is None else running.meter_mwh,
        requested_mws=0.0 if running is None else running.requested_until(now),
    )
    return replace(state, adjustment=adjustment)


def end_adjustment(
    state: EnergyState, cause: EndCause, moment: Moment, notifications: list[Notification]
) -> EnergyState:
    """End the power adjustment, if any.

    With a script no real energy is drawn, so the requested energy is reported.
    """
    running = state.adjustment
    if running is None:
        return state
    if state.script is None:
        energy_mwh = moment.meter_mwh - running.meter_mwh
    else:
        energy_mwh = round(running.requested_until(moment.now) / 3600)
    duration_s = round(moment.now - running.started_at)
    notifications.append(PowerAdjustEnded(cause, duration_s, MilliwattHours(energy_mwh)))
    return replace(state, adjustment=None)


def cancel_adjustment(
    state: EnergyState, moment: Moment, notifications: list[Notification]
) -> EnergyState:
    """Execute a CancelPowerAdjustRequest."""
    if state.adjustment is None:
        raise RequestRefusedError(Problem.STATE, "no power adjustment is active")
    return end_adjustment(state, EndCause.CANCELLED, moment, notifications)


# Pause


def pause(
    state: EnergyState, request: PauseRequest, moment: Moment, notifications: list[Notification]
) -> EnergyState:
    """Start a pause, or give the running one another end."""
    check_opt_out(state, request.cause)
    if state.adjustment is not None:
        raise RequestRefusedError(Problem.STATE, "a power adjustment is active")
    forecast = state.forecast_at(moment.epoch_s)
    if forecast is None or forecast.active_slot is None:
        raise RequestRefusedError(Problem.IMPOSSIBLE, "no slot of a forecast is active")
    if forecast.active_slot >= len(forecast.slots):
        raise RequestRefusedError(Problem.IMPOSSIBLE, f"there is no slot {forecast.active_slot}")
    slot = forecast.slots[forecast.active_slot]
    if not slot.is_pausable:
        raise RequestRefusedError(
            Problem.IMPOSSIBLE, f"slot {forecast.active_slot} cannot be paused"
        )
    now, running = moment.now, state.pause
    started_at = now if running is None else running.started_at
    previous_s = 0 if running is None else running.planned_s
    index = forecast.active_slot if running is None else running.slot
    planned_s = round(now - started_at) + request.duration_s
    if request.duration_s < slot.shortest_pause_s or planned_s > slot.longest_pause_s:
        raise RequestRefusedError(Problem.CONSTRAINT, f"a pause of {request.duration_s} s")
    if running is None:
        notifications.append(Paused())
    return replace(
        state,
        forecast=_lengthened(state.forecast, index, planned_s - previous_s),
        pause=Pause(request.cause, started_at, now + request.duration_s, index, planned_s),
    )


def end_pause(
    state: EnergyState, cause: EndCause, moment: Moment, notifications: list[Notification]
) -> EnergyState:
    """End the pause, if any, and correct the forecast by its real duration."""
    running = state.pause
    if running is None:
        return state
    notifications.append(Resumed(cause))
    actual_s = min(running.planned_s, round(moment.now - running.started_at))
    forecast = _lengthened(state.forecast, running.slot, actual_s - running.planned_s)
    power = state.supply_power
    if forecast is not None and state.script is None and power is not None:
        forecast = flexible(forecast, power)
    # Without a basis, the charger's own forecast is computed again.
    basis = () if state.altered_by is None else state.basis
    return replace(state, pause=None, forecast=forecast, basis=basis)


def resume(state: EnergyState, moment: Moment, notifications: list[Notification]) -> EnergyState:
    """Execute a ResumeRequest."""
    if state.pause is None:
        raise RequestRefusedError(Problem.STATE, "the appliance is not paused")
    return end_pause(state, EndCause.CANCELLED, moment, notifications)


def _lengthened(forecast: Forecast | None, index: int, seconds: int) -> Forecast | None:
    if forecast is None or index >= len(forecast.slots):
        return forecast
    slot = forecast.slots[index]
    return forecast.with_slot(index, replace(slot, duration_s=slot.duration_s + seconds))
