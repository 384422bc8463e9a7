"""Invoke interactions: responses, several commands, timed requests, groups."""

from __future__ import annotations

import pytest

from evse_node.matter.data_model import AuthMode
from evse_node.matter.interaction.messages import Opcode
from evse_node.matter.interaction.status import Status
from evse_node.matter.tlv import TlvList, decode_struct, encode
from tests.support.fakes import Network
from tests.support.matter.interaction_client import (
    OK,
    REVISION,
    InteractionClient,
    Invoke,
    WireStatusError,
    command_path,
    invoke_all,
    invoke_request,
)
from tests.support.matter.interaction_host import OPERATE, VIEW, Client, InteractionHost
from tests.support.matter.sample_cluster import ADD, CLUSTER, FAIL, LOCK, MANAGE, SCOPED


def path(command: int) -> tuple[int, int, int]:
    return (1, CLUSTER, command)


def test_response_command_is_returned(host: InteractionHost, client: InteractionClient) -> None:
    assert client.invoke(path(ADD), {0: 10, 1: 2, 2: 1}) == {0: 13, 1: bytes(20)}
    assert host.samples[1].calls == [(10, 2, 1)]
    assert host.samples[0].calls == []
    assert len(host.network.log) == 3


def test_absent_fields_use_default_or_none(
    host: InteractionHost, client: InteractionClient
) -> None:
    client.invoke(path(ADD), {0: 10})
    assert host.samples[1].calls == [(10, None, 3)]


def test_command_without_response_returns_status(
    host: InteractionHost, client: InteractionClient
) -> None:
    assert client.invoke(path(MANAGE)) == 0
    assert client.invoke(path(MANAGE), {}) == 0
    # Fields of later revisions are ignored.
    assert client.invoke(path(MANAGE), {9: 1}) == 0
    assert host.samples[1].calls == ["manage"] * 3


@pytest.mark.parametrize(
    ("target", "fields", "status"),
    [
        ((7, CLUSTER, ADD), {0: 1}, Status.UNSUPPORTED_ENDPOINT),
        ((1, 0x1234, ADD), {0: 1}, Status.UNSUPPORTED_CLUSTER),
        (path(0x77), {0: 1}, Status.UNSUPPORTED_COMMAND),
        (path(1), {0: 1}, Status.UNSUPPORTED_COMMAND),
        (path(LOCK), None, Status.NEEDS_TIMED_INTERACTION),
        (path(ADD), {}, Status.INVALID_COMMAND),
        (path(ADD), None, Status.INVALID_COMMAND),
        (path(ADD), [], Status.INVALID_COMMAND),
        (path(ADD), {0: "1"}, Status.INVALID_COMMAND),
        (path(ADD), {0: 101}, Status.CONSTRAINT_ERROR),
        (path(FAIL), {0: 0}, Status.NOT_FOUND),
        (path(FAIL), {0: 1}, (Status.FAILURE, 4)),
        (path(FAIL), {0: 2}, Status.FAILURE),
        # The response exceeds a message.
        (path(ADD), {0: 1, 1: 130}, Status.RESOURCE_EXHAUSTED),
    ],
)
def test_invalid_command_returns_status(
    client: InteractionClient, target: tuple[int, int, int], fields: object, status: object
) -> None:
    assert client.invoke(target, fields) == status  # type: ignore[arg-type]


class TestAccess:
    def test_privilege_comes_before_timing_and_fields(
        self, host: InteractionHost, client: InteractionClient
    ) -> None:
        host.grants.masks[0x2222] = VIEW
        assert client.invoke(path(LOCK)) == Status.UNSUPPORTED_ACCESS
        assert client.invoke(path(ADD), []) == Status.UNSUPPORTED_ACCESS
        assert client.invoke(path(0x77)) == Status.UNSUPPORTED_COMMAND
        assert client.invoke((7, CLUSTER, ADD)) == Status.UNSUPPORTED_ENDPOINT

    def test_insufficient_privilege_is_refused(
        self, host: InteractionHost, client: InteractionClient
    ) -> None:
        host.grants.masks[0x2222] = OPERATE
        assert client.invoke(path(MANAGE)) == Status.UNSUPPORTED_ACCESS
        assert client.invoke(path(SCOPED)) == 0

    def test_without_view_existence_is_not_disclosed(
        self, host: InteractionHost, client: InteractionClient
    ) -> None:
        host.grants.masks[0x2222] = 0
        for target in (path(ADD), path(0x77), (7, CLUSTER, ADD), (1, 0x1234, 0)):
            assert client.invoke(target) == Status.UNSUPPORTED_ACCESS

    def test_fabric_scoped_command_needs_a_fabric(
        self, host: InteractionHost, client: InteractionClient
    ) -> None:
        commissioner = InteractionClient(Client(host, 5, auth_mode=AuthMode.PASE, fabric_index=0))
        assert commissioner.invoke(path(SCOPED)) == Status.UNSUPPORTED_ACCESS
        assert commissioner.invoke(path(MANAGE)) == 0
        assert client.invoke(path(SCOPED)) == 0
        assert host.samples[1].calls == ["manage", ("scoped", 1)]


