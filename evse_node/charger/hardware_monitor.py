"""Monitoring of meter and thermometer: energy, derating and faults.

The meter's totals give the energy, as far as `meter_filter` lets its readings count. Overcurrent,
current through an open contactor, a meter that does not answer and overtemperature are faults;
before overtemperature the current is derated. Both are polled with each event, every `interval_s`
while energy flows or a cause is present, and every `connected_s` while a vehicle is connected.
"""

from __future__ import annotations

import logging
from typing import Final

from msgspec import Struct

from evse_node.charger.meter_filter import MeterCondition, MeterFilter
from evse_node.charger.over_current import OverCurrentDetector
from evse_node.errors import HalError
from evse_node.hal.interface import EvseBackend, Meter, MeterValues, TemperatureSensor
from evse_node.state_machine.control_pilot import MINIMUM_OFFER_MA, PilotOutput, PilotState
from evse_node.state_machine.events import (
    CausesObserved,
    Event,
    FaultRaised,
    LimitClaimed,
    MeterRead,
)
from evse_node.state_machine.faults import FaultState
from evse_node.state_machine.limits import LimitSource
from evse_node.state_machine.session import NO_READING, MeterReading
from evse_node.state_machine.state import ContactorState, EvseState
from evse_node.units import Milliamps

_LOGGER: Final = logging.getLogger(__name__)

MONITORED_FAULTS: Final = frozenset({FaultState.METER_FAILURE, FaultState.OVER_TEMPERATURE})
"""Faults that follow their cause, without acknowledgement."""


class MonitorSettings(Struct, frozen=True):
    """Thresholds. Temperatures are millidegrees Celsius, times seconds.

    From `derate_from_mc` the current falls linearly to 6 A at `derate_to_mc`; from `cut_off_mc`
    it is off until the board has cooled to `cooled_mc`. Overcurrent is a current above
    `tolerance_permille` of the offer plus `tolerance_ma` for longer than `over_current_s`; the
    offer is the highest of the last 5 s, in which a vehicle must follow a change. A current above
    `idle_ma` through an open contactor for `stray_current_s` means that it is welded.
    """

    interval_s: float = 1.0
    connected_s: float = 5.0
    derate_from_mc: int = 65_000
    derate_to_mc: int = 80_000
    cut_off_mc: int = 85_000
    cooled_mc: int = 75_000
    tolerance_permille: int = 1_100
    tolerance_ma: int = 500
    over_current_s: float = 10.0
    idle_ma: int = 1_000
    stray_current_s: float = 10.0


_HYSTERESIS_MC: Final = 2_000
_AMPERE: Final = 1_000
_STRAY_DELAY_S: Final = 5.0


