"""Read interactions: paths, chunking, filters, access."""

from __future__ import annotations

from typing import ClassVar

import pytest

from evse_node.matter.data_model import AuthMode
from evse_node.matter.interaction.messages import Opcode
from evse_node.matter.interaction.status import Status
from evse_node.matter.messaging.message import MAX_PAYLOAD
from evse_node.matter.tlv import TlvList, encode
from tests.support.fakes import Network
from tests.support.matter.interaction_client import (
    REVISION,
    InteractionClient,
    Path,
    WireStatusError,
    attribute_path,
    read_request,
)
from tests.support.matter.interaction_host import VIEW, Client, InteractionHost
from tests.support.matter.sample_cluster import (
    BROKEN,
    CLUSTER,
    FIXED,
    LABELS,
    LEVEL,
    NOTES,
    SECRET,
    UPTIME,
    Label,
    Note,
)

GLOBAL = {0xFFF8, 0xFFF9, 0xFFFB, 0xFFFC, 0xFFFD}


def test_concrete_path_reads_one_attribute(
    host: InteractionHost, client: InteractionClient
) -> None:
    report = client.read((1, CLUSTER, LEVEL))
    assert report.values == {(1, CLUSTER, LEVEL): 7}
    assert report.versions == {(1, CLUSTER, LEVEL): host.samples[1].data_version}
    assert report.messages == 1
    assert report.is_suppressed
    assert report.subscription_id is None


def test_read_takes_three_datagrams(host: InteractionHost, client: InteractionClient) -> None:
    client.read((1, CLUSTER, LEVEL))
    # Request, report with piggybacked acknowledgement, acknowledgement.
    assert len(host.network.log) == 3


def test_computed_attribute_is_computed_for_each_read(
    host: InteractionHost, client: InteractionClient
) -> None:
    assert client.read((1, CLUSTER, UPTIME)).value(1, CLUSTER, UPTIME) == 1000
    host.network.run(5)
    assert client.read((1, CLUSTER, UPTIME)).value(1, CLUSTER, UPTIME) == 1005


def test_repeated_paths_are_expanded_once_and_values_are_current(
    host: InteractionHost, controller: Client, client: InteractionClient
) -> None:
    client.read((1, CLUSTER, None))
    expansion = host.model.access.cache(controller.host_session).expansion
    host.samples[1].level = 9
    report = client.read((1, CLUSTER, None))
    assert report.value(1, CLUSTER, LEVEL) == 9
    assert report.versions[1, CLUSTER, LEVEL] == host.samples[1].data_version
    assert host.model.access.cache(controller.host_session).expansion is expansion
    assert client.read((0, CLUSTER, LEVEL)).values == {(0, CLUSTER, LEVEL): 7}


def test_wildcard_reads_all_attributes(host: InteractionHost, client: InteractionClient) -> None:
    report = client.read((None, None, None))
    for endpoint, sample in enumerate(host.samples):
        found = {path[2] for path in report.values if path[0] == endpoint}
        assert found | {BROKEN} == set(sample.attributes) | {BROKEN}
        assert found >= GLOBAL
    # A failing attribute does not affect the others.
    assert report.statuses == {(1, CLUSTER, BROKEN): Status.FAILURE}


def test_wildcard_reads_global_attribute_of_every_cluster(client: InteractionClient) -> None:
    report = client.read((None, None, 0xFFFD))
    assert report.values == {(0, CLUSTER, 0xFFFD): 1, (1, CLUSTER, 0xFFFD): 1}


def test_wildcard_without_match_is_empty(client: InteractionClient) -> None:
    report = client.read((9, None, None), (None, 0x99, None), (0, CLUSTER, BROKEN + 1000))
    assert report.values == {}
    assert list(report.statuses) == [(0, CLUSTER, BROKEN + 1000)]


def test_overlapping_paths_are_reported_once(client: InteractionClient) -> None:
    report = client.read((1, CLUSTER, LEVEL), (1, CLUSTER, None), (1, CLUSTER, LEVEL))
    assert report.value(1, CLUSTER, LEVEL) == 7


