"""Subscriptions: end and limits."""

from __future__ import annotations

import pytest

from evse_node.matter.interaction.messages import Opcode
from evse_node.matter.interaction.status import Status
from tests.support.fakes import Network
from tests.support.matter.interaction_client import (
    OK,
    InteractionClient,
    WireStatusError,
    reports_of,
    subscribe_request,
)
from tests.support.matter.interaction_host import Client, InteractionHost
from tests.support.matter.sample_cluster import LEVEL_PATH


class TestEnding:
    def test_invalid_subscription_status_ends_subscription(
        self, host: InteractionHost, controller: Client, client: InteractionClient
    ) -> None:
        client.subscribe(LEVEL_PATH)
        controller.report_status = Status.INVALID_SUBSCRIPTION
        host.samples[1].level = 8
        host.network.run(1)
        assert len(host.model.subscriptions) == 0
        assert host.store.items("sub/") == []
        assert len(host.exchanges) == 0

    def test_unreachable_peer_ends_subscription(
        self, host: InteractionHost, controller: Client, client: InteractionClient
    ) -> None:
        client.subscribe(LEVEL_PATH)
        host.network.lost = lambda data, source, to: to == controller.address
        host.samples[1].level = 8
        host.network.run(60)
        assert len(host.model.subscriptions) == 0
        assert host.store.items("sub/") == []

    def test_acknowledgement_without_status_ends_subscription(
        self, host: InteractionHost, controller: Client, client: InteractionClient
    ) -> None:
        client.subscribe(LEVEL_PATH)
        controller.answers_reports = False
        host.samples[1].level = 8
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
        host.samples[1].level = 8
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
        host.samples[1].level = 8
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
        host.samples[1].level = 8
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
        host.samples[1].level = 8
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
        host.samples[1].level = 8
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
        host.samples[1].level = 8
        host.network.run(60)
        assert reports_of(controller.reports)[0].values == {LEVEL_PATH: 8}
        assert len(host.model.subscriptions) == 1

    def test_removed_session_without_replacement_ends_subscription(
        self, host: InteractionHost, controller: Client, client: InteractionClient
    ) -> None:
        client.subscribe(LEVEL_PATH)
        host.sessions.remove(controller.host_session, host.network.now)
        host.samples[1].level = 8
        host.network.run(1)
        assert len(host.model.subscriptions) == 0

    def test_removed_fabric_ends_subscription(
        self, host: InteractionHost, controller: Client
    ) -> None:
        other = Client(host, 3, fabric_index=2, node_id=0x3333)
        InteractionClient(controller).subscribe(LEVEL_PATH)
        InteractionClient(other).subscribe(LEVEL_PATH)
        host.samples[1].emit("Sensitive", number=1, fabric_index=1)
        host.model.remove_fabric(1)
        assert [s.fabric_index for s in host.model.subscriptions] == [2]
        assert len(host.event_log) == 0

    def test_ended_subscription_leaves_no_timers(
        self, host: InteractionHost, client: InteractionClient
    ) -> None:
        before = len(host.timers)
        client.subscribe(LEVEL_PATH, minimum=5, maximum=10)
        host.samples[1].level = 8
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
