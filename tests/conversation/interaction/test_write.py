"""Write interactions: lists, timed writes, access, data versions."""

from __future__ import annotations

import pytest

from evse_node.cluster.server_attribute import ServerAttribute
from evse_node.matter.data_model import AuthMode, InteractionContext, Subject
from evse_node.matter.interaction.messages import Opcode
from evse_node.matter.interaction.status import Status
from evse_node.matter.tlv import SignedInt, TlvList, TlvValue, encode
from tests.support.fakes import Network
from tests.support.matter.interaction_client import (
    REVISION,
    InteractionClient,
    WireStatusError,
    Write,
    attribute_path,
    write_request,
    write_statuses,
)
from tests.support.matter.interaction_host import OPERATE, VIEW, Client, InteractionHost
from tests.support.matter.sample_cluster import (
    CHECKED,
    CLUSTER,
    FIXED,
    LABELS,
    LEVEL,
    NOTES,
    SECRET,
    TIMED,
    UPTIME,
    Note,
)


def write(attribute: int, data: object, **options: object) -> Write:
    return Write((1, CLUSTER, attribute), data, **options)  # type: ignore[arg-type]


def test_written_value_is_stored(host: InteractionHost, client: InteractionClient) -> None:
    version = host.samples[1].data_version
    assert client.write(write(LEVEL, 42)) == [0]
    assert host.samples[1].level == 42
    assert host.samples[1].data_version == version + 1
    assert len(host.network.log) == 3


def test_each_value_has_its_status(host: InteractionHost, client: InteractionClient) -> None:
    statuses = client.write(write(LEVEL, 42), write(LEVEL, 101), write(UPTIME, 1), write(LEVEL, 9))
    assert statuses == [0, Status.CONSTRAINT_ERROR, Status.UNSUPPORTED_WRITE, 0]
    assert host.samples[1].level == 9


@pytest.mark.parametrize(
    ("item", "status"),
    [
        (Write((7, CLUSTER, LEVEL), 1), Status.UNSUPPORTED_ENDPOINT),
        (Write((1, 0x1234, LEVEL), 1), Status.UNSUPPORTED_CLUSTER),
        (write(0x77, 1), Status.UNSUPPORTED_ATTRIBUTE),
        (write(UPTIME, 1), Status.UNSUPPORTED_WRITE),
        (write(FIXED, "x"), Status.UNSUPPORTED_WRITE),
        (write(0xFFFD, 1), Status.UNSUPPORTED_WRITE),
        (write(TIMED, True), Status.NEEDS_TIMED_INTERACTION),
        (write(LEVEL, 101), Status.CONSTRAINT_ERROR),
        (write(LEVEL, "1"), Status.INVALID_DATA_TYPE),
        (write(LEVEL, None), Status.INVALID_DATA_TYPE),
        (write(LEVEL, 1, append=True), Status.INVALID_DATA_TYPE),
        (write(CHECKED, 5), Status.INVALID_DATA_TYPE),
        (write(CHECKED, SignedInt(13)), Status.INVALID_IN_STATE),
        (write(CHECKED, SignedInt(14)), Status.FAILURE),
        (write(LABELS, [{0: "x" * 201}]), Status.CONSTRAINT_ERROR),
        (write(LABELS, [{1: 1}]), Status.INVALID_DATA_TYPE),
        (write(LABELS, {}), Status.INVALID_DATA_TYPE),
    ],
)
def test_invalid_write_returns_status(
    host: InteractionHost, client: InteractionClient, item: Write, status: int
) -> None:
    version = host.samples[1].data_version
    assert client.write(item, write(LEVEL, 5)) == [status, 0]
    assert host.samples[1].data_version == version + 1


def test_write_method_takes_value_or_null(host: InteractionHost, client: InteractionClient) -> None:
    assert client.write(write(CHECKED, SignedInt(-5))) == [0]
    assert host.samples[1].checked == -5
    assert client.write(write(CHECKED, None)) == [0]
    assert host.samples[1].checked is None


