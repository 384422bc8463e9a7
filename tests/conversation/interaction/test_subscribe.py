"""Subscribe interactions: establishment and reports."""

from __future__ import annotations

import pytest

from evse_node.matter.data_model import AuthMode
from evse_node.matter.interaction.messages import Opcode
from evse_node.matter.interaction.status import Status
from evse_node.matter.tlv import encode
from tests.support.fakes import Network
from tests.support.matter.interaction_client import (
    OK,
    REVISION,
    InteractionClient,
    WireStatusError,
    Write,
    reports_of,
    subscribe_request,
)
from tests.support.matter.interaction_host import VIEW, Client, InteractionHost
from tests.support.matter.sample_cluster import (
    CLUSTER,
    FIXED,
    LEVEL,
    LEVEL_PATH,
    NOTES,
    SECRET,
    UPTIME,
)


class TestEstablishing:
    def test_priming_report_precedes_response(
        self, host: InteractionHost, client: InteractionClient
    ) -> None:
        report, subscription_id, maximum = client.subscribe(LEVEL_PATH, maximum=60)
        assert report.values == {LEVEL_PATH: 7}
        assert report.subscription_id == subscription_id
        assert not report.is_suppressed
        assert maximum == 60
        assert len(host.model.subscriptions) == 1

    @pytest.mark.parametrize(
        ("minimum", "ceiling", "selected"),
        [(0, 1, 1), (0, 3595, 3595), (3, 3605, 3600), (4000, 5000, 4000), (10, 10, 10), (0, 0, 0)],
    )
    def test_selected_interval_is_limited(
        self, client: InteractionClient, minimum: int, ceiling: int, selected: int
    ) -> None:
        assert client.subscribe(LEVEL_PATH, minimum=minimum, maximum=ceiling)[2] == selected

    def test_long_priming_report_is_sent_in_several_messages(
        self, host: InteractionHost, client: InteractionClient
    ) -> None:
        for sample in host.samples:
            sample.fixed = "x" * 900
        report, _, _ = client.subscribe((None, None, None), events=[(None, None, None)])
        assert report.messages > 1
        assert report.value(0, CLUSTER, FIXED) == "x" * 900
        assert len(host.model.subscriptions) == 1

    def test_priming_report_contains_statuses_of_invalid_paths(
        self, client: InteractionClient
    ) -> None:
        report, _, _ = client.subscribe(
            LEVEL_PATH, (7, CLUSTER, LEVEL), events=[(1, CLUSTER, 0x77)]
        )
        assert report.statuses == {(7, CLUSTER, LEVEL): Status.UNSUPPORTED_ENDPOINT}
        assert report.event_statuses == {(1, CLUSTER, 0x77): Status.UNSUPPORTED_EVENT}

    def test_data_version_filter_omits_current_clusters(
        self, host: InteractionHost, client: InteractionClient
    ) -> None:
        version = host.samples[1].data_version
        report, _, _ = client.subscribe(LEVEL_PATH, versions=[(1, CLUSTER, version)])
        assert report.values == {}
        assert len(host.model.subscriptions) == 1

    @pytest.mark.parametrize(
        ("paths", "options", "status"),
        [
            ([], {}, Status.INVALID_ACTION),
            ([LEVEL_PATH], {"minimum": 20, "maximum": 10}, Status.INVALID_ACTION),
            ([(7, None, None)], {}, Status.INVALID_ACTION),
            ([(1, CLUSTER, 0x77)], {}, Status.INVALID_ACTION),
            ([], {"events": [(7, None, None)]}, Status.INVALID_ACTION),
            ([LEVEL_PATH] * 65, {}, Status.PATHS_EXHAUSTED),
        ],
    )
    def test_invalid_request_is_refused(
        self,
        host: InteractionHost,
        client: InteractionClient,
        paths: list[tuple[int, int, int]],
        options: dict[str, object],
        status: Status,
    ) -> None:
        with pytest.raises(WireStatusError) as info:
            client.subscribe(*paths, **options)
        assert info.value.status is status
        assert len(host.model.subscriptions) == 0

    @pytest.mark.parametrize(
        "paths", [[(1, CLUSTER, SECRET)], [(1, CLUSTER, None)], [(1, None, None), (0, None, 0)]]
    )
    def test_request_without_accessible_path_is_refused(
        self, host: InteractionHost, client: InteractionClient, paths: list[tuple[int, int, int]]
    ) -> None:
        host.grants.masks[0x2222] = VIEW if paths[0][2] == SECRET else 0
        with pytest.raises(WireStatusError) as info:
            client.subscribe(*paths)
        assert info.value.status is Status.INVALID_ACTION

    def test_session_without_fabric_is_refused(self, host: InteractionHost) -> None:
        client = InteractionClient(Client(host, 5, auth_mode=AuthMode.PASE, fabric_index=0))
        with pytest.raises(WireStatusError) as info:
            client.subscribe(LEVEL_PATH)
        assert info.value.status is Status.UNSUPPORTED_ACCESS

    @pytest.mark.parametrize(
        "payload",
        [
            encode({1: 0, 2: 10, 7: True}),
            encode({0: True, 2: 10, 7: True}),
            encode({0: True, 1: 0, 2: 0x10000, 7: True}),
            encode({0: True, 1: 0, 2: 10}),
        ],
    )
    def test_malformed_request_is_invalid(self, client: InteractionClient, payload: bytes) -> None:
        with pytest.raises(WireStatusError) as info:
            client.request(Opcode.SUBSCRIBE_REQUEST, payload)
        assert info.value.status is Status.INVALID_ACTION

    def test_refused_priming_report_ends_subscription(
        self, host: InteractionHost, controller: Client
    ) -> None:
        conversation = controller.open()
        conversation.send(Opcode.SUBSCRIBE_REQUEST, subscribe_request(LEVEL_PATH))
        conversation.receive()
        conversation.send(Opcode.STATUS_RESPONSE, encode({0: 1, **REVISION}))
        host.network.run(1)
        assert len(host.model.subscriptions) == 0
        assert len(host.exchanges) == 0

    def test_unanswered_priming_report_ends_subscription(
        self, host: InteractionHost, controller: Client
    ) -> None:
        conversation = controller.open()
        conversation.send(Opcode.SUBSCRIBE_REQUEST, subscribe_request(LEVEL_PATH))
        conversation.receive()
        host.network.run(60)
        assert len(host.model.subscriptions) == 0
        assert host.store.items("sub/") == []

    def test_change_during_priming_report_is_reported_afterwards(
        self, host: InteractionHost, controller: Client
    ) -> None:
        conversation = controller.open()
        conversation.send(Opcode.SUBSCRIBE_REQUEST, subscribe_request(LEVEL_PATH))
        conversation.receive()
        host.samples[1].level = 8
        conversation.send(Opcode.STATUS_RESPONSE, OK)
        conversation.receive()
        conversation.close()
        host.network.run(1)
        assert [report.values for report in reports_of(controller.reports)] == [{LEVEL_PATH: 8}]


