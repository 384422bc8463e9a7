"""Diagnostic Logs: the node's log, for support and diagnosis.

Spec: Matter Core 1.3 "Diagnostic Logs Cluster"
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Final, NamedTuple, Protocol

from evse_node.cluster.definitions.definition import ClusterDefinition, Value
from evse_node.cluster.server import ClusterServer, LaterReply, command, serves
from evse_node.errors import SessionError, StatusError
from evse_node.matter.bdx import BdxSender
from evse_node.matter.data_model import InteractionContext
from evse_node.matter.interaction.status import Status
from evse_node.matter.messaging.session import SecureSession
from evse_node.matter.wall_clock import MATTER_EPOCH_US

MAX_CONTENT: Final = 1024


class Intent(IntEnum):
    """Purpose of a log request. Spec: Matter Core 1.3 "IntentEnum"."""

    END_USER_SUPPORT = 0
    NETWORK_DIAG = 1
    CRASH_LOGS = 2


class LogStatus(IntEnum):
    """Spec: Matter Core 1.3 "StatusEnum"."""

    SUCCESS = 0
    EXHAUSTED = 1
    NO_LOGS = 2
    BUSY = 3
    DENIED = 4


class TransferProtocol(IntEnum):
    """Spec: Matter Core 1.3 "TransferProtocolEnum"."""

    RESPONSE_PAYLOAD = 0
    BDX = 1


_INTENTS: Final = frozenset(Intent)
_PROTOCOLS: Final = frozenset(TransferProtocol)


class LogEntry(NamedTuple):
    """Lines of text with their line ends, and the time of writing.

    `utc_us` is microseconds since 1970, or None if the clock was not set; `system_us`
    microseconds since the node's start.
    """

    text: bytes
    utc_us: int | None
    system_us: int


class LogSource(Protocol):
    """A store of log entries."""

    def read(self, intent: Intent) -> Sequence[LogEntry]:
        """Return the entries for a purpose, oldest first."""


@serves("Diagnostic Logs")
class DiagnosticLogsServer(ClusterServer):
    """Access to `logs`: the newest entries in a response, or all of them by `bdx`."""

    def __init__(
        self, definition: ClusterDefinition, logs: LogSource, bdx: BdxSender | None = None
    ) -> None:
        super().__init__(definition)
        self._logs = logs
        self._bdx = bdx

    @command
    def retrieve_logs_request(
        self,
        context: InteractionContext,
        *,
        intent: int,
        requested_protocol: int,
        transfer_file_designator: str | None,
    ) -> Mapping[str, Value] | LaterReply:
        """Return or send the logs."""
        if intent not in _INTENTS or requested_protocol not in _PROTOCOLS:
            raise StatusError(Status.INVALID_COMMAND, reason="unknown intent or protocol")
        wants_bdx = requested_protocol == TransferProtocol.BDX
        if wants_bdx and transfer_file_designator is None:
            raise StatusError(Status.INVALID_COMMAND, reason="no file designator")
        entries = self._logs.read(Intent(intent))
        if not entries:
            return _response(LogStatus.NO_LOGS)
        if not wants_bdx:
            return _newest(LogStatus.SUCCESS, entries)
        if sum(len(entry.text) for entry in entries) > MAX_CONTENT and transfer_file_designator:
            reply = self._send(context, transfer_file_designator.encode(), entries)
            if reply is not None:
                return reply
        return _newest(LogStatus.EXHAUSTED, entries)

    def _send(
        self, context: InteractionContext, designator: bytes, entries: Sequence[LogEntry]
    ) -> Mapping[str, Value] | LaterReply | None:
        """Offer the logs by BDX; return None if that is not possible."""
        session = context.session
        if self._bdx is None or not isinstance(session, SecureSession):
            return None
        if self._bdx.is_busy:
            return _response(LogStatus.BUSY)
        reply = LaterReply()

        def on_begun(is_accepted: bool, now: float) -> None:
            if is_accepted:
                reply.resolve(_response(LogStatus.SUCCESS, b"", entries[0]), now)
            else:
                reply.resolve(_response(LogStatus.DENIED), now)

        data = b"".join(entry.text for entry in entries)
        try:
            self._bdx.send(session, designator, data, on_begun, context.now)
        except SessionError:
            return None
        return reply


def _newest(status: LogStatus, entries: Sequence[LogEntry]) -> Mapping[str, Value]:
    """Return the newest entries that fit a response, or the end of one that does not fit."""
    room = MAX_CONTENT
    first = len(entries)
    while first and len(entries[first - 1].text) <= room:
        first -= 1
        room -= len(entries[first].text)
    if first == len(entries):
        return _response(status, entries[-1].text[-MAX_CONTENT:], entries[-1])
    return _response(status, b"".join(entry.text for entry in entries[first:]), entries[first])


def _response(
    status: LogStatus, content: bytes = b"", oldest: LogEntry | None = None
) -> Mapping[str, Value]:
    fields: dict[str, Value] = {"status": status, "log_content": content}
    if oldest is not None:
        fields["time_since_boot"] = oldest.system_us
        if oldest.utc_us is not None and oldest.utc_us >= MATTER_EPOCH_US:
            fields["utc_time_stamp"] = oldest.utc_us - MATTER_EPOCH_US
    return fields
