"""How often an external controller is asked, and how long it may take over anything."""

from __future__ import annotations

from msgspec import Struct


class PollTimings(Struct, frozen=True):
    """How often and how long, in seconds.

    Orders that are not carried out yet are given again every `retry_s`.
    `call_s` is the longest that one poll may take, whatever the link says of its own limits;
    `stop` lets it end, and then has `stop_s` to see the controller disabled. Closing the port
    may take `close_s`.
    A controller that was silent for `lost_s` is lost; then the port is opened anew every
    `reopen_s`. A contactor closed without an order is told after `unordered_s`.
    """

    poll_s: float = 0.5
    retry_s: float = 0.1
    call_s: float = 3.0
    lost_s: float = 3.0
    reopen_s: float = 1.0
    start_s: float = 10.0
    stop_s: float = 4.0
    close_s: float = 1.0
    unordered_s: float = 1.0
