"""Opcodes of the Secure Channel protocol and its status report.

Spec: Matter Core 1.3 "Secure Channel Protocol"
"""

from __future__ import annotations

import struct
from enum import IntEnum

from msgspec import Struct

from evse_node.errors import DecodeError
from evse_node.matter.messaging.message import PROTOCOL_SECURE_CHANNEL

_HEAD = struct.Struct("<HIH")
_WAIT = struct.Struct("<H")


class Opcode(IntEnum):
    """Messages of the Secure Channel protocol.

    Spec: Matter Core 1.3 "Secure Channel Protocol Messages"
    """

    MSG_COUNTER_SYNC_REQ = 0x00
    MSG_COUNTER_SYNC_RSP = 0x01
    STANDALONE_ACK = 0x10
    PBKDF_PARAM_REQUEST = 0x20
    PBKDF_PARAM_RESPONSE = 0x21
    PASE_PAKE1 = 0x22
    PASE_PAKE2 = 0x23
    PASE_PAKE3 = 0x24
    CASE_SIGMA1 = 0x30
    CASE_SIGMA2 = 0x31
    CASE_SIGMA3 = 0x32
    CASE_SIGMA2_RESUME = 0x33
    STATUS_REPORT = 0x40
    ICD_CHECK_IN = 0x50


class GeneralCode(IntEnum):
    """Status of a report, independent of the protocol.

    Spec: Matter Core 1.3 "General status codes (GeneralCode)"
    """

    SUCCESS = 0
    FAILURE = 1
    BAD_PRECONDITION = 2
    OUT_OF_RANGE = 3
    BAD_REQUEST = 4
    UNSUPPORTED = 5
    UNEXPECTED = 6
    RESOURCE_EXHAUSTED = 7
    BUSY = 8
    TIMEOUT = 9
    CONTINUE = 10
    ABORTED = 11
    INVALID_ARGUMENT = 12
    NOT_FOUND = 13
    ALREADY_EXISTS = 14
    PERMISSION_DENIED = 15
    DATA_LOSS = 16


class ProtocolCode(IntEnum):
    """Status of a report of the Secure Channel protocol.

    Spec: Matter Core 1.3 "Secure Channel Status Report Messages"
    """

    SESSION_ESTABLISHMENT_SUCCESS = 0
    NO_SHARED_TRUST_ROOTS = 1
    INVALID_PARAMETER = 2
    CLOSE_SESSION = 3
    BUSY = 4
    SESSION_NOT_FOUND = 5
    GENERAL_FAILURE = 0xFFFF


_GENERAL_CODES = frozenset(GeneralCode)


class StatusReport(Struct, frozen=True):
    """The outcome of a protocol operation. `protocol_id` has the vendor id in its upper 16 bits.

    `protocol_data` follows the fixed part; its form depends on the protocol code.
    Spec: Matter Core 1.3 "Status Report Messages"
    """

    general_code: GeneralCode
    protocol_code: int
    protocol_id: int = PROTOCOL_SECURE_CHANNEL
    protocol_data: bytes = b""

    @property
    def is_success(self) -> bool:
        """True when the session is established."""
        return self._is(GeneralCode.SUCCESS, ProtocolCode.SESSION_ESTABLISHMENT_SUCCESS)

    @property
    def is_close_session(self) -> bool:
        """True when the sender removes its session."""
        return self._is(GeneralCode.SUCCESS, ProtocolCode.CLOSE_SESSION)

    def _is(self, general_code: GeneralCode, protocol_code: ProtocolCode) -> bool:
        return (
            self.protocol_id == PROTOCOL_SECURE_CHANNEL
            and self.general_code is general_code
            and self.protocol_code == protocol_code
        )

    def encode(self) -> bytes:
        """Return the report's bytes."""
        head = _HEAD.pack(self.general_code, self.protocol_id, self.protocol_code)
        return head + self.protocol_data


SESSION_ESTABLISHED = StatusReport(
    GeneralCode.SUCCESS, ProtocolCode.SESSION_ESTABLISHMENT_SUCCESS
).encode()
CLOSE_SESSION = StatusReport(GeneralCode.SUCCESS, ProtocolCode.CLOSE_SESSION).encode()
INVALID_PARAMETER = StatusReport(GeneralCode.FAILURE, ProtocolCode.INVALID_PARAMETER).encode()
NO_SHARED_TRUST_ROOTS = StatusReport(
    GeneralCode.FAILURE, ProtocolCode.NO_SHARED_TRUST_ROOTS
).encode()


def encode_busy(wait_ms: int) -> bytes:
    """Return a busy report with a minimum waiting time of `wait_ms` (at most 65535)."""
    wait = _WAIT.pack(min(wait_ms, 0xFFFF))
    return StatusReport(GeneralCode.BUSY, ProtocolCode.BUSY, protocol_data=wait).encode()


def decode_status_report(data: bytes) -> StatusReport:
    """Decode a status report.

    Raises DecodeError for truncation, an unknown general code, and a busy report
    without a valid waiting time.
    """
    if len(data) < _HEAD.size:
        raise DecodeError("status report is truncated")
    general_code, protocol_id, protocol_code = _HEAD.unpack_from(data)
    if general_code not in _GENERAL_CODES:
        raise DecodeError(f"general status code {general_code}")
    protocol_data = data[_HEAD.size :]
    report = StatusReport(GeneralCode(general_code), protocol_code, protocol_id, protocol_data)
    is_busy = report._is(GeneralCode.BUSY, ProtocolCode.BUSY)
    if is_busy and len(protocol_data) not in (0, _WAIT.size):
        raise DecodeError("busy status report has no waiting time")
    return report
