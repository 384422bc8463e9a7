"""State of energy management as one frozen value, and the values derived from it."""

from __future__ import annotations

from typing import Final, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from evse_node.energy_management.conditions import Availability, Conditions
from evse_node.energy_management.enums import (
    AdjustmentCause,
    EsaState,
    PowerAdjustReason,
    UpdateReason,
)
from evse_node.energy_management.forecast import Forecast, PowerRange
from evse_node.energy_management.requests import PowerOption, Script
from evse_node.units import EpochSeconds, Milliamps, MilliwattHours, Milliwatts

_SHORTEST_ADJUSTMENT_S: Final = 30
_LONGEST_ADJUSTMENT_S: Final = 4 * 3600
_CLOCK_RETRY_S: Final = 30.0
"""Interval for checking the wall clock while it is missing for a forecast."""
_CLOCK_LONGEST_WAIT_S: Final = 60.0
"""Longest wait for a wall-clock time, since the clock may be set meanwhile."""

_UPDATE_REASONS: Final = {
    AdjustmentCause.LOCAL: UpdateReason.LOCAL,
    AdjustmentCause.GRID: UpdateReason.GRID,
}
_ADJUST_REASONS: Final = {
    AdjustmentCause.LOCAL: PowerAdjustReason.LOCAL,
    AdjustmentCause.GRID: PowerAdjustReason.GRID,
}

ForecastBasis: TypeAlias = tuple[object, ...]


class PowerAdjustment(Struct, frozen=True):
    """A running power adjustment. `started_at`, `changed_at` and `ends_at` are monotonic seconds.

    It may be changed while it runs: `requested_mws` is the energy (mW x s) requested before
    `changed_at`. `meter_mwh` is the meter reading at the start.
    """

    power_mw: Milliwatts
    cause: AdjustmentCause
    started_at: float
    changed_at: float
    ends_at: float
    meter_mwh: MilliwattHours
    requested_mws: float = 0.0

    def requested_until(self, now: float) -> float:
        """Return the energy requested since the start, in mW x s."""
        return self.requested_mws + self.power_mw * (now - self.changed_at)


class Pause(Struct, frozen=True):
    """A running pause. `planned_s` is the time that it added to its slot."""

    cause: AdjustmentCause
    started_at: float
    ends_at: float
    slot: int
    planned_s: int


class Orders(Struct, frozen=True):
    """Orders to the charger.

    `limit_ma` is energy management's claim on the charge current, 0 to stop it, None for no
    claim. `discharge_ma` is the current to draw from the vehicle, None for none.
    `overrides_schedule`: charging waits neither for the charger's own schedule nor for solar
    surplus, because a request has replaced them.
    """

    limit_ma: Milliamps | None = None
    overrides_schedule: bool = False
    discharge_ma: Milliamps | None = None


NO_ORDERS: Final = Orders()


