"""Pilot sampler: measures pilot, plug and safety inputs, and opens the contactor by itself.

The backend's thread calls `sample` every few milliseconds, a test with a clock of its own.
Findings are reported after the contactor is open.
Spec: IEC 61851-1:2017 Table A.6, sequences 2.x and 8.1 (open within 100 ms)
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, Protocol

from msgspec import Struct

from evse_node.state_machine.control_pilot import (
    NOMINAL_MV,
    PilotOutput,
    PilotState,
    is_diode_present,
    pilot_state,
)
from evse_node.units import Milliamps

_LOGGER: Final = logging.getLogger(__name__)

FAST_S: Final = 0.003
"""Interval while the vehicle is ready."""
CONFIRM_S: Final = 0.001
"""Interval before the sample that confirms a loss."""
SLOW_S: Final = 0.02
_LOSS_SAMPLES: Final = 2
_BLIND_SAMPLES: Final = 5
_SETTLE_S: Final = 0.04
_FAILED_SAMPLES: Final = 10
_CABLE_S: Final = 0.05
SAMPLER_LIMIT_S: Final = 0.5
"""How long the sampler may be inactive."""
LOOP_LIMIT_S: Final = 2.0
"""How long the event loop may be inactive."""
_CABLE_SAMPLES: Final = 3
_PULLED_DOWN_MV: Final = -1_500


class PilotVoltages(NamedTuple):
    """The two levels of the pilot."""

    high_mv: int
    low_mv: int


class PilotProbe(Protocol):
    """Measuring of pilot and plug. Raises OSError or HalError."""

    def pilot(self) -> PilotVoltages:
        """Measure the pilot."""

    def cable_ma(self) -> Milliamps | None:
        """Measure the plug's resistor; None without a cable."""


class PilotSettled(Struct, frozen=True):
    """The pilot settled in a state; `was_opened` if the contactor was opened for it.

    `epoch` is that of the sampler; findings of an earlier one are obsolete.
    """

    pilot: PilotState
    was_opened: bool
    epoch: int = 0


class CableSettled(Struct, frozen=True):
    """The plug's resistor settled."""

    ampacity_ma: Milliamps | None


class CauseChanged(Struct, frozen=True):
    """A cause of a fault came up or went away."""

    cause: str
    is_present: bool


ADC_LOST: Final = "the converter does not answer"
DIODE_MISSING: Final = "the vehicle's diode is missing"
LOOP_STUCK: Final = "the event loop is stuck"

Finding = PilotSettled | CableSettled | CauseChanged


