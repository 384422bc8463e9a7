"""Interface between the backend of external EVSE controllers and a protocol: the `Link`.

A link receives complete orders (`ControllerOrders`) and returns a complete status
(`ControllerStatus`).
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
    """Result of one poll; None means unknown.

    `pilot` None keeps the last state where that is possible. `is_enabled`: the controller
    offers current, or would, and may close by itself; it reveals a stop or start at the
    controller itself. `offered_ma`: the current that is set, which may differ from the order.
    `limit_ma`: the highest current accepted now, None for no limit but the ratings.
    `ampacity_ma`: None means no cable. `card`: the card at the reader. `has_restarted`: orders
    were lost since the last poll.
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
    """Orders for a controller.

    `is_enabled`: put PWM on the pilot, and close when the vehicle is ready. Otherwise: X1, and
    open after leaving a charging vehicle the time to stop. `must_open`: open at once, also
    under load; `is_enabled` is then False. `is_unavailable`: state F, and open at once.
    `current_ma`: the offer, or without one the lowest current. `is_final`: the last orders,
    which also disable a controller that is in a fault.
    """

    is_enabled: bool = False
    current_ma: Milliamps = Milliamps(6_000)
    must_open: bool = False
    is_unavailable: bool = False
    is_locked: bool = False
    is_final: bool = False


class LinkTraits(Struct, frozen=True):
    """Properties of a link beside pilot and contactor, known before it is opened.

    `step_ma`: currents are ordered in whole multiples of it. `faults`: the faults that it can
    report; those left from an earlier run are cleared if they are absent. `heartbeat_s`: the
    interval of `keep_alive`, None for never. `self_test_s`: the longest self-test, None for a
    controller without.
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
    """Connection to one controller.

    Each method raises HalError for every failure (silence, garbage, a wrong checksum, a
    refusal), within its own time limit. OSError means that the port itself is gone, and has
    the link reopened soon. Calls never overlap. After `close` a link may be opened again, also
    in another event loop.
    """

    @property
    def traits(self) -> LinkTraits:
        """Properties of the link."""

    async def open(self, wake: Callable[[], None]) -> None:
        """Open the port, identify the controller, and set up its heartbeat.

        Its pilot and contactor stay as they are. The link may call `wake`, in the event loop's
        thread, when the controller reports a change: the next poll then follows at once.
        """

    async def close(self) -> None:
        """Close the port. May be repeated; never raises HalError."""

    async def read_status(self) -> ControllerStatus:
        """Read the complete status."""

    async def apply(self, orders: ControllerOrders) -> None:
        """Carry out orders, opening first. May be repeated.

        It does not wait for the contactor: the next status shows it.
        """

    async def keep_alive(self) -> None:
        """Send a heartbeat, without which the controller falls back to its safe limit, or off."""

    async def self_test(self) -> None:
        """Test the hardware; the next statuses report its faults.

        Only called where `traits.self_test_s` is set, with the contactor open.
        """


def describe(error: Exception) -> str:
    """Return one line about a failure of a link."""
    return str(error) or ("no answer in time" if isinstance(error, TimeoutError) else repr(error))
