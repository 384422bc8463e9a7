"""Events from the differences between statuses of a controller, reasons first."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from evse_node.hal.card_presence import CardPresence
from evse_node.hal.external.desired_state import DesiredState
from evse_node.hal.external.link import ControllerStatus, LinkTraits
from evse_node.hal.interface import CurrentDerated, HalEvent, Ratings
from evse_node.state_machine.control_pilot import PilotState
from evse_node.state_machine.events import (
    CableChanged,
    ContactorReported,
    FaultCleared,
    FaultRaised,
    PilotChanged,
    RfidTapped,
)
from evse_node.state_machine.faults import FaultState
from evse_node.units import Milliamps

_LOGGER: Final = logging.getLogger(__name__)

LOST: Final = FaultState.OTHER
"""The fault of a lost controller, and of a failed self-test."""


class StatusDiffer:
    """Events for the differences between a status and the reported one.

    The order matters: new faults, cable and limit come first, then the pilot, in response to
    which the machine may order to close, then the contactor, and last the cleared faults.
    `own_faults` are the backend's, beside the controller's.
    """

    def __init__(
        self,
        desired: DesiredState,
        traits: LinkTraits,
        ratings: Ratings,
        post: Callable[[HalEvent], None],
        unordered_s: float,
    ) -> None:
        self.status: ControllerStatus | None = None
        self.own_faults: frozenset[FaultState] = frozenset()
        self.faults: frozenset[FaultState] = frozenset()
        self.pilot: PilotState | None = None
        self.cable_ma: Milliamps | None = None
        self._desired = desired
        self._traits = traits
        self._ratings = ratings
        self._post = post
        self._unordered_s = unordered_s
        self._unordered_since: float | None = None
        self._was_lost = False
        self._is_closed: bool | None = None
        self._limit_ma: Milliamps | None = None
        self._cards = CardPresence()

    @property
    def is_complete(self) -> bool:
        """Whether pilot and contactor were reported."""
        return self.pilot is not None and self._is_closed is not None

    def update(self, status: ControllerStatus, now: float, *, is_overtaken: bool = False) -> bool:
        """Report changes. Return True when the contactor has just closed without an order.

        `is_overtaken`: an order to open is newer than the status, which does not confirm it.
        """
        is_first, self.status = self.status is None, status
        gone = self._report_new_faults()
        if is_first:
            # Faults outlast a restart of the node, and may be gone by now.
            gone = (self._traits.faults | {LOST}) - self.faults
        self._report_cable(status)
        self._report_limit(status)
        pilot = self._pilot(status)
        if pilot is not None and pilot is not self.pilot:
            was_ready = self.pilot is not None and self.pilot.is_ready
            if was_ready and not pilot.is_ready and not status.is_closed:
                # The next demand needs a new order to close.
                self._desired.is_closed = False
            self.pilot = pilot
            self._post(PilotChanged(pilot))
        if not status.is_closed and not is_overtaken:
            # This also confirms an order that the machine gave in response to the pilot.
            self._desired.is_opening = False
        is_unordered = self._report_contactor(status, now)
        if self._was_lost and not status.is_closed:
            # Unable to see it open, the machine may have taken it for welded.
            gone |= {FaultState.CONTACT_WET_FAILURE} - self.faults
            self._was_lost = False
        self._report_cleared(gone)
        self._report_card(status, now)
        return is_unordered

    def on_lost(self) -> None:
        self._was_lost = True
        self.report_faults()

    def report_faults(self) -> None:
        """Report changes of the backend's own faults."""
        self._report_cleared(self._report_new_faults())

    def _report_new_faults(self) -> frozenset[FaultState]:
        """Report new faults, and return those that have ended."""
        before = self.faults
        self.faults = self.own_faults | (frozenset() if self.status is None else self.status.faults)
        for fault in sorted(self.faults - before, key=lambda fault: fault.value):
            if fault not in self.own_faults:  # logged by the backend, with the reason
                _LOGGER.error("the controller reports the fault %s", fault.value)
            self._post(FaultRaised(fault))
        return before - self.faults

    def _report_cleared(self, gone: frozenset[FaultState]) -> None:
        for fault in sorted(gone, key=lambda fault: fault.value):
            self._post(FaultCleared(fault))

    def _pilot(self, status: ControllerStatus) -> PilotState | None:
        is_ready = self.pilot is not None and self.pilot.is_ready
        if status.pilot is None and is_ready and not status.is_closed:
            # It has opened, and its pilot is unknown (yet), such as after a restart.
            return PilotState.B
        return status.pilot

    def _report_cable(self, status: ControllerStatus) -> None:
        if self._traits.has_proximity and status.ampacity_ma != self.cable_ma:
            self.cable_ma = status.ampacity_ma
            self._post(CableChanged(status.ampacity_ma))

    def _report_limit(self, status: ControllerStatus) -> None:
        limit_ma = status.limit_ma
        if limit_ma is not None and limit_ma >= self._ratings.maximum_current_ma:
            limit_ma = None
        if limit_ma != self._limit_ma:
            self._limit_ma = limit_ma
            self._post(CurrentDerated(limit_ma))

    def _report_card(self, status: ControllerStatus, now: float) -> None:
        if self._traits.has_cards:
            tapped = self._cards.update(status.card, now)
            if tapped is not None:
                self._post(RfidTapped(tapped))

    def _report_contactor(self, status: ControllerStatus, now: float) -> bool:
        desired = self._desired
        if not status.is_closed:
            self._unordered_since = None
            if self._is_closed is not False:
                self._is_closed = desired.is_closed = False
                self._post(ContactorReported(False))
            return False
        if self._is_closed:
            return False
        if not desired.is_closed:
            is_new = self._unordered_since is None
            if self._unordered_since is None:
                self._unordered_since = now
                _LOGGER.warning("the controller closed without an order, and is disabled")
            desired.cut()
            if now - self._unordered_since < self._unordered_s:
                return is_new
        self._is_closed = True
        self._post(ContactorReported(True))
        return False