class TestTimed:
    def test_timed_command_succeeds_after_timed_request(
        self, host: InteractionHost, client: InteractionClient
    ) -> None:
        assert client.invoke(path(LOCK), timed_ms=500) == 0
        assert host.samples[1].calls == ["lock"]

    def test_untimed_command_succeeds_after_timed_request(self, client: InteractionClient) -> None:
        assert client.invoke(path(MANAGE), timed_ms=500) == 0

    @pytest.mark.parametrize("command", [LOCK, MANAGE])
    def test_flag_without_timed_request_is_refused(
        self, host: InteractionHost, client: InteractionClient, command: int
    ) -> None:
        with pytest.raises(WireStatusError) as info:
            client.request(Opcode.INVOKE_REQUEST, invoke_request(Invoke(path(command)), timed=True))
        assert info.value.status is Status.TIMED_REQUEST_MISMATCH
        assert host.samples[1].calls == []

    def test_timed_request_without_flag_is_refused(
        self, host: InteractionHost, client: InteractionClient
    ) -> None:
        with pytest.raises(WireStatusError) as info:
            client.request(Opcode.INVOKE_REQUEST, invoke_request(Invoke(path(LOCK))), timed_ms=500)
        assert info.value.status is Status.TIMED_REQUEST_MISMATCH
        assert host.samples[1].calls == []

    def start(self, host: InteractionHost, timeout_ms: int):  # type: ignore[no-untyped-def]
        conversation = Client(host).open()
        conversation.send(Opcode.TIMED_REQUEST, encode({0: timeout_ms, **REVISION}))
        assert conversation.receive().payload == OK
        return conversation

    def test_invoke_after_timeout_is_refused(self, host: InteractionHost) -> None:
        conversation = self.start(host, 200)
        host.network.run(0.3)
        conversation.send(Opcode.INVOKE_REQUEST, invoke_request(Invoke(path(LOCK)), timed=True))
        assert conversation.receive().payload[3] == Status.TIMEOUT
        assert host.samples[1].calls == []

    def test_invoke_before_timeout_succeeds(self, host: InteractionHost) -> None:
        conversation = self.start(host, 500)
        host.network.run(0.4)
        conversation.send(Opcode.INVOKE_REQUEST, invoke_request(Invoke(path(LOCK)), timed=True))
        assert conversation.receive().opcode == Opcode.INVOKE_RESPONSE

    def test_other_action_after_timed_request_is_invalid(self, host: InteractionHost) -> None:
        conversation = self.start(host, 500)
        conversation.send(Opcode.READ_REQUEST, encode({3: True}))
        assert conversation.receive().payload[3] == Status.INVALID_ACTION

    def test_second_timed_request_is_invalid(self, host: InteractionHost) -> None:
        conversation = self.start(host, 500)
        conversation.send(Opcode.TIMED_REQUEST, encode({0: 500, **REVISION}))
        assert conversation.receive().payload[3] == Status.INVALID_ACTION

    def test_exchange_ends_without_invoke_request(self, host: InteractionHost) -> None:
        self.start(host, 500)
        host.network.run(60)
        assert len(host.exchanges) == 0

    @pytest.mark.parametrize("payload", [b"", encode({}), encode({0: 0x10000}), encode({0: "1"})])
    def test_malformed_timed_request_is_invalid(
        self, host: InteractionHost, client: InteractionClient, payload: bytes
    ) -> None:
        with pytest.raises(WireStatusError) as info:
            client.request(Opcode.TIMED_REQUEST, payload)
        assert info.value.status is Status.INVALID_ACTION


