"""Updates of the node's time: from the trusted time source, or else from an NTP server.

Spec: Matter Core 1.3 "Time Source Prioritization"
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from evse_node.cluster.codec.values import integer
from evse_node.cluster.server import ClusterServer
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
"""`query_ntp(host, on_time, now)` asks an NTP server; `host` is a name or an IPv6 address."""

_FIRST_S: Final = 10.0
_RETRY_S: Final = 600.0
_REPEAT_S: Final = 86_400.0
_EVENT_PAUSE_S: Final = 3600.0
_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DOMAIN: Final = re.compile(rf"(?:{_LABEL}\.)+(?=[A-Za-z])(?:{_LABEL})\.?")


def is_ntp_address(text: str, supports_dns: bool) -> bool:
    """Return whether this is an IPv6 address or, if those can be used, a domain name.

    Spec: Matter Core 1.3 "DefaultNTP Attribute"
    """
    try:
        return not ipaddress.IPv6Address(text).scope_id
    except ValueError:
        return supports_dns and _DOMAIN.fullmatch(text) is not None


class TimeUpdate:
    """Asks for the time after start, daily, and more often while there is none.

    `cluster` is the Time Synchronization cluster, whose attributes name the sources and
    whose events tell of failure.
    """

    def __init__(
        self,
        cluster: ClusterServer,
        clock: WallClock,
        timers: Timers,
        *,
        read_node: ReadNodeTime | None,
        query_ntp: QueryNtp | None,
    ) -> None:
        self._cluster = cluster
        self._clock = clock
        self._timers = timers
        self._read_node = read_node
        self._query_ntp = query_ntp
        self._timer: Timer | None = None
        # Answers to earlier questions come too late.
        self._question = 0
        self._told_at: dict[str, float] = {}

    def start(self, now: float) -> None:
        """Ask soon, when the network is up."""
        self._timer = self._timers.call_at(now + _FIRST_S, self._ask)

    def source_changed(self, now: float) -> None:
        """Ask the new source at the next turn, unless the time that there is will do."""
        if self._clock.accepts(Granularity.SECONDS) and self._timer is not None:
            self._timer.cancel()
            self._timer = self._timers.call_at(now, self._ask)

    def _ask(self, now: float) -> None:
        self._question += 1
        if not self._clock.accepts(Granularity.MILLISECONDS):
            # The machine keeps its clock by itself.
            self._ask_again(_RETRY_S, now)
            return
        # Should the answer never come, there is another attempt all the same.
        self._ask_again(_RETRY_S, now)
        if self._read_node is None:
            self._ask_ntp(now)
            return
        source = self._cluster.get("trusted_time_source")
        if not isinstance(source, Mapping):
            self._tell("MissingTrustedTimeSource", now)
            self._ask_ntp(now)
            return
        fabric_index, node_id, endpoint = (
            integer(source[name]) for name in ("fabric_index", "node_id", "endpoint")
        )
        question = self._question

        def on_time(time: GivenTime | None, now: float) -> None:
            if question == self._question:
                self._on_node_time(time, now)

        self._read_node(fabric_index, node_id, endpoint, on_time, now)

    def _on_node_time(self, time: GivenTime | None, now: float) -> None:
        if time is not None and time.granularity is not Granularity.NO_TIME:
            self._take(time.epoch_us, lowered(time.granularity), TimeSource.NODE_TIME_CLUSTER, now)
        else:
            self._tell("MissingTrustedTimeSource", now)
            self._ask_ntp(now)

    def _ask_ntp(self, now: float) -> None:
        host = None if self._query_ntp is None else self._cluster.get("default_ntp")
        if self._query_ntp is None or not isinstance(host, str):
            self._fail(now)
            return
        question = self._question

        def on_time(time: GivenTime | None, now: float) -> None:
            if question != self._question:
                return
            if time is None:
                self._fail(now)
            else:
                self._take(time.epoch_us, time.granularity, TimeSource.NON_MATTER_SNTP, now)

        self._query_ntp(host, on_time, now)

    def _take(
        self, epoch_us: int, granularity: Granularity, source: TimeSource, now: float
    ) -> None:
        if self._clock.accepts(granularity, epoch_us):
            self._clock.set_epoch_us(epoch_us, granularity, source)
        self._ask_again(_REPEAT_S, now)

    def _fail(self, now: float) -> None:
        if self._clock.epoch_us() is None:
            self._tell("TimeFailure", now)

    def _ask_again(self, wait_s: float, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._timers.call_at(now + wait_s, self._ask)

    def _tell(self, event: str, now: float) -> None:
        """Record an event, but not more often than once per hour."""
        told_at = self._told_at.get(event)
        if told_at is None or now - told_at >= _EVENT_PAUSE_S:
            self._told_at[event] = now
            self._cluster.emit(event)