class EnergyState(Struct, frozen=True):
    """State between two calls of `step`.

    `forecast` is the published one, without progress; `altered_by` is the origin of the
    request that changed it, None for the charger's own. `basis` are the inputs that it was
    computed from. `idle_at` is when a vehicle that requests nothing counts as idle.
    """

    features: frozenset[str]
    conditions: Conditions
    script: Script | None = None
    opted_out: frozenset[AdjustmentCause] = frozenset()
    adjustment: PowerAdjustment | None = None
    pause: Pause | None = None
    forecast: Forecast | None = None
    altered_by: AdjustmentCause | None = None
    basis: ForecastBasis = ()
    last_id: int = 0
    idle_at: float | None = None
    is_idle: bool = True

    @property
    def power(self) -> PowerRange:
        """The range of the whole appliance."""
        return self.conditions.power if self.script is None else self.script.power

    @property
    def esa_state(self) -> EsaState:
        """Spec: Matter Application Clusters 1.3 "ESAState Attribute"."""
        if self.pause is not None:
            return EsaState.PAUSED
        if self.adjustment is not None:
            return EsaState.POWER_ADJUST_ACTIVE
        if self.script is not None:
            return EsaState.ONLINE
        return _ESA_STATES[self.conditions.availability]

    @property
    def is_available(self) -> bool:
        """True while there is a vehicle to be managed."""
        return self.conditions.availability is Availability.ONLINE and self.conditions.is_connected

    @property
    def supply_power(self) -> PowerRange | None:
        """The power that may be offered now, or None."""
        return self.conditions.supply.power if self.script is None else self.script.power

    @property
    def options(self) -> tuple[PowerOption, ...]:
        """The power adjustments that may be requested."""
        if "PA" not in self.features:
            return ()
        if self.script is not None:
            return self.script.options
        if not self.is_available or self.is_idle:
            return ()
        options = (
            PowerOption(power, _SHORTEST_ADJUSTMENT_S, self._longest_adjustment_s(power))
            for power in (self.supply_power, self.conditions.supply.discharge_power)
            if power is not None
        )
        return tuple(option for option in options if option.longest_s >= option.shortest_s)

    def _longest_adjustment_s(self, power: PowerRange) -> int:
        """Return how long the least power may last so that the target is still met."""
        supply = self.supply_power
        if self.forecast is None or not self.conditions.demand.is_promised or supply is None:
            return _LONGEST_ADJUSTMENT_S
        missing_mw = supply.maximum_mw - power.minimum_mw
        if not missing_mw:
            return _LONGEST_ADJUSTMENT_S
        allowed_s = self.forecast.slack_s * supply.maximum_mw // missing_mw
        return min(_LONGEST_ADJUSTMENT_S, allowed_s)

    @property
    def adjust_reason(self) -> PowerAdjustReason:
        """The reason of the running power adjustment."""
        if self.adjustment is None:
            return PowerAdjustReason.NONE
        return _ADJUST_REASONS[self.adjustment.cause]

    @property
    def update_reason(self) -> UpdateReason:
        """The reason of the forecast: a pause, a request, or the charger's own plan."""
        cause = self.altered_by if self.pause is None else self.pause.cause
        return UpdateReason.INTERNAL if cause is None else _UPDATE_REASONS[cause]

    def forecast_at(self, epoch_s: EpochSeconds | None) -> Forecast | None:
        """Return the forecast with its progress; that of a script does not progress."""
        if self.forecast is None or self.script is not None or epoch_s is None:
            return self.forecast
        return self.forecast.at(epoch_s)

    def active_slot_at(self, epoch_s: EpochSeconds | None) -> int | None:
        """Return the index of the active slot of the forecast, or None."""
        if self.forecast is None or self.script is not None or epoch_s is None:
            return None if self.forecast is None else self.forecast.active_slot
        return self.forecast.active_slot_at(epoch_s)

    def with_forecast(self, forecast: Forecast | None) -> EnergyState:
        """Return the state with another forecast, which gets the next id."""
        if forecast is None:
            return replace(self, forecast=None)
        number = self.last_id + 1 & 0xFFFF_FFFF
        return replace(self, forecast=replace(forecast, id=number), last_id=number)


_ESA_STATES: Final = {
    Availability.ONLINE: EsaState.ONLINE,
    Availability.OFFLINE: EsaState.OFFLINE,
    Availability.FAULT: EsaState.FAULT,
}


def orders(state: EnergyState, epoch_s: EpochSeconds | None) -> Orders:
    """Return the orders to the charger; with a script there are none."""
    if state.script is not None:
        return NO_ORDERS
    supply = state.conditions.supply
    overrides_schedule = state.altered_by is not None or state.adjustment is not None
    if state.pause is not None:
        return Orders(Milliamps(0), overrides_schedule)
    if state.adjustment is not None:
        current_ma = supply.current_ma(abs(state.adjustment.power_mw))
        if state.adjustment.power_mw < 0:
            return Orders(None, overrides_schedule, current_ma)
        return Orders(current_ma, overrides_schedule)
    if state.altered_by is None or state.forecast is None or epoch_s is None:
        return NO_ORDERS
    active_slot = state.forecast.active_slot_at(epoch_s)
    if active_slot is None:
        return Orders(Milliamps(0), overrides_schedule)
    slot = state.forecast.slots[active_slot]
    power = supply.power
    if power is not None and slot.power_mw >= power.maximum_mw:
        return Orders(None, overrides_schedule)
    return Orders(supply.current_ma(slot.power_mw), overrides_schedule)


def next_deadline(state: EnergyState, now: float, epoch_s: EpochSeconds | None) -> float | None:
    """Return when the state next changes with time (monotonic seconds), or None."""
    moments: list[float] = []
    if state.adjustment is not None:
        moments.append(state.adjustment.ends_at)
    if state.pause is not None:
        moments.append(state.pause.ends_at)
    if state.idle_at is not None:
        moments.append(state.idle_at)
    if state.script is None and state.is_available and not state.is_idle:
        if epoch_s is None:
            moments.append(now + _CLOCK_RETRY_S)
        elif state.forecast is not None and state.pause is None and state.idle_at is None:
            boundary = state.forecast.next_boundary(epoch_s)
            wait_s = 0.0 if boundary is None else float(boundary - epoch_s)
            moments.append(now + min(wait_s, _CLOCK_LONGEST_WAIT_S))
    return min(moments, default=None)