class TestAccess:
    def test_insufficient_privilege_is_refused(
        self, host: InteractionHost, client: InteractionClient
    ) -> None:
        host.grants.masks[0x2222] = OPERATE
        assert client.write(write(LEVEL, 1), write(SECRET, 1)) == [0, Status.UNSUPPORTED_ACCESS]
        host.grants.masks[0x2222] = VIEW
        host.grants.change()
        assert client.write(write(LEVEL, 2)) == [Status.UNSUPPORTED_ACCESS]
        assert host.samples[1].level == 1

    def test_read_only_comes_before_privilege(
        self, host: InteractionHost, client: InteractionClient
    ) -> None:
        host.grants.masks[0x2222] = VIEW
        assert client.write(write(UPTIME, 1)) == [Status.UNSUPPORTED_WRITE]

    def test_privilege_comes_before_value_and_timing(
        self, host: InteractionHost, client: InteractionClient
    ) -> None:
        host.grants.masks[0x2222] = VIEW
        statuses = client.write(write(LEVEL, "x"), write(TIMED, True))
        assert statuses == [Status.UNSUPPORTED_ACCESS] * 2

    def test_without_view_existence_is_not_disclosed(
        self, host: InteractionHost, client: InteractionClient
    ) -> None:
        host.grants.masks[0x2222] = 0
        assert (
            client.write(write(0x77, 1), Write((7, CLUSTER, LEVEL), 1))
            == [Status.UNSUPPORTED_ACCESS] * 2
        )

    def test_fabric_scoped_list_needs_a_fabric(self, host: InteractionHost) -> None:
        client = InteractionClient(Client(host, 5, auth_mode=AuthMode.PASE, fabric_index=0))
        assert client.write(write(NOTES, [])) == [Status.UNSUPPORTED_ACCESS]

    def test_list_write_continues_after_its_first_items_revoke_access(
        self, host: InteractionHost, client: InteractionClient
    ) -> None:
        sample = host.samples[1]
        assign = sample.assign

        def revoking(attribute: ServerAttribute, value: object) -> None:
            host.grants.masks[0x2222] = 0
            host.grants.change()
            assign(attribute, value)

        sample.assign = revoking  # type: ignore[method-assign]
        statuses = client.write(
            write(LABELS, []),
            write(LABELS, {0: "a"}, append=True),
            write(LABELS, {0: "b"}, append=True),
            write(LEVEL, 1),
        )
        assert statuses == [0, 0, 0, Status.UNSUPPORTED_ACCESS]
        assert len(sample.labels) == 2


class TestDataVersion:
    def test_write_with_current_version_succeeds(
        self, host: InteractionHost, client: InteractionClient
    ) -> None:
        version = host.samples[1].data_version
        assert client.write(write(LEVEL, 1, version=version)) == [0]
        assert client.write(write(LEVEL, 2, version=version)) == [Status.DATA_VERSION_MISMATCH]
        assert host.samples[1].level == 1

    def test_version_is_checked_once_for_a_list(
        self, host: InteractionHost, client: InteractionClient
    ) -> None:
        version = host.samples[1].data_version
        statuses = client.write(
            write(LABELS, [], version=version),
            write(LABELS, {0: "a"}, version=version, append=True),
            write(LABELS, {0: "b"}, version=version, append=True),
        )
        assert statuses == [0, 0, 0]

    def test_refused_list_is_not_appended_to(
        self, host: InteractionHost, client: InteractionClient
    ) -> None:
        host.samples[1].labels = [{"label": "old"}]
        version = host.samples[1].data_version
        statuses = client.write(
            write(LABELS, [], version=version - 1),
            write(LABELS, {0: "a"}, append=True),
        )
        assert statuses == [Status.DATA_VERSION_MISMATCH] * 2
        assert host.samples[1].labels == [{"label": "old"}]


