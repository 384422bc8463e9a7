"""The charger's own forecast, and its changes by requests.

Functions that execute a request raise RequestRefusedError; all return the changed state.

Spec: Matter Application Clusters 1.3 "StartTimeAdjustRequest Command",
"ModifyForecastRequest Command", "RequestConstraintBasedForecast Command"
"""

from __future__ import annotations

from itertools import pairwise

from msgspec.structs import replace

from evse_node.energy_management.adjusting import check_opt_out, end_pause
from evse_node.energy_management.conditions import DischargePlan, Moment
from evse_node.energy_management.enums import AdjustmentCause, EndCause, UpdateReason
from evse_node.energy_management.events import Notification
from evse_node.energy_management.forecast import Forecast, PowerRange, Slot, energy_of
from evse_node.energy_management.planning import (
    Block,
    Cap,
    dischargeable_energy,
    expected_energy,
    flexible,
    make_discharge_forecast,
    make_forecast,
)
from evse_node.energy_management.requests import (
    Constraint,
    ConstraintRequest,
    ModifyForecastRequest,
    Problem,
    RequestRefusedError,
    SlotAdjustment,
    StartTimeAdjustRequest,
)
from evse_node.energy_management.state import EnergyState
from evse_node.units import EpochSeconds, MilliwattHours, Milliwatts


def own_forecast(state: EnergyState, epoch_s: EpochSeconds, now: float) -> Forecast | None:
    """Return the charger's own plan, which includes a running power adjustment."""
    supply, discharge_plan = state.conditions.supply, state.conditions.discharge_plan
    if discharge_plan is not None and supply.discharge_power is not None:
        return _discharge_forecast(state, discharge_plan, supply.discharge_power, epoch_s, now)
    power = supply.intended_power if state.adjustment is None else supply.power
    if power is None:
        return None
    demand, adjustment = state.conditions.demand, state.adjustment
    start_time = max(epoch_s, state.conditions.start_time or epoch_s)
    caps: list[Cap] = []
    if adjustment is not None:
        start_time = epoch_s
        end_time = EpochSeconds(epoch_s + round(adjustment.ends_at - now))
        caps.append(Cap(epoch_s, end_time, adjustment.power_mw))
        planned = state.conditions.start_time
        if planned is not None and planned > end_time:
            caps.append(Cap(end_time, planned, Milliwatts(0)))
    deadline: EpochSeconds | None = None
    if demand.is_promised and demand.deadline is not None:
        deadline = EpochSeconds(demand.deadline - demand.reserve_s)
    energy_mwh = expected_energy(demand, power)
    back = supply.discharge_power
    return make_forecast(0, energy_mwh, start_time, deadline, power, caps, back)


def _discharge_forecast(
    state: EnergyState,
    discharge_plan: DischargePlan,
    power: PowerRange,
    epoch_s: EpochSeconds,
    now: float,
) -> Forecast | None:
    energy_mwh = dischargeable_energy(state.conditions.demand, discharge_plan, power)
    if not energy_mwh:
        return None
    adjusted: Block | None = None
    if state.adjustment is not None:
        rest_s = round(state.adjustment.ends_at - now)
        adjusted = Block(rest_s, state.adjustment.power_mw) if rest_s > 0 else None
    return make_discharge_forecast(energy_mwh, epoch_s, discharge_plan.until, power, adjusted)


def return_to_own(state: EnergyState) -> EnergyState:
    """Discard requested changes; the charger's own forecast is computed later in the turn."""
    if state.script is not None:
        return replace(state, altered_by=None).with_forecast(state.script.forecast)
    return replace(state, altered_by=None, forecast=None, basis=())


def cancel(state: EnergyState, moment: Moment, notifications: list[Notification]) -> EnergyState:
    """Execute a CancelRequest, which also ends a pause."""
    if state.forecast is None:
        raise RequestRefusedError(Problem.IMPOSSIBLE, "there is no forecast")
    if state.update_reason is UpdateReason.INTERNAL:
        raise RequestRefusedError(Problem.STATE, "the forecast was not changed by a request")
    return return_to_own(end_pause(state, EndCause.CANCELLED, moment, notifications))


