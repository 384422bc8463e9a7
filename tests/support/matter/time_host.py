"""A root node with the cluster Time Synchronization, and times, zones and offsets for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

import pytest

from evse_node.cluster.definitions.definition import Value
from evse_node.cluster.definitions.zap import load_definitions
from evse_node.cluster.servers.root.daylight_saving import LookUpDst
from evse_node.cluster.servers.root.time_synchronization import TimeSynchronizationServer
from evse_node.errors import StatusError
from evse_node.matter.wall_clock import ClockSource, Granularity, OnTime, WallClock
from tests.support.matter.root_node import RootNode

S = 1_000_000
HOUR = 3600.0
NOW_US = 830_000_000 * S
Struct = dict[str, Value]


class Host:
    """A root node with the cluster; `queries` are its requests to time sources."""

    def __init__(
        self,
        root: RootNode | None = None,
        source: ClockSource = ClockSource.MATTER,
        system_utc_us: Callable[[], int | None] = lambda: None,
        supports_dns: bool = True,
        look_up_dst: LookUpDst | None = None,
    ) -> None:
        self.root = root or RootNode()
        self.queries: list[tuple[object, OnTime]] = []
        self.clock = WallClock(source, monotonic=lambda: self.root.now, system_utc_us=system_utc_us)
        self.server = TimeSynchronizationServer(
            load_definitions()["Time Synchronization"],
            self.clock,
            self.root.timers,
            self.root.fabrics,
            read_node=lambda fabric, node, endpoint, on_time, now: self.queries.append(
                ((fabric, node, endpoint), on_time)
            ),
            query_ntp=lambda host, on_time, now: self.queries.append((host, on_time)),
            supports_dns=supports_dns,
            look_up_dst=look_up_dst,
        )
        self.look_up_dst = look_up_dst
        self.root.node.endpoints[0].clusters[self.server.id] = self.server
        self.server.attach(0, self.root.environment)

    def restart(self) -> Host:
        self.root.store.commit()
        return Host(self.root.restart(), look_up_dst=self.look_up_dst)

    def wait(self, seconds: float) -> None:
        end = self.root.now + seconds
        while (when := self.root.timers.deadline()) is not None and when <= end:
            self.root.now = when
            self.root.timers.run(when)
        self.root.now = end

    def read(self, name: str) -> Value:
        return self.root.read(self.server, name)

    def invoke(self, name: str, fabric: int = 1, **fields: Value) -> Mapping[str, Value]:
        return self.root.invoke(self.server, name, self.root.case(fabric), **fields)

    def refused(self, name: str, **fields: Value) -> tuple[int, int | None]:
        with pytest.raises(StatusError) as caught:
            self.invoke(name, fabric=1, **fields)
        return caught.value.status, caught.value.cluster_status

    def set_time(self, epoch_us: int = NOW_US, granularity: int = Granularity.MILLISECONDS) -> None:
        self.invoke("SetUTCTime", utc_time=epoch_us, granularity=granularity)

    def set_zone(self, *zones: Struct) -> Value:
        return self.invoke("SetTimeZone", time_zone=list(zones))["dst_offsets_required"]

    def set_dst(self, *offsets: Struct) -> None:
        self.invoke("SetDSTOffset", dst_offset=list(offsets))

    def events(self) -> list[tuple[str, Mapping[str, Value]]]:
        return [(name, fields) for name, fields, _ in self.root.events.take()]

    def local_offset_s(self) -> float | None:
        local, utc = self.read("local_time"), self.read("utc_time")
        if local is None:
            return None
        return (cast("int", local) - cast("int", utc)) / S

    def expires_in(self, seconds: float) -> int:
        now = self.clock.epoch_us()
        assert now is not None
        return now + int(seconds * S)


def zone(offset: int, valid_at: int = 0, name: str | None = None) -> Struct:
    return {"offset": offset, "valid_at": valid_at} | ({} if name is None else {"name": name})


def dst(offset: int, starting: int = 0, until: int | None = None) -> Struct:
    return {"offset": offset, "valid_starting": starting, "valid_until": until}


NO_DST = dst(0)
