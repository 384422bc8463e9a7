"""Why the hardware reports a fault: several causes may stand behind one, and some are latched."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from evse_node.hal.gpio.board import EMERGENCY_STOP, RCD_TRIP
from evse_node.hal.gpio.sampler import ADC_LOST, DIODE_MISSING, LOOP_STUCK
from evse_node.hal.interface import HalEvent
from evse_node.state_machine.events import FaultCleared, FaultRaised
from evse_node.state_machine.faults import FaultState

_LOGGER: Final = logging.getLogger(__name__)

PILOT_LOW: Final = "the pilot is at -12 V without an order"
SAMPLER_STUCK: Final = "the pilot sampler is stuck"
INPUTS_LOST: Final = "the input lines cannot be read"
SELF_TEST_FAILED: Final = "the self-test failed"
METER_LOST: Final = "the meter does not answer"
LOCK_FAILED: Final = "the lock does not move"
HEARTBEAT_FAILED: Final = "the heartbeat's line cannot be driven"
BACKEND_FAILED: Final = "the backend failed"

FAULTS: Final = {
    ADC_LOST: FaultState.OTHER,
    DIODE_MISSING: FaultState.OTHER,
    LOOP_STUCK: FaultState.OTHER,
    PILOT_LOW: FaultState.OTHER,
    SAMPLER_STUCK: FaultState.OTHER,
    INPUTS_LOST: FaultState.OTHER,
    SELF_TEST_FAILED: FaultState.OTHER,
    LOCK_FAILED: FaultState.OTHER,
    HEARTBEAT_FAILED: FaultState.OTHER,
    BACKEND_FAILED: FaultState.OTHER,
    METER_LOST: FaultState.METER_FAILURE,
    RCD_TRIP: FaultState.GROUND_FAULT,
    EMERGENCY_STOP: FaultState.EMERGENCY_STOP,
}
LATCHED: Final = frozenset({RCD_TRIP, EMERGENCY_STOP})
"""These stay until somebody acknowledges: by unplugging, a button, or `reset`."""
_LOGGED_IN_DETAIL: Final = frozenset({ADC_LOST, INPUTS_LOST, SELF_TEST_FAILED, BACKEND_FAILED})
_LATCHED_FAULTS: Final = frozenset(FAULTS[cause] for cause in LATCHED)


class FaultCauses:
    """What is wrong now, told as faults: the first cause raises one, the last one ends it.

    A fault outlives the process that told it. So each one counts as told until this process
    has looked, by `settle`; those that latch, until somebody acknowledges.
    """

    def __init__(self, tell: Callable[[HalEvent], None]) -> None:
        self._tell = tell
        self._present: set[str] = set()
        self._latched: set[str] = set()
        self._inherited = set(FAULTS.values())

    @property
    def all(self) -> frozenset[str]:
        """All causes that keep the contactor open, latched ones too."""
        return frozenset(self._present | self._latched)

    def set(self, cause: str, is_there: bool) -> None:
        """Note that a cause came up or went away."""
        if is_there is (cause in self._present):
            return
        before = self._faults()
        if is_there:
            if cause not in _LOGGED_IN_DETAIL:
                _LOGGER.error("fault %s: %s", FAULTS[cause].value, cause)
            self._present.add(cause)
            if cause in LATCHED:
                self._latched.add(cause)
        else:
            _LOGGER.info("gone: %s", cause)
            self._present.discard(cause)
        self._tell_changes(before)

    def is_present(self, cause: str) -> bool:
        """Return whether a cause is there now, latched or not."""
        return cause in self._present

    def latch(self, cause: str) -> None:
        """Note a cause that was there for a moment, and is to be acknowledged all the same."""
        if cause in self._latched:
            return
        before = self._faults()
        _LOGGER.error("fault %s: %s, for a moment", FAULTS[cause].value, cause)
        self._latched.add(cause)
        self._tell_changes(before)

    def acknowledge(self) -> None:
        """Let go of latched causes that are not present any more."""
        before = self._faults()
        self._latched &= self._present
        self._tell_changes(before)
        self._disown(_LATCHED_FAULTS)

    def settle(self) -> None:
        """Let go of what an earlier process told, now that everything was looked at."""
        self._disown(frozenset(FAULTS.values()) - _LATCHED_FAULTS)

    def _disown(self, faults: frozenset[FaultState]) -> None:
        gone = [fault for fault in FaultState if fault in self._inherited & faults]
        self._inherited -= faults
        for fault in gone:
            if fault not in self._faults():
                self._tell(FaultCleared(fault))

    def _faults(self) -> list[FaultState]:
        return list(dict.fromkeys(FAULTS[cause] for cause in sorted(self.all)))

    def _tell_changes(self, before: list[FaultState]) -> None:
        after = self._faults()
        for fault in after:
            if fault not in before:
                self._tell(FaultRaised(fault))
        for fault in before:
            if fault not in after:
                self._tell(FaultCleared(fault))