class TestReports:
    def test_change_is_reported(
        self, host: InteractionHost, controller: Client, client: InteractionClient
    ) -> None:
        _, subscription_id, _ = client.subscribe((1, CLUSTER, None))
        host.samples[1].level = 8
        host.network.run(0)
        (report,) = reports_of(controller.reports)
        assert report.values == {LEVEL_PATH: 8}
        assert report.versions == {LEVEL_PATH: host.samples[1].data_version}
        assert report.subscription_id == subscription_id
        assert not report.is_suppressed

    def test_report_takes_three_datagrams(
        self, host: InteractionHost, client: InteractionClient
    ) -> None:
        client.subscribe(LEVEL_PATH)
        host.network.log.clear()
        host.samples[1].level = 8
        host.network.run(0)
        assert len(host.network.log) == 3

    def test_simultaneous_changes_are_reported_together(
        self, host: InteractionHost, controller: Client, client: InteractionClient
    ) -> None:
        client.subscribe((None, None, None))
        host.samples[1].level = 8
        with host.samples[1].changes():
            host.samples[1].level = 9
            host.samples[1].timed = True
        host.samples[0].level = 1
        host.network.run(0)
        (report,) = reports_of(controller.reports)
        assert report.values == {
            LEVEL_PATH: 9,
            (1, CLUSTER, 3): True,
            (0, CLUSTER, LEVEL): 1,
        }

    def test_unchanged_value_is_not_reported(
        self, host: InteractionHost, controller: Client, client: InteractionClient
    ) -> None:
        client.subscribe(LEVEL_PATH)
        host.samples[1].level = 7
        host.network.run(1)
        assert controller.reports == []

    def test_unsubscribed_attributes_are_not_reported(
        self, host: InteractionHost, controller: Client, client: InteractionClient
    ) -> None:
        client.subscribe(LEVEL_PATH)
        host.samples[0].level = 8
        host.samples[1].fixed = "x"
        host.network.run(1)
        assert controller.reports == []

    def test_minimum_interval_delays_report(
        self, host: InteractionHost, controller: Client, client: InteractionClient
    ) -> None:
        client.subscribe(LEVEL_PATH, minimum=3, maximum=10)
        host.samples[1].level = 8
        host.network.run(2.9)
        assert controller.reports == []
        host.samples[1].level = 9
        host.network.run(0.2)
        (report,) = reports_of(controller.reports)
        assert report.values == {LEVEL_PATH: 9}

    def test_empty_report_is_sent_at_maximum_interval(
        self, host: InteractionHost, controller: Client, client: InteractionClient
    ) -> None:
        client.subscribe(LEVEL_PATH, maximum=10)
        host.network.run(8)
        assert controller.reports == []
        host.network.run(2)
        host.network.run(10)
        reports = reports_of(controller.reports)
        assert [report.values for report in reports] == [{}, {}]
        assert not reports[0].is_suppressed

    def test_maximum_interval_of_zero_does_not_flood(
        self, host: InteractionHost, controller: Client, client: InteractionClient
    ) -> None:
        client.subscribe(LEVEL_PATH, maximum=0)
        host.network.run(10)
        assert 10 <= len(controller.reports) <= 20

    def test_change_postpones_empty_report(
        self, host: InteractionHost, controller: Client, client: InteractionClient
    ) -> None:
        client.subscribe(LEVEL_PATH, maximum=10)
        host.network.run(8)
        host.samples[1].level = 8
        host.network.run(8)
        assert len(reports_of(controller.reports)) == 1
        host.network.run(2)
        assert len(reports_of(controller.reports)) == 2

    def test_change_during_report_is_reported_next(
        self, host: InteractionHost, controller: Client, client: InteractionClient
    ) -> None:
        client.subscribe(LEVEL_PATH)
        host.samples[1].level = 8
        host.handle_timer(host.network.now)
        host.samples[1].level = 9
        host.network.run(1)
        assert [report.values for report in reports_of(controller.reports)] == [
            {LEVEL_PATH: 8},
            {LEVEL_PATH: 9},
        ]

    def test_long_report_is_sent_in_several_messages(
        self, host: InteractionHost, controller: Client, client: InteractionClient
    ) -> None:
        client.subscribe((None, None, None))
        for sample in host.samples:
            sample.fixed = "x" * 900
        host.network.run(1)
        (report,) = reports_of(controller.reports)
        assert len(report.values) == 2
        assert report.messages == 2

    def test_quiet_change_is_part_of_next_report(
        self, host: InteractionHost, controller: Client, client: InteractionClient
    ) -> None:
        client.subscribe(LEVEL_PATH)
        with host.samples[1].changes(is_reported=False):
            host.samples[1].level = 8
        host.network.run(1)
        assert controller.reports == []
        assert client.read(LEVEL_PATH).value(*LEVEL_PATH) == 8
        host.samples[1].report("level")
        host.network.run(1)
        assert reports_of(controller.reports)[0].values == {LEVEL_PATH: 8}

    def test_computed_attribute_is_reported_on_request(
        self, host: InteractionHost, controller: Client, client: InteractionClient
    ) -> None:
        client.subscribe((1, CLUSTER, UPTIME))
        host.network.run(5)
        assert controller.reports == []
        host.samples[1].report("uptime")
        host.network.run(1)
        assert reports_of(controller.reports)[0].value(1, CLUSTER, UPTIME) == 1005

    def test_fabric_scoped_items_are_reported_to_their_fabric(
        self, host: InteractionHost, controller: Client
    ) -> None:
        other = Client(host, 3, fabric_index=2, node_id=0x3333)
        for peer in (controller, other):
            InteractionClient(peer).subscribe((1, CLUSTER, NOTES))
        host.samples[1].notes = [{"text": "mine", "secret": 1, "fabric_index": 2}]
        host.network.run(1)
        assert reports_of(controller.reports)[0].value(1, CLUSTER, NOTES) == []
        assert len(reports_of(other.reports)[0].value(1, CLUSTER, NOTES)) == 1

    def test_write_by_subscriber_is_reported(
        self, host: InteractionHost, controller: Client, client: InteractionClient
    ) -> None:
        client.subscribe(LEVEL_PATH)
        client.write(Write(LEVEL_PATH, 5))
        host.network.run(1)
        assert reports_of(controller.reports)[0].values == {LEVEL_PATH: 5}

    def test_attribute_with_revoked_access_is_not_reported(
        self, host: InteractionHost, controller: Client, client: InteractionClient
    ) -> None:
        client.subscribe(LEVEL_PATH, (1, CLUSTER, SECRET), maximum=10)
        host.grants.masks[0x2222] = VIEW
        host.grants.change()
        with host.samples[1].changes():
            host.samples[1].level = 8
            host.samples[1].secret = 9
        host.network.run(1)
        assert reports_of(controller.reports)[0].values == {LEVEL_PATH: 8}

    def test_changes_without_report_do_not_accumulate(
        self, host: InteractionHost, client: InteractionClient
    ) -> None:
        client.subscribe(LEVEL_PATH, minimum=60, maximum=60)
        before = len(host.timers)
        for level in range(100):
            host.samples[1].level = level
        assert len(host.timers) <= before + 1


def test_reports_are_complete_on_lossy_network() -> None:
    network = Network(11, drop=0.15, repeat=0.2, reorder=0.2)
    host = InteractionHost(network)
    controller = Client(host)
    InteractionClient(controller).subscribe(LEVEL_PATH, maximum=30)
    for level in range(20):
        host.samples[1].level = level
        network.run(20)
    assert len(host.model.subscriptions) == 1
    values = [report.values.get(LEVEL_PATH) for report in reports_of(controller.reports)]
    assert [value for value in values if value is not None] == list(range(20))