class HardwareMonitor:
    """Monitor of one charger.

    `faults` are those of before a restart: their causes count as present until the first poll.
    `is_counter_reset`: no session continues, so the meter's first totals start a count.
    `hardware_limit_ma` is the limit that the hardware itself reports, `values` the last reading
    of the meter.
    """

    def __init__(
        self,
        backend: EvseBackend,
        settings: MonitorSettings,
        faults: frozenset[FaultState] = frozenset(),
        *,
        is_counter_reset: bool = False,
        meter_filter: MeterFilter | None = None,
    ) -> None:
        self.hardware_limit_ma: Milliamps | None = None
        self.values: MeterValues | None = None
        self.filter = meter_filter or new_filter(backend)
        self._backend = backend
        self._meter: Meter | None = backend.meter
        self._sensor: TemperatureSensor | None = backend.temperature_sensor
        self._maximum_ma = max(MINIMUM_OFFER_MA, backend.ratings.maximum_current_ma)
        self._settings = settings
        devices = {
            FaultState.METER_FAILURE: self._meter,
            FaultState.OVER_TEMPERATURE: self._sensor,
        }
        self._causes = frozenset(fault for fault in faults if devices.get(fault) is not None)
        self._derated_ma: int | None = None
        self._claimed_ma: int | None = None
        self._is_new_count = is_counter_reset
        self._over_current = OverCurrentDetector(
            settings.tolerance_permille, settings.tolerance_ma, settings.over_current_s
        )
        self._stray_current = _StrayCurrent()
        self._polled_at = 0.0

    @property
    def meter_condition(self) -> MeterCondition | None:
        """What was noticed about the meter's readings; None without a meter."""
        return None if self._meter is None else self.filter.condition

    def read_meter(self, now: float) -> MeterValues | None:
        """Read the meter; None without a meter, or when it has no valid reading."""
        if self._meter is None:
            return None
        try:
            return self.filter.judge(self._meter.read(), self._backend.ratings, now)
        except HalError as error:
            if FaultState.METER_FAILURE not in self._causes:
                _LOGGER.error("meter lost: %s", error)
        except Exception:
            # A defect of a backend must not prevent opening the contactor.
            _LOGGER.exception("the meter cannot be read")
        return None

    def next_deadline(self, state: EvseState) -> float | None:
        """Return when to poll again (monotonic seconds), or None while nothing can change."""
        if not self._is_idle(state):
            return self._polled_at + self._settings.interval_s
        is_connected = state.pilot is not None and state.pilot is not PilotState.A
        if self._meter is None or not is_connected:
            return None
        return self._polled_at + self._settings.connected_s

    def is_up_to_date(self, state: EvseState, now: float) -> bool:
        """Return whether no vehicle is connected and the last poll is recent."""
        is_fresh = now - self._polled_at < self._settings.interval_s
        return is_fresh and state.pilot is PilotState.A and self._is_idle(state)

    def _is_idle(self, state: EvseState) -> bool:
        return (
            state.outputs.contactor is ContactorState.OPEN
            and not self._causes
            and self._derated_ma is None
            and self._stray_current.since is None
        )

    def poll(self, state: EvseState, now: float) -> tuple[list[Event], list[Event]]:
        """Return the events to process before all others, and those to process after them."""
        self._polled_at = now
        first: list[Event] = []
        last: list[Event] = []
        values = self.values = self.read_meter(now)
        if values is not None:
            reading = MeterReading(values.imported_mwh, values.exported_mwh)
            if reading != state.meter:
                first.append(MeterRead(reading, self._is_new_count))
            self._is_new_count = False
            if self._is_over_current(state, values, now):
                last.append(FaultRaised(FaultState.OVER_CURRENT, is_momentary=True))
            if self._is_welded(state, values, now):
                last.append(FaultRaised(FaultState.CONTACT_WET_FAILURE))
        causes = set()
        if self._meter is not None and values is None:
            causes.add(FaultState.METER_FAILURE)
        if self._is_too_hot():
            causes.add(FaultState.OVER_TEMPERATURE)
        self._causes = frozenset(causes)
        if self._causes != state.observed_causes:
            last.append(CausesObserved(self._causes))
        claims = (self._derated_ma, self.hardware_limit_ma)
        limit_ma = min((claim for claim in claims if claim is not None), default=None)
        if limit_ma != self._claimed_ma:
            self._claimed_ma = limit_ma
            claim = None if limit_ma is None else Milliamps(limit_ma)
            last.append(LimitClaimed(LimitSource.TEMPERATURE, claim))
        return first, last

    def poll_meter(self, state: EvseState, now: float) -> list[Event]:
        """Return the event of the meter's totals only."""
        values = self.read_meter(now)
        if values is None:
            return []
        reading = MeterReading(values.imported_mwh, values.exported_mwh)
        return [] if reading == state.meter else [MeterRead(reading)]

    def invalidate(self) -> None:
        """Invalidate the last claim, so that the next poll repeats it."""
        self._claimed_ma = None

    # Current

    def _is_over_current(self, state: EvseState, values: MeterValues, now: float) -> bool:
        outputs = state.outputs
        is_offered = outputs.pilot is PilotOutput.X2 and outputs.contactor is ContactorState.CLOSED
        highest_ma = max((abs(current) for current in values.currents_ma), default=0)
        offered_ma = outputs.offered_ma if is_offered else None
        is_over = self._over_current.update(offered_ma, highest_ma, now)
        if is_over:
            _LOGGER.error("overcurrent: %d mA at an offer of %d mA", highest_ma, offered_ma)
        return is_over

    def _is_welded(self, state: EvseState, values: MeterValues, now: float) -> bool:
        """Return whether current flows although the contactor is open, by order and feedback."""
        settings = self._settings
        highest_ma = max((abs(current) for current in values.currents_ma), default=0)
        is_open = state.outputs.contactor is ContactorState.OPEN
        is_reported = FaultState.CONTACT_WET_FAILURE in state.faults
        if not is_open or is_reported or highest_ma <= settings.idle_ma:
            self._stray_current = _StrayCurrent()
            return False
        stray = self._stray_current = self._stray_current.observe(values, highest_ma, now)
        if stray.since is None or not stray.is_confirmed:
            return False
        if now - stray.since < settings.stray_current_s:
            return False
        _LOGGER.error("the contactor is open, but %d mA flow", highest_ma)
        return True

    # Temperature

    def _is_too_hot(self) -> bool:
        """Read the thermometer, derate, and return whether overtemperature is present."""
        if self._sensor is None:
            return False
        was_too_hot = FaultState.OVER_TEMPERATURE in self._causes
        try:
            temperature_mc = self._sensor.read_millicelsius()
        except Exception as error:
            # No error of a thermometer, or of its driver, may interrupt the charger.
            if self._derated_ma != MINIMUM_OFFER_MA:
                is_defect = not isinstance(error, HalError)
                _LOGGER.error("thermometer lost: %r; at most 6 A", error, exc_info=is_defect)
            self._derated_ma = MINIMUM_OFFER_MA
            return was_too_hot
        limit_ma = self._limit_ma(temperature_mc)
        before_ma = self._derated_ma
        if before_ma is not None and (limit_ma is None or limit_ma > before_ma):
            # Hysteresis: raise the limit only once the board has cooled down a little.
            limit_ma = self._limit_ma(temperature_mc + _HYSTERESIS_MC)
            if limit_ma is not None and limit_ma < before_ma:
                limit_ma = before_ma
        self._derated_ma = limit_ma
        settings = self._settings
        return temperature_mc >= (settings.cooled_mc if was_too_hot else settings.cut_off_mc)

    def _limit_ma(self, temperature_mc: int) -> int | None:
        """Return the limit at a temperature in whole amperes; None for no limit."""
        settings = self._settings
        if temperature_mc < settings.derate_from_mc:
            return None
        left_mc = max(0, settings.derate_to_mc - temperature_mc)
        span_mc = settings.derate_to_mc - settings.derate_from_mc
        more_ma = (self._maximum_ma - MINIMUM_OFFER_MA) * left_mc // span_mc
        return MINIMUM_OFFER_MA + more_ma // _AMPERE * _AMPERE


