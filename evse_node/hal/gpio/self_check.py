"""The self-test: pilot generator, driver and converter prove each other, then the RCD itself.

The pilot is put to -12 V and must be measured there, and so for +12 V; then the RCD's test
input must make it trip. `tick` takes it on; nothing waits.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Final

from evse_node.hal.gpio.drivers import OutputLine, PilotPwm
from evse_node.hal.gpio.sampler import PilotSampler, is_close_to
from evse_node.state_machine.control_pilot import PilotOutput, PilotState

_STEP_LIMIT_S: Final = 1.0
_LOOKS: Final = 3
_TOLERANCE_MV: Final = 1_500


class _Step(Enum):
    STATE_F = "the pilot is not at -12 V though it was put there"
    X1 = "the pilot stays at -12 V though it was put to +12 V"
    RCD_TRIPS = "the RCD does not trip in its test"
    RCD_RELEASES = "the RCD does not release after its test"


class SelfCheck:
    """One run. `failure` is None while it runs, "" when it passed, else what was wrong.

    `steps_on_pilot` False leaves the pilot as it is, because of a vehicle.
    """

    def __init__(
        self,
        pwm: PilotPwm,
        sampler: PilotSampler,
        rcd_test: OutputLine | None,
        read_trip: Callable[[], bool],
        *,
        steps_on_pilot: bool,
    ) -> None:
        self._pwm = pwm
        self._sampler = sampler
        self._rcd_test = rcd_test
        self._read_trip = read_trip
        self._steps = [_Step.STATE_F, _Step.X1] if steps_on_pilot else []
        if rcd_test is not None:
            self._steps += [_Step.RCD_TRIPS, _Step.RCD_RELEASES]
        self._began_at: float | None = None
        self._looks = 0
        self.failure: str | None = None

    @property
    def tests_rcd(self) -> bool:
        """Whether a trip now is what the test wants."""
        return self.failure is None and self._rcd_test is not None

    def tick(self, now: float) -> str | None:
        """Take the test on; return `failure`."""
        if self.failure is None:
            self.failure = self._advance(now)
        return self.failure

    def _advance(self, now: float) -> str | None:
        if not self._steps:
            return ""
        step = self._steps[0]
        try:
            if self._began_at is None:
                self._begin(step)
                self._began_at, self._looks = now, self._sampler.looks
            elif self._sampler.looks >= self._looks + _LOOKS and self._is_done(step):
                self._steps.pop(0)
                self._began_at = None
                return None
        except Exception as error:
            return str(error)
        return step.value if now - self._began_at > _STEP_LIMIT_S else None

    def end(self) -> None:
        """Leave the RCD's test input inactive, whatever happened. May raise."""
        if self._rcd_test is not None:
            self._rcd_test.set(False)

    def _begin(self, step: _Step) -> None:
        match step:
            case _Step.STATE_F:
                self._sampler.expect(PilotOutput.F)
                self._pwm.drive(0)
            case _Step.X1:
                self._pwm.drive(1000)
                self._sampler.expect(PilotOutput.X1)
            case _Step.RCD_TRIPS:
                if self._rcd_test is not None:
                    self._rcd_test.set(True)
            case _Step.RCD_RELEASES:
                if self._rcd_test is not None:
                    self._rcd_test.set(False)

    def _is_done(self, step: _Step) -> bool:
        voltages = self._sampler.voltages
        match step:
            case _Step.STATE_F:
                return is_close_to(PilotState.F, voltages, _TOLERANCE_MV)
            case _Step.X1:
                # A vehicle may be there, or a short circuit, which is the pilot's own fault.
                return voltages is not None and voltages.high_mv > -_TOLERANCE_MV
            case _Step.RCD_TRIPS:
                return self._read_trip()
            case _Step.RCD_RELEASES:
                return not self._read_trip()
