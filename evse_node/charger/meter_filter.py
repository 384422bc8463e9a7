"""Judgement of meter readings: the one place that decides which of them count.

A reading is an outlier when no meter of this charger could show it (not a number, outside the
range of the hardware), or when a total fell or rose faster than the rated power allows. An outlier
is dropped and counted; the last good values stand in for it for some seconds, then the meter
counts as lost. Three readings in a row that agree with each other are another meter, or one that
restarted its count: the totals continue from the old ones.

Energy through a charger that cannot discharge charges the vehicle, whichever way the meter is
wired: its direction is reported, and its exported energy counts as imported.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from math import isfinite
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from evse_node.hal.interface import MeterValues, Ratings
from evse_node.state_machine.control_pilot import MINIMUM_OFFER_MA
from evse_node.state_machine.session import NO_READING, MeterReading
from evse_node.units import Milliamps, MilliwattHours, Milliwatts, power_mw

_LOGGER: Final = logging.getLogger(__name__)

_MARGIN: Final = 4
"""Factor above the ratings up to which current, power and growth are possible. Overcurrent must
stay visible."""
_VOLTAGE_MARGIN: Final = 2
_HIGHEST_TOTAL_MWH: Final = 10**13
"""10 GWh, which 22 kW need fifty years for."""
_HIGHEST_GRID_POWER_MW: Final = 10**9
_HIGHEST_FREQUENCY_MILLIHERTZ: Final = 500_000
_STEP_MWH: Final = 1_000_000
"""Coarsest step in which a meter counts."""
_STEP_S: Final = 3_600.0
_TOLERANCE_MWH: Final = 10_000
_AGREEING: Final = 3
_SPACING_S: Final = 0.9
"""Readings closer than this may be one answer of the meter."""
_HOLD_S: Final = 10.0
"""Validity of the last good values."""
_REVERSED_MW: Final = -200_000
_S_PER_HOUR: Final = 3_600.0


class MeterCondition(Struct, frozen=True):
    """Dropped readings, meters recognised as another one, and whether it is wired backwards."""

    dropped_readings: int = 0
    exchanges: int = 0
    is_reversed: bool = False


class _Sample(Struct, frozen=True):
    """Totals as the meter shows them, when they were read, and when they last changed."""

    totals: MeterReading
    at: float
    changed_at: float

    def followed_by(self, totals: MeterReading, now: float) -> _Sample:
        return _Sample(totals, now, self.changed_at if totals == self.totals else now)


class MeterFilter:
    """Filter of one meter's readings. `offset` continues the totals of a former meter."""

    def __init__(self, *, can_discharge: bool, offset: MeterReading = NO_READING) -> None:
        self.offset = offset
        self.condition = MeterCondition()
        self._can_discharge = can_discharge
        self._last: _Sample | None = None
        self._values: MeterValues | None = None
        self._candidate: _Sample | None = None
        self._agreeing = 0
        self._counted_at: float | None = None
        self._backward_readings = 0

    def judge(self, values: MeterValues, ratings: Ratings, now: float) -> MeterValues | None:
        """Return the values that count at monotonic time `now`; None when there are none."""
        error = find_error(values, ratings)
        totals = None if error else MeterReading(values.imported_mwh, values.exported_mwh)
        if totals is not None and self._last is not None:
            error = _find_jump(self._last, totals, values, ratings, now)
        if totals is None or (error and not self._is_other_meter(totals, values, ratings, now)):
            self._drop(error, now)
            is_held = self._last is not None and now - self._last.at <= _HOLD_S
            return self._values if is_held else None
        return self._accept(totals, values, now)

    def _drop(self, error: str, now: float) -> None:
        condition = self.condition
        if self._counted_at is None:
            _LOGGER.warning("the meter's reading is dropped: %s", error)
        elif now - self._counted_at < _SPACING_S:
            return
        self._counted_at = now
        self.condition = replace(condition, dropped_readings=condition.dropped_readings + 1)

    def _is_other_meter(
        self, totals: MeterReading, values: MeterValues, ratings: Ratings, now: float
    ) -> bool:
        """Compare an outlier with those before; return whether enough of them agree."""
        before = self._candidate
        if before is not None and now - before.at < _SPACING_S:
            return False
        if before is None or _find_jump(before, totals, values, ratings, now):
            self._candidate, self._agreeing = _Sample(totals, now, now - _STEP_S), 1
            return False
        self._candidate = before.followed_by(totals, now)
        self._agreeing += 1
        if self._agreeing < _AGREEING:
            return False
        last = self._last
        if last is not None:
            self.offset = _plus(self.offset, _difference(totals, last.totals))
            self._last = replace(self._candidate, totals=totals)
            exchanges = self.condition.exchanges + 1
            self.condition = replace(self.condition, exchanges=exchanges)
            _LOGGER.warning("another meter, or its count restarted: the totals continue")
        return True

    def _accept(self, totals: MeterReading, values: MeterValues, now: float) -> MeterValues:
        last = self._last
        self._candidate, self._agreeing, self._counted_at = None, 0, None
        if last is None:
            self._last = _Sample(totals, now, now - _STEP_S)
            if _is_negative(_plus(totals, self.offset)):
                self.offset = NO_READING  # the meter restarted its count while the node was off
        else:
            self._last = last.followed_by(totals, now)
            if not self._can_discharge:
                backward_mwh = totals.exported_mwh - last.totals.exported_mwh
                shift = MeterReading(MilliwattHours(backward_mwh), MilliwattHours(-backward_mwh))
                self.offset = _plus(self.offset, shift)
        shown = _plus(totals, self.offset)
        flow, currents_ma = values.power_mw, values.currents_ma
        if not self._can_discharge:
            self._observe_direction(flow)
            if flow < 0:
                flow = Milliwatts(-flow)
                currents_ma = tuple(Milliamps(abs(current)) for current in currents_ma)
        frequency = values.frequency_millihertz
        if frequency is not None and not 0 <= frequency <= _HIGHEST_FREQUENCY_MILLIHERTZ:
            frequency = None
        self._values = replace(
            values,
            imported_mwh=shown.imported_mwh,
            exported_mwh=shown.exported_mwh,
            power_mw=flow,
            currents_ma=currents_ma,
            frequency_millihertz=frequency,
        )
        return self._values

    def _observe_direction(self, flow: Milliwatts) -> None:
        is_reversed = self.condition.is_reversed
        if flow > -_REVERSED_MW:
            self._backward_readings, is_reversed = 0, False
        elif flow < _REVERSED_MW:
            self._backward_readings += 1
            is_reversed = self._backward_readings >= _AGREEING
        if is_reversed is self.condition.is_reversed:
            return
        if is_reversed:
            _LOGGER.error("the meter is wired backwards: it shows power from the vehicle")
        self.condition = replace(self.condition, is_reversed=is_reversed)


