"""Client that reads attributes of another node, used for time synchronization.

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
from evse_node.matter.tlv import TlvList, TlvValue, decode_struct, encode

Values: TypeAlias = Mapping[AttributePath, TlvValue]
OnValues: TypeAlias = Callable[[Values | None, float], None]
"""`on_values(values, now)` is called once, with None when the read failed.

Attributes that could not be read are missing.
"""

_MAX_MESSAGES: Final = 8


class ReadClient(Transaction):
    """A read request and its reports."""

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
        """Send the request. Raises SessionError when the session cannot open an exchange."""
        exchange = exchanges.open(session, self)
        send(exchange, Opcode.READ_REQUEST, encode_read_request(paths), now)
        exchange.expect_response(RESPONSE_TIMEOUT_S, now)

    def on_action(self, exchange: Exchange, message: Message, now: float) -> None:
        """Handle a report, or a status in place of one."""
        if message.opcode == Opcode.STATUS_RESPONSE:
            exchange.close(now)
            return
        if message.opcode != Opcode.REPORT_DATA:
            raise StatusError(Status.INVALID_ACTION)
        self._messages += 1
        if self._messages > _MAX_MESSAGES:
            raise StatusError(Status.RESOURCE_EXHAUSTED, reason="too many messages in one report")
        members = decode_struct(message.payload)
        self._values.update(_decode_reports(members.get(1, [])))
        has_more = members.get(3) is True
        if has_more or members.get(4) is not True:
            send_status(exchange, Status.SUCCESS, now)
        if has_more:
            exchange.expect_response(RESPONSE_TIMEOUT_S, now)
            return
        exchange.close(now)
        self._finish(self._values, now)

    def cleanup(self, now: float) -> None:
        """Report a failure unless the read is complete."""
        self._finish(None, now)

    def _finish(self, values: Values | None, now: float) -> None:
        on_values, self._on_values = self._on_values, None
        if on_values is not None:
            on_values(values, now)


def encode_read_request(paths: Sequence[AttributePath]) -> bytes:
    """Encode a ReadRequestMessage for attributes, without its end."""
    return encode({0: [TlvList(enumerate(path, 2)) for path in paths], 3: True})[:-1]


def _decode_reports(reports: TlvValue) -> Values:
    """Decode the AttributeReportIBs with data. Raises DecodeError."""
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