class TestLists:
    def test_list_is_replaced(self, host: InteractionHost, client: InteractionClient) -> None:
        assert client.write(write(LABELS, [{0: "a"}, {0: "b", 1: 2}])) == [0]
        assert host.samples[1].labels == [{"label": "a"}, {"label": "b", "number": 2}]

    def test_items_are_appended(self, host: InteractionHost, client: InteractionClient) -> None:
        host.samples[1].labels = [{"label": "a"}]
        assert client.write(write(LABELS, {0: "b"}, append=True)) == [0]
        assert host.samples[1].labels == [{"label": "a"}, {"label": "b"}]

    def test_refused_item_does_not_affect_other_items(
        self, host: InteractionHost, client: InteractionClient
    ) -> None:
        statuses = client.write(
            write(LABELS, []),
            write(LABELS, {0: "a"}, append=True),
            write(LABELS, {0: 5}, append=True),
            write(LABELS, {0: "c"}, append=True),
        )
        assert statuses == [0, 0, Status.INVALID_DATA_TYPE, 0]
        assert host.samples[1].labels == [{"label": "a"}, {"label": "c"}]

    def test_too_many_items_are_refused(
        self, host: InteractionHost, client: InteractionClient
    ) -> None:
        host.samples[1].labels = [{"label": "a"}] * 40
        assert client.write(write(LABELS, {0: "b"}, append=True)) == [Status.CONSTRAINT_ERROR]
        assert client.write(write(LABELS, [{0: ""}] * 41)) == [Status.CONSTRAINT_ERROR]

    def test_index_of_an_item_is_not_supported(self, client: InteractionClient) -> None:
        item: TlvValue = {1: attribute_path((1, CLUSTER, LABELS), (5, 0)), 2: {0: "x"}}
        message = client.request(
            Opcode.WRITE_REQUEST, encode({0: False, 1: False, 2: [item], **REVISION})
        )
        assert write_statuses(message) == [Status.UNSUPPORTED_WRITE]

    def test_fabric_scoped_list_keeps_items_of_other_fabrics(
        self, host: InteractionHost, client: InteractionClient
    ) -> None:
        theirs: Note = {"text": "theirs", "secret": 2, "fabric_index": 2}
        mine: Note = {"text": "mine", "secret": 1, "fabric_index": 1}
        host.samples[1].notes = [theirs, mine]
        # The fabric index that a client sends is ignored.
        assert client.write(write(NOTES, [{1: "new", 2: 3, 254: 2}])) == [0]
        new = {"text": "new", "secret": 3, "fabric_index": 1}
        assert host.samples[1].notes == [theirs, new]
        assert client.write(write(NOTES, {1: "more", 2: 4}, append=True)) == [0]
        more = {"text": "more", "secret": 4, "fabric_index": 1}
        assert host.samples[1].notes == [theirs, new, more]
        assert client.write(write(NOTES, [])) == [0]
        assert host.samples[1].notes == [theirs]

    def test_chunked_write_is_one_list_write(self, host: InteractionHost) -> None:
        controller = Client(host)
        conversation = controller.open()
        conversation.send(
            Opcode.WRITE_REQUEST,
            write_request(write(LABELS, []), write(LABELS, {0: "a"}, append=True), more=True),
        )
        assert write_statuses(conversation.receive()) == [0, 0]
        conversation.send(
            Opcode.WRITE_REQUEST, write_request(write(LABELS, {0: "b"}, append=True), more=True)
        )
        assert write_statuses(conversation.receive()) == [0]
        conversation.send(
            Opcode.WRITE_REQUEST,
            write_request(write(LABELS, {0: "c"}, append=True), write(LEVEL, 3)),
        )
        assert write_statuses(conversation.receive()) == [0, 0]
        host.network.run(1)
        assert len(host.exchanges) == 0
        assert [item["label"] for item in host.samples[1].labels] == ["a", "b", "c"]

    def test_long_response_merges_statuses_of_list_items(
        self, host: InteractionHost, client: InteractionClient
    ) -> None:
        items = [write(LABELS, None, append=True)] * 55
        assert client.write(*items) == [Status.INVALID_DATA_TYPE]

    def test_response_beyond_message_size_is_refused(
        self, host: InteractionHost, client: InteractionClient
    ) -> None:
        with pytest.raises(WireStatusError) as info:
            client.write(*[write(LEVEL, 1)] * 58)
        assert info.value.status is Status.RESOURCE_EXHAUSTED
        assert host.samples[1].level == 7

    def test_other_action_during_chunked_write_is_invalid(self, host: InteractionHost) -> None:
        conversation = Client(host).open()
        conversation.send(Opcode.WRITE_REQUEST, write_request(write(LEVEL, 1), more=True))
        conversation.receive()
        conversation.send(Opcode.STATUS_RESPONSE, encode({0: 0, **REVISION}))
        assert conversation.receive().payload[3] == Status.INVALID_ACTION
        host.network.run(1)
        assert len(host.exchanges) == 0


