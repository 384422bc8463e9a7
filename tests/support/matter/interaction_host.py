"""A node with sample clusters and its interaction model, and clients with sessions to it."""

from __future__ import annotations

from evse_node.cluster.server import ClusterEnvironment
from evse_node.matter.data_model import AuthMode, Endpoint, Node, Privilege, Subject
from evse_node.matter.interaction.encoding import encode_status_response, message_end
from evse_node.matter.interaction.event_log import EventLog
from evse_node.matter.interaction.messages import Opcode
from evse_node.matter.interaction.model import InteractionModel
from evse_node.matter.messaging.exchange import Exchange
from evse_node.matter.messaging.message import (
    PROTOCOL_INTERACTION_MODEL,
    Message,
)
from evse_node.matter.messaging.session import SecureSession
from evse_node.testing.memory_store import MemoryStore
from tests.support.fakes import MessageHost, Network, RecordingHandler, address, secure_pair
from tests.support.matter.fake_controller import Conversation
from tests.support.matter.sample_cluster import Sample

ALL = sum(1 << privilege for privilege in Privilege)
VIEW = 1 << Privilege.VIEW
OPERATE = VIEW | 1 << Privilege.OPERATE


class Grants:
    """Access control by given masks; `denied` are (endpoint, cluster) without access."""

    def __init__(self) -> None:
        self.generation = 0
        self.masks: dict[int, int] = {}
        self.denied: set[tuple[int, int]] = set()
        self.lookups = 0

    def granted(
        self, subject: Subject, endpoint: int, cluster: int, device_types: tuple[int, ...]
    ) -> int:
        self.lookups += 1
        if (endpoint, cluster) in self.denied:
            return 0
        return self.masks.get(subject.node_id, ALL)

    def change(self) -> None:
        self.generation += 1


class InteractionHost(MessageHost):
    """Endpoints 0 and 1, each with the sample cluster, behind a real message layer."""

    def __init__(
        self,
        network: Network,
        *,
        seed: int = 1,
        store: MemoryStore | None = None,
        number: int = 1,
        **options: int,
    ) -> None:
        super().__init__(seed)
        self.network = network
        self.address = address(number)
        self.store = store or MemoryStore()
        self.node = Node()
        self.utc_ms: int | None = None
        self.event_log = EventLog(self.node, self.store, lambda: network.now, lambda: self.utc_ms)
        self.environment = ClusterEnvironment(
            self.node,
            self.store,
            self.event_log,
            lambda: network.now,
            lambda: self.utc_ms,
            self.random_bytes,
        )
        self.grants = Grants()
        self.samples: list[Sample] = []
        for endpoint_id in (0, 1):
            sample = Sample(optional=["Broken"] if endpoint_id else [])
            sample.attach(endpoint_id, self.environment)
            self.samples.append(sample)
            self.node.endpoints[endpoint_id] = Endpoint(
                endpoint_id, ((0x0016, 1),), {sample.id: sample}
            )
        self.model = InteractionModel(
            self.node,
            self.exchanges,
            self.grants,
            self.timers,
            self.event_log,
            self.store,
            random_bytes=self.random_bytes,
            **options,
        )
        network.attach(self.address, self)


class Client(MessageHost):
    """A peer with a secure session to a host; takes reports like `FakeController`."""

    def __init__(
        self,
        host: InteractionHost,
        number: int = 2,
        *,
        auth_mode: AuthMode = AuthMode.CASE,
        fabric_index: int = 1,
        node_id: int = 0x2222,
    ) -> None:
        super().__init__(number)
        self.network = host.network
        self.host = host
        self.address = address(number)
        self.node_id = node_id
        self.fabric_index = fabric_index
        self.auth_mode = auth_mode
        self.network.attach(self.address, self)
        self.reports: list[Message] = []
        self.answers_reports = True
        self.report_status = 0
        self.session: SecureSession
        self.host_session: SecureSession
        self.connect()
        self.exchanges.register(PROTOCOL_INTERACTION_MODEL, self._on_unsolicited)

    def connect(self) -> SecureSession:
        """Establish a session; return the host's side."""
        self.host_session, self.session = secure_pair(
            self.host,
            self.host.address,
            self,
            self.address,
            self.network.now,
            auth_mode=self.auth_mode,
            fabric_index=self.fabric_index,
            node_ids=(0x1111, self.node_id),
        )
        return self.host_session

    def open(self) -> Conversation:
        conversation = Conversation(self)  # type: ignore[arg-type]
        conversation.exchange = self.exchanges.open(self.session, conversation)
        return conversation

    def _on_unsolicited(self, exchange: Exchange, message: Message, now: float) -> None:
        exchange.handler = RecordingHandler(self._on_report)
        self._on_report(exchange, message, now)

    def _on_report(self, exchange: Exchange, message: Message, now: float) -> None:
        self.reports.append(message)
        if self.answers_reports and message.opcode == Opcode.REPORT_DATA:
            status = encode_status_response(self.report_status) + message_end(11)
            exchange.send(PROTOCOL_INTERACTION_MODEL, Opcode.STATUS_RESPONSE, status, now=now)
