"""Time Synchronization: UTC time and its source, time zones and daylight saving.

Not implemented: Acting as an NTP Server (feature NTPS), DHCPv6 and DNS-SD as sources of
an NTP server.

Spec: Matter Core 1.3 "Time Synchronization Cluster"
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NotRequired, TypedDict

from evse_node.cluster.definitions.definition import ClusterDefinition, Value
from evse_node.cluster.server import (
    Attribute,
    ClusterServer,
    OptionalAttribute,
    command,
    reader,
    serves,
)
from evse_node.cluster.servers.root.daylight_saving import LookUpDst, offsets_of
from evse_node.cluster.servers.root.time_update import (
    QueryNtp,
    ReadNodeTime,
    TimeUpdate,
    TrustedTimeSourceStruct,
    is_ntp_address,
)
from evse_node.errors import StatusError
from evse_node.matter.data_model import InteractionContext
from evse_node.matter.fabrics.fabric import FabricTable
from evse_node.matter.interaction.status import Status
from evse_node.matter.timers import Timer, Timers
from evse_node.matter.wall_clock import (
    DstOffset,
    Granularity,
    TimeSource,
    TimeZone,
    WallClock,
    lowered,
)

MAX_TIME_ZONES: Final = 2
MAX_DST_OFFSETS: Final = 10
_TIME_NOT_ACCEPTED: Final = 0x02
_FULL_DATABASE: Final = 0
_NO_DATABASE: Final = 2
# Present in the store while the offsets set by a controller override the database.
_OWN_OFFSETS_KEY: Final = "time/own_offsets"
# The system clock can be set, or become valid, at any time.
_POLL_S: Final = 3600.0
_POLL_WITHOUT_TIME_S: Final = 60.0
# For the comparison of two clocks, one of them in whole microseconds.
_MARGIN_S: Final = 0.001


class TimeZoneStruct(TypedDict):
    """Spec: Matter Core 1.3 "TimeZoneStruct"."""

    offset: int
    valid_at: int
    name: NotRequired[str]


class DstOffsetStruct(TypedDict):
    """Spec: Matter Core 1.3 "DSTOffsetStruct"."""

    offset: int
    valid_starting: int
    valid_until: int | None


class FabricScopedTimeSource(TypedDict):
    """Spec: Matter Core 1.3 "FabricScopedTrustedTimeSourceStruct"."""

    node_id: int
    endpoint: int


@serves("Time Synchronization")
class TimeSynchronizationServer(ClusterServer):
    """UTC time in `clock`, set by controllers, and local time as they configure it.

    With `read_node` the node can request the time from another one (feature TSC), with
    `query_ntp` from an NTP server (feature NTPC), which may be given by name if
    `supports_dns`. `look_up_dst` looks up daylight saving in a database of time zones.
    """

    granularity: Attribute[Granularity]
    time_source: OptionalAttribute[TimeSource]
    trusted_time_source: OptionalAttribute[TrustedTimeSourceStruct | None]
    default_ntp: OptionalAttribute[str | None]
    time_zone: Attribute[Sequence[TimeZoneStruct]]
    dst_offset: Attribute[Sequence[DstOffsetStruct]]
    time_zone_database: Attribute[int]
    time_zone_list_max_size: Attribute[int]
    dst_offset_list_max_size: Attribute[int]
    supports_dns_resolve: OptionalAttribute[bool]

    def __init__(
        self,
        definition: ClusterDefinition,
        clock: WallClock,
        timers: Timers,
        fabrics: FabricTable,
        *,
        read_node: ReadNodeTime | None = None,
        query_ntp: QueryNtp | None = None,
        supports_dns: bool = True,
        look_up_dst: LookUpDst | None = None,
    ) -> None:
        features = ["TZ"]
        if query_ntp is not None:
            features.append("NTPC")
        if read_node is not None:
            features.append("TSC")
        super().__init__(definition, features=features, optional=["TimeSource"])
        self.time_zone = [_encode_time_zone(zone) for zone in clock.time_zones]
        self.time_zone_database = _FULL_DATABASE if look_up_dst else _NO_DATABASE
        self.time_zone_list_max_size = MAX_TIME_ZONES
        self.dst_offset_list_max_size = MAX_DST_OFFSETS
        self.supports_dns_resolve = supports_dns
        self._clock = clock
        self._timers = timers
        self._fabrics = fabrics
        self._supports_dns = supports_dns
        self._look_up_dst = look_up_dst
        self._update = TimeUpdate(self, clock, timers, read_node=read_node, query_ntp=query_ntp)
        self._timer: Timer | None = None
        self._is_dst_active = False
        # None: emit TimeZoneStatus in any case.
        self._reported_zone: TimeZone | None = clock.time_zones[0]
        fabrics.on_removed.append(self._on_fabric_removed)

    def attached(self) -> None:
        """Restore the persisted time zones, and start following the clock."""
        # A power cut may have reverted the fabric whose commissioner had set the source.
        source = self._trusted_fabric()
        if source is not None and source not in self._fabrics:
            self.trusted_time_source = None
        clock = self._clock
        clock.set_local_time(
            [_decode_time_zone(item) for item in self.time_zone],
            [_decode_dst_offset(item) for item in self.dst_offset],
        )
        clock.on_changed.append(self._follow)
        self._reported_zone = clock.time_zones[0]
        self._is_dst_active = self._applies_dst()
        now = self.environment.now()
        self._follow(now)
        self._update.start(now)

    # Following the clock

    def _follow(self, now: float) -> None:
        """Update the attributes from the clock, and emit events for changes."""
        clock = self._clock
        had_offsets = bool(clock.dst_offsets)
        clock.drop_past()
        self._follow_database()
        with self.changes():
            self.granularity = clock.granularity
            self.time_source = clock.time_source
            self.time_zone = [_encode_time_zone(zone) for zone in clock.time_zones]
            self.dst_offset = [_encode_dst_offset(offset) for offset in clock.dst_offsets]
        self._report_zone()
        self._report_dst()
        if had_offsets and not clock.dst_offsets:
            self.emit("DSTTableEmpty")
        # Last, because offsets from the database change the clock, which calls this again.
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._timers.call_at(now + self._wait_s(), self._follow)

    def _follow_database(self) -> None:
        clock = self._clock
        epoch_us = clock.epoch_us()
        if epoch_us is None or self.environment.store.get(_OWN_OFFSETS_KEY) is not None:
            return
        offsets = self._from_database(clock.time_zones, epoch_us)
        if offsets is not None and offsets != clock.dst_offsets:
            clock.set_local_time(clock.time_zones, offsets)

    def _from_database(
        self, zones: Sequence[TimeZone], epoch_us: int
    ) -> tuple[DstOffset, ...] | None:
        look_up_dst = self._look_up_dst
        return None if look_up_dst is None else offsets_of(look_up_dst, zones, epoch_us)

    def _wait_s(self) -> float:
        change_us, epoch_us = self._clock.next_change_us(), self._clock.epoch_us()
        if epoch_us is None:
            return _POLL_WITHOUT_TIME_S
        if change_us is None:
            return _POLL_S
        return min((change_us - epoch_us) / 1e6 + _MARGIN_S, _POLL_S)

    def _report_zone(self) -> None:
        zone, last = self._clock.time_zones[0], self._reported_zone
        if last is None or (zone.offset_s, zone.name) != (last.offset_s, last.name):
            name: dict[str, Value] = {} if zone.name is None else {"name": zone.name}
            self.emit("TimeZoneStatus", offset=zone.offset_s, **name)
        self._reported_zone = zone

    def _applies_dst(self) -> bool:
        epoch_us = self._clock.epoch_us()
        return epoch_us is not None and self._clock.dst_offset_s(epoch_us) != 0

    def _report_dst(self) -> None:
        is_active = self._applies_dst()
        if is_active != self._is_dst_active:
            self._is_dst_active = is_active
            self.emit("DSTStatus", dst_offset_active=is_active)

    # UTC

    @reader
    def utc_time(self, context: InteractionContext) -> int | None:
        """Return microseconds since 2000-01-01 UTC, or None."""
        return self._clock.epoch_us()

    @reader
    def local_time(self, context: InteractionContext) -> int | None:
        """Return local time in microseconds since 2000-01-01, or None."""
        return self._clock.local_epoch_us()

    @command("SetUTCTime")
    def set_utc_time(
        self,
        context: InteractionContext,
        *,
        utc_time: int,
        granularity: int,
        time_source: int | None,
    ) -> None:
        """Set the clock, unless its own time is better."""
        given = Granularity(granularity)
        level = lowered(given)
        if not self._clock.accepts(level, utc_time):
            raise StatusError(
                Status.FAILURE,
                cluster_status=_TIME_NOT_ACCEPTED,
                reason="not better than the node's time",
            )
        self._clock.set_epoch_us(utc_time, level, TimeSource.ADMIN)

    # Sources of time

    @command
    def set_trusted_time_source(
        self, context: InteractionContext, *, trusted_time_source: FabricScopedTimeSource | None
    ) -> None:
        """Set the node to read the time from, or none."""
        if trusted_time_source is None:
            self._clear_trusted_time_source()
            return
        self.trusted_time_source = {
            "fabric_index": context.subject.fabric_index,
            "node_id": trusted_time_source["node_id"],
            "endpoint": trusted_time_source["endpoint"],
        }
        self._update.source_changed(context.now)

    @command("SetDefaultNTP")
    def set_default_ntp(self, context: InteractionContext, *, default_ntp: str | None) -> None:
        """Set the NTP server, or none."""
        if default_ntp is not None and not is_ntp_address(default_ntp, self._supports_dns):
            raise StatusError(
                Status.INVALID_COMMAND, reason="neither a domain name nor an IPv6 address"
            )
        self.default_ntp = default_ntp
        if default_ntp is not None:
            self._update.source_changed(context.now)

    def _trusted_fabric(self) -> int | None:
        """Return the fabric of the trusted time source, if any."""
        source = self.trusted_time_source
        return None if source is None else source["fabric_index"]

    def _on_fabric_removed(self, fabric_index: int) -> None:
        if self._trusted_fabric() == fabric_index:
            self._clear_trusted_time_source()

    def _clear_trusted_time_source(self) -> None:
        self.trusted_time_source = None
        self.emit("MissingTrustedTimeSource")

    # Local time

    @command
    def set_time_zone(
        self, context: InteractionContext, *, time_zone: Sequence[TimeZoneStruct]
    ) -> Mapping[str, Value]:
        """Set the time zones, which discards the offsets of daylight saving.

        For zones in the database new offsets follow from it.
        """
        if len(time_zone) > MAX_TIME_ZONES:
            raise StatusError(Status.RESOURCE_EXHAUSTED, reason="too many time zones")
        zones = [_decode_time_zone(item) for item in time_zone]
        if not zones or zones[0].valid_at or any(not zone.valid_at for zone in zones[1:]):
            raise StatusError(Status.CONSTRAINT_ERROR, reason="only the first zone is valid at 0")
        self._reported_zone = None
        epoch_us = self._clock.epoch_us()
        offsets = self._from_database(zones, epoch_us or 0)
        self.environment.store.delete(_OWN_OFFSETS_KEY)
        self._clock.set_local_time(zones, () if epoch_us is None else offsets or ())
        if offsets is None:
            self.emit("DSTTableEmpty")
        return {"dst_offsets_required": offsets is None}

    @command("SetDSTOffset")
    def set_dst_offset(
        self, context: InteractionContext, *, dst_offset: Sequence[DstOffsetStruct]
    ) -> None:
        if len(dst_offset) > MAX_DST_OFFSETS:
            raise StatusError(Status.RESOURCE_EXHAUSTED, reason="too many offsets")
        offsets = [_decode_dst_offset(item) for item in dst_offset]
        _check_dst_offsets(offsets)
        self.environment.store.set(_OWN_OFFSETS_KEY, b"1")
        self._clock.set_local_time(self._clock.time_zones, offsets)
        if not offsets:
            self.emit("DSTTableEmpty")


def _check_dst_offsets(offsets: Sequence[DstOffset]) -> None:
    """Raise StatusError unless each offset ends before the next one starts."""
    end: int | None = 0
    for offset in offsets:
        if end is None or offset.valid_starting < end:
            raise StatusError(Status.CONSTRAINT_ERROR, reason="offsets overlap or are not in order")
        end = offset.valid_until
        if end is not None and end <= offset.valid_starting:
            raise StatusError(Status.CONSTRAINT_ERROR, reason="an offset ends before it starts")


def _decode_time_zone(item: TimeZoneStruct) -> TimeZone:
    return TimeZone(item["offset"], item["valid_at"], item.get("name"))


def _encode_time_zone(zone: TimeZone) -> TimeZoneStruct:
    struct: TimeZoneStruct = {"offset": zone.offset_s, "valid_at": zone.valid_at}
    if zone.name is not None:
        struct["name"] = zone.name
    return struct


def _decode_dst_offset(item: DstOffsetStruct) -> DstOffset:
    return DstOffset(item["offset"], item["valid_starting"], item["valid_until"])


def _encode_dst_offset(offset: DstOffset) -> DstOffsetStruct:
    return {
        "offset": offset.offset_s,
        "valid_starting": offset.valid_starting,
        "valid_until": offset.valid_until,
    }
