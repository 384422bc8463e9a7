"""Time Synchronization, along the steps of its certification tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

import pytest

from evse_node.cluster.daylight_saving import LookUpDst
from evse_node.cluster.definition import Value
from evse_node.cluster.time_synchronization import TimeSynchronizationServer
from evse_node.cluster.time_update import is_ntp_address
from evse_node.cluster.zap import load_definitions
from evse_node.errors import StatusError
from evse_node.matter.interaction.status import Status
from evse_node.matter.wall_clock import (
    MAX_EPOCH_US,
    ClockSource,
    DstOffset,
    GivenTime,
    Granularity,
    OnTime,
    TimeSource,
    WallClock,
)
from tests.fake_fabric import add_pending
from tests.root_node import RootNode

S = 1_000_000
HOUR = 3600.0
NOW_US = 830_000_000 * S
Struct = dict[str, Value]


class Host:
    """A root node with the cluster; `asked` are the questions to other sources of time."""

    def __init__(
        self,
        root: RootNode | None = None,
        source: ClockSource = ClockSource.MATTER,
        system_utc_us: Callable[[], int | None] = lambda: None,
        supports_dns: bool = True,
        look_up_dst: LookUpDst | None = None,
    ) -> None:
        self.root = root or RootNode()
        self.asked: list[tuple[object, OnTime]] = []
        self.clock = WallClock(source, monotonic=lambda: self.root.now, system_utc_us=system_utc_us)
        self.server = TimeSynchronizationServer(
            load_definitions()["Time Synchronization"],
            self.clock,
            self.root.timers,
            self.root.fabrics,
            read_node=lambda fabric, node, endpoint, on_time, now: self.asked.append(
                ((fabric, node, endpoint), on_time)
            ),
            query_ntp=lambda host, on_time, now: self.asked.append((host, on_time)),
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
            self.invoke(name, **fields)
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


@pytest.fixture
def host() -> Host:
    return Host()


def zone(offset: int, valid_at: int = 0, name: str | None = None) -> Struct:
    return {"offset": offset, "valid_at": valid_at} | ({} if name is None else {"name": name})


def dst(offset: int, starting: int = 0, until: int | None = None) -> Struct:
    return {"offset": offset, "valid_starting": starting, "valid_until": until}


NO_DST = dst(0)


# UTC


def test_a_fresh_node_has_no_time(host: Host) -> None:
    assert host.read("utc_time") is None
    assert host.read("granularity") == Granularity.NO_TIME
    assert host.read("time_source") == TimeSource.NONE
    assert host.read("trusted_time_source") is None
    assert host.read("default_ntp") is None
    assert host.read("time_zone") == [zone(0)]
    assert host.read("dst_offset") == []
    assert host.read("local_time") is None
    assert host.read("time_zone_database") == 2
    assert host.read("supports_dns_resolve") is True
    assert host.read("feature_map") == 0b1011


def test_features_follow_from_what_the_node_can_do() -> None:
    root = RootNode()
    clock = WallClock(monotonic=lambda: root.now, system_utc_us=lambda: None)
    definition = load_definitions()["Time Synchronization"]
    server = TimeSynchronizationServer(definition, clock, root.timers, root.fabrics)
    assert root.read(server, "feature_map") == 1
    root.node.endpoints[0].clusters[server.id] = server
    server.attach(0, root.environment)
    root.add_fabric()
    root.fabrics.remove(1)
    root.timers.run(root.now + 60)
    assert [name for name, _, _ in root.events.take()] == ["TimeFailure"]


def test_an_administrator_sets_the_time(host: Host) -> None:
    host.set_time()
    host.root.now += 2
    assert host.read("utc_time") == NOW_US + 2 * S
    assert host.read("granularity") == Granularity.SECONDS
    assert host.read("time_source") == TimeSource.ADMIN
    host.set_time(NOW_US + 60 * S)
    assert host.read("utc_time") == NOW_US + 60 * S


@pytest.mark.parametrize("granularity", [Granularity.NO_TIME, Granularity.SECONDS])
def test_a_worse_time_is_refused(host: Host, granularity: int) -> None:
    host.set_time()
    refusal = host.refused("SetUTCTime", utc_time=1, granularity=granularity)
    assert refusal == (Status.FAILURE, 2)
    assert host.read("utc_time") == NOW_US


def test_a_time_that_no_seconds_can_tell_is_refused(host: Host) -> None:
    last = 0xFFFF_FFFF * S
    refusal = host.refused("SetUTCTime", utc_time=last + 1, granularity=4)
    assert refusal == (Status.FAILURE, 2)
    host.set_time(last)
    assert host.read("utc_time") == last


def test_the_systems_clock_is_not_set() -> None:
    utc_us: list[int | None] = [None]
    host = Host(source=ClockSource.SYSTEM, system_utc_us=lambda: utc_us[0])
    host.set_time()
    assert host.read("utc_time") == NOW_US
    utc_us[0] = 1_800_000_000 * S
    assert host.refused("SetUTCTime", utc_time=1, granularity=4) == (Status.FAILURE, 2)
    assert host.read("utc_time") == (1_800_000_000 - 946_684_800) * S
    host.wait(HOUR)
    assert host.read("time_source") == TimeSource.UNKNOWN
    assert not host.asked


def test_the_time_is_not_reported_but_its_granularity_is(host: Host) -> None:
    host.set_time()
    assert {path.attribute for path in host.root.changes} == {1, 2}


# Time zones


@pytest.mark.parametrize(
    "zones",
    [
        [zone(0)],
        [zone(0, name="")],
        [zone(-43_200)],
        [zone(50_400)],
        [zone(3600, name="Europe/Dublin")],
        [zone(3600, name="Europe/Dublin"), zone(7200, NOW_US + 120 * S, "Europe/Athens")],
        [zone(0, name="x" * 64)],
    ],
)
def test_time_zones(host: Host, zones: list[Struct]) -> None:
    host.set_time()
    assert host.set_zone(*zones) is True
    assert host.read("time_zone") == zones


@pytest.mark.parametrize(
    ("zones", "status"),
    [
        ([], Status.CONSTRAINT_ERROR),
        ([zone(3600, NOW_US)], Status.CONSTRAINT_ERROR),
        ([zone(3600), zone(0)], Status.CONSTRAINT_ERROR),
        ([zone(-43_201)], Status.CONSTRAINT_ERROR),
        ([zone(50_401)], Status.CONSTRAINT_ERROR),
        ([zone(0, name="x" * 65)], Status.CONSTRAINT_ERROR),
        ([zone(0), zone(1, 5), zone(2, 6)], Status.RESOURCE_EXHAUSTED),
    ],
)
def test_bad_time_zones(host: Host, zones: list[Value], status: Status) -> None:
    assert host.refused("SetTimeZone", time_zone=zones) == (status, None)
    assert host.read("time_zone") == [zone(0)]
    assert host.events() == []


def test_local_time_follows_the_zones(host: Host) -> None:
    host.set_time()
    host.set_zone(zone(3600), zone(7200, host.expires_in(10)))
    assert host.local_offset_s() is None
    host.set_dst(NO_DST)
    assert host.local_offset_s() == 3600
    host.wait(15)
    assert host.local_offset_s() == 7200
    assert host.read("time_zone") == [zone(7200)]
    host.set_zone(zone(-3600))
    host.set_dst(NO_DST)
    assert host.local_offset_s() == -3600


def test_zone_events(host: Host) -> None:
    host.set_time()
    host.set_zone(zone(7200))
    assert host.events() == [("TimeZoneStatus", {"offset": 7200}), ("DSTTableEmpty", {})]
    host.set_zone(zone(7200))
    assert [name for name, _ in host.events()] == ["TimeZoneStatus", "DSTTableEmpty"]
    host.set_zone(zone(3600, 0, "Not/Real"), zone(7200, host.expires_in(10), "Un/Real"))
    host.set_dst(NO_DST)
    assert host.events() == [
        ("TimeZoneStatus", {"offset": 3600, "name": "Not/Real"}),
        ("DSTTableEmpty", {}),
    ]
    host.wait(15)
    assert ("TimeZoneStatus", {"offset": 7200, "name": "Un/Real"}) in host.events()


# Daylight saving


BAD_OFFSETS = [
    [dst(3600, NOW_US, NOW_US + 9 * S), dst(3600, 0, NOW_US)],
    [dst(3600, 0, NOW_US + 300 * S), dst(3600, NOW_US, NOW_US + 900 * S)],
    [dst(3600, 0, None), dst(3600, NOW_US + 300 * S, None)],
    [dst(3600, 0, None), dst(3600, NOW_US + 300 * S, NOW_US + 900 * S)],
    [dst(3600, NOW_US + 1, NOW_US + 1)],
]


@pytest.mark.parametrize("offsets", BAD_OFFSETS)
def test_bad_dst_offsets(host: Host, offsets: list[Value]) -> None:
    host.set_time()
    assert host.refused("SetDSTOffset", dst_offset=offsets) == (Status.CONSTRAINT_ERROR, None)
    assert host.read("dst_offset") == []


def test_as_many_dst_offsets_as_there_is_room_for(host: Host) -> None:
    host.set_time()
    room = host.read("dst_offset_list_max_size")
    assert isinstance(room, int)
    year = 31_560_000 * S
    offsets = [dst(3600, NOW_US + year * i + S, NOW_US + year * (i + 1)) for i in range(room + 1)]
    refusal = host.refused("SetDSTOffset", dst_offset=cast("list[Value]", offsets))
    assert refusal == (Status.RESOURCE_EXHAUSTED, None)
    host.set_dst(*offsets[:room])
    assert host.read("dst_offset") == offsets[:room]


def test_local_time_follows_daylight_saving(host: Host) -> None:
    host.set_time()
    host.set_zone(zone(0))
    host.set_dst(
        dst(3600, 0, host.expires_in(10)), dst(7200, host.expires_in(25), host.expires_in(40))
    )
    seen = [host.local_offset_s()]
    for _ in range(3):
        host.wait(15)
        seen.append(host.local_offset_s())
    assert seen == [3600, 0, 7200, None]
    host.set_dst(dst(3600, host.expires_in(10)))
    assert host.local_offset_s() == 0
    host.wait(15)
    assert host.local_offset_s() == 3600


def test_dst_events(host: Host) -> None:
    host.set_time()
    host.set_zone(zone(7200))
    host.events()
    host.set_dst(
        dst(3600, 0, host.expires_in(10)), dst(3600, host.expires_in(25), host.expires_in(40))
    )
    assert host.events() == [("DSTStatus", {"dst_offset_active": True})]
    seen = []
    for _ in range(3):
        host.wait(15)
        seen.append([event for event in host.events() if event[0].startswith("DST")])
    assert seen == [
        [("DSTStatus", {"dst_offset_active": False})],
        [("DSTStatus", {"dst_offset_active": True})],
        [("DSTStatus", {"dst_offset_active": False}), ("DSTTableEmpty", {})],
    ]
    host.set_dst(dst(3600))
    host.set_zone(zone(0))
    assert host.events() == [
        ("DSTStatus", {"dst_offset_active": True}),
        ("TimeZoneStatus", {"offset": 0}),
        ("DSTStatus", {"dst_offset_active": False}),
        ("DSTTableEmpty", {}),
    ]
    host.set_dst()
    assert host.events() == [("DSTTableEmpty", {})]


def test_daylight_saving_waits_for_the_time(host: Host) -> None:
    host.set_dst(dst(3600))
    assert host.events() == []
    host.set_time()
    assert host.events() == [("DSTStatus", {"dst_offset_active": True})]


def test_local_time_survives_a_restart(host: Host) -> None:
    host.root.add_fabric()
    host.set_time()
    host.set_zone(zone(7200, name="A/B"))
    host.set_dst(dst(3600))
    again = host.restart()
    assert again.read("time_zone") == [zone(7200, name="A/B")]
    assert again.read("dst_offset") == [dst(3600)]
    assert again.read("utc_time") is None
    again.events()
    again.set_time()
    assert again.local_offset_s() == 10_800
    assert again.events() == [("DSTStatus", {"dst_offset_active": True})]


# Sources of time


# A database of time zones. Half/Hour adds an hour in every second hour, Still/Land nothing.

HOUR_US = 3600 * S


def look_up(name: str, offset_s: int, epoch_us: int) -> list[DstOffset] | None:
    if name == "Still/Land":
        return [DstOffset(0, 0, None)]
    if name != "Half/Hour":
        return None
    first = epoch_us // HOUR_US
    return [
        DstOffset(hour % 2 * 3600, hour * HOUR_US, (hour + 1) * HOUR_US)
        for hour in range(first, first + 3)
    ]


@pytest.fixture
def geographer() -> Host:
    """Its time is in an hour in which nothing is added."""
    host = Host(look_up_dst=look_up)
    assert (NOW_US // HOUR_US % 2, NOW_US % HOUR_US) == (1, 2000 * S)
    host.set_time(NOW_US + HOUR_US)
    host.events()
    return host


def test_daylight_saving_of_zones_that_are_known(geographer: Host) -> None:
    host = geographer
    assert host.read("time_zone_database") == 0
    assert host.set_zone(zone(7200, name="Half/Hour")) is False
    assert ("DSTTableEmpty", {}) not in host.events()
    begin = NOW_US // HOUR_US * HOUR_US
    assert host.read("dst_offset") == [
        dst(0, begin + HOUR_US, begin + 2 * HOUR_US),
        dst(3600, begin + 2 * HOUR_US, begin + 3 * HOUR_US),
        dst(0, begin + 3 * HOUR_US, begin + 4 * HOUR_US),
    ]
    seen = [host.local_offset_s()]
    for _ in range(30):
        host.wait(HOUR)
        seen.append(host.local_offset_s())
    assert seen == [7200, 10_800] * 15 + [7200]
    assert ("DSTTableEmpty", {}) not in host.events()
    assert host.restart().set_zone(zone(0, name="Still/Land")) is False


@pytest.mark.parametrize(
    "zones",
    [
        [zone(0, name="Not/Real")],
        [zone(0, name="")],
        [zone(0)],
        [zone(0, name="Half/Hour"), zone(0, NOW_US + 9 * HOUR_US, name="Not/Real")],
    ],
)
def test_daylight_saving_of_other_zones(geographer: Host, zones: list[Struct]) -> None:
    geographer.set_zone(zone(0, name="Half/Hour"))
    assert geographer.set_zone(*zones) is True
    assert ("DSTTableEmpty", {}) in geographer.events()
    assert geographer.read("dst_offset") == []


def test_a_controller_may_know_better(geographer: Host) -> None:
    geographer.set_zone(zone(0, name="Half/Hour"))
    geographer.set_dst(dst(1800))
    geographer.wait(5 * HOUR)
    assert geographer.read("dst_offset") == [dst(1800)]
    again = geographer.restart()
    again.set_time()
    assert again.read("dst_offset") == [dst(1800)]
    again.set_zone(zone(0, name="Half/Hour"))
    assert again.local_offset_s() == 3600
    assert again.restart().read("dst_offset") != [dst(1800)]


def test_the_database_waits_for_the_time() -> None:
    host = Host(look_up_dst=look_up)
    assert host.set_zone(zone(0, name="Half/Hour")) is False
    assert host.read("dst_offset") == []
    host.set_time(NOW_US)
    assert host.local_offset_s() == 3600


@pytest.mark.parametrize("valid_at", [MAX_EPOCH_US + 1, 2**64 - 1])
def test_a_zone_beyond_all_calendars(geographer: Host, valid_at: int) -> None:
    late = zone(3600, valid_at, name="Half/Hour")
    assert geographer.set_zone(zone(0, name="Still/Land"), late) is False
    assert geographer.read("dst_offset") == [dst(0)]
    assert geographer.restart().set_zone(zone(0, name="Still/Land"), late) is False


def test_each_zone_has_daylight_saving_in_its_own_time(geographer: Host) -> None:
    then = geographer.expires_in(1800)
    geographer.set_zone(zone(0, name="Still/Land"), zone(3600, then, name="Half/Hour"))
    begin = NOW_US // HOUR_US * HOUR_US
    assert geographer.read("dst_offset") == [
        dst(0, 0, then),
        dst(3600, then, begin + 3 * HOUR_US),
        dst(0, begin + 3 * HOUR_US, begin + 4 * HOUR_US),
        dst(3600, begin + 4 * HOUR_US, begin + 5 * HOUR_US),
    ]
    geographer.wait(1801)
    assert geographer.local_offset_s() == 7200
    assert geographer.read("time_zone") == [zone(3600, name="Half/Hour")]


def test_trusted_time_source(host: Host) -> None:
    host.root.add_fabric(1)
    host.root.add_fabric(2)
    host.invoke("SetTrustedTimeSource", 2, trusted_time_source={"node_id": 7, "endpoint": 0})
    assert host.read("trusted_time_source") == {"fabric_index": 2, "node_id": 7, "endpoint": 0}
    again = host.restart()
    assert again.read("trusted_time_source") == {"fabric_index": 2, "node_id": 7, "endpoint": 0}
    again.root.fabrics.remove(1)
    assert again.events() == []
    again.root.fabrics.remove(2)
    assert again.read("trusted_time_source") is None
    assert again.events() == [("MissingTrustedTimeSource", {})]
    again.invoke("SetTrustedTimeSource", trusted_time_source=None)
    assert again.events() == [("MissingTrustedTimeSource", {})]


def test_a_time_source_goes_with_a_fabric_that_never_came_about(host: Host) -> None:
    """Its index may be another fabric's next time, whose node 7 is somebody else."""
    fabric = add_pending(host.root.fabrics, 9)
    source: Struct = {"node_id": 7, "endpoint": 0}
    host.invoke("SetTrustedTimeSource", fabric.index, trusted_time_source=source)
    assert host.restart().read("trusted_time_source") is None


