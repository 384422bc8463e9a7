"""Commands of a board: pilot, contactor, lock, meter and self-test."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import closing
from typing import Final

from evse_node.errors import ConfigError, HalError
from evse_node.hal.gpio import fault_causes
from evse_node.hal.gpio.board import RCD_TRIP, Board
from evse_node.hal.gpio.devices import Parts
from evse_node.hal.gpio.drivers import Drivers
from evse_node.hal.gpio.sampler import SAMPLER_LIMIT_S
from evse_node.hal.gpio.thermometers import read_plausible
from evse_node.hal.interface import HalEvent, HalInbox, MeterValues
from evse_node.state_machine.control_pilot import PilotOutput, PilotState, duty_permille
from evse_node.state_machine.events import (
    ContactorReported,
    FaultCleared,
    SelfTestCompleted,
)
from evse_node.state_machine.faults import FaultState
from evse_node.units import Milliamps, Milliwatts

_LOGGER: Final = logging.getLogger(__name__)

_RESET_LIMIT_S: Final = 2.0


class BoardOrders:
    """Commands carried out in the loop's thread. `clock` returns monotonic seconds.

    Before `start` and after `stop` there are no parts: commands towards the safe state do
    nothing, all others raise HalError.
    """

    def __init__(
        self, board: Board, drivers: Drivers, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.board = board
        self._drivers = drivers
        self._clock = clock
        self._post: HalInbox | None = None
        self._parts: Parts | None = None
        self._output = PilotOutput.X1
        self._duty_permille = 1000
        self._reported_closed: bool | None = None
        self._reported_pilot: PilotState | None = None
        self.causes = fault_causes.FaultCauses(self._report)
        self._resets_until: float | None = None
        self._is_demand_tested = False
        self._are_edges_lost = False
        self._meter_answered = False
        self._ready: asyncio.Event | None = None

    def _on_inputs_lost(self, parts: Parts, error: Exception) -> None:
        if fault_causes.INPUTS_LOST not in self.causes.all:
            _LOGGER.error("%s: %s", fault_causes.INPUTS_LOST, error)
        parts.contactor.try_open()
        self.causes.set(fault_causes.INPUTS_LOST, True)

    def _update_feedback(self) -> None:
        parts = self._parts
        if parts is None:
            return
        try:
            is_closed = parts.is_closed()
        except Exception as error:
            self._on_inputs_lost(parts, error)
            return
        self.causes.set(fault_causes.INPUTS_LOST, self._are_edges_lost)
        if is_closed is not self._reported_closed:
            self._reported_closed = is_closed
            self._report(ContactorReported(is_closed))

    def _report(self, event: HalEvent) -> None:
        if self._post is not None:
            self._post(event)

    @property
    def _open_parts(self) -> Parts:
        if self._parts is None:
            raise HalError("the backend is not started")
        return self._parts

    # ControlPilot

    def offer(self, current_ma: Milliamps) -> None:
        self._set_output(self._open_parts, PilotOutput.X2, duty_permille(current_ma))

    def withdraw(self) -> None:
        if self._parts is not None:
            self._set_output(self._parts, PilotOutput.X1, 1000)

    def signal_unavailable(self) -> None:
        """Open, then put -12 V on the pilot (F)."""
        if self._parts is not None:
            self._parts.contactor.try_open()
            self._set_output(self._parts, PilotOutput.F, 0)

    def _set_output(self, parts: Parts, output: PilotOutput, duty: int) -> None:
        self._output, self._duty_permille = output, duty
        if not parts.check.drives_pilot:
            self._drive(parts)

    def _drive(self, parts: Parts) -> None:
        sampler, was_f = parts.sampler, parts.sampler.output is PilotOutput.F
        if self._output is not PilotOutput.X2 and not was_f:
            sampler.expect(self._output)
        try:
            parts.pwm.drive(self._duty_permille)
        except Exception as error:
            parts.contactor.try_open()
            raise HalError(f"the pilot's PWM failed: {error}") from error
        # After the change: with X2 the sampler checks the low level, and -12 V is a fault
        # except in F.
        sampler.expect(self._output)
        if was_f and self._output is not PilotOutput.F and self._reported_pilot is PilotState.F:
            self._reported_pilot = None  # from now on, -12 V would be a fault

    # The other capabilities

    def order_closed(self, is_closed: bool) -> None:
        """Switch the contactor; closing raises HalError if there is a reason not to.

        Spec: IEC 61851-1:2017 Table A.6, sequence 4 (close within 3 s)
        """
        parts = self._parts
        if not is_closed:
            if parts is not None:
                try:
                    parts.contactor.open()
                finally:
                    self._update_feedback()
            return
        parts = self._open_parts
        openings = parts.contactor.openings
        reason = self._reason_to_stay_open(parts)
        try:
            if reason:
                raise HalError(f"the contactor stays open: {reason}")
            parts.contactor.close(openings)
        except HalError:
            if not self._has_vehicle_just_left(parts):
                raise
        self._update_feedback()

    def _has_vehicle_just_left(self, parts: Parts) -> bool:
        """Return whether the vehicle is no longer ready, not reported yet: no contactor fault."""
        reported, pilot = self._reported_pilot, parts.sampler.pilot
        was_ready = reported is not None and reported.is_ready
        is_known = pilot is not None and not pilot.is_ready
        is_fine = not parts.contactor.is_broken and not self.causes.all and not parts.sampler.causes
        return was_ready and is_known and is_fine

    def _reason_to_stay_open(self, parts: Parts) -> str:
        if parts.check.failure != "":
            return f"the self-test has not passed: {parts.check.failure or 'it is running'}"
        if self.causes.all or parts.sampler.causes:
            return "; ".join(sorted(self.causes.all | parts.sampler.causes))
        pilot = parts.sampler.pilot
        if pilot is None or not pilot.is_ready:
            return f"the pilot is in state {'unknown' if pilot is None else pilot.value}"
        if self._output is not PilotOutput.X2:
            return "no current is offered"
        if self._clock() - parts.sampler.beat_at > SAMPLER_LIMIT_S:
            return fault_causes.SAMPLER_STUCK
        return ""

    def order_locked(self, is_locked: bool) -> None:
        lock = self._open_parts.lock
        if lock is not None:
            (lock.lock if is_locked else lock.unlock)()

    def read_meter(self) -> MeterValues:
        """Return the latest values. Before `start`, read the meter once."""
        parts = self._parts
        if parts is None:
            return self._read_meter_before_start()
        if parts.pulses is not None:
            return parts.pulses.read()
        if parts.meter is None:
            raise HalError("the board has no meter")
        return parts.meter.read()

    def _read_meter_before_start(self) -> MeterValues:
        """Read the meter: a session that continues after a restart needs the totals at once."""
        spec = self.board.meter
        if spec is None or spec.pulse is not None:
            raise HalError(
                "the backend is not started, and the board has no meter that can be read"
            )
        try:
            with closing(self._drivers.open_meter(spec)) as source:
                return source.read()
        except ConfigError as error:  # a missing package, which makes `start` fail
            raise HalError(str(error)) from None
        except OSError as error:
            raise HalError(f"the meter does not answer: {error}") from error

    def read_grid_power_mw(self) -> Milliwatts:
        parts = self._parts
        if parts is None or parts.grid_meter is None:
            raise HalError("the board has no meter at the grid connection, or is not started")
        return parts.grid_meter.read().power_mw

    def read_millicelsius(self) -> int:
        """Return the latest temperature. Before `start`, read the thermometer once."""
        parts, spec = self._parts, self.board.temperature
        if parts is not None and parts.thermometer is not None:
            return parts.thermometer.read_millicelsius()
        if parts is not None or spec is None:
            raise HalError("the board has no thermometer")
        try:
            with closing(self._drivers.open_temperature(spec)) as source:
                return read_plausible(source)
        except ConfigError as error:
            raise HalError(str(error)) from None

    def acknowledge(self) -> None:
        """Flash the lamp for a card that was read."""
        if self._parts is not None and self._parts.lamp is not None:
            self._parts.lamp.flash()

    def reset(self) -> None:
        """Acknowledge latched causes that are gone, after the reset of a latch in hardware."""
        parts = self._parts
        is_tested = parts is not None and parts.check.failure is not None
        if is_tested and parts is not None and parts.rcd is not None and parts.rcd.is_resetting:
            return  # otherwise the contactor might close during the pulse
        self.causes.acknowledge()
        if parts is None or parts.rcd is None or not parts.rcd.can_reset:
            return
        is_open = not parts.contactor.is_ordered_closed
        if is_open and self.causes.is_present(RCD_TRIP) and parts.check.failure is not None:
            now = self._clock()
            self._resets_until = now + _RESET_LIMIT_S
            try:
                parts.rcd.begin_reset(now)
            except Exception as error:
                self._on_reset_failed(str(error))

    def _tick_reset(self, parts: Parts, now: float) -> None:
        """Acknowledge once the latch has released; otherwise the fault remains."""
        rcd = parts.rcd
        if rcd is None:
            return
        try:
            rcd.tick(now)
            if self._resets_until is None:
                return
            if parts.check.failure is None:
                self._resets_until = None  # the test resets the latch without acknowledging
            elif rcd.has_released(now) and not self.causes.is_present(RCD_TRIP):
                self._resets_until = None
                self.causes.acknowledge()
            elif now > self._resets_until:
                self._on_reset_failed("it does not release")
        except Exception as error:
            self._on_reset_failed(str(error))

    def _on_reset_failed(self, reason: str) -> None:
        if self._resets_until is not None:
            _LOGGER.error("the RCD cannot be reset: %s", reason)
        self._resets_until = None

    def _tests_before_reporting(self, pilot: PilotState) -> bool:
        """Test the RCD before a ready vehicle is reported; return whether a test started."""
        parts, rcd = self._parts, self.board.rcd
        if parts is None or rcd is None or not rcd.test_on_demand:
            return False
        if not pilot.is_ready:
            self._is_demand_tested = False
            return False
        is_due = not self._is_demand_tested and not parts.contactor.is_ordered_closed
        self._is_demand_tested = True
        # A failed self-test is not cleared by a test of the RCD alone.
        if not is_due or parts.check.failure or self.causes.all:
            return False
        parts.begin_check(steps_on_pilot=False)
        return True

    def start_self_test(self) -> None:
        """Open the contactor and start the self-test.

        With a vehicle, a pilot that has passed before is not tested again.
        """
        parts = self._open_parts
        parts.contactor.open()
        self._update_feedback()
        has_vehicle = parts.sampler.pilot is not None and parts.sampler.pilot.is_connected
        has_pilot_passed = not parts.check.failure and not parts.check.drives_pilot
        parts.begin_check(steps_on_pilot=not has_pilot_passed or not has_vehicle)
        parts.is_diagnosing = True

    # Advanced by the tick

    def _tick_meter(self, parts: Parts, now: float) -> None:
        meter = parts.meter
        if meter is None:
            return
        is_lost = meter.is_lost(now)
        self.causes.set(fault_causes.METER_LOST, is_lost)
        if meter.has_answered and not self._meter_answered:
            # The charger may have read it before the first answer, and reported it lost.
            self._meter_answered = True
            if not is_lost:
                self._report(FaultCleared(FaultState.METER_FAILURE))

    def _tick_check(self, parts: Parts, now: float) -> None:
        check = parts.check
        if check.failure is None:
            failure = check.tick(now)
            if failure is not None:
                self._end_check(parts, failure)
            return
        # Not earlier: the machine might close before the pilot is known.
        is_known = parts.sampler.pilot is not None
        if parts.is_diagnosing and (is_known or check.failure or self.causes.all):
            parts.is_diagnosing = False
            self._report(SelfTestCompleted())
        if self._ready is not None and (self._reported_pilot is not None or check.failure):
            self._ready.set()

    def _end_check(self, parts: Parts, failure: str) -> None:
        try:
            parts.check.end()
            self._drive(parts)
        except Exception as error:
            parts.check.failure = failure = failure or str(error) or repr(error)
        if failure:
            _LOGGER.error("the self-test failed: %s", failure)
        self.causes.set(fault_causes.SELF_TEST_FAILED, bool(failure))
        parts.sampler.invalidate()
        for cause in fault_causes.LATCHED:
            self.causes.set(cause, cause in parts.sampler.causes)
        if not failure:
            self.causes.clear_inherited()