def test_nine_paths_are_read_in_one_request(client: InteractionClient) -> None:
    paths = [(e, CLUSTER, a) for e in (0, 1) for a in (0, 1, 2, 3, 0xFFFD)]
    assert set(client.read(*paths).values) == set(paths)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ((7, CLUSTER, LEVEL), Status.UNSUPPORTED_ENDPOINT),
        ((1, 0x1234, LEVEL), Status.UNSUPPORTED_CLUSTER),
        ((1, CLUSTER, 0x77), Status.UNSUPPORTED_ATTRIBUTE),
        ((1, CLUSTER, BROKEN), Status.FAILURE),
    ],
)
def test_unreadable_concrete_path_returns_status(
    client: InteractionClient, path: Path, status: int
) -> None:
    report = client.read(path, (1, CLUSTER, LEVEL))
    assert report.statuses == {path: status}
    assert report.values == {(1, CLUSTER, LEVEL): 7}


class TestAccess:
    def test_insufficient_privilege_is_refused(
        self, host: InteractionHost, client: InteractionClient
    ) -> None:
        host.grants.masks[0x2222] = VIEW
        report = client.read((1, CLUSTER, LEVEL), (1, CLUSTER, SECRET))
        assert report.values == {(1, CLUSTER, LEVEL): 7}
        assert report.statuses == {(1, CLUSTER, SECRET): Status.UNSUPPORTED_ACCESS}

    def test_wildcard_omits_inaccessible_attributes(
        self, host: InteractionHost, client: InteractionClient
    ) -> None:
        host.grants.masks[0x2222] = VIEW
        host.grants.denied.add((0, CLUSTER))
        report = client.read((None, None, None))
        assert {path[0] for path in report.values} == {1}
        assert (1, CLUSTER, SECRET) not in report.values
        assert (1, CLUSTER, SECRET) not in report.statuses

    def test_without_view_existence_is_not_disclosed(
        self, host: InteractionHost, client: InteractionClient
    ) -> None:
        host.grants.masks[0x2222] = 0
        paths = [(1, CLUSTER, LEVEL), (1, CLUSTER, 0x77), (1, 0x1234, 0), (7, CLUSTER, 0)]
        report = client.read(*paths)
        assert report.statuses == dict.fromkeys(paths, Status.UNSUPPORTED_ACCESS)

    def test_privileges_are_cached_until_access_control_changes(
        self, host: InteractionHost, client: InteractionClient
    ) -> None:
        client.read((1, CLUSTER, LEVEL))
        client.read((1, CLUSTER, LEVEL))
        assert host.grants.lookups == 1
        host.grants.masks[0x2222] = 0
        host.grants.change()
        assert client.read((1, CLUSTER, LEVEL)).values == {}

    def test_privileges_of_nonexistent_paths_are_not_cached(
        self, host: InteractionHost, client: InteractionClient
    ) -> None:
        client.read(*[(e, CLUSTER, 0) for e in range(2, 40)])
        assert host.model.access.cache(client.controller.host_session).masks == {}


class TestDataVersions:
    def test_cluster_with_current_version_is_omitted(
        self, host: InteractionHost, client: InteractionClient
    ) -> None:
        version = host.samples[1].data_version
        report = client.read((None, None, None), versions=[(1, CLUSTER, version)])
        assert {path[0] for path in report.values} == {0}

    def test_cluster_with_older_version_is_reported(
        self, host: InteractionHost, client: InteractionClient
    ) -> None:
        version = host.samples[1].data_version
        host.samples[1].level = 8
        report = client.read((1, CLUSTER, LEVEL), versions=[(1, CLUSTER, version)])
        assert report.value(1, CLUSTER, LEVEL) == 8


