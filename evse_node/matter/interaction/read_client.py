"""Reads attributes of another node. A charger asks others only for the time.

Not implemented: events, wildcards and lists in several parts.

Spec: Matter Core 1.3 "Read Interaction"
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

from evse_node.errors import DecodeError, StatusError
from evse_node.matter.data_model import AttributePath
from evse_node.matter.interaction.messages import Opcode
from evse_node.matter.interaction.status import Status
from evse_node.matter.interaction.transaction import (
    RESPONSE_TIMEOUT_S,
    Transaction,
    send,
    send_status,
)
from evse_node.matter.messaging.exchange import Exchange
from evse_node.matter.messaging.exchange_manager import ExchangeManager
from evse_node.matter.messaging.message import Message
from evse_node.matter.messaging.session import SecureSession
from evse_node.matter.tlv import TlvList, TlvValue, Writer, decode_struct

Values: TypeAlias = Mapping[AttributePath, TlvValue]
OnValues: TypeAlias = Callable[[Values | None, float], None]
"""`on_values(values, now)` is called once; None when there is no answer.

An attribute that could not be read is missing.
"""

_MAX_MESSAGES: Final = 8


class ReadClient(Transaction):
    """One read."""

    def __init__(self, on_values: OnValues) -> None:
        self._on_values: OnValues | None = on_values
        self._values: dict[AttributePath, TlvValue] = {}
        self._messages = 0

    def start(
        self,
        exchanges: ExchangeManager,
        session: SecureSession,
        paths: Sequence[AttributePath],
        now: float,
    ) -> None:
        """Ask the peer of a session. Raises SessionError when it takes no more exchanges."""
        exchange = exchanges.open(session, self)
        send(exchange, Opcode.READ_REQUEST, encode_read_request(paths), now)
        exchange.expect_response(RESPONSE_TIMEOUT_S, now)

    def on_action(self, exchange: Exchange, message: Message, now: float) -> None:
        """Take a report, or the status that the peer answers with instead."""
        if message.opcode == Opcode.STATUS_RESPONSE:
            exchange.close(now)
            return
        if message.opcode != Opcode.REPORT_DATA:
            raise StatusError(Status.INVALID_ACTION)
        self._messages += 1
        if self._messages > _MAX_MESSAGES:
            raise StatusError(Status.RESOURCE_EXHAUSTED, reason="the answer has no end")
        members = decode_struct(message.payload)
        self._values.update(_decode_reports(members.get(1, [])))
        has_more = members.get(3) is True
        if has_more or members.get(4) is not True:
            send_status(exchange, Status.SUCCESS, now)
        if has_more:
            exchange.expect_response(RESPONSE_TIMEOUT_S, now)
            return
        exchange.close(now)
        self._tell(self._values, now)

    def abandoned(self, now: float) -> None:
        """Learn that there will be no more."""
        self._tell(None, now)

    def _tell(self, values: Values | None, now: float) -> None:
        on_values, self._on_values = self._on_values, None
        if on_values is not None:
            on_values(values, now)


def encode_read_request(paths: Sequence[AttributePath]) -> bytes:
    """Encode a ReadRequestMessage for attributes."""
    writer = Writer()
    writer.start_structure()
    writer.start_array(0)
    for path in paths:
        writer.start_list()
        writer.uint(2, path.endpoint)
        writer.uint(3, path.cluster)
        writer.uint(4, path.attribute)
        writer.end()
    writer.end()
    writer.boolean(3, True)
    return writer.getvalue()


def _decode_reports(reports: TlvValue) -> Values:
    """Decode the AttributeReportIBs that hold data. Raises DecodeError."""
    if not isinstance(reports, list):
        raise DecodeError("attribute reports are not an array")
    values: dict[AttributePath, TlvValue] = {}
    for report in reports:
        data = report.get(1) if isinstance(report, dict) else None
        if not isinstance(data, dict):
            continue
        path = data.get(1)
        if not isinstance(path, TlvList) or 2 not in data:
            raise DecodeError("attribute data without path or value")
        members = dict(path)
        numbers = [members.get(tag) for tag in (2, 3, 4)]
        endpoint, cluster, attribute = (
            number if isinstance(number, int) else None for number in numbers
        )
        if endpoint is None or cluster is None or attribute is None:
            raise DecodeError("attribute path is not concrete")
        values[AttributePath(endpoint, cluster, attribute)] = data[2]
    return values