def test_the_trusted_node_is_asked(host: Host) -> None:
    host.root.add_fabric()
    host.invoke("SetTrustedTimeSource", trusted_time_source={"node_id": 7, "endpoint": 3})
    host.wait(0)
    ((question, answer),) = host.asked
    assert question == (1, 7, 3)
    answer(GivenTime(NOW_US, Granularity.MILLISECONDS), host.root.now)
    assert host.read("utc_time") == NOW_US
    assert host.read("granularity") == Granularity.SECONDS
    assert host.read("time_source") == TimeSource.NODE_TIME_CLUSTER
    assert host.events() == []
    host.wait(86_000)
    assert len(host.asked) == 1
    host.wait(500)
    assert len(host.asked) == 2


def test_without_answer_the_ntp_server_is_asked(host: Host) -> None:
    host.root.add_fabric()
    host.invoke("SetDefaultNTP", default_ntp="fe80::1")
    host.invoke("SetTrustedTimeSource", trusted_time_source={"node_id": 7, "endpoint": 3})
    host.wait(0)
    host.asked.pop()[1](None, host.root.now)
    assert host.events() == [("MissingTrustedTimeSource", {})]
    ((server, answer),) = host.asked
    assert server == "fe80::1"
    answer(GivenTime(NOW_US, Granularity.MILLISECONDS), host.root.now)
    assert host.read("utc_time") == NOW_US
    assert host.read("granularity") == Granularity.MILLISECONDS
    assert host.read("time_source") == TimeSource.NON_MATTER_SNTP