class TestSeveralCommands:
    def test_default_limit_is_one_path(
        self, host: InteractionHost, client: InteractionClient
    ) -> None:
        payload = invoke_request(Invoke(path(ADD), {0: 1}, 0), Invoke(path(MANAGE), None, 1))
        with pytest.raises(WireStatusError) as info:
            client.request(Opcode.INVOKE_REQUEST, payload)
        assert info.value.status is Status.INVALID_ACTION
        assert host.samples[1].calls == []

    @pytest.fixture
    def wide(self) -> InteractionHost:
        return InteractionHost(Network(), maximum_paths_per_invoke=4)

    def test_responses_contain_command_references(self, wide: InteractionHost) -> None:
        payload = invoke_request(
            Invoke(path(ADD), {0: 1}, 7), Invoke(path(MANAGE), None, 9), Invoke(path(0x77), None, 8)
        )
        message = InteractionClient(Client(wide)).request(Opcode.INVOKE_REQUEST, payload)
        assert invoke_all(message) == [
            (7, {0: 4, 1: b""}),
            (9, 0),
            (8, Status.UNSUPPORTED_COMMAND),
        ]

    @pytest.mark.parametrize(
        "items",
        [
            [Invoke(path(ADD), {0: 1}, 1), Invoke(path(MANAGE), None, 1)],
            [Invoke(path(ADD), {0: 1}, 1), Invoke(path(ADD), {0: 2}, 2)],
            [Invoke(path(ADD), {0: 1}, 1), Invoke(path(MANAGE))],
            [Invoke(path(number), None, number) for number in range(5)],
            [],
        ],
    )
    def test_invalid_combination_is_refused(
        self, wide: InteractionHost, items: list[Invoke]
    ) -> None:
        with pytest.raises(WireStatusError) as info:
            InteractionClient(Client(wide)).request(Opcode.INVOKE_REQUEST, invoke_request(*items))
        assert info.value.status is Status.INVALID_ACTION
        assert wide.samples[1].calls == []

    def test_long_response_is_sent_in_several_messages(self, wide: InteractionHost) -> None:
        conversation = Client(wide).open()
        conversation.send(
            Opcode.INVOKE_REQUEST,
            invoke_request(
                Invoke((0, CLUSTER, ADD), {0: 1, 1: 100}, 1),
                Invoke((1, CLUSTER, ADD), {0: 1, 1: 100}, 2),
                Invoke((1, CLUSTER, MANAGE), None, 3),
            ),
        )
        first = conversation.receive()
        assert decode_struct(first.payload)[2] is True
        assert [reference for reference, _ in invoke_all(first)] == [1]
        conversation.send(Opcode.STATUS_RESPONSE, OK)
        second = conversation.receive()
        assert 2 not in decode_struct(second.payload)
        assert [reference for reference, _ in invoke_all(second)] == [2, 3]
        conversation.close()
        assert len(wide.exchanges) == 0


def test_reference_of_single_command_is_returned(client: InteractionClient) -> None:
    payload = invoke_request(Invoke(path(MANAGE), None, 5))
    assert invoke_all(client.request(Opcode.INVOKE_REQUEST, payload)) == [(5, 0)]


def test_suppressed_response_is_not_sent(host: InteractionHost) -> None:
    conversation = Client(host).open()
    conversation.send(Opcode.INVOKE_REQUEST, invoke_request(Invoke(path(MANAGE)), suppress=True))
    host.network.run(1)
    assert not conversation.messages
    assert host.samples[1].calls == ["manage"]
    assert len(host.exchanges) == 0


@pytest.mark.parametrize(
    "payload",
    [
        encode({0: False, 1: False, **REVISION}),
        encode({0: False, 1: False, 2: [1]}),
        encode({0: False, 1: False, 2: [{0: command_path((None, CLUSTER, ADD))}]}),
        encode({0: False, 1: False, 2: [{0: command_path((1, None, ADD))}]}),
        encode({0: False, 1: False, 2: [{0: command_path((1, CLUSTER, None))}]}),
        encode({0: False, 1: False, 2: [{0: TlvList([(0, 1), (None, 1)])}]}),
        encode({0: False, 1: False, 2: [{0: command_path((1, 1, 1)), 2: 0x10000}]}),
        encode({1: False, 2: [{0: command_path((1, 1, 1))}]}),
        encode({0: False, 2: [{0: command_path((1, 1, 1))}]}),
    ],
)
def test_malformed_request_is_invalid(client: InteractionClient, payload: bytes) -> None:
    with pytest.raises(WireStatusError) as info:
        client.request(Opcode.INVOKE_REQUEST, payload)
    assert info.value.status is Status.INVALID_ACTION


def test_duplicate_datagram_does_not_repeat_the_command() -> None:
    network = Network(5, repeat=1.0)
    host = InteractionHost(network)
    InteractionClient(Client(host)).invoke(path(MANAGE))
    network.run(1)
    assert host.samples[1].calls == ["manage"]
