"""Subscriptions: end, limits, and resumption after a restart."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from evse_node.matter.interaction.messages import Opcode
from evse_node.matter.interaction.status import Status
from evse_node.matter.messaging.session import Address, SecureSession
from evse_node.matter.tlv import TlvValue, decode_struct, encode
from tests.support.fakes import Network
from tests.support.matter.interaction_client import (
    OK,
    InteractionClient,
    WireStatusError,
    reports_of,
    subscribe_request,
)
from tests.support.matter.interaction_host import Client, InteractionHost
from tests.support.matter.sample_cluster import CLUSTER, LEVEL_PATH, NOTES, UPTIME

# Fabrics that exist after a restart.
FABRICS = {1}


class TestEnding:
    def test_invalid_subscription_status_ends_subscription(
        self, host: InteractionHost, controller: Client, client: InteractionClient
    ) -> None:
        client.subscribe(LEVEL_PATH)
        controller.report_status = Status.INVALID_SUBSCRIPTION
        host.samples[1].set(level=8)
        host.network.run(1)
        assert len(host.model.subscriptions) == 0
        assert host.store.items("sub/") == []
        assert len(host.exchanges) == 0

    def test_unreachable_peer_ends_subscription(
        self, host: InteractionHost, controller: Client, client: InteractionClient
    ) -> None:
        client.subscribe(LEVEL_PATH)
        host.network.lost = lambda data, source, to: to == controller.address
        host.samples[1].set(level=8)
        host.network.run(60)
        assert len(host.model.subscriptions) == 0
        assert host.store.items("sub/") == []

    def test_acknowledgement_without_status_ends_subscription(
        self, host: InteractionHost, controller: Client, client: InteractionClient
    ) -> None:
        client.subscribe(LEVEL_PATH)
        controller.answers_reports = False
        host.samples[1].set(level=8)
        host.network.run(60)
        assert len(host.model.subscriptions) == 0

    def test_refused_request_ends_previous_subscriptions(
        self, host: InteractionHost, client: InteractionClient
    ) -> None:
        client.subscribe(LEVEL_PATH)
        assert len(host.store.items("sub/")) == 1
        with pytest.raises(WireStatusError):
            client.subscribe(LEVEL_PATH, minimum=10, maximum=5, keep=False)
        assert len(host.model.subscriptions) == 0
        assert host.store.items("sub/") == []

    def test_revoked_access_ends_subscription(
        self, host: InteractionHost, controller: Client, client: InteractionClient
    ) -> None:
        client.subscribe(LEVEL_PATH, maximum=10)
        host.grants.masks[controller.node_id] = 0
        host.grants.change()
        host.network.run(25)
        assert reports_of(controller.reports) == []
        assert len(host.model.subscriptions) == 0
        assert host.store.items("sub/") == []

    def test_exhausted_session_counter_ends_subscription(
        self, host: InteractionHost, controller: Client, client: InteractionClient
    ) -> None:
        client.subscribe(LEVEL_PATH)
        controller.host_session._next_counter = 1 << 32
        host.samples[1].set(level=8)
        host.network.run(1)
        assert len(host.model.subscriptions) == 0
        assert len(host.sessions) == 0
        assert len(host.exchanges) == 0

    def test_exhausted_session_counter_ends_subscription_before_priming_report(
        self, host: InteractionHost, controller: Client
    ) -> None:
        conversation = controller.open()
        controller.host_session._next_counter = 1 << 32
        conversation.send(Opcode.SUBSCRIBE_REQUEST, subscribe_request(LEVEL_PATH, keep=True))
        host.network.run(1)
        assert len(host.model.subscriptions) == 0
        assert len(host.exchanges) == 0

    def test_new_subscription_replaces_those_of_the_peer(
        self, host: InteractionHost, controller: Client, client: InteractionClient
    ) -> None:
        other = InteractionClient(Client(host, 3, node_id=0x3333))
        other.subscribe(LEVEL_PATH)
        client.subscribe(LEVEL_PATH)
        client.subscribe(LEVEL_PATH, keep=True)
        assert len(host.model.subscriptions) == 3
        client.subscribe(LEVEL_PATH, keep=False)
        assert len(host.model.subscriptions) == 2
        host.samples[1].set(level=8)
        host.network.run(1)
        assert len(reports_of(controller.reports)) == 1

    def test_records_of_replaced_subscriptions_are_deleted_from_store(
        self, host: InteractionHost, client: InteractionClient
    ) -> None:
        deleted: list[str] = []
        host.store.before_set = lambda key, value: deleted.extend([key] if value is None else [])
        timers = set()
        for _ in range(4):
            client.subscribe(LEVEL_PATH, minimum=5, maximum=10, keep=False)
            host.network.run(1)
            timers.add(len(host.timers))
        assert len(timers) == 1
        assert len(host.store.items("sub/")) == 1
        assert len(deleted) == len(set(deleted)) == 3

    def test_is_replaced_during_report(
        self, host: InteractionHost, controller: Client, client: InteractionClient
    ) -> None:
        client.subscribe(LEVEL_PATH)
        conversation = controller.open()
        conversation.send(Opcode.SUBSCRIBE_REQUEST, subscribe_request(LEVEL_PATH, keep=False))
        host.samples[1].set(level=8)
        host.handle_timer(host.network.now)
        assert conversation.receive().opcode == Opcode.REPORT_DATA
        assert len(controller.reports) == 1
        conversation.send(Opcode.STATUS_RESPONSE, OK)
        assert conversation.receive().opcode == Opcode.SUBSCRIBE_RESPONSE
        conversation.close()
        host.network.run(1)
        assert len(host.exchanges) == 0
        assert len(host.model.subscriptions) == 1

    def test_reports_continue_on_replacement_session(
        self, host: InteractionHost, controller: Client, client: InteractionClient
    ) -> None:
        client.subscribe(LEVEL_PATH)
        old = controller.host_session
        controller.connect()
        host.sessions.remove(old, host.network.now)
        host.samples[1].set(level=8)
        host.network.run(1)
        assert reports_of(controller.reports)[0].values == {LEVEL_PATH: 8}
        # Access is that of the new session, with its CASE authenticated tags.
        (subscription,) = host.model.subscriptions
        assert subscription.session is controller.host_session

    def test_report_is_repeated_on_replacement_session(
        self, host: InteractionHost, controller: Client, client: InteractionClient
    ) -> None:
        client.subscribe(LEVEL_PATH)
        old = controller.host_session
        host.network.lost = lambda data, source, to: to == controller.address
        host.samples[1].set(level=8)
        host.network.run(0.05)
        host.network.lost = lambda data, source, to: False
        controller.connect()
        host.sessions.remove(old, host.network.now)
        host.network.run(1)
        assert reports_of(controller.reports)[0].values == {LEVEL_PATH: 8}
        assert len(host.model.subscriptions) == 1

    def test_report_is_delivered_on_new_session_of_peer(
        self, host: InteractionHost, controller: Client, client: InteractionClient
    ) -> None:
        client.subscribe(LEVEL_PATH)
        controller.sessions.remove(controller.session, host.network.now)
        controller.connect()
        host.samples[1].set(level=8)
        host.network.run(60)
        assert reports_of(controller.reports)[0].values == {LEVEL_PATH: 8}
        assert len(host.model.subscriptions) == 1

    def test_removed_session_without_replacement_ends_subscription(
        self, host: InteractionHost, controller: Client, client: InteractionClient
    ) -> None:
        client.subscribe(LEVEL_PATH)
        host.sessions.remove(controller.host_session, host.network.now)
        host.samples[1].set(level=8)
        host.network.run(1)
        assert len(host.model.subscriptions) == 0

    def test_removed_fabric_ends_subscription(
        self, host: InteractionHost, controller: Client
    ) -> None:
        other = Client(host, 3, fabric_index=2, node_id=0x3333)
        InteractionClient(controller).subscribe(LEVEL_PATH)
        InteractionClient(other).subscribe(LEVEL_PATH)
        host.samples[1].emit("Told", number=1, fabric_index=1)
        host.model.remove_fabric(1)
        assert [s.fabric_index for s in host.model.subscriptions] == [2]
        assert len(host.event_log) == 0

    def test_ended_subscription_leaves_no_timers(
        self, host: InteractionHost, client: InteractionClient
    ) -> None:
        before = len(host.timers)
        client.subscribe(LEVEL_PATH, minimum=5, maximum=10)
        host.samples[1].set(level=8)
        host.model.remove_fabric(1)
        host.network.run(1)
        assert len(host.timers) == before


class TestLimits:
    def test_each_fabric_is_guaranteed_its_share(self) -> None:
        host = InteractionHost(Network(), supported_fabrics=3, subscriptions_per_fabric=3)
        greedy = InteractionClient(Client(host, 2, fabric_index=1))
        for _ in range(9):
            greedy.subscribe(LEVEL_PATH)
        first = next(iter(host.model.subscriptions)).id
        with pytest.raises(WireStatusError) as info:
            greedy.subscribe(LEVEL_PATH)
        assert info.value.status is Status.RESOURCE_EXHAUSTED
        modest = InteractionClient(Client(host, 3, fabric_index=2, node_id=0x3333))
        for _ in range(3):
            modest.subscribe(LEVEL_PATH)
        with pytest.raises(WireStatusError) as info:
            modest.subscribe(LEVEL_PATH)
        assert info.value.status is Status.RESOURCE_EXHAUSTED
        fabrics = [s.fabric_index for s in host.model.subscriptions]
        assert (fabrics.count(1), fabrics.count(2)) == (6, 3)
        assert first not in [s.id for s in host.model.subscriptions]

    def test_sixteen_fabrics_have_three_each(self) -> None:
        host = InteractionHost(Network())
        for fabric in range(1, 17):
            client = InteractionClient(
                Client(host, fabric + 1, fabric_index=fabric, node_id=0x100 + fabric)
            )
            for _ in range(3):
                client.subscribe((None, None, None))
        assert len(host.model.subscriptions) == 48


class TestResumption:
    def restart(self, host: InteractionHost) -> InteractionHost:
        network = host.network
        return InteractionHost(network, seed=77, store=host.store)

    def test_resumes_after_restart(
        self, host: InteractionHost, controller: Client, client: InteractionClient
    ) -> None:
        host.samples[1].set(level=33)
        _, subscription_id, _ = client.subscribe(
            LEVEL_PATH, (1, CLUSTER, UPTIME), urgent=[(1, CLUSTER, None)], minimum=1, maximum=30
        )
        restarted = self.restart(host)
        calls: list[tuple[int, int, Address]] = []

        def connect(
            fabric_index: int,
            node_id: int,
            where: Address,
            on_done: Callable[[SecureSession | None, float], None],
            now: float,
        ) -> None:
            calls.append((fabric_index, node_id, where))
            controller.host = restarted
            on_done(controller.connect(), now)

        restarted.samples[1].emit("Happened", number=9)
        restarted.model.resume_subscriptions(connect, FABRICS, restarted.network.now)
        restarted.network.run(5)
        assert calls == [(1, 0x2222, controller.address)]
        (report,) = reports_of(controller.reports)
        assert report.subscription_id == subscription_id
        assert report.value(*LEVEL_PATH) == 33
        assert set(report.values) == {LEVEL_PATH, (1, CLUSTER, UPTIME)}
        assert [event.fields for event in report.events] == [{0: 9}]
        restarted.samples[1].set(level=34)
        restarted.network.run(5)
        assert reports_of(controller.reports)[1].values == {LEVEL_PATH: 34}
        restarted.network.run(30)
        assert len(reports_of(controller.reports)) == 3

    def resume(self, host: InteractionHost, controller: Client) -> InteractionHost:
        """Restart the host, and connect the peer before the first attempt."""
        restarted = self.restart(host)
        controller.host = restarted
        controller.connect()
        restarted.model.resume_subscriptions(_no_call, FABRICS, restarted.network.now)
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
        restarted.samples[1].set(notes=[{"text": "theirs", "secret": 1, "fabric_index": 2}])
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
        restarted.model.resume_subscriptions(_no_call, FABRICS, restarted.network.now)
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
        restarted.model.resume_subscriptions(_no_call, FABRICS, restarted.network.now)
        restarted.network.run(5)
        assert len(restarted.model.subscriptions) == 0
        assert restarted.store.items("sub/") == []

    def test_unreachable_peer_is_retried_then_dropped(
        self, host: InteractionHost, client: InteractionClient
    ) -> None:
        client.subscribe(LEVEL_PATH)
        restarted = self.restart(host)
        times: list[float] = []

        def connect(
            fabric_index: int,
            node_id: int,
            where: Address,
            on_done: Callable[[SecureSession | None, float], None],
            now: float,
        ) -> None:
            times.append(now)
            on_done(None, now)

        restarted.model.resume_subscriptions(connect, FABRICS, restarted.network.now)
        restarted.network.run(3600)
        assert len(times) == 6
        assert all(b - a >= 10 for a, b in pairwise(times))
        assert len(restarted.model.subscriptions) == 0
        assert restarted.store.items("sub/") == []

    def test_new_subscription_of_the_peer_replaces_it(
        self, host: InteractionHost, controller: Client, client: InteractionClient
    ) -> None:
        client.subscribe(LEVEL_PATH)
        restarted = self.restart(host)
        restarted.model.resume_subscriptions(_no_call, FABRICS, restarted.network.now)
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
        restarted.model.resume_subscriptions(_no_call, {2, 3}, restarted.network.now)
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
        restarted.model.resume_subscriptions(_no_call, FABRICS, restarted.network.now)
        assert restarted.store.items("sub/") == []

    def test_unreadable_record_is_deleted(self, host: InteractionHost) -> None:
        host.store.set("sub/00000001", b"\x15\x18")
        host.store.set("sub/00000002", b"?")
        host.model.resume_subscriptions(_no_call, FABRICS, host.network.now)
        assert host.store.items("sub/") == []


def _no_call(*arguments: object) -> None:
    raise AssertionError("the peer is called")