def _requestable_forecast(state: EnergyState, cause: AdjustmentCause, moment: Moment) -> Forecast:
    """Return the forecast that a request applies to. Raises RequestRefusedError."""
    check_opt_out(state, cause)
    if state.pause is not None or state.adjustment is not None:
        raise RequestRefusedError(Problem.STATE, f"the appliance is {state.esa_state.value}")
    forecast = state.forecast_at(moment.epoch_s)
    if forecast is None:
        raise RequestRefusedError(Problem.IMPOSSIBLE, "there is no forecast")
    if state.script is None and state.conditions.discharge_plan is not None:
        raise RequestRefusedError(Problem.IMPOSSIBLE, "discharging cannot be moved")
    return forecast


def _altered(state: EnergyState, forecast: Forecast, cause: AdjustmentCause) -> EnergyState:
    power = state.supply_power
    if state.script is None and power is not None:
        forecast = flexible(forecast, power)
    return replace(state, altered_by=cause).with_forecast(forecast)


# Start time


def adjust_start(
    state: EnergyState, request: StartTimeAdjustRequest, moment: Moment
) -> EnergyState:
    """Move the forecast to another start time, except for the energy already drawn."""
    forecast = _requestable_forecast(state, request.cause, moment)
    earliest = forecast.earliest_start_time
    if earliest is None:
        earliest = moment.epoch_s
    if earliest is None or request.start_time < earliest:
        raise RequestRefusedError(Problem.CONSTRAINT, f"a start at {request.start_time}")
    if forecast.shifted(request.start_time).end_time > forecast.latest_end_time:
        raise RequestRefusedError(Problem.CONSTRAINT, f"a start as late as {request.start_time}")
    if state.script is None and moment.epoch_s is not None:
        forecast = forecast.left_at(moment.epoch_s)
    return _altered(state, forecast.shifted(request.start_time), request.cause)


# Slots


def modify(state: EnergyState, request: ModifyForecastRequest, moment: Moment) -> EnergyState:
    """Change power and duration of slots, provided that the target is still met."""
    forecast = _requestable_forecast(state, request.cause, moment)
    for adjustment in request.adjustments:
        _check_adjustment(state, forecast, adjustment)
    if request.forecast_id != forecast.id:
        raise RequestRefusedError(
            Problem.IMPOSSIBLE, f"forecast {request.forecast_id} is not {forecast.id}"
        )
    changed = forecast
    for adjustment in request.adjustments:
        slot = changed.slots[adjustment.slot_index]
        changed = changed.with_slot(adjustment.slot_index, _adjusted(slot, adjustment))
    if state.script is None:
        if changed.end_time > changed.latest_end_time:
            raise RequestRefusedError(Problem.IMPOSSIBLE, "the forecast would end too late")
        is_sufficient = 100 * changed.energy_mwh >= 99 * forecast.energy_mwh
        if state.conditions.demand.is_promised and not is_sufficient:
            raise RequestRefusedError(Problem.IMPOSSIBLE, "the vehicle would lack energy")
    return _altered(state, changed, request.cause)


def _check_adjustment(state: EnergyState, forecast: Forecast, adjustment: SlotAdjustment) -> None:
    index = adjustment.slot_index
    if index >= len(forecast.slots):
        raise RequestRefusedError(Problem.IMPOSSIBLE, f"there is no slot {index}")
    if forecast.active_slot is not None and index < forecast.active_slot:
        raise RequestRefusedError(Problem.CONSTRAINT, f"slot {index} is over")
    limits = forecast.slots[index].limits
    if limits is None:
        raise RequestRefusedError(Problem.CONSTRAINT, f"slot {index} cannot be changed")
    if "PFR" in state.features:
        power_mw = adjustment.power_mw
        if power_mw is None or not limits.power.contains(power_mw):
            raise RequestRefusedError(Problem.CONSTRAINT, f"slot {index} with {power_mw} mW")
    shortest_s = max(limits.shortest_s, forecast.slots[index].elapsed_s)
    if not shortest_s <= adjustment.duration_s <= limits.longest_s:
        raise RequestRefusedError(Problem.CONSTRAINT, f"slot {index} of {adjustment.duration_s} s")


