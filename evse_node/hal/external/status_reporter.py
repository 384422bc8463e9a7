"""From one status of a controller to the next: each change is told once, reasons first."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

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
"""What a lost controller is told as, and one whose self-test has failed."""


class StatusDiffer:
    """Compares statuses with what was told.

    The order matters: new faults, cable and limit come first, then the pilot, whose news may
    make the machine give its order to close, then the contactor, last the faults that are
    gone. `own_faults` are those of the backend, beside the controller's.
    """

    def __init__(
        self,
        wishes: DesiredState,
        traits: LinkTraits,
        ratings: Ratings,
        tell: Callable[[HalEvent], None],
        unordered_s: float,
    ) -> None:
        self.status: ControllerStatus | None = None
        self.own_faults: frozenset[FaultState] = frozenset()
        self.faults: frozenset[FaultState] = frozenset()
        self.pilot: PilotState | None = None
        self.cable_ma: Milliamps | None = None
        self._wishes = wishes
        self._traits = traits
        self._ratings = ratings
        self._tell = tell
        self._unordered_s = unordered_s
        self._unordered_since: float | None = None
        self._was_lost = False
        self._is_closed: bool | None = None
        self._limit_ma: Milliamps | None = None
        self._card: bytes | None = None

    @property
    def is_complete(self) -> bool:
        """Whether pilot and contactor were told."""
        return self.pilot is not None and self._is_closed is not None

    def take_in(self, status: ControllerStatus, now: float, *, is_overtaken: bool = False) -> bool:
        """Tell what changed. True is that it has just closed without an order.

        A status that an order to open has overtaken does not confirm that order.
        """
        is_first, self.status = self.status is None, status
        gone = self._tell_new_faults()
        if is_first:
            # A fault outlives a restart of the node, and may have gone meanwhile.
            gone = (self._traits.faults | {LOST}) - self.faults
        self._tell_cable(status)
        self._tell_limit(status)
        pilot = self._pilot(status)
        if pilot is not None and pilot is not self.pilot:
            was_ready = self.pilot is not None and self.pilot.is_ready
            if was_ready and not pilot.is_ready and not status.is_closed:
                # A vehicle that asks again has to be allowed again.
                self._wishes.is_closed = False
            self.pilot = pilot
            self._tell(PilotChanged(pilot))
        if not status.is_closed and not is_overtaken:
            # So is what the machine ordered just now, hearing of the pilot.
            self._wishes.is_opening = False
        is_unordered = self._tell_contactor(status, now)
        if self._was_lost and not status.is_closed:
            # While nobody could see it open, the machine may have taken it for welded.
            gone |= {FaultState.CONTACT_WET_FAILURE} - self.faults
            self._was_lost = False
        self._tell_gone(gone)
        self._tell_card(status)
        return is_unordered

    def on_lost(self) -> None:
        """Tell that nobody knows how things are."""
        self._was_lost = True
        self.tell_faults()

    def tell_faults(self) -> None:
        """Tell the backend's own faults that came up or are gone."""
        self._tell_gone(self._tell_new_faults())

    def _tell_new_faults(self) -> frozenset[FaultState]:
        """Tell faults that came up; return those that are gone."""
        before = self.faults
        self.faults = self.own_faults | (frozenset() if self.status is None else self.status.faults)
        for fault in sorted(self.faults - before, key=lambda fault: fault.value):
            if fault not in self.own_faults:  # whose reason the backend has logged
                _LOGGER.error("fault %s: the controller reports it", fault.value)
            self._tell(FaultRaised(fault))
        return before - self.faults

    def _tell_gone(self, gone: frozenset[FaultState]) -> None:
        for fault in sorted(gone, key=lambda fault: fault.value):
            self._tell(FaultCleared(fault))

    def _pilot(self, status: ControllerStatus) -> PilotState | None:
        is_ready = self.pilot is not None and self.pilot.is_ready
        if status.pilot is None and is_ready and not status.is_closed:
            # It has opened and does not know the pilot (yet): after a restart, for one.
            return PilotState.B
        return status.pilot

    def _tell_cable(self, status: ControllerStatus) -> None:
        if self._traits.has_proximity and status.ampacity_ma != self.cable_ma:
            self.cable_ma = status.ampacity_ma
            self._tell(CableChanged(status.ampacity_ma))

    def _tell_limit(self, status: ControllerStatus) -> None:
        limit_ma = status.limit_ma
        if limit_ma is not None and limit_ma >= self._ratings.maximum_current_ma:
            limit_ma = None
        if limit_ma != self._limit_ma:
            self._limit_ma = limit_ma
            self._tell(CurrentDerated(limit_ma))

    def _tell_card(self, status: ControllerStatus) -> None:
        if self._traits.has_cards and status.card != self._card:
            self._card = status.card
            if status.card is not None and 1 <= len(status.card) <= 10:
                self._tell(RfidTapped(status.card))

    def _tell_contactor(self, status: ControllerStatus, now: float) -> bool:
        wishes = self._wishes
        if not status.is_closed:
            self._unordered_since = None
            if self._is_closed is not False:
                self._is_closed = wishes.is_closed = False
                self._tell(ContactorReported(False))
            return False
        if self._is_closed:
            return False
        if not wishes.is_closed:
            is_new = self._unordered_since is None
            if self._unordered_since is None:
                self._unordered_since = now
                _LOGGER.warning("the controller has closed without an order: it is disabled")
            wishes.cut()
            if now - self._unordered_since < self._unordered_s:
                return is_new
        self._is_closed = True
        self._tell(ContactorReported(True))
        return False