class _StrayCurrent(Struct, frozen=True):
    """Current with the contactor open, since a time.

    A meter that derives current from pulses shows it for a while after the end, then falls. So
    it only counts once the energy or the current has risen.
    """

    since: float | None = None
    imported_mwh: int = 0
    highest_ma: int = 0
    is_confirmed: bool = False

    def observe(self, values: MeterValues, highest_ma: int, now: float) -> _StrayCurrent:
        if self.since is None:
            return _StrayCurrent(now, values.imported_mwh, highest_ma)
        # The first seconds may still be a delayed answer.
        is_late = now - self.since >= _STRAY_DELAY_S
        has_risen = values.imported_mwh > self.imported_mwh or highest_ma > self.highest_ma
        return _StrayCurrent(
            self.since,
            values.imported_mwh,
            highest_ma,
            self.is_confirmed or (is_late and has_risen),
        )


def new_filter(backend: EvseBackend, offset: MeterReading = NO_READING) -> MeterFilter:
    """Return a filter for the backend's meter."""
    return MeterFilter(can_discharge=backend.discharger is not None, offset=offset)


def first_reading(
    backend: EvseBackend, meter_filter: MeterFilter, now: float
) -> MeterReading | None:
    """Return the meter's totals, zero without a meter, None for one without a valid reading."""
    if backend.meter is None:
        return NO_READING
    try:
        values = meter_filter.judge(backend.meter.read(), backend.ratings, now)
    except HalError:
        return None
    except Exception:
        _LOGGER.exception("the meter cannot be read")
        return None
    return None if values is None else MeterReading(values.imported_mwh, values.exported_mwh)