def _adjusted(slot: Slot, adjustment: SlotAdjustment) -> Slot:
    """Return a changed slot. Without a power (state forecast) a longer slot has less of it."""
    duration_s = max(1, adjustment.duration_s)
    if adjustment.power_mw is not None:
        power_mw = adjustment.power_mw
        drawn_mwh = slot.energy_mwh * slot.elapsed_s // slot.duration_s
        energy_mwh = MilliwattHours(drawn_mwh + energy_of(power_mw, duration_s - slot.elapsed_s))
    else:
        energy_mwh = slot.energy_mwh
        power_mw = Milliwatts(-(-energy_mwh * 3600 // duration_s))
        power_mw = Milliwatts(min(max(power_mw, slot.power.minimum_mw), slot.power.maximum_mw))
    return replace(slot, duration_s=duration_s, power_mw=power_mw, energy_mwh=energy_mwh)


# Constraints


def constrain(state: EnergyState, request: ConstraintRequest, moment: Moment) -> EnergyState:
    """Compute a forecast that satisfies constraints and ends in time."""
    forecast = _requestable_forecast(state, request.cause, moment)
    epoch_s, power = moment.epoch_s, state.supply_power
    if epoch_s is None or power is None:
        raise RequestRefusedError(Problem.IMPOSSIBLE, "the clock is unknown, or there is no power")
    for constraint in request.constraints:
        _check_constraint(state, constraint, epoch_s)
    for before, after in pairwise(request.constraints):
        if after.start_time < before.end_time:
            raise RequestRefusedError(Problem.CONSTRAINT, "constraints overlap or are not in order")
    if state.script is None:
        forecast = forecast.left_at(epoch_s)
    planned = make_forecast(
        0,
        forecast.energy_mwh,
        max(epoch_s, forecast.start_time),
        forecast.latest_end_time,
        power,
        [_cap(constraint, power) for constraint in request.constraints],
    )
    if planned is None or planned.end_time > forecast.latest_end_time:
        raise RequestRefusedError(Problem.IMPOSSIBLE, "no forecast satisfies the constraints")
    return _altered(state, planned, request.cause)


def _check_constraint(state: EnergyState, constraint: Constraint, epoch_s: EpochSeconds) -> None:
    if constraint.start_time < epoch_s:
        raise RequestRefusedError(Problem.CONSTRAINT, "a constraint lies in the past")
    if "PFR" in state.features:
        if constraint.power_mw is None or constraint.maximum_mwh is None:
            raise RequestRefusedError(Problem.INCOMPLETE, "a constraint lacks power or energy")
        if not state.power.contains(constraint.power_mw):
            raise RequestRefusedError(
                Problem.CONSTRAINT, f"a constraint of {constraint.power_mw} mW"
            )
    if "SFR" in state.features:
        if constraint.load_control is None:
            raise RequestRefusedError(Problem.INCOMPLETE, "a constraint lacks load control")
        if not -100 <= constraint.load_control <= 100:
            raise RequestRefusedError(
                Problem.CONSTRAINT, f"a load control of {constraint.load_control} %"
            )


def _cap(constraint: Constraint, power: PowerRange) -> Cap:
    """Return a constraint as a limit of power. Load cannot be increased: it is at its maximum."""
    power_mw = int(power.maximum_mw)
    if constraint.power_mw is not None:
        power_mw = min(power_mw, constraint.power_mw)
    if constraint.maximum_mwh is not None and constraint.duration_s:
        power_mw = min(power_mw, max(0, constraint.maximum_mwh) * 3600 // constraint.duration_s)
    if constraint.load_control is not None and constraint.load_control < 0:
        power_mw = min(power_mw, power.maximum_mw * (100 + constraint.load_control) // 100)
    return Cap(constraint.start_time, constraint.end_time, Milliwatts(power_mw))