class TestTimed:
    def test_timed_attribute_is_written_after_timed_request(
        self, host: InteractionHost, client: InteractionClient
    ) -> None:
        assert client.write(write(TIMED, True), timed_ms=500) == [0]
        assert host.samples[1].timed is True

    def test_flag_without_timed_request_is_refused(
        self, host: InteractionHost, client: InteractionClient
    ) -> None:
        with pytest.raises(WireStatusError) as info:
            client.request(Opcode.WRITE_REQUEST, write_request(write(LEVEL, 1), timed=True))
        assert info.value.status is Status.TIMED_REQUEST_MISMATCH
        assert host.samples[1].level == 7

    def test_timed_request_without_flag_is_refused(
        self, host: InteractionHost, client: InteractionClient
    ) -> None:
        with pytest.raises(WireStatusError) as info:
            client.request(Opcode.WRITE_REQUEST, write_request(write(LEVEL, 1)), timed_ms=500)
        assert info.value.status is Status.TIMED_REQUEST_MISMATCH
        assert host.samples[1].level == 7


def test_suppressed_response_is_not_sent(host: InteractionHost) -> None:
    conversation = Client(host).open()
    conversation.send(Opcode.WRITE_REQUEST, write_request(write(LEVEL, 1), suppress=True))
    host.network.run(1)
    assert not conversation.messages
    assert host.samples[1].level == 1
    assert len(host.exchanges) == 0


@pytest.mark.parametrize(
    "payload",
    [
        encode({1: False, **REVISION}),
        encode({0: False, 1: False, 2: [{1: TlvList([(3, 1), (4, 1)]), 2: 1}]}),
        encode({0: False, 1: False, 2: [{1: TlvList([(2, 1), (4, 1)]), 2: 1}]}),
        encode({0: False, 1: False, 2: [{1: TlvList([(2, 1), (3, 1)]), 2: 1}]}),
        encode({0: False, 1: False, 2: [{1: attribute_path((1, 1, 1))}]}),
        write_request(Write((None, CLUSTER, LEVEL), 33)),
        encode({0: False, 1: False, 2: [{1: attribute_path((1, 1, 1), (5, "x")), 2: 1}]}),
        encode({0: False, 1: False, 2: [{0: SignedInt(1), 1: attribute_path((1, 1, 1)), 2: 1}]}),
        encode({0: 1, 1: False, 2: []}),
        write_request(write(LEVEL, 1), more=True, suppress=True),
    ],
)
def test_malformed_request_is_invalid(
    host: InteractionHost, client: InteractionClient, payload: bytes
) -> None:
    with pytest.raises(WireStatusError) as info:
        client.request(Opcode.WRITE_REQUEST, payload)
    assert info.value.status is Status.INVALID_ACTION
    assert host.samples[1].level == 7


def test_written_values_are_restored_after_restart(
    host: InteractionHost, client: InteractionClient
) -> None:
    client.write(write(LEVEL, 55), write(NOTES, [{1: "kept", 2: 9}]))
    restarted = InteractionHost(Network(), seed=8, store=host.store)
    context = InteractionContext(Subject(AuthMode.CASE, 1), 0)
    assert restarted.samples[1].level == 55
    assert restarted.samples[0].level == 7
    assert restarted.samples[1].notes == [{"text": "kept", "secret": 9, "fabric_index": 1}]
    assert restarted.samples[1].encode_attribute(NOTES, context) == encode(
        [{1: "kept", 2: 9, 254: 1}], 2
    )
