"""The interaction model: dispatch of requests.

Spec: Matter Core 1.3, chapter 8 "Interaction Model Specification"
"""

from __future__ import annotations

from collections.abc import Callable, Container

from evse_node.errors import StatusError
from evse_node.matter.data_model import Node
from evse_node.matter.interaction.encoding import message_end
from evse_node.matter.interaction.event_log import EventLog
from evse_node.matter.interaction.invoke import on_invoke_request
from evse_node.matter.interaction.messages import Opcode, decode_timed_request
from evse_node.matter.interaction.paths import Access, AccessGrants
from evse_node.matter.interaction.read import on_read_request
from evse_node.matter.interaction.status import Status
from evse_node.matter.interaction.subscribe import SUBSCRIPTIONS_PER_FABRIC, Subscriptions
from evse_node.matter.interaction.subscription_resumption import Connect, Resumer
from evse_node.matter.interaction.transaction import (
    RESPONSE_TIMEOUT_S,
    Transaction,
    refuse,
    send_status,
)
from evse_node.matter.interaction.write import WriteTransaction
from evse_node.matter.messaging.exchange import Exchange
from evse_node.matter.messaging.exchange_manager import ExchangeManager
from evse_node.matter.messaging.message import PROTOCOL_INTERACTION_MODEL, Message
from evse_node.matter.messaging.session import SecureSession
from evse_node.matter.store import Store
from evse_node.matter.timers import Timers


class InteractionModel:
    """Handler for reads, writes, invokes and subscriptions of a node.

    Call `remove_fabric` for each removed fabric. `revision` is part of every message.
    """

    def __init__(
        self,
        node: Node,
        exchanges: ExchangeManager,
        access_control: AccessGrants,
        timers: Timers,
        event_log: EventLog,
        store: Store,
        *,
        random_bytes: Callable[[int], bytes],
        supported_fabrics: int = 16,
        subscriptions_per_fabric: int = SUBSCRIPTIONS_PER_FABRIC,
        maximum_paths_per_invoke: int = 1,
        revision: int = 11,
    ) -> None:
        self.access = Access(node, access_control)
        self.event_log = event_log
        self.subscriptions = Subscriptions(
            self.access,
            event_log,
            exchanges,
            timers,
            store,
            random_bytes,
            fabrics=supported_fabrics,
            per_fabric=subscriptions_per_fabric,
        )
        self._timers = timers
        self._store = store
        self._maximum_paths_per_invoke = maximum_paths_per_invoke
        exchanges.register(PROTOCOL_INTERACTION_MODEL, self.on_message, message_end(revision))

    def resume_subscriptions(self, connect: Connect, fabrics: Container[int], now: float) -> None:
        """Resume the stored subscriptions; call once, when fabrics and endpoints are complete.

        `fabrics` are the indices of the existing fabrics.
        """
        Resumer(self.subscriptions, fabrics, self._store, self._timers, connect).start(now)

    def remove_fabric(self, fabric_index: int) -> None:
        """Remove the subscriptions and events of a fabric."""
        self.subscriptions.remove_fabric(fabric_index)
        self.event_log.remove_fabric(fabric_index)

    def on_message(self, exchange: Exchange, message: Message, now: float) -> None:
        """Handle a message that opens an exchange. Never raises for invalid messages."""
        try:
            self._on_request(exchange, message, False, now)
        except Exception as error:
            refuse(exchange, now, error)

    def _on_request(self, exchange: Exchange, message: Message, is_timed: bool, now: float) -> None:
        opcode = message.opcode
        payload = message.payload
        if opcode == Opcode.READ_REQUEST and not is_timed:
            on_read_request(self.access, self.event_log, exchange, payload, now)
        elif opcode == Opcode.INVOKE_REQUEST:
            on_invoke_request(
                self.access, self._maximum_paths_per_invoke, exchange, payload, is_timed, now
            )
        elif opcode == Opcode.WRITE_REQUEST:
            session = exchange.session
            assert isinstance(session, SecureSession)
            WriteTransaction(self.access, session, is_timed).on_request(exchange, payload, now)
        elif is_timed:
            raise StatusError(Status.INVALID_ACTION)
        elif opcode == Opcode.SUBSCRIBE_REQUEST:
            self.subscriptions.on_request(exchange, payload, now)
        elif opcode == Opcode.TIMED_REQUEST:
            timeout_ms = decode_timed_request(payload)
            _TimedTransaction(self._on_request).start(exchange, timeout_ms, now)
        elif opcode == Opcode.REPORT_DATA:
            raise StatusError(Status.INVALID_SUBSCRIPTION)
        elif opcode == Opcode.STATUS_RESPONSE:
            exchange.close(now)
        else:
            raise StatusError(Status.INVALID_ACTION)


class _TimedTransaction(Transaction):
    """The wait for the write or invoke request after a timed request.

    Spec: Matter Core 1.3 "Timed Request Action"
    """

    def __init__(self, on_request: Callable[[Exchange, Message, bool, float], None]) -> None:
        self._on_request = on_request
        self._deadline = 0.0

    def start(self, exchange: Exchange, timeout_ms: int, now: float) -> None:
        """Send a status of success, and wait for the next action."""
        self._deadline = now + timeout_ms / 1000
        send_status(exchange, Status.SUCCESS, now)
        exchange.handler = self
        # The exchange outlives the deadline, so that a late action is answered by TIMEOUT.
        exchange.expect_response(timeout_ms / 1000 + RESPONSE_TIMEOUT_S, now)

    def on_action(self, exchange: Exchange, message: Message, now: float) -> None:
        """Execute the write or invoke request unless it is too late."""
        if now > self._deadline:
            raise StatusError(Status.TIMEOUT)
        self._on_request(exchange, message, True, now)
