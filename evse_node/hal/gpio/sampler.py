"""The pilot sampler: looks at pilot, plug and safety inputs, and opens the contactor itself.

`sample` is one look; the backend's thread calls it every few milliseconds, a test calls it
with a clock of its own. What the sampler finds is told after the contactor is open.
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
"""Between two looks while the vehicle is ready."""
CONFIRM_S: Final = 0.001
"""Before the look that confirms a loss."""
SLOW_S: Final = 0.02
_LOSS_LOOKS: Final = 2
_BLIND_LOOKS: Final = 5
_SETTLE_S: Final = 0.04
_FAILED_LOOKS: Final = 10
_CABLE_S: Final = 0.05
SAMPLER_LIMIT_S: Final = 0.5
"""How long the sampler may be silent."""
LOOP_LIMIT_S: Final = 2.0
"""How long the event loop may be silent."""
_LOOKS_FOR_CABLE: Final = 3
_PULLED_DOWN_MV: Final = -1_500


class PilotVoltages(NamedTuple):
    """The two levels of the pilot."""

    high_mv: int
    low_mv: int


class PilotProbe(Protocol):
    """Measures. Raises OSError or HalError."""

    def pilot(self) -> PilotVoltages:
        """Measure the pilot."""

    def cable_ma(self) -> Milliamps | None:
        """Measure the plug's resistor; None without a cable."""


class PilotSeen(Struct, frozen=True):
    """The pilot settled in a state. `was_opened`: for this the contactor was opened.

    `era` is the sampler's at that time: in a later one, this is of no interest any more.
    """

    pilot: PilotState
    was_opened: bool
    era: int = 0


class CableSeen(Struct, frozen=True):
    """The plug's resistor settled."""

    ampacity_ma: Milliamps | None


class TroubleSeen(Struct, frozen=True):
    """Something is wrong, or right again; `cause` is one of the names below."""

    cause: str
    is_there: bool


ADC_LOST: Final = "the converter does not answer"
DIODE_MISSING: Final = "the vehicle's diode is missing"
LOOP_STUCK: Final = "the event loop is stuck"

Finding = PilotSeen | CableSeen | TroubleSeen


