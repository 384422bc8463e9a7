"""Logs over BDX: the command is answered when the peer has accepted the transfer."""

from __future__ import annotations

from typing import Any

import pytest

from evse_node.cluster.definitions.zap import load_definitions
from evse_node.cluster.servers.root.diagnostic_logs import (
    DiagnosticLogsServer,
    Intent,
    LogEntry,
    LogStatus,
)
from evse_node.matter.bdx import BEGIN_TIMEOUT_S, BdxSender
from evse_node.matter.interaction.messages import Opcode
from evse_node.matter.interaction.status import Status
from evse_node.matter.tlv import TlvValue, decode_struct, encode
from tests.support.fakes import Network
from tests.support.matter.bdx_receiver import BdxReceiver
from tests.support.matter.fake_controller import Conversation
from tests.support.matter.interaction_client import (
    REVISION,
    InteractionClient,
    Invoke,
    invoke_request,
)
from tests.support.matter.interaction_host import Client, InteractionHost
from tests.support.matter.sample_cluster import ADD, CLUSTER

LOG = [LogEntry(b"%05d %s\n" % (number, b"." * 60), None, 5) for number in range(100)]
DIAGNOSTIC_LOGS = 0x0032


class Logs:
    def read(self, intent: Intent) -> list[LogEntry]:
        return LOG


class Setting:
    def __init__(self, **options: int) -> None:
        self.network = Network()
        self.host = InteractionHost(self.network, seed=1, store=None, number=1, **options)
        self.bdx = BdxSender(self.host.exchanges)
        definition = load_definitions()["Diagnostic Logs"]
        server = DiagnosticLogsServer(definition, Logs(), self.bdx)
        self.host.node.endpoints[0].clusters[server.id] = server
        server.attach(0, self.host.environment)
        self.peer = Client(self.host)
        self.receiver = BdxReceiver(self.peer)

    def ask(self, *others: Invoke, suppress: bool = False) -> Conversation:
        fields: TlvValue = {0: 0, 1: 1, 2: "filename"}
        request = Invoke((0, DIAGNOSTIC_LOGS, 0), fields, *([0] if others else []))
        conversation = self.peer.open()
        conversation.send(
            Opcode.INVOKE_REQUEST, invoke_request(request, *others, suppress=suppress)
        )
        return conversation


def answers(conversation: Conversation) -> list[object]:
    message = conversation.receive()
    assert message.opcode == Opcode.INVOKE_RESPONSE
    found: Any = decode_struct(message.payload)[1]
    return [item[0][1] if 0 in item else item[1] for item in found]


@pytest.fixture
def setting() -> Setting:
    return Setting()


def test_logs_are_transferred_by_bdx(setting: Setting) -> None:
    conversation = setting.ask()
    assert answers(conversation) == [{0: LogStatus.SUCCESS, 1: b"", 3: 5}]
    assert setting.receiver.offers == [(0x10, 0, 1024, b"filename")]
    setting.network.run(1)
    assert setting.receiver.data == b"".join(entry.text for entry in LOG)


def test_response_waits_for_transfer_acceptance(setting: Setting) -> None:
    setting.receiver.accepts = False
    conversation = setting.ask()
    setting.network.run(BEGIN_TIMEOUT_S - 1)
    assert not conversation.messages
    # Meanwhile the node serves other requests, but no second transfer.
    other = InteractionClient(Client(setting.host, 3))
    reply = other.invoke((0, DIAGNOSTIC_LOGS, 0), {0: 0, 1: 1, 2: "other"})
    assert reply == {0: LogStatus.BUSY, 1: b""}
    assert answers(conversation) == [{0: LogStatus.DENIED, 1: b""}]
    assert not setting.bdx.is_busy


def test_suppressed_response_is_not_sent_after_transfer(setting: Setting) -> None:
    conversation = setting.ask(suppress=True)
    setting.network.run(1)
    assert not conversation.messages
    assert setting.receiver.is_complete


def test_action_before_response_is_invalid(setting: Setting) -> None:
    setting.receiver.accepts = False
    conversation = setting.ask()
    setting.network.run(1)
    conversation.send(Opcode.STATUS_RESPONSE, encode({0: 0, **REVISION}))
    message = conversation.receive()
    assert message.opcode == Opcode.STATUS_RESPONSE
    assert decode_struct(message.payload)[0] == Status.INVALID_ACTION
    setting.network.run(BEGIN_TIMEOUT_S)
    assert not setting.bdx.is_busy


def test_removed_session_ends_the_transfer(setting: Setting) -> None:
    setting.receiver.accepts = False
    setting.ask()
    setting.network.run(1)
    setting.host.sessions.remove(setting.peer.host_session, setting.network.now)
    setting.network.run(BEGIN_TIMEOUT_S)
    assert not setting.bdx.is_busy


def test_responses_of_other_commands_wait_for_transfer() -> None:
    setting = Setting(maximum_paths_per_invoke=2)
    conversation = setting.ask(Invoke((1, CLUSTER, ADD), {0: 1, 1: 1}, 1))
    found = answers(conversation)
    assert found == [
        {0: LogStatus.SUCCESS, 1: b"", 3: 5},
        {0: 5, 1: bytes(10)},
    ]
    assert setting.host.samples[1].calls == [(1, 1, 3)]
