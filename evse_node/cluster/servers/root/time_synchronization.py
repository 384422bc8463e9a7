"""Time Synchronization: what time the node has, from whom, and what local time is.

Not implemented: Acting as an NTP Server (feature NTPS), DHCPv6 and DNS-SD as sources of
an NTP server.

Spec: Matter Core 1.3 "Time Synchronization Cluster"
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from evse_node.cluster.codec.values import integer, integer_or_none, structs, text
from evse_node.cluster.definitions.definition import ClusterDefinition, Value
from evse_node.cluster.server import ClusterServer, command, reader, serves
from evse_node.cluster.servers.root.daylight_saving import LookUpDst, offsets_of
from evse_node.cluster.servers.root.time_update import (
    QueryNtp,
    ReadNodeTime,
    TimeUpdate,
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
# In the store: the offsets of daylight saving are a controller's, whatever a database says.
_OWN_OFFSETS_KEY: Final = "time/own_offsets"
# The machine's clock can be set, or start to be known, at any time.
_LOOK_AGAIN_S: Final = 3600.0
_LOOK_AGAIN_WITHOUT_TIME_S: Final = 60.0
# Two clocks are compared here, one of them in whole microseconds.
_MARGIN_S: Final = 0.001


@serves("Time Synchronization")
class TimeSynchronizationServer(ClusterServer):
    """Sets `clock` for controllers, and keeps what they said of local time.

    With `read_node` the node can ask another one for the time (feature TSC), with
    `query_ntp` an NTP server (feature NTPC). `supports_dns` says whether that server
    may be given by name. With `look_up_dst` the node knows all time zones by name.
    """

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
        super().__init__(
            definition,
            features=features,
            optional=["TimeSource"],
            values={
                "time_zone": [_encode_time_zone(zone) for zone in clock.time_zones],
                "time_zone_database": _FULL_DATABASE if look_up_dst else _NO_DATABASE,
                "time_zone_list_max_size": MAX_TIME_ZONES,
                "dst_offset_list_max_size": MAX_DST_OFFSETS,
                "supports_dns_resolve": supports_dns,
            },
        )
        self._clock = clock
        self._timers = timers
        self._fabrics = fabrics
        self._supports_dns = supports_dns
        self._look_up_dst = look_up_dst
        self._update = TimeUpdate(self, clock, timers, read_node=read_node, query_ntp=query_ntp)
        self._timer: Timer | None = None
        self._is_dst_active = False
        # None: to be told in any case.
        self._told_zone: TimeZone | None = clock.time_zones[0]
        fabrics.on_removed.append(self._on_fabric_removed)

    def attached(self) -> None:
        """Take up what was kept, and begin to keep time."""
        # A power cut may have undone a fabric whose commissioner had named a source.
        source = self._trusted_fabric()
        if source is not None and source not in self._fabrics:
            self.set(trusted_time_source=None)
        clock = self._clock
        clock.set_local_time(
            [_decode_time_zone(item) for item in structs(self.get("time_zone"))],
            [_decode_dst_offset(item) for item in structs(self.get("dst_offset"))],
        )
        clock.on_changed.append(self._follow)
        self._told_zone = clock.time_zones[0]
        self._is_dst_active = self._applies_dst()
        now = self.environment.now()
        self._follow(now)
        self._update.start(now)

    # The clock goes on.

    def _follow(self, now: float) -> None:
        """Bring the attributes up to the clock, and tell what changed."""
        clock = self._clock
        had_offsets = bool(clock.dst_offsets)
        clock.drop_past()
        self._follow_database()
        self.set(
            granularity=clock.granularity,
            time_source=clock.time_source,
            time_zone=[_encode_time_zone(zone) for zone in clock.time_zones],
            dst_offset=[_encode_dst_offset(offset) for offset in clock.dst_offsets],
        )
        self._tell_zone()
        self._tell_dst()
        if had_offsets and not clock.dst_offsets:
            self.emit("DSTTableEmpty")
        # Not before: what the database says changes the clock, which leads here, too.
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
            return _LOOK_AGAIN_WITHOUT_TIME_S
        if change_us is None:
            return _LOOK_AGAIN_S
        return min((change_us - epoch_us) / 1e6 + _MARGIN_S, _LOOK_AGAIN_S)

    def _tell_zone(self) -> None:
        zone, told = self._clock.time_zones[0], self._told_zone
        if told is None or (zone.offset_s, zone.name) != (told.offset_s, told.name):
            name: dict[str, Value] = {} if zone.name is None else {"name": zone.name}
            self.emit("TimeZoneStatus", offset=zone.offset_s, **name)
        self._told_zone = zone

    def _applies_dst(self) -> bool:
        epoch_us = self._clock.epoch_us()
        return epoch_us is not None and self._clock.dst_offset_s(epoch_us) != 0

    def _tell_dst(self) -> None:
        is_active = self._applies_dst()
        if is_active != self._is_dst_active:
            self._is_dst_active = is_active
            self.emit("DSTStatus", dst_offset_active=is_active)

    # UTC

    @reader
    def utc_time(self, context: InteractionContext) -> Value:
        """Matter time in microseconds, or null."""
        return self._clock.epoch_us()

    @reader
    def local_time(self, context: InteractionContext) -> Value:
        """Local time in microseconds since 2000-01-01, or null."""
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
        """Take a controller's time, unless the node's is better."""
        given = Granularity(granularity)
        level = lowered(given)
        if not self._clock.accepts(level, utc_time):
            raise StatusError(
                Status.FAILURE,
                cluster_status=_TIME_NOT_ACCEPTED,
                reason="not better than the node's time",
            )
        self._clock.set_epoch_us(utc_time, level, TimeSource.ADMIN)

    # Where the time is from

    @command
    def set_trusted_time_source(
        self, context: InteractionContext, *, trusted_time_source: Mapping[str, Value] | None
    ) -> None:
        """Choose the node to ask for the time, or none."""
        if trusted_time_source is None:
            self.set(trusted_time_source=None)
            self.emit("MissingTrustedTimeSource")
            return
        self.set(
            trusted_time_source={
                **trusted_time_source,
                "fabric_index": context.subject.fabric_index,
            }
        )
        self._update.source_changed(context.now)

    @command("SetDefaultNTP")
    def set_default_ntp(self, context: InteractionContext, *, default_ntp: str | None) -> None:
        """Choose the NTP server to ask for the time, or none."""
        if default_ntp is not None and not is_ntp_address(default_ntp, self._supports_dns):
            raise StatusError(Status.INVALID_COMMAND, reason="no domain name or IPv6 address")
        self.set(default_ntp=default_ntp)
        if default_ntp is not None:
            self._update.source_changed(context.now)

    def _trusted_fabric(self) -> int | None:
        """Return the fabric of the node to ask for the time, if there is one."""
        if not self.has_attribute("trusted_time_source"):
            return None
        source = self.get("trusted_time_source")
        return integer(source["fabric_index"]) if isinstance(source, Mapping) else None

    def _on_fabric_removed(self, fabric_index: int) -> None:
        if self._trusted_fabric() == fabric_index:
            self.set(trusted_time_source=None)
            self.emit("MissingTrustedTimeSource")

    # Local time

    @command
    def set_time_zone(
        self, context: InteractionContext, *, time_zone: Sequence[Mapping[str, Value]]
    ) -> Mapping[str, Value]:
        """Take the time zones; what was known of daylight saving does not fit them any more.

        Of zones that the database has, the node knows it by itself.
        """
        if len(time_zone) > MAX_TIME_ZONES:
            raise StatusError(Status.RESOURCE_EXHAUSTED, reason="too many time zones")
        zones = [_decode_time_zone(item) for item in time_zone]
        if not zones or zones[0].valid_at or any(not zone.valid_at for zone in zones[1:]):
            raise StatusError(Status.CONSTRAINT_ERROR, reason="the first zone, and only it, is now")
        self._told_zone = None
        epoch_us = self._clock.epoch_us()
        offsets = self._from_database(zones, epoch_us or 0)
        self.environment.store.delete(_OWN_OFFSETS_KEY)
        self._clock.set_local_time(zones, () if epoch_us is None else offsets or ())
        if offsets is None:
            self.emit("DSTTableEmpty")
        return {"dst_offsets_required": offsets is None}

    @command("SetDSTOffset")
    def set_dst_offset(
        self, context: InteractionContext, *, dst_offset: Sequence[Mapping[str, Value]]
    ) -> None:
        """Take the offsets of daylight saving."""
        if len(dst_offset) > MAX_DST_OFFSETS:
            raise StatusError(Status.RESOURCE_EXHAUSTED, reason="too many offsets")
        offsets = [_decode_dst_offset(item) for item in dst_offset]
        _check_dst_offsets(offsets)
        self.environment.store.set(_OWN_OFFSETS_KEY, b"1")
        self._clock.set_local_time(self._clock.time_zones, offsets)
        if not offsets:
            self.emit("DSTTableEmpty")


def _check_dst_offsets(offsets: Sequence[DstOffset]) -> None:
    """Raise StatusError unless each offset ends before the next begins."""
    end: int | None = 0
    for offset in offsets:
        if end is None or offset.valid_starting < end:
            raise StatusError(Status.CONSTRAINT_ERROR, reason="offsets overlap or are not in order")
        end = offset.valid_until
        if end is not None and end <= offset.valid_starting:
            raise StatusError(Status.CONSTRAINT_ERROR, reason="an offset ends before it begins")


def _decode_time_zone(item: Mapping[str, Value]) -> TimeZone:
    name = item.get("name")
    return TimeZone(
        integer(item["offset"]), integer(item["valid_at"]), None if name is None else text(name)
    )


def _encode_time_zone(zone: TimeZone) -> dict[str, Value]:
    name: dict[str, Value] = {} if zone.name is None else {"name": zone.name}
    return {"offset": zone.offset_s, "valid_at": zone.valid_at, **name}


def _decode_dst_offset(item: Mapping[str, Value]) -> DstOffset:
    return DstOffset(
        integer(item["offset"]),
        integer(item["valid_starting"]),
        integer_or_none(item["valid_until"]),
    )


def _encode_dst_offset(offset: DstOffset) -> dict[str, Value]:
    return {
        "offset": offset.offset_s,
        "valid_starting": offset.valid_starting,
        "valid_until": offset.valid_until,
    }
