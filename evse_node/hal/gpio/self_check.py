"""Self-test of the pilot's PWM and converter, then of the RCD.

The pilot is driven to -12 V and to +12 V, and each level must be measured. Then the test input
must trip the RCD, and its reset, if any, must release it. `tick` advances the test.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from evse_node.hal.gpio.board import RCD_TRIP
from evse_node.hal.gpio.drivers import PilotPwm
from evse_node.hal.gpio.rcd import Rcd
from evse_node.hal.gpio.sampler import PilotSampler, is_close_to
from evse_node.state_machine.control_pilot import PilotOutput, PilotState

_STEP_LIMIT_S: Final = 1.0
# A pulse and two quiet periods, each observed by a loop that may be late.
_LATCH_LIMIT_S: Final = 3.0
_SAMPLES: Final = 3
_TOLERANCE_MV: Final = 1_500


class _Step(Enum):
    STATE_F = "the pilot is not at -12 V though it is driven there"
    X1 = "the pilot stays at -12 V though it is driven to +12 V"
    RCD_CLEARS = "the RCD is tripped, and its reset does not release it"
    RCD_TRIPS = "the RCD does not trip in its test"
    RCD_RELEASES = "the RCD does not release after its test"


class SelfCheck:
    """One self-test. `failure` is None while it runs, "" when passed, else the reason.

    Without `steps_on_pilot` the pilot is not touched, because of a vehicle.
    """

    def __init__(
        self,
        pwm: PilotPwm,
        sampler: PilotSampler,
        rcd: Rcd | None,
        *,
        steps_on_pilot: bool,
    ) -> None:
        self._pwm = pwm
        self._sampler = sampler
        self._rcd = rcd
        self._steps_on_pilot = steps_on_pilot
        self._steps = [_Step.STATE_F, _Step.X1] if steps_on_pilot else []
        if rcd is not None and rcd.can_reset:
            # After power-on or a crash, a latch may be in any state.
            self._steps.append(_Step.RCD_CLEARS)
        if rcd is not None and rcd.can_test:
            self._steps += [_Step.RCD_TRIPS, _Step.RCD_RELEASES]
        self._began_at: float | None = None
        self._sample_count = 0
        self.failure: str | None = None

    @property
    def tests_rcd(self) -> bool:
        """Whether the test expects a trip now, or is about to reset one."""
        rcd = self._rcd
        return self.failure is None and rcd is not None and (rcd.can_test or rcd.can_reset)

    @property
    def drives_pilot(self) -> bool:
        """Whether the test drives the pilot now."""
        return self.failure is None and self._steps_on_pilot

    def tick(self, now: float) -> str | None:
        """Advance the test; return `failure`."""
        if self.failure is None:
            self.failure = self._advance(now)
        return self.failure

    def _advance(self, now: float) -> str | None:
        if not self._steps:
            return ""
        step = self._steps[0]
        try:
            if self._began_at is None:
                self._begin(step, now)
                self._began_at, self._sample_count = now, self._sampler.sample_count
            elif self._sampler.sample_count >= self._sample_count + _SAMPLES and self._is_done(
                step, now
            ):
                self._steps.pop(0)
                self._began_at = None
                return None
        except Exception as error:
            return str(error) or repr(error)
        return step.value if now - self._began_at > self._limit_s(step) else None

    def _limit_s(self, step: _Step) -> float:
        has_latch = self._rcd is not None and self._rcd.can_reset
        is_quick = not has_latch or step in (_Step.STATE_F, _Step.X1)
        return _STEP_LIMIT_S if is_quick else _LATCH_LIMIT_S

    def end(self) -> None:
        """Set the RCD's inputs inactive. May raise."""
        if self._rcd is not None:
            self._rcd.end_test()
            self._rcd.end_reset()

    def _begin(self, step: _Step, now: float) -> None:
        match step:
            case _Step.STATE_F:
                self._sampler.expect(PilotOutput.F)
                self._pwm.drive(0)
            case _Step.X1:
                self._pwm.drive(1000)
                self._sampler.expect(PilotOutput.X1)
            case _Step.RCD_CLEARS:
                self._the_rcd.begin_reset(now)
            case _Step.RCD_TRIPS:
                self._the_rcd.begin_test()
            case _Step.RCD_RELEASES:
                self._the_rcd.end_test()
                self._the_rcd.begin_reset(now, after_test=True)

    @property
    def _the_rcd(self) -> Rcd:
        assert self._rcd is not None, "RCD steps need an RCD"
        return self._rcd

    def _is_done(self, step: _Step, now: float) -> bool:
        voltages = self._sampler.voltages
        match step:
            case _Step.STATE_F:
                return is_close_to(PilotState.F, voltages, _TOLERANCE_MV)
            case _Step.X1:
                # A vehicle or a short circuit may lower the level; neither fails the test.
                return voltages is not None and voltages.high_mv > -_TOLERANCE_MV
            case _Step.RCD_TRIPS:
                return self._the_rcd.read_trip()
            case _Step.RCD_CLEARS | _Step.RCD_RELEASES:
                # The sampler must have seen the release, or it would report a residual current.
                is_seen = RCD_TRIP not in self._sampler.causes
                return self._the_rcd.has_released(now) and is_seen