def test_failure_is_told_once_per_hour(host: Host) -> None:
    host.wait(HOUR)
    told = [name for name, _ in host.events()]
    assert sorted(told) == ["MissingTrustedTimeSource", "TimeFailure"]
    host.wait(HOUR)
    assert len(host.events()) == 2
    host.set_time()
    host.wait(2 * HOUR)
    assert "TimeFailure" not in [name for name, _ in host.events()]


def test_a_late_answer_does_not_count(host: Host) -> None:
    host.invoke("SetDefaultNTP", default_ntp="ntp.example")
    host.wait(700)
    assert len(host.asked) == 2
    late = GivenTime(5, Granularity.MILLISECONDS)
    host.asked[0][1](late, host.root.now)
    assert host.read("utc_time") is None
    host.asked[1][1](late, host.root.now)
    assert host.read("utc_time") == 5


def test_an_answer_does_not_replace_a_better_time(host: Host) -> None:
    host.root.add_fabric()
    host.invoke("SetTrustedTimeSource", trusted_time_source={"node_id": 7, "endpoint": 3})
    host.wait(0)
    host.set_time()
    host.asked[0][1](GivenTime(5, Granularity.SECONDS), host.root.now)
    assert host.read("utc_time") == NOW_US


@pytest.mark.parametrize(
    ("text", "is_address"),
    [
        ("time.nist.gov", True),
        ("fe80::1", True),
        ("2001:db8::7", True),
        ("RandomString", False),
        ("fe80:1", False),
        ("fz80::1", False),
        ("192.0.2.1", False),
        ("fe80::1%eth0", False),
        ("[fe80::1]:123", False),
        ("time.nist.gov:123", False),
        ("-a.example", False),
        ("", False),
    ],
)
def test_ntp_addresses(host: Host, text: str, is_address: bool) -> None:
    assert is_ntp_address(text, True) is is_address
    if is_address:
        host.invoke("SetDefaultNTP", default_ntp=text)
        assert host.read("default_ntp") == text
        assert host.restart().read("default_ntp") == text
        host.invoke("SetDefaultNTP", default_ntp=None)
    else:
        assert host.refused("SetDefaultNTP", default_ntp=text) == (Status.INVALID_COMMAND, None)
    assert host.read("default_ntp") is None


def test_without_name_resolution_only_addresses_will_do() -> None:
    host = Host(supports_dns=False)
    refusal = host.refused("SetDefaultNTP", default_ntp="time.nist.gov")
    assert refusal == (Status.INVALID_COMMAND, None)
    host.invoke("SetDefaultNTP", default_ntp="::1")