class PilotSampler:
    """Decides what the pilot shows.

    `open_contactor` must not raise. `tell` gets findings in the sampler's own thread.
    `alarms` are safety inputs by the name of their cause. `has_cable` says whether there
    is a plug's resistor to measure.
    """

    def __init__(
        self,
        probe: PilotProbe,
        open_contactor: Callable[[], bool],
        tell: Callable[[Finding], None],
        *,
        alarms: Mapping[str, Callable[[], bool]],
        has_cable: bool,
        now: float,
    ) -> None:
        self._probe = probe
        self._open_contactor = open_contactor
        self._tell = tell
        self._alarms = alarms
        self._has_cable = has_cable
        self._output = PilotOutput.F
        self.era = 0
        self._own_era = 0
        self.pilot: PilotState | None = None
        self.voltages: PilotVoltages | None = None
        self.beat_at = now
        self.loop_beat_at = now
        self.looks = 0
        self._candidate: PilotState | None = None
        self._candidate_since = now
        self._lost = 0
        self._blind = 0
        self._failed = 0
        self._undiode = 0
        self._troubles: set[str] = set()
        self._cable_ma: Milliamps | None = None
        self._cable_candidate: Milliamps | None = None
        self._cable_at = now

    @property
    def troubles(self) -> frozenset[str]:
        """What is wrong now."""
        return frozenset(self._troubles)

    @property
    def interval_s(self) -> float:
        """How long to wait until the next look."""
        if self._lost or self._failed == 1:
            return CONFIRM_S
        is_quick = self.pilot is None or self.pilot.is_ready or self._failed
        return FAST_S if is_quick or self._candidate is not self.pilot else SLOW_S

    def sample(self, now: float) -> None:
        """Take one look. Never raises."""
        if self._own_era != self.era:
            self._own_era = self.era
            self.pilot = self._candidate = None
        self._check_alarms()
        self._set_trouble(LOOP_STUCK, now - self.loop_beat_at > LOOP_LIMIT_S)
        try:
            voltages = self._probe.pilot()
        except Exception as error:
            self._on_failure(error)
        else:
            self._on_voltages(voltages, now)
        if self._has_cable and now - self._cable_at >= _CABLE_S:
            self._cable_at = now
            self._look_at_cable()
        self.looks += 1
        self.beat_at = now

    def is_watched(self, now: float) -> bool:
        """Return whether sampler and loop, which watch the contactor, are both alive."""
        is_loop_alive = now - self.loop_beat_at <= LOOP_LIMIT_S
        return is_loop_alive and now - self.beat_at <= SAMPLER_LIMIT_S

    def forget(self) -> None:
        """Tell the present state anew, once it has settled; what was told before is void."""
        self.era += 1
        self.pilot = self._candidate = None

    @property
    def output(self) -> PilotOutput:
        """What is on the pilot."""
        return self._output

    def expect(self, output: PilotOutput) -> None:
        """Note what is on the pilot from now on."""
        hid_vehicle = self._output is PilotOutput.F and output is not PilotOutput.F
        self._output = output
        if hid_vehicle:
            self.forget()

    # Safety inputs

    def _check_alarms(self) -> None:
        for cause, is_active in self._alarms.items():
            try:
                is_there = is_active()
            except Exception as error:
                # An input that cannot be read may hide what it is there for.
                if cause not in self._troubles:
                    _LOGGER.error("the input '%s' cannot be read: %s", cause, error)
                is_there = True
            self._set_trouble(cause, is_there)

    def _set_trouble(self, cause: str, is_there: bool) -> None:
        if is_there is (cause in self._troubles):
            return
        if is_there:
            # First noted, then opened: a closing that has seen neither comes before both.
            self._troubles.add(cause)
            self._open_contactor()
        else:
            self._troubles.discard(cause)
        self._tell(TroubleSeen(cause, is_there))

    # Pilot

    def _on_failure(self, error: Exception) -> None:
        self._failed += 1
        self.voltages = None
        if self._failed == _LOSS_LOOKS:
            self.pilot = self._candidate = None
            self._open_contactor()
        if self._failed == _FAILED_LOOKS:
            _LOGGER.error("the pilot cannot be measured: %s", error)
            self._set_trouble(ADC_LOST, True)

    def _on_voltages(self, voltages: PilotVoltages, now: float) -> None:
        self.voltages = voltages
        self._failed = 0
        state = pilot_state(voltages.high_mv)
        if self.output is PilotOutput.F and voltages.high_mv < _PULLED_DOWN_MV:
            state = PilotState.F  # whatever is plugged in: a diode may be missing
        if state is PilotState.F and self.output is PilotOutput.X2:
            # A burst that missed the high part of the PWM says nothing; many of them do.
            self._blind += 1
            if self._blind < _BLIND_LOOKS:
                return
        else:
            self._blind = 0
        self._set_trouble(ADC_LOST, False)
        self._check_diode(state, voltages)
        if state is not self._candidate:
            self._candidate, self._candidate_since = state, now
        was_ready = self.pilot is not None and self.pilot.is_ready
        self._lost = self._lost + 1 if was_ready and not state.is_ready else 0
        if self._lost >= _LOSS_LOOKS:
            self._lost = 0
            self.pilot = state
            self._open_contactor()
            self._settle(state, was_opened=True)
        elif state is not self.pilot and now - self._candidate_since >= _SETTLE_S:
            self._settle(state, was_opened=False)

    def _settle(self, state: PilotState, *, was_opened: bool) -> None:
        if self._has_cable and self.pilot in (None, PilotState.A) and state.is_connected:
            # The plug's resistor is there before its pilot pin, so that it is told first.
            for _ in range(_LOOKS_FOR_CABLE):
                self._look_at_cable()
        self.pilot = state
        self._tell(PilotSeen(state, was_opened, self._own_era))

    def _check_diode(self, state: PilotState, voltages: PilotVoltages) -> None:
        """A level that stays above the limit with PWM is a resistor, not a vehicle."""
        if self.output is not PilotOutput.X2 or not state.is_connected:
            self._undiode = 0
            if state is PilotState.A:
                self._set_trouble(DIODE_MISSING, False)
            return
        if is_diode_present(voltages.low_mv):
            self._undiode = 0
            return
        self._undiode += 1
        if self._undiode == _FAILED_LOOKS:
            self._set_trouble(DIODE_MISSING, True)

    # Plug

    def _look_at_cable(self) -> None:
        try:
            cable_ma = self._probe.cable_ma()
        except Exception:
            return  # the pilot, on the same converter, says what there is to say
        if cable_ma == self._cable_candidate and cable_ma != self._cable_ma:
            self._cable_ma = cable_ma
            self._tell(CableSeen(cable_ma))
        self._cable_candidate = cable_ma

    @property
    def cable_ma(self) -> Milliamps | None:
        """The cable that was last told."""
        return self._cable_ma


def is_close_to(state: PilotState, voltages: PilotVoltages | None, tolerance_mv: int) -> bool:
    """Return whether the pilot's positive level is the nominal one, give or take."""
    return voltages is not None and abs(voltages.high_mv - NOMINAL_MV[state]) <= tolerance_mv
