"""Subscriptions: resumption after a restart."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from evse_node.matter.interaction.status import Status
from evse_node.matter.messaging.session import Address, SecureSession
from evse_node.matter.tlv import TlvValue, decode_struct, encode
from tests.support.matter.interaction_client import (
    InteractionClient,
    reports_of,
)
from tests.support.matter.interaction_host import Client, InteractionHost
from tests.support.matter.sample_cluster import CLUSTER, LEVEL_PATH, NOTES, UPTIME

# Fabrics that exist after a restart.
FABRICS = {1}


class FakeConnector:
    """Connector that answers each attempt with the session of `connect`, or with None."""

    def __init__(self, connect: Callable[[], SecureSession | None]) -> None:
        self._connect = connect
        self.peers: list[tuple[int, int, Address]] = []
        self.times: list[float] = []

    def __call__(
        self,
        fabric_index: int,
        node_id: int,
        address: Address,
        on_done: Callable[[SecureSession | None, float], None],
        now: float,
    ) -> None:
        self.peers.append((fabric_index, node_id, address))
        self.times.append(now)
        on_done(self._connect(), now)


class TestResumption:
    def restart(self, host: InteractionHost) -> InteractionHost:
        network = host.network
        return InteractionHost(network, seed=77, store=host.store)

    def test_resumes_after_restart(
        self, host: InteractionHost, controller: Client, client: InteractionClient
    ) -> None:
        host.samples[1].level = 33
        _, subscription_id, _ = client.subscribe(
            LEVEL_PATH, (1, CLUSTER, UPTIME), urgent=[(1, CLUSTER, None)], minimum=1, maximum=30
        )
        restarted = self.restart(host)
        controller.host = restarted
        connector = FakeConnector(controller.connect)
        restarted.samples[1].emit("Happened", number=9)
        restarted.model.resume_subscriptions(connector, FABRICS, restarted.network.now)
        restarted.network.run(5)
        assert connector.peers == [(1, 0x2222, controller.address)]
        (report,) = reports_of(controller.reports)
        assert report.subscription_id == subscription_id
        assert report.value(*LEVEL_PATH) == 33
        assert set(report.values) == {LEVEL_PATH, (1, CLUSTER, UPTIME)}
        assert [event.fields for event in report.events] == [{0: 9}]
        restarted.samples[1].level = 34
        restarted.network.run(5)
        assert reports_of(controller.reports)[1].values == {LEVEL_PATH: 34}
        restarted.network.run(30)
        assert len(reports_of(controller.reports)) == 3

    def resume(self, host: InteractionHost, controller: Client) -> InteractionHost:
        """Restart the host, and connect the peer before the first attempt."""
        restarted = self.restart(host)
        controller.host = restarted
        controller.connect()
        restarted.model.resume_subscriptions(_refuse_connection, FABRICS, restarted.network.now)
        restarted.network.run(5)
        controller.reports.clear()
        return restarted

    @pytest.mark.parametrize("kind", ["urgent", "events"])
    def test_urgent_event_paths_are_restored(
        self, host: InteractionHost, controller: Client, client: InteractionClient, kind: str
    ) -> None:
        client.subscribe(LEVEL_PATH, **{kind: [(1, CLUSTER, None)]})
        restarted = self.resume(host, controller)
        restarted.samples[1].emit("Happened", number=9)
        restarted.network.run(5)
        assert len(reports_of(controller.reports)) == (kind == "urgent")

    @pytest.mark.parametrize("fabric_filtered", [False, True])
    def test_fabric_filter_is_restored(
        self,
        host: InteractionHost,
        controller: Client,
        client: InteractionClient,
        fabric_filtered: bool,
    ) -> None:
        client.subscribe((1, CLUSTER, NOTES), fabric_filtered=fabric_filtered)
        restarted = self.resume(host, controller)
        restarted.samples[1].notes = [{"text": "theirs", "secret": 1, "fabric_index": 2}]
        restarted.network.run(5)
        (report,) = reports_of(controller.reports)
        assert len(report.value(1, CLUSTER, NOTES)) == (not fabric_filtered)

    def test_resumes_on_session_that_peer_established(
        self, host: InteractionHost, controller: Client, client: InteractionClient
    ) -> None:
        client.subscribe(LEVEL_PATH)
        restarted = self.restart(host)
        controller.host = restarted
        controller.connect()
        restarted.model.resume_subscriptions(_refuse_connection, FABRICS, restarted.network.now)
        restarted.network.run(5)
        assert len(reports_of(controller.reports)) == 1

    def test_invalid_subscription_status_ends_subscription(
        self, host: InteractionHost, controller: Client, client: InteractionClient
    ) -> None:
        client.subscribe(LEVEL_PATH)
        restarted = self.restart(host)
        controller.host = restarted
        controller.connect()
        controller.report_status = Status.INVALID_SUBSCRIPTION
        restarted.model.resume_subscriptions(_refuse_connection, FABRICS, restarted.network.now)
        restarted.network.run(5)
        assert len(restarted.model.subscriptions) == 0
        assert restarted.store.items("sub/") == []

    def test_unreachable_peer_is_retried_then_dropped(
        self, host: InteractionHost, client: InteractionClient
    ) -> None:
        client.subscribe(LEVEL_PATH)
        restarted = self.restart(host)
        connector = FakeConnector(lambda: None)
        restarted.model.resume_subscriptions(connector, FABRICS, restarted.network.now)
        restarted.network.run(3600)
        assert len(connector.times) == 6
        assert all(b - a >= 10 for a, b in pairwise(connector.times))
        assert len(restarted.model.subscriptions) == 0
        assert restarted.store.items("sub/") == []

    def test_new_subscription_of_the_peer_replaces_it(
        self, host: InteractionHost, controller: Client, client: InteractionClient
    ) -> None:
        client.subscribe(LEVEL_PATH)
        restarted = self.restart(host)
        restarted.model.resume_subscriptions(_refuse_connection, FABRICS, restarted.network.now)
        controller.host = restarted
        controller.connect()
        client.subscribe(LEVEL_PATH, keep=False)
        restarted.network.run(5)
        assert len(restarted.model.subscriptions) == 1
        assert reports_of(controller.reports) == []
        assert len(restarted.store.items("sub/")) == 1

    def test_record_of_removed_fabric_is_deleted(
        self, host: InteractionHost, client: InteractionClient
    ) -> None:
        client.subscribe(LEVEL_PATH)
        restarted = self.restart(host)
        restarted.model.resume_subscriptions(_refuse_connection, {2, 3}, restarted.network.now)
        assert len(restarted.model.subscriptions) == 0
        assert restarted.store.items("sub/") == []

    @pytest.mark.parametrize("tag", [0, 1, 2, 3, 4, 6, 7, 8, 9, 10])
    @pytest.mark.parametrize("value", [None, {1: 1}])
    def test_record_with_invalid_member_is_deleted(
        self, host: InteractionHost, client: InteractionClient, tag: int, value: TlvValue
    ) -> None:
        client.subscribe(LEVEL_PATH, events=[(1, CLUSTER, None)])
        ((key, record),) = host.store.items("sub/")
        members = decode_struct(record) | {tag: value}
        restarted = self.restart(host)
        restarted.store.set(key, encode(members))
        restarted.model.resume_subscriptions(_refuse_connection, FABRICS, restarted.network.now)
        assert restarted.store.items("sub/") == []

    def test_unreadable_record_is_deleted(self, host: InteractionHost) -> None:
        host.store.set("sub/00000001", b"\x15\x18")
        host.store.set("sub/00000002", b"?")
        host.model.resume_subscriptions(_refuse_connection, FABRICS, host.network.now)
        assert host.store.items("sub/") == []


def _refuse_connection(*arguments: object) -> None:
    raise AssertionError("unexpected connection to the peer")
