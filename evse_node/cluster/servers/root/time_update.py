"""Updates of the node's time from the trusted time source, or else from an NTP server.

Spec: Matter Core 1.3 "Time Source Prioritization"
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import Final, Protocol, TypeAlias, TypedDict

from msgspec import Struct, field

from evse_node.matter.timers import Timer, Timers
from evse_node.matter.wall_clock import (
    GivenTime,
    Granularity,
    OnTime,
    TimeSource,
    WallClock,
    lowered,
)

ReadNodeTime: TypeAlias = Callable[[int, int, int, OnTime, float], None]
"""`read_node(fabric_index, node_id, endpoint, on_time, now)` reads another node's UTCTime."""
QueryNtp: TypeAlias = Callable[[str, OnTime, float], None]
"""`query_ntp(host, on_time, now)` requests the time from an NTP server, a name or IPv6 address."""

_FIRST_S: Final = 10.0
_RETRY_S: Final = 600.0
_REPEAT_S: Final = 86_400.0
_EVENT_PAUSE_S: Final = 3600.0
_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DOMAIN: Final = re.compile(rf"(?:{_LABEL}\.)+(?=[A-Za-z])(?:{_LABEL})\.?")


def is_ntp_address(text: str, supports_dns: bool) -> bool:
    """Return whether this is an IPv6 address or, with `supports_dns`, a domain name.

    Spec: Matter Core 1.3 "DefaultNTP Attribute"
    """
    try:
        return not ipaddress.IPv6Address(text).scope_id
    except ValueError:
        return supports_dns and _DOMAIN.fullmatch(text) is not None


class TrustedTimeSourceStruct(TypedDict):
    """Spec: Matter Core 1.3 "TrustedTimeSourceStruct"."""

    fabric_index: int
    node_id: int
    endpoint: int


class TimeSources(Protocol):
    """The attributes of Time Synchronization that name the sources, and its events."""

    @property
    def trusted_time_source(self) -> TrustedTimeSourceStruct | None:
        """The node to read the time from, or None."""

    @property
    def default_ntp(self) -> str | None:
        """The NTP server, or None."""

    def emit(self, event: str) -> None:
        """Record an event without fields."""


class TimeUpdate(Struct, eq=False):
    """Requests the time after start, daily, and more often while there is none.

    `sources` is the Time Synchronization cluster; its events report failures.
    """

    sources: TimeSources
    clock: WallClock
    timers: Timers
    read_node: ReadNodeTime | None
    query_ntp: QueryNtp | None
    _timer: Timer | None = None
    # Answers to earlier requests are ignored.
    _request: int = 0
    _recorded_at: dict[str, float] = field(default_factory=dict)

    def start(self, now: float) -> None:
        """Request the time soon, when the network is up."""
        self._timer = self.timers.call_at(now + _FIRST_S, self._request_time)

    def source_changed(self, now: float) -> None:
        """Request the time from the new source at once, unless the present time is good enough."""
        if self.clock.accepts(Granularity.SECONDS) and self._timer is not None:
            self._timer.cancel()
            self._timer = self.timers.call_at(now, self._request_time)

    def _request_time(self, now: float) -> None:
        self._request += 1
        if not self.clock.accepts(Granularity.MILLISECONDS):
            # The host's clock is synchronized.
            self._retry(_RETRY_S, now)
            return
        # Scheduled first, in case no answer arrives.
        self._retry(_RETRY_S, now)
        if self.read_node is None:
            self._request_ntp_time(now)
            return
        source = self.sources.trusted_time_source
        if source is None:
            self._record("MissingTrustedTimeSource", now)
            self._request_ntp_time(now)
            return
        request = self._request

        def on_time(time: GivenTime | None, now: float) -> None:
            if request == self._request:
                self._on_node_time(time, now)

        self.read_node(source["fabric_index"], source["node_id"], source["endpoint"], on_time, now)

    def _on_node_time(self, time: GivenTime | None, now: float) -> None:
        if time is not None and time.granularity is not Granularity.NO_TIME:
            self._take(time.epoch_us, lowered(time.granularity), TimeSource.NODE_TIME_CLUSTER, now)
        else:
            self._record("MissingTrustedTimeSource", now)
            self._request_ntp_time(now)

    def _request_ntp_time(self, now: float) -> None:
        host = None if self.query_ntp is None else self.sources.default_ntp
        if self.query_ntp is None or host is None:
            self._fail(now)
            return
        request = self._request

        def on_time(time: GivenTime | None, now: float) -> None:
            if request != self._request:
                return
            if time is None:
                self._fail(now)
            else:
                self._take(time.epoch_us, time.granularity, TimeSource.NON_MATTER_SNTP, now)

        self.query_ntp(host, on_time, now)

    def _take(
        self, epoch_us: int, granularity: Granularity, source: TimeSource, now: float
    ) -> None:
        if self.clock.accepts(granularity, epoch_us):
            self.clock.set_epoch_us(epoch_us, granularity, source)
        self._retry(_REPEAT_S, now)

    def _fail(self, now: float) -> None:
        if self.clock.epoch_us() is None:
            self._record("TimeFailure", now)

    def _retry(self, wait_s: float, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.timers.call_at(now + wait_s, self._request_time)

    def _record(self, event: str, now: float) -> None:
        """Record an event, at most once per hour."""
        recorded_at = self._recorded_at.get(event)
        if recorded_at is None or now - recorded_at >= _EVENT_PAUSE_S:
            self._recorded_at[event] = now
            self.sources.emit(event)
