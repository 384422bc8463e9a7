"""The desired state of a controller that closes by itself, built from the machine's orders."""

from __future__ import annotations

from msgspec import Struct

from evse_node.hal.external.link import ControllerOrders
from evse_node.units import Milliamps

_LOWEST_MA = Milliamps(6_000)


class DesiredState(Struct):
    """The latest order of each kind.

    `is_closed`: the contactor is ordered closed. `is_opening`: it is ordered open, and the
    controller has not confirmed that. `is_cut`: there is an offer, but the controller stays
    disabled until the machine closes or makes a new offer: after the contactor was opened for a
    ready vehicle, closed without an order, after a stop at the controller itself, and after the
    controller was lost.
    """

    offer_ma: Milliamps | None = None
    is_closed: bool = False
    is_opening: bool = True
    is_cut: bool = False
    is_unavailable: bool = False
    is_locked: bool = False
    is_testing: bool = False

    def orders(self, step_ma: int) -> ControllerOrders:
        """Return the orders that lead to this state, with the current in whole steps."""
        must_open = self.is_opening or self.is_cut or self.is_testing
        current_ma = _LOWEST_MA if self.offer_ma is None else self.offer_ma
        return ControllerOrders(
            is_enabled=self.offer_ma is not None and not must_open and not self.is_unavailable,
            current_ma=Milliamps(current_ma // step_ma * step_ma),
            must_open=must_open,
            is_unavailable=self.is_unavailable,
            is_locked=self.is_locked,
        )

    def offer(self, current_ma: Milliamps) -> None:
        """Make an offer, or change the present one."""
        if self.offer_ma is None or self.is_unavailable:
            self.is_cut = False
        self.offer_ma, self.is_unavailable = current_ma, False

    def withdraw(self) -> None:
        """End the offer, leaving a charging vehicle the time to stop."""
        self.offer_ma, self.is_unavailable = None, False

    def signal_unavailable(self) -> None:
        """Order state F, which also opens the contactor."""
        self.is_unavailable, self.is_closed = True, False

    def close(self) -> None:
        self.is_closed, self.is_cut, self.is_opening = True, False, False

    def open(self, *, is_ready: bool) -> None:
        """Order the contactor open; a ready vehicle's offer is cut, or it would close again."""
        self.is_closed, self.is_opening = False, True
        self.is_cut = self.is_cut or (is_ready and self.offer_ma is not None)

    def cut(self) -> None:
        self.is_closed, self.is_cut = False, True

    def revoke(self) -> None:
        """Order the contactor open, and disable until the machine closes or makes a new offer."""
        self.is_closed, self.is_opening = False, True
        self.is_cut = self.is_cut or self.offer_ma is not None
