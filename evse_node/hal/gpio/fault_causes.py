"""Causes of faults. Several causes may raise the same fault, and some are latched."""

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
"""These last until acknowledged: by unplugging, a button, or `reset`."""
MOMENTARY: Final = frozenset({DIODE_MISSING})
"""These end with the opening, since they show only during PWM: the machine retries."""
_LOGGED_IN_DETAIL: Final = frozenset({ADC_LOST, INPUTS_LOST, SELF_TEST_FAILED, BACKEND_FAILED})
_LATCHED_FAULTS: Final = frozenset(FAULTS[cause] for cause in LATCHED)


class FaultCauses:
    """Active causes, reported as faults: the first cause raises a fault, the last one clears it.

    A fault outlives the process that reported it. So every fault counts as raised until the
    self-test has passed (`clear_inherited`); latched ones until they are acknowledged.
    """

    def __init__(self, report: Callable[[HalEvent], None]) -> None:
        self._report = report
        self._present: set[str] = set()
        self._latched: set[str] = set()
        self._inherited = set(FAULTS.values())

    @property
    def all(self) -> frozenset[str]:
        """All causes that keep the contactor open, including latched ones."""
        return frozenset(self._present | self._latched)

    def set(self, cause: str, is_present: bool) -> None:
        if cause in MOMENTARY:
            if is_present:
                _LOGGER.error("fault %s: %s", FAULTS[cause].value, cause)
                self._report(FaultRaised(FAULTS[cause], is_momentary=True))
            return
        if is_present is (cause in self._present):
            return
        before = self._faults()
        if is_present:
            if cause not in _LOGGED_IN_DETAIL:
                _LOGGER.error("fault %s: %s", FAULTS[cause].value, cause)
            self._present.add(cause)
            if cause in LATCHED:
                self._latched.add(cause)
        else:
            _LOGGER.info("cleared: %s", cause)
            self._present.discard(cause)
        self._report_changes(before)

    def is_present(self, cause: str) -> bool:
        """Return whether a cause is active now, not only latched."""
        return cause in self._present

    def latch(self, cause: str) -> None:
        """Latch a cause that was active only for a moment."""
        if cause in self._latched:
            return
        before = self._faults()
        _LOGGER.error("fault %s: %s, for a moment", FAULTS[cause].value, cause)
        self._latched.add(cause)
        self._report_changes(before)

    def acknowledge(self) -> None:
        """Clear latched causes that are no longer active."""
        before = self._faults()
        self._latched &= self._present
        self._report_changes(before)
        self._clear_inherited(_LATCHED_FAULTS)

    def clear_inherited(self) -> None:
        """Clear faults that an earlier process reported and that are gone."""
        self._clear_inherited(frozenset(FAULTS.values()) - _LATCHED_FAULTS)

    def _clear_inherited(self, faults: frozenset[FaultState]) -> None:
        gone = [fault for fault in FaultState if fault in self._inherited & faults]
        self._inherited -= faults
        for fault in gone:
            if fault not in self._faults():
                self._report(FaultCleared(fault))

    def _faults(self) -> list[FaultState]:
        return list(dict.fromkeys(FAULTS[cause] for cause in sorted(self.all)))

    def _report_changes(self, before: list[FaultState]) -> None:
        after = self._faults()
        for fault in after:
            if fault not in before:
                self._report(FaultRaised(fault))
        for fault in before:
            if fault not in after:
                self._report(FaultCleared(fault))
