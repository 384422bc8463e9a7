"""Time Synchronization, along its certification tests: UTC and its sources."""

from __future__ import annotations

import pytest

from evse_node.cluster.definitions.zap import load_definitions
from evse_node.cluster.servers.root.time_synchronization import TimeSynchronizationServer
from evse_node.cluster.servers.root.time_update import is_ntp_address
from evse_node.matter.interaction.status import Status
from evse_node.matter.wall_clock import (
    ClockSource,
    GivenTime,
    Granularity,
    TimeSource,
    WallClock,
)
from tests.support.matter.fake_fabric import add_pending
from tests.support.matter.root_node import RootNode
from tests.support.matter.time_host import HOUR, NOW_US, Host, S, Struct, zone


@pytest.fixture
def host() -> Host:
    return Host()


# UTC


def test_time_is_null_on_fresh_node(host: Host) -> None:
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


def test_time_sources_select_features() -> None:
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


def test_set_utc_time_sets_clock(host: Host) -> None:
    host.set_time()
    host.root.now += 2
    assert host.read("utc_time") == NOW_US + 2 * S
    assert host.read("granularity") == Granularity.SECONDS
    assert host.read("time_source") == TimeSource.ADMIN
    host.set_time(NOW_US + 60 * S)
    assert host.read("utc_time") == NOW_US + 60 * S


@pytest.mark.parametrize("granularity", [Granularity.NO_TIME, Granularity.SECONDS])
def test_less_accurate_time_is_refused(host: Host, granularity: int) -> None:
    host.set_time()
    refusal = host.refused("SetUTCTime", utc_time=1, granularity=granularity)
    assert refusal == (Status.FAILURE, 2)
    assert host.read("utc_time") == NOW_US


def test_time_beyond_range_of_seconds_is_refused(host: Host) -> None:
    last = 0xFFFF_FFFF * S
    refusal = host.refused("SetUTCTime", utc_time=last + 1, granularity=4)
    assert refusal == (Status.FAILURE, 2)
    host.set_time(last)
    assert host.read("utc_time") == last


def test_system_clock_is_not_set() -> None:
    utc_us: list[int | None] = [None]
    host = Host(source=ClockSource.SYSTEM, system_utc_us=lambda: utc_us[0])
    host.set_time()
    assert host.read("utc_time") == NOW_US
    utc_us[0] = 1_800_000_000 * S
    assert host.refused("SetUTCTime", utc_time=1, granularity=4) == (Status.FAILURE, 2)
    assert host.read("utc_time") == (1_800_000_000 - 946_684_800) * S
    host.wait(HOUR)
    assert host.read("time_source") == TimeSource.UNKNOWN
    assert not host.queries


def test_time_is_not_reported_but_granularity_is(host: Host) -> None:
    host.set_time()
    assert {path.attribute for path in host.root.changes} == {1, 2}


# Sources of time


def test_trusted_time_source_is_stored_with_fabric(host: Host) -> None:
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


def test_time_source_of_rolled_back_fabric_is_cleared(host: Host) -> None:
    """The next fabric may take the index, and its node 7 is another node."""
    fabric = add_pending(host.root.fabrics, 9)
    source: Struct = {"node_id": 7, "endpoint": 0}
    host.invoke("SetTrustedTimeSource", fabric.index, trusted_time_source=source)
    assert host.restart().read("trusted_time_source") is None


def test_time_is_read_from_trusted_node(host: Host) -> None:
    host.root.add_fabric()
    host.invoke("SetTrustedTimeSource", trusted_time_source={"node_id": 7, "endpoint": 3})
    host.wait(0)
    ((question, answer),) = host.queries
    assert question == (1, 7, 3)
    answer(GivenTime(NOW_US, Granularity.MILLISECONDS), host.root.now)
    assert host.read("utc_time") == NOW_US
    assert host.read("granularity") == Granularity.SECONDS
    assert host.read("time_source") == TimeSource.NODE_TIME_CLUSTER
    assert host.events() == []
    host.wait(86_000)
    assert len(host.queries) == 1
    host.wait(500)
    assert len(host.queries) == 2


def test_ntp_server_is_queried_when_trusted_node_fails(host: Host) -> None:
    host.root.add_fabric()
    host.invoke("SetDefaultNTP", default_ntp="fe80::1")
    host.invoke("SetTrustedTimeSource", trusted_time_source={"node_id": 7, "endpoint": 3})
    host.wait(0)
    host.queries.pop()[1](None, host.root.now)
    assert host.events() == [("MissingTrustedTimeSource", {})]
    ((server, answer),) = host.queries
    assert server == "fe80::1"
    answer(GivenTime(NOW_US, Granularity.MILLISECONDS), host.root.now)
    assert host.read("utc_time") == NOW_US
    assert host.read("granularity") == Granularity.MILLISECONDS
    assert host.read("time_source") == TimeSource.NON_MATTER_SNTP


def test_failure_event_is_emitted_once_per_hour(host: Host) -> None:
    host.wait(HOUR)
    emitted = [name for name, _ in host.events()]
    assert sorted(emitted) == ["MissingTrustedTimeSource", "TimeFailure"]
    host.wait(HOUR)
    assert len(host.events()) == 2
    host.set_time()
    host.wait(2 * HOUR)
    assert "TimeFailure" not in [name for name, _ in host.events()]


def test_late_answer_is_ignored(host: Host) -> None:
    host.invoke("SetDefaultNTP", default_ntp="ntp.example")
    host.wait(700)
    assert len(host.queries) == 2
    late = GivenTime(5, Granularity.MILLISECONDS)
    host.queries[0][1](late, host.root.now)
    assert host.read("utc_time") is None
    host.queries[1][1](late, host.root.now)
    assert host.read("utc_time") == 5


def test_answer_does_not_replace_better_time(host: Host) -> None:
    host.root.add_fabric()
    host.invoke("SetTrustedTimeSource", trusted_time_source={"node_id": 7, "endpoint": 3})
    host.wait(0)
    host.set_time()
    host.queries[0][1](GivenTime(5, Granularity.SECONDS), host.root.now)
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
def test_default_ntp_address_is_validated(host: Host, text: str, is_address: bool) -> None:
    assert is_ntp_address(text, True) is is_address
    if is_address:
        host.invoke("SetDefaultNTP", default_ntp=text)
        assert host.read("default_ntp") == text
        assert host.restart().read("default_ntp") == text
        host.invoke("SetDefaultNTP", default_ntp=None)
    else:
        assert host.refused("SetDefaultNTP", default_ntp=text) == (Status.INVALID_COMMAND, None)
    assert host.read("default_ntp") is None


def test_ntp_name_is_refused_without_dns() -> None:
    host = Host(supports_dns=False)
    refusal = host.refused("SetDefaultNTP", default_ntp="time.nist.gov")
    assert refusal == (Status.INVALID_COMMAND, None)
    host.invoke("SetDefaultNTP", default_ntp="::1")
