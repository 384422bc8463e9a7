"""Time zones and daylight saving of the cluster Time Synchronization."""

from __future__ import annotations

from typing import cast

import pytest

from evse_node.cluster.definitions.definition import Value
from evse_node.matter.interaction.status import Status
from evse_node.matter.wall_clock import (
    MAX_EPOCH_US,
    DstOffset,
)
from tests.support.matter.time_host import HOUR, NO_DST, NOW_US, Host, S, Struct, dst, zone


@pytest.fixture
def host() -> Host:
    return Host()


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
def test_set_time_zone_stores_zones(host: Host, zones: list[Struct]) -> None:
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
def test_invalid_time_zones_are_refused(host: Host, zones: list[Value], status: Status) -> None:
    assert host.refused("SetTimeZone", time_zone=zones) == (status, None)
    assert host.read("time_zone") == [zone(0)]
    assert host.events() == []


def test_local_time_follows_zones(host: Host) -> None:
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


def test_zone_change_emits_event(host: Host) -> None:
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
def test_invalid_dst_offsets_are_refused(host: Host, offsets: list[Value]) -> None:
    host.set_time()
    assert host.refused("SetDSTOffset", dst_offset=offsets) == (Status.CONSTRAINT_ERROR, None)
    assert host.read("dst_offset") == []


def test_dst_offsets_up_to_maximum_are_accepted(host: Host) -> None:
    host.set_time()
    room = host.read("dst_offset_list_max_size")
    assert isinstance(room, int)
    year = 31_560_000 * S
    offsets = [dst(3600, NOW_US + year * i + S, NOW_US + year * (i + 1)) for i in range(room + 1)]
    refusal = host.refused("SetDSTOffset", dst_offset=cast("list[Value]", offsets))
    assert refusal == (Status.RESOURCE_EXHAUSTED, None)
    host.set_dst(*offsets[:room])
    assert host.read("dst_offset") == offsets[:room]


def test_local_time_follows_dst_offsets(host: Host) -> None:
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


def test_dst_change_emits_event(host: Host) -> None:
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


def test_dst_offset_starts_when_time_is_known(host: Host) -> None:
    host.set_dst(dst(3600))
    assert host.events() == []
    host.set_time()
    assert host.events() == [("DSTStatus", {"dst_offset_active": True})]


def test_local_time_survives_restart(host: Host) -> None:
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
def zone_host() -> Host:
    """A host whose time is in an hour without DST."""
    host = Host(look_up_dst=look_up)
    assert (NOW_US // HOUR_US % 2, NOW_US % HOUR_US) == (1, 2000 * S)
    host.set_time(NOW_US + HOUR_US)
    host.events()
    return host


def test_known_zone_takes_dst_from_database(zone_host: Host) -> None:
    host = zone_host
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
def test_unknown_zone_requires_dst_offsets(zone_host: Host, zones: list[Struct]) -> None:
    zone_host.set_zone(zone(0, name="Half/Hour"))
    assert zone_host.set_zone(*zones) is True
    assert ("DSTTableEmpty", {}) in zone_host.events()
    assert zone_host.read("dst_offset") == []


def test_offsets_of_controller_override_database(zone_host: Host) -> None:
    zone_host.set_zone(zone(0, name="Half/Hour"))
    zone_host.set_dst(dst(1800))
    zone_host.wait(5 * HOUR)
    assert zone_host.read("dst_offset") == [dst(1800)]
    again = zone_host.restart()
    again.set_time()
    assert again.read("dst_offset") == [dst(1800)]
    again.set_zone(zone(0, name="Half/Hour"))
    assert again.local_offset_s() == 3600
    assert again.restart().read("dst_offset") != [dst(1800)]


def test_database_is_used_once_time_is_known() -> None:
    host = Host(look_up_dst=look_up)
    assert host.set_zone(zone(0, name="Half/Hour")) is False
    assert host.read("dst_offset") == []
    host.set_time(NOW_US)
    assert host.local_offset_s() == 3600


@pytest.mark.parametrize("valid_at", [MAX_EPOCH_US + 1, 2**64 - 1])
def test_zone_beyond_calendar_range_is_accepted(zone_host: Host, valid_at: int) -> None:
    late = zone(3600, valid_at, name="Half/Hour")
    assert zone_host.set_zone(zone(0, name="Still/Land"), late) is False
    assert zone_host.read("dst_offset") == [dst(0)]
    assert zone_host.restart().set_zone(zone(0, name="Still/Land"), late) is False


def test_each_zone_has_dst_of_its_own_period(zone_host: Host) -> None:
    then = zone_host.expires_in(1800)
    zone_host.set_zone(zone(0, name="Still/Land"), zone(3600, then, name="Half/Hour"))
    begin = NOW_US // HOUR_US * HOUR_US
    assert zone_host.read("dst_offset") == [
        dst(0, 0, then),
        dst(3600, then, begin + 3 * HOUR_US),
        dst(0, begin + 3 * HOUR_US, begin + 4 * HOUR_US),
        dst(3600, begin + 4 * HOUR_US, begin + 5 * HOUR_US),
    ]
    zone_host.wait(1801)
    assert zone_host.local_offset_s() == 7200
    assert zone_host.read("time_zone") == [zone(3600, name="Half/Hour")]


def test_database_update_leaves_one_timer() -> None:
    adds = [DstOffset(0, 0, None)]
    host = Host(look_up_dst=lambda name, offset_s, epoch_us: tuple(adds))
    host.set_time()
    host.set_zone(zone(0, name="Some/Where"))
    count = len(host.root.timers)
    for offset_s in range(1, 5):
        adds[0] = DstOffset(offset_s, 0, None)
        host.set_time()
        assert host.local_offset_s() == offset_s
    assert len(host.root.timers) == count