def find_error(values: MeterValues, ratings: Ratings) -> str:
    """Return why no meter of this charger can show these values; empty if one can."""
    try:
        for name, value, lowest, highest in _ranges(values, ratings):
            if not (isfinite(value) and lowest <= value <= highest):
                return f"{name} is {value}"
    except (AttributeError, TypeError, ValueError, OverflowError) as error:
        return repr(error)
    return ""


def is_grid_power(value: float) -> bool:
    """Return whether a house's connection can carry this power (milliwatts)."""
    try:
        return isfinite(value) and abs(value) <= _HIGHEST_GRID_POWER_MW
    except (TypeError, ValueError, OverflowError):
        return False


def _ranges(values: MeterValues, ratings: Ratings) -> Iterator[tuple[str, float, float, float]]:
    rated_ma = _rated_ma(ratings)
    highest_mw = _MARGIN * _rated_mw(values, ratings)
    yield "imported_mwh", values.imported_mwh, 0, _HIGHEST_TOTAL_MWH
    yield "exported_mwh", values.exported_mwh, 0, _HIGHEST_TOTAL_MWH
    yield "power_mw", values.power_mw, -highest_mw, highest_mw
    for voltage_mv in values.voltages_mv:
        yield "voltage_mv", voltage_mv, -1_000, ratings.nominal_voltage_mv * _VOLTAGE_MARGIN
    for current_ma in values.currents_ma:
        yield "current_ma", current_ma, -rated_ma * _MARGIN, rated_ma * _MARGIN


def _rated_ma(ratings: Ratings) -> int:
    return max(MINIMUM_OFFER_MA, ratings.maximum_current_ma, ratings.maximum_discharge_current_ma)


def _rated_mw(values: MeterValues, ratings: Ratings) -> int:
    phases = max(ratings.phases, len(values.currents_ma))
    return power_mw(ratings.nominal_voltage_mv, _rated_ma(ratings), phases)


def _find_jump(
    before: _Sample, totals: MeterReading, values: MeterValues, ratings: Ratings, now: float
) -> str:
    """Return why the totals cannot follow those before; empty if they can."""
    flow_mw = _MARGIN * _rated_mw(values, ratings) * ratings.time_scale
    elapsed_s, unchanged_s = max(0.0, now - before.at), max(0.0, now - before.changed_at)
    # A total may stand still for long, then rise by a whole step.
    step_mwh = min(flow_mw * unchanged_s / _S_PER_HOUR, _STEP_MWH)
    highest_mwh = flow_mw * elapsed_s / _S_PER_HOUR + step_mwh + _TOLERANCE_MWH
    growth = _difference(before.totals, totals)
    for name, mwh in (("imported", growth.imported_mwh), ("exported", growth.exported_mwh)):
        if not 0 <= mwh <= highest_mwh:
            return f"the {name} total changes by {mwh} mWh in {elapsed_s:.1f} s"
    return ""


def _difference(before: MeterReading, after: MeterReading) -> MeterReading:
    return MeterReading(
        MilliwattHours(after.imported_mwh - before.imported_mwh),
        MilliwattHours(after.exported_mwh - before.exported_mwh),
    )


def _plus(reading: MeterReading, offset: MeterReading) -> MeterReading:
    return MeterReading(
        MilliwattHours(reading.imported_mwh + offset.imported_mwh),
        MilliwattHours(reading.exported_mwh + offset.exported_mwh),
    )


def _is_negative(reading: MeterReading) -> bool:
    return min(reading.imported_mwh, reading.exported_mwh) < 0