class PilotSampler:
    """Decides the state of the pilot.

    `open_contactor` must not raise. `report` gets findings in the sampler's thread. `alarms`
    are safety inputs by the name of their cause; `has_cable` is whether there is a plug's
    resistor to measure.
    """

    def __init__(
        self,
        probe: PilotProbe,
        open_contactor: Callable[[], bool],
        report: Callable[[Finding], None],
        *,
        alarms: Mapping[str, Callable[[], bool]],
        has_cable: bool,
        now: float,
    ) -> None:
        self._probe = probe
        self._open_contactor = open_contactor
        self._report = report
        self._alarms = alarms
        self._has_cable = has_cable
        self._output = PilotOutput.F
        self.epoch = 0
        self._own_epoch = 0
        self.pilot: PilotState | None = None
        self.voltages: PilotVoltages | None = None
        self.beat_at = now
        self.loop_beat_at = now
        self.sample_count = 0
        self._candidate: PilotState | None = None
        self._candidate_since = now
        self._loss_count = 0
        self._missed_bursts = 0
        self._failure_count = 0
        self._diode_misses = 0
        self._causes: set[str] = set()
        self._cable_ma: Milliamps | None = None
        self._cable_candidate: Milliamps | None = None
        self._cable_at = now

    @property
    def causes(self) -> frozenset[str]:
        """Active causes of faults."""
        return frozenset(self._causes)

    @property
    def interval_s(self) -> float:
        """Time until the next sample."""
        if self._loss_count or self._failure_count == 1:
            return CONFIRM_S
        is_quick = self.pilot is None or self.pilot.is_ready or self._failure_count
        return FAST_S if is_quick or self._candidate is not self.pilot else SLOW_S

    def sample(self, now: float) -> None:
        """Take one sample. Never raises."""
        if self._own_epoch != self.epoch:
            self._own_epoch = self.epoch
            self.pilot = self._candidate = None
        self._check_alarms()
        self._set_cause(LOOP_STUCK, now - self.loop_beat_at > LOOP_LIMIT_S)
        try:
            voltages = self._probe.pilot()
        except Exception as error:
            self._on_failure(error)
        else:
            self._on_voltages(voltages, now)
        if self._has_cable and now - self._cable_at >= _CABLE_S:
            self._cable_at = now
            self._measure_cable()
        self.sample_count += 1
        self.beat_at = now

    def is_watched(self, now: float) -> bool:
        """Return whether sampler and loop, which supervise the contactor, are both alive."""
        is_loop_alive = now - self.loop_beat_at <= LOOP_LIMIT_S
        return is_loop_alive and now - self.beat_at <= SAMPLER_LIMIT_S

    def invalidate(self) -> None:
        """Void earlier findings; the present state is reported again once it has settled."""
        self.epoch += 1
        self.pilot = self._candidate = None

    @property
    def output(self) -> PilotOutput:
        """Signal on the pilot."""
        return self._output

    def expect(self, output: PilotOutput) -> None:
        """Set the signal that is on the pilot from now on."""
        hid_vehicle = self._output is PilotOutput.F and output is not PilotOutput.F
        self._output = output
        if hid_vehicle:
            self.invalidate()

    # Safety inputs

    def _check_alarms(self) -> None:
        for cause, is_active in self._alarms.items():
            try:
                is_present = is_active()
            except Exception as error:
                # An input that cannot be read may hide an alarm.
                if cause not in self._causes:
                    _LOGGER.error("the input '%s' cannot be read: %s", cause, error)
                is_present = True
            self._set_cause(cause, is_present)

    def _set_cause(self, cause: str, is_present: bool) -> None:
        if is_present is (cause in self._causes):
            return
        if is_present:
            # In this order: a closing either sees the cause, or is undone by the opening.
            self._causes.add(cause)
            self._open_contactor()
        else:
            self._causes.discard(cause)
        self._report(CauseChanged(cause, is_present))

    # Pilot

    def _on_failure(self, error: Exception) -> None:
        self._failure_count += 1
        self.voltages = None
        if self._failure_count == _LOSS_SAMPLES:
            self.pilot = self._candidate = None
            self._open_contactor()
        if self._failure_count == _FAILED_SAMPLES:
            _LOGGER.error("the pilot cannot be measured: %s", error)
            self._set_cause(ADC_LOST, True)

    def _on_voltages(self, voltages: PilotVoltages, now: float) -> None:
        self.voltages = voltages
        self._failure_count = 0
        state = pilot_state(voltages.high_mv)
        if self.output is PilotOutput.F and voltages.high_mv < _PULLED_DOWN_MV:
            state = PilotState.F  # with any vehicle: its diode may be missing
        if state is PilotState.F and self.output is PilotOutput.X2:
            # One burst may miss the high part of the PWM; many in a row do not.
            self._missed_bursts += 1
            if self._missed_bursts < _BLIND_SAMPLES:
                return
        else:
            self._missed_bursts = 0
        self._set_cause(ADC_LOST, False)
        self._check_diode(state, voltages)
        if state is not self._candidate:
            self._candidate, self._candidate_since = state, now
        was_ready = self.pilot is not None and self.pilot.is_ready
        self._loss_count = self._loss_count + 1 if was_ready and not state.is_ready else 0
        if self._loss_count >= _LOSS_SAMPLES:
            self._loss_count = 0
            self.pilot = state
            self._open_contactor()
            self._settle(state, was_opened=True)
        elif state is not self.pilot and now - self._candidate_since >= _SETTLE_S:
            self._settle(state, was_opened=False)

    def _settle(self, state: PilotState, *, was_opened: bool) -> None:
        if self._has_cable and self.pilot in (None, PilotState.A) and state.is_connected:
            # The plug's resistor makes contact before the pilot pin, so it is reported first.
            for _ in range(_CABLE_SAMPLES):
                self._measure_cable()
        self.pilot = state
        self._report(PilotSettled(state, was_opened, self._own_epoch))

    def _check_diode(self, state: PilotState, voltages: PilotVoltages) -> None:
        """Check the diode: a low level that stays above the limit is a resistor, not a vehicle."""
        if self.output is not PilotOutput.X2 or not state.is_connected:
            self._diode_misses = 0
            self._set_cause(DIODE_MISSING, False)
            return
        if is_diode_present(voltages.low_mv):
            self._diode_misses = 0
            return
        self._diode_misses += 1
        if self._diode_misses == _FAILED_SAMPLES:
            self._set_cause(DIODE_MISSING, True)

    # Plug

    def _measure_cable(self) -> None:
        try:
            cable_ma = self._probe.cable_ma()
        except Exception:
            return  # the pilot, on the same converter, reports the failure
        if cable_ma == self._cable_candidate and cable_ma != self._cable_ma:
            self._cable_ma = cable_ma
            self._report(CableSettled(cable_ma))
        self._cable_candidate = cable_ma

    @property
    def cable_ma(self) -> Milliamps | None:
        """The cable that was last reported."""
        return self._cable_ma


def is_close_to(state: PilotState, voltages: PilotVoltages | None, tolerance_mv: int) -> bool:
    """Return whether the pilot's positive level is nominal within the tolerance."""
    return voltages is not None and abs(voltages.high_mv - NOMINAL_MV[state]) <= tolerance_mv