class TestFabrics:
    NOTES: ClassVar[list[Note]] = [
        {"text": "mine", "secret": 1, "fabric_index": 1},
        {"text": "theirs", "secret": 2, "fabric_index": 2},
    ]

    def test_filtered_list_contains_own_items(
        self, host: InteractionHost, client: InteractionClient
    ) -> None:
        host.samples[1].notes = self.NOTES
        report = client.read((1, CLUSTER, NOTES))
        assert report.value(1, CLUSTER, NOTES) == [{1: "mine", 2: 1, 254: 1}]

    def test_unfiltered_list_omits_sensitive_fields_of_other_fabrics(
        self, host: InteractionHost, client: InteractionClient
    ) -> None:
        host.samples[1].notes = self.NOTES
        report = client.read((1, CLUSTER, NOTES), fabric_filtered=False)
        assert report.value(1, CLUSTER, NOTES) == [
            {1: "mine", 2: 1, 254: 1},
            {1: "theirs", 254: 2},
        ]

    def test_fabric_scoped_list_is_empty_without_fabric(self, host: InteractionHost) -> None:
        host.samples[1].notes = self.NOTES
        client = InteractionClient(Client(host, 5, auth_mode=AuthMode.PASE, fabric_index=0))
        assert client.read((1, CLUSTER, NOTES)).value(1, CLUSTER, NOTES) == []


class TestChunking:
    def test_long_report_is_sent_in_several_messages(
        self, host: InteractionHost, client: InteractionClient
    ) -> None:
        for sample in host.samples:
            sample.fixed = "x" * 900
        report = client.read((None, None, None))
        assert report.messages >= 2
        assert report.value(0, CLUSTER, FIXED) == report.value(1, CLUSTER, FIXED) == "x" * 900

    def test_long_list_is_sent_in_parts(
        self, host: InteractionHost, client: InteractionClient
    ) -> None:
        labels: list[Label] = [{"label": f"{number:03}" * 50} for number in range(30)]
        host.samples[1].labels = labels
        report = client.read((1, CLUSTER, None))
        assert report.messages >= 4
        assert report.value(1, CLUSTER, LABELS) == [{0: label["label"]} for label in labels]

    def test_list_item_beyond_a_message_is_refused(
        self, host: InteractionHost, client: InteractionClient
    ) -> None:
        host.samples[1].labels = [{"label": "a"}, {"label": "x" * 1300}, {"label": "b"}]
        report = client.read((1, CLUSTER, LABELS), (1, CLUSTER, LEVEL))
        assert report.statuses == {(1, CLUSTER, LABELS): Status.RESOURCE_EXHAUSTED}
        assert set(report.values) == {(1, CLUSTER, LEVEL)}

    def test_value_beyond_a_message_is_refused(
        self, host: InteractionHost, client: InteractionClient
    ) -> None:
        host.samples[1].fixed = "x" * 1300
        report = client.read((1, CLUSTER, FIXED), (1, CLUSTER, LEVEL))
        assert report.statuses == {(1, CLUSTER, FIXED): Status.RESOURCE_EXHAUSTED}

    @pytest.mark.parametrize("size", range(1150, 1216))
    def test_list_of_any_size_around_the_limit_is_complete(
        self, host: InteractionHost, client: InteractionClient, size: int
    ) -> None:
        host.samples[1].fixed = "x" * size
        report = client.read((1, CLUSTER, FIXED), (1, CLUSTER, LEVEL))
        assert report.value(1, CLUSTER, LEVEL) == 7
        assert ((1, CLUSTER, FIXED) in report.values) != ((1, CLUSTER, FIXED) in report.statuses)

    def test_report_stops_on_failure_status(self, host: InteractionHost) -> None:
        for sample in host.samples:
            sample.fixed = "x" * 900
        controller = Client(host)
        conversation = controller.open()
        conversation.send(Opcode.READ_REQUEST, read_request((None, None, None)))
        conversation.receive()
        conversation.send(Opcode.STATUS_RESPONSE, encode({0: 1, **REVISION}))
        host.network.run(1)
        assert len(host.exchanges) == 0

    def test_other_action_during_report_is_invalid(self, host: InteractionHost) -> None:
        for sample in host.samples:
            sample.fixed = "x" * 900
        conversation = Client(host).open()
        conversation.send(Opcode.READ_REQUEST, read_request((None, None, None)))
        conversation.receive()
        conversation.send(Opcode.READ_REQUEST, read_request((None, None, None)))
        assert conversation.receive().payload[3] == Status.INVALID_ACTION
        host.network.run(1)
        assert len(host.exchanges) == 0

    def test_report_to_silent_peer_is_abandoned(self, host: InteractionHost) -> None:
        for sample in host.samples:
            sample.fixed = "x" * 900
        conversation = Client(host).open()
        conversation.send(Opcode.READ_REQUEST, read_request((None, None, None)))
        conversation.receive()
        host.network.run(60)
        assert len(host.exchanges) == 0


