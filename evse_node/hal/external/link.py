"""What a protocol of an external EVSE controller offers to the backend: the `Link`.

A link is told what is wanted as a whole (`ControllerOrders`) and tells what there is as a
whole (`ControllerStatus`); it keeps no wishes of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from msgspec import Struct

from evse_node.hal.interface import MeterValues
from evse_node.state_machine.control_pilot import PilotState
from evse_node.state_machine.faults import FaultState
from evse_node.units import Milliamps


class ControllerStatus(Struct, frozen=True):
    """What a controller tells in one poll; None is what it does not tell (now).

    `pilot` None keeps the state told last, as long as that can be. `is_enabled`: it offers
    current or would, and may close by itself; told so that a stop or start at the controller
    itself is noticed.
    `offered_ma`: the current that is set in it; told so that another one than ordered is
    noticed. `limit_ma`: the highest current that it takes now, None for no limit but its
    ratings. `ampacity_ma` None is no cable. `card` is the one at the reader.
    `has_restarted`: it forgot its orders since the poll before.
    """

    pilot: PilotState | None
    is_closed: bool
    faults: frozenset[FaultState] = frozenset()
    is_enabled: bool | None = None
    offered_ma: Milliamps | None = None
    limit_ma: Milliamps | None = None
    ampacity_ma: Milliamps | None = None
    temperature_millicelsius: int | None = None
    meter: MeterValues | None = None
    card: bytes | None = None
    has_restarted: bool = False


class ControllerOrders(Struct, frozen=True):
    """What is wanted of a controller.

    `is_enabled`: put PWM on the pilot, and close when the vehicle is ready. Without it: X1,
    and open, giving a vehicle that charges the time to end its current. `must_open`: open at
    once, also under load; it comes with `is_enabled` False. `is_unavailable`: state F, and
    open at once. `current_ma` is the offer, or, while there is none, the lowest current.
    `is_final`: nobody will be there afterwards, so what is in a fault is disabled, too.
    """

    is_enabled: bool = False
    current_ma: Milliamps = Milliamps(6_000)
    must_open: bool = False
    is_unavailable: bool = False
    is_locked: bool = False
    is_final: bool = False


class LinkTraits(Struct, frozen=True):
    """What a link has beside pilot and contactor. It is known before the link is opened.

    `step_ma`: currents are ordered in whole multiples of it.
    `faults`: those that it can tell; one that is left from an earlier run is told to have
    gone if it is not there.
    `heartbeat_s`: how often `keep_alive` is wanted, None for never. `self_test_s`: how long
    a self-test may take, None for a controller without.
    """

    step_ma: int = 1_000
    faults: frozenset[FaultState] = frozenset()
    has_meter: bool = False
    has_thermometer: bool = False
    has_lock: bool = False
    has_proximity: bool = False
    has_cards: bool = False
    heartbeat_s: float | None = None
    self_test_s: float | None = None


class Link(Protocol):
    """Talks to one controller.

    Each method raises HalError for whatever is wrong (silence, garbage, a wrong checksum, a
    refusal), and within a time limit of its own. OSError says that the port itself is gone,
    and lets the link be opened anew soon. They are never called while another of them is at
    work. After `close` a link can be opened again, also in another event loop.
    """

    @property
    def traits(self) -> LinkTraits:
        """What the link has."""

    async def open(self, wake: Callable[[], None]) -> None:
        """Take the port, find out who is there, and set up its heartbeat.

        What the controller does is left as it is. `wake` may be called, in the event loop's
        thread, when the controller has news: the next poll then follows at once.
        """

    async def close(self) -> None:
        """Let go of the port. May be repeated; never raises HalError."""

    async def read_status(self) -> ControllerStatus:
        """Ask for all that there is to know."""

    async def apply(self, orders: ControllerOrders) -> None:
        """Bring the controller to what is wanted, opening first. May be repeated.

        It need not wait until the contactor has moved: the next status tells.
        """

    async def keep_alive(self) -> None:
        """Send a heartbeat; without it the controller falls back to its safe limit, or off."""

    async def self_test(self) -> None:
        """Test the hardware; trouble is told by the statuses that follow.

        Only called where `traits.self_test_s` is set, with the contactor open.
        """


def words_of(error: Exception) -> str:
    """Say what went wrong with a link."""
    return str(error) or ("no answer in time" if isinstance(error, TimeoutError) else repr(error))
