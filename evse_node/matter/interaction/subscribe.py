"""Subscribe interactions, and the subscriptions of the node.

Spec: Matter Core 1.3 "Subscribe Interaction"
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

from evse_node.errors import DecodeError, SessionError, StatusError
from evse_node.matter.data_model import AttributePath, EventRecord
from evse_node.matter.interaction.encoding import encode_subscribe_response
from evse_node.matter.interaction.event_log import EventLog
from evse_node.matter.interaction.messages import (
    Opcode,
    SubscribeRequest,
    decode_subscribe_request,
)
from evse_node.matter.interaction.paths import Access
from evse_node.matter.interaction.read import check_path_count, filter_by_version
from evse_node.matter.interaction.report import ReportStream, ReportTransaction
from evse_node.matter.interaction.status import Status
from evse_node.matter.interaction.subscription import State, Subscription, encode_record
from evse_node.matter.interaction.transaction import check_success, send
from evse_node.matter.messaging.exchange import Exchange
from evse_node.matter.messaging.exchange_manager import ExchangeManager
from evse_node.matter.messaging.message import Message
from evse_node.matter.messaging.session import SecureSession
from evse_node.matter.store import Store
from evse_node.matter.timers import Timers

_LOGGER: Final = logging.getLogger(__name__)

MAX_INTERVAL_S = 3600
"""Upper limit of the maximum interval, unless the requested minimum interval is longer."""
SUBSCRIPTIONS_PER_FABRIC = 3
"""Subscriptions that each fabric can rely on."""


def record_key(subscription_id: int) -> str:
    """Return the store key of a subscription."""
    return f"sub/{subscription_id:08x}"


class Subscriptions:
    """All subscriptions of the node."""

    def __init__(
        self,
        access: Access,
        event_log: EventLog,
        exchanges: ExchangeManager,
        timers: Timers,
        store: Store,
        random_bytes: Callable[[int], bytes],
        *,
        fabrics: int,
        per_fabric: int = SUBSCRIPTIONS_PER_FABRIC,
    ) -> None:
        self.access = access
        self.event_log = event_log
        self.exchanges = exchanges
        self.timers = timers
        self._store = store
        self._random_bytes = random_bytes
        self._per_fabric = per_fabric
        self._capacity = fabrics * per_fabric
        self._subscriptions: dict[int, Subscription] = {}
        # Store keys of subscriptions whose replacement is not established yet.
        self._replaced: list[str] = []
        access.node.attribute_observers.append(self._on_attribute_changed)
        access.node.event_observers.append(self._on_event)

    def __len__(self) -> int:
        return len(self._subscriptions)

    def __iter__(self) -> Iterator[Subscription]:
        return iter(list(self._subscriptions.values()))

    # Establishing.

    def on_request(self, exchange: Exchange, payload: bytes, now: float) -> None:
        """Execute a SubscribeRequestMessage. Raises DecodeError, StatusError."""
        session = exchange.session
        assert isinstance(session, SecureSession)
        request = decode_subscribe_request(payload)
        if not session.fabric_index:
            raise StatusError(Status.UNSUPPORTED_ACCESS)
        if not request.keep_subscriptions:
            self._replace((session.fabric_index, session.peer_node_id))
        try:
            subscription, stream = self._establish(session, request, now)
        except (DecodeError, StatusError):
            self._delete_replaced()
            raise
        try:
            PrimingReportTransaction(self, subscription, stream).send_next(exchange, now)
        except SessionError:
            # The exchange is closed without a further call of its handler.
            self.end(subscription)
            raise

    def _establish(
        self, session: SecureSession, request: SubscribeRequest, now: float
    ) -> tuple[Subscription, ReportStream]:
        """Return a new subscription and its first report. Raises DecodeError, StatusError."""
        if request.minimum_interval_s > request.maximum_interval_s:
            raise DecodeError("minimum interval exceeds the maximum")
        check_path_count(request.read)
        subscription = Subscription(
            self._new_id(),
            (session.fabric_index, session.peer_node_id),
            request.minimum_interval_s,
            max(min(request.maximum_interval_s, MAX_INTERVAL_S), request.minimum_interval_s),
            request.read,
            self.timers,
            self.report,
        )
        statuses = subscription.expand(self.access, session)
        if subscription.is_empty:
            raise DecodeError("no accessible path to subscribe to")
        self.add(subscription)
        views = filter_by_version(subscription.views, request.read.data_versions)
        return subscription, subscription.report_stream(views, self.event_log, now, *statuses)

    def _new_id(self) -> int:
        while True:
            subscription_id = int.from_bytes(self._random_bytes(4), "little")
            if (
                subscription_id
                and subscription_id not in self._subscriptions
                and record_key(subscription_id) not in self._replaced
            ):
                return subscription_id

    def add(self, subscription: Subscription) -> None:
        """Add a subscription. Raises StatusError RESOURCE_EXHAUSTED when the table is full.

        For a fabric that has less than its share, the oldest subscription of the fabric
        with the most subscriptions is ended.
        """
        if len(self._subscriptions) >= self._capacity:
            counts = Counter(other.fabric_index for other in self._subscriptions.values())
            if counts[subscription.fabric_index] >= self._per_fabric:
                raise StatusError(Status.RESOURCE_EXHAUSTED)
            largest = counts.most_common(1)[0][0]
            self.end(next(s for s in self if s.fabric_index == largest))
        self._subscriptions[subscription.id] = subscription

    def activate(self, subscription: Subscription, now: float) -> None:
        """Store and activate a subscription after its priming report."""
        session = subscription.session
        if session is not None and session.is_case:
            record = encode_record(subscription, session.address)
            self._store.set(record_key(subscription.id), record)
        self._delete_replaced()
        subscription.activate(now)

    # Ending.

    def end(self, subscription: Subscription) -> None:
        """End a subscription and delete its record."""
        if self._subscriptions.pop(subscription.id, None) is not None:
            subscription.end()
            self._store.delete(record_key(subscription.id))
            self._delete_replaced()

    def _replace(self, key: tuple[int, int]) -> None:
        """End the subscriptions of a peer, given as fabric index and node id.

        Their records are deleted together with the next write, when the new subscription is
        established or fails.
        """
        for subscription in self:
            if subscription.key == key:
                del self._subscriptions[subscription.id]
                subscription.end()
                self._replaced.append(record_key(subscription.id))

    def _delete_replaced(self) -> None:
        for key in self._replaced:
            self._store.delete(key)
        self._replaced.clear()

    def remove_fabric(self, fabric_index: int) -> None:
        """End the subscriptions of a removed fabric."""
        for subscription in self:
            if subscription.fabric_index == fabric_index:
                self.end(subscription)
        self._delete_replaced()

    # Reporting.

    def report_to_fabric(self, fabric_index: int, now: float) -> None:
        """Send the reports of a fabric at once, before its sessions end."""
        for subscription in self:
            if subscription.fabric_index == fabric_index and subscription.state is State.ACTIVE:
                self.report(subscription, now)

    def _on_attribute_changed(self, path: AttributePath) -> None:
        for subscription in self._subscriptions.values():
            subscription.on_attribute_changed(path)

    def _on_event(self, record: EventRecord) -> None:
        for subscription in self._subscriptions.values():
            subscription.on_event(record)

    def find_session(self, subscription: Subscription) -> SecureSession | None:
        """Return the subscription's session, or another one with the same peer."""
        session = subscription.session
        if session is not None and not session.is_closing and not session.is_defunct:
            return session
        return self.exchanges.sessions.find_case(*subscription.key)

    def report(self, subscription: Subscription, now: float) -> None:
        """Send the changes of a subscription, or an empty report."""
        session = self.find_session(subscription)
        if session is None:
            _LOGGER.info("subscription %08x: no session to report on", subscription.id)
            self.end(subscription)
            return
        if session is not subscription.session:
            subscription.expand(self.access, session)
        self.start_report(subscription, session, now)

    def start_report(self, subscription: Subscription, session: SecureSession, now: float) -> None:
        """Open an exchange and send the first message of a report."""
        stream = subscription.next_stream(self.access, self.event_log, now)
        if subscription.is_empty:
            # The subject has lost all access, and detects the end by the missing reports.
            _LOGGER.info("subscription %08x: no accessible path left", subscription.id)
            self.end(subscription)
            return
        transaction = SubscriptionReportTransaction(self, subscription, stream)
        subscription.state = State.REPORTING
        try:
            transaction.send_next(self.exchanges.open(session, transaction), now)
        except SessionError as error:
            _LOGGER.info("subscription %08x: cannot report: %s", subscription.id, error)
            self.end(subscription)