class TestRefusals:
    def test_too_many_paths_are_refused(self, client: InteractionClient) -> None:
        paths = [(1, CLUSTER, number) for number in range(65)]
        with pytest.raises(WireStatusError) as info:
            client.read(*paths)
        assert info.value.status is Status.PATHS_EXHAUSTED

    @pytest.mark.parametrize(
        "payload",
        [
            b"",
            b"\x15",
            b"\x16\x18",
            encode({0: [], **REVISION}),
            encode({0: {}, 3: True}),
            encode({0: [{}], 3: True}),
            encode({0: [TlvList([(2, 1), (2, 1)])], 3: True}),
            encode({0: [TlvList([(2, 0x10000)])], 3: True}),
            encode({0: [TlvList([(2, "1")])], 3: True}),
            encode({0: [attribute_path((1, None, LEVEL))], 3: True}),
            encode({0: [attribute_path((1, CLUSTER, LABELS), (5, None))], 3: True}),
            encode({0: [TlvList([(0, True), (4, 1)])], 3: True}),
            encode({1: [TlvList([(3, 1)])], 3: True}),
            encode({2: [{}], 3: True}),
            encode({3: 1}),
            encode({3: True, 4: [{0: TlvList([(1, 1)]), 1: 1}]}),
        ],
    )
    def test_malformed_request_is_invalid(
        self, host: InteractionHost, client: InteractionClient, payload: bytes
    ) -> None:
        with pytest.raises(WireStatusError) as info:
            client.report(Opcode.READ_REQUEST, payload)
        assert info.value.status is Status.INVALID_ACTION
        host.network.run(1)
        assert len(host.exchanges) == 0

    def test_empty_read_is_answered(self, client: InteractionClient) -> None:
        report = client.read()
        assert report.values == {}
        assert report.is_suppressed

    @pytest.mark.parametrize("opcode", [4, 7, 9, 0x0B, 0xFF])
    def test_opcode_that_is_not_a_request_is_invalid(
        self, client: InteractionClient, opcode: int
    ) -> None:
        with pytest.raises(WireStatusError) as info:
            client.report(opcode, encode(REVISION))
        assert info.value.status is Status.INVALID_ACTION

    def test_report_without_subscription_is_refused(self, client: InteractionClient) -> None:
        with pytest.raises(WireStatusError) as info:
            client.report(Opcode.REPORT_DATA, encode({0: 5, **REVISION}))
        assert info.value.status is Status.INVALID_SUBSCRIPTION


def test_report_messages_fit_the_mtu(host: InteractionHost, client: InteractionClient) -> None:
    for sample in host.samples:
        with sample.changes():
            sample.fixed = "x" * 1000
            sample.labels = [{"label": "y" * 199}] * 30
    client.read((None, None, None))
    assert max(len(data) for _, data, _, _ in host.network.log) <= 1232
    assert MAX_PAYLOAD < 1232


def test_long_report_is_complete_on_lossy_network() -> None:
    network = Network(3, drop=0.2, repeat=0.2, reorder=0.2)
    host = InteractionHost(network)
    client = InteractionClient(Client(host))
    labels: list[Label] = [{"label": f"{number:03}" * 50} for number in range(30)]
    host.samples[1].labels = labels
    for _ in range(5):
        assert len(client.read((1, CLUSTER, LABELS)).value(1, CLUSTER, LABELS)) == 30
