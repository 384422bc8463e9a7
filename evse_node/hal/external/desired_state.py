"""What the machine wants of a controller that closes by itself, put together from its orders."""

from __future__ import annotations

from msgspec import Struct

from evse_node.hal.external.link import ControllerOrders
from evse_node.units import Milliamps

_LOWEST_MA = Milliamps(6_000)


class DesiredState(Struct):
    """The newest of each order.

    `is_closed`: the machine wants the contactor closed. `is_opening`: it is to open, until
    the controller confirms that. `is_cut`: the offer stands, but the controller is disabled
    until the machine closes or begins a new offer; so after an opening of a ready vehicle,
    after closing without an order, after a stop at the controller itself, and once the
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
        """Return what is wanted as a whole."""
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
        """Begin an offer, or change the one that stands."""
        if self.offer_ma is None or self.is_unavailable:
            self.is_cut = False
        self.offer_ma, self.is_unavailable = current_ma, False

    def withdraw(self) -> None:
        """End the offer; a vehicle that charges gets its time to end that."""
        self.offer_ma, self.is_unavailable = None, False

    def signal_unavailable(self) -> None:
        """Order state F, which opens."""
        self.is_unavailable, self.is_closed = True, False

    def close(self) -> None:
        """Let it be closed."""
        self.is_closed, self.is_cut, self.is_opening = True, False, False

    def open(self, *, is_ready: bool) -> None:
        """Have it opened; an offer to a vehicle that is ready would close it again."""
        self.is_closed, self.is_opening = False, True
        self.is_cut = self.is_cut or (is_ready and self.offer_ma is not None)

    def cut(self) -> None:
        """Keep the controller disabled."""
        self.is_closed, self.is_cut = False, True

    def revoke(self) -> None:
        """Have it opened, and kept disabled until something is allowed anew."""
        self.is_closed, self.is_opening = False, True
        self.is_cut = self.is_cut or self.offer_ma is not None