class SubscriptionReportTransaction(ReportTransaction):
    """Sender of a report on a subscription, which ends if that fails."""

    def __init__(
        self, subscriptions: Subscriptions, subscription: Subscription, stream: ReportStream
    ) -> None:
        super().__init__(stream)
        self._subscriptions = subscriptions
        self._subscription = subscription

    def on_action(self, exchange: Exchange, message: Message, now: float) -> None:
        """Handle the peer's status for the previous message.

        Any status except success, such as INVALID_SUBSCRIPTION, ends the subscription.
        """
        check_success(message)
        if self._subscription.state is State.ENDED:
            exchange.close(now)
        elif self._stream.is_done:
            self.finish(exchange, now)
        else:
            self.send_next(exchange, now)

    def finish(self, exchange: Exchange, now: float) -> None:
        """Reactivate the subscription after its last message was received."""
        exchange.close(now)
        self._subscription.activate(now)

    def on_closed(self, exchange: Exchange, now: float, failed: bool) -> None:
        """Report again if only the session has ended and the peer has another one."""
        subscription = self._subscription
        if (
            (not failed or exchange.session.is_defunct)
            and subscription.state is State.REPORTING
            and self._subscriptions.find_session(subscription) is not None
        ):
            subscription.mark_all()
            subscription.activate(now)
        else:
            self.cleanup(now)

    def cleanup(self, now: float) -> None:
        """End the subscription unless the report is complete."""
        if self._subscription.state in (State.PRIMING, State.REPORTING):
            self._subscriptions.end(self._subscription)


class PrimingReportTransaction(SubscriptionReportTransaction):
    """Sender of the priming report of a subscription, and of the SubscribeResponse."""

    def finish(self, exchange: Exchange, now: float) -> None:
        """Send the SubscribeResponse and activate the subscription."""
        subscription = self._subscription
        send(
            exchange,
            Opcode.SUBSCRIBE_RESPONSE,
            encode_subscribe_response(subscription.id, subscription.maximum_interval_s),
            now,
        )
        exchange.close(now)
        self._subscriptions.activate(subscription, now)

    def on_closed(self, exchange: Exchange, now: float, failed: bool) -> None:
        """End the subscription, also when only the response was not acknowledged."""
        self._subscriptions.end(self._subscription)
