"""Encoders for responses and reports.

Messages are encoded without their end, which holds the node's interaction model revision
and is appended when a message is sent.

Spec: Matter Core 1.3, chapter 10 "Interaction Model Encoding Specification"
"""

from __future__ import annotations

from functools import lru_cache

from evse_node.matter.tlv import TlvList, Writer, encode

MESSAGE_END_SIZE = 4


def message_end(revision: int) -> bytes:
    """Return the end of every message: InteractionModelRevision and the end of the structure."""
    return bytes((0x24, 0xFF, revision, 0x18))


def encode_status_response(status: int) -> bytes:
    """Encode a StatusResponseMessage."""
    return bytes((0x15, 0x24, 0x00, status))


def encode_subscribe_response(subscription_id: int, maximum_interval_s: int) -> bytes:
    """Encode a SubscribeResponseMessage."""
    return encode({0: subscription_id, 2: maximum_interval_s})[:-1]


def status_ib(tag: int, status: int, cluster_status: int | None = None) -> bytes:
    """Encode a StatusIB with context tag `tag`."""
    if cluster_status is None:
        return bytes((0x35, tag, 0x24, 0x00, status, 0x18))
    return bytes((0x35, tag, 0x24, 0x00, status, 0x24, 0x01, cluster_status & 0xFF, 0x18))


@lru_cache(maxsize=1024)
def attribute_path_ib(tag: int, endpoint: int, cluster: int, attribute: int) -> bytes:
    """Encode a concrete AttributePathIB with context tag `tag`."""
    return encode(TlvList(enumerate((endpoint, cluster, attribute), 2)), tag)


def attribute_status_ib(
    endpoint: int,
    cluster: int,
    attribute: int,
    status: int,
    cluster_status: int | None = None,
    *,
    is_append: bool = False,
) -> bytes:
    """Encode an anonymous AttributeStatusIB, as in a WriteResponseMessage.

    `is_append` adds the null ListIndex of an item that was appended to a list.
    """
    path_ib = attribute_path_ib(0, endpoint, cluster, attribute)
    if is_append:
        path_ib = path_ib[:-1] + b"\x34\x05\x18"
    return b"\x15" + path_ib + status_ib(1, status, cluster_status) + b"\x18"


def attribute_status_report(endpoint: int, cluster: int, attribute: int, status: int) -> bytes:
    """Encode an AttributeReportIB with a status."""
    return _status_report(attribute_path_ib(0, endpoint, cluster, attribute), status)


@lru_cache(maxsize=1024)
def event_path_ib(endpoint: int, cluster: int, event: int) -> bytes:
    """Encode a concrete EventPathIB with context tag 0."""
    return encode(TlvList(enumerate((endpoint, cluster, event), 1)), 0)


def event_status_report(endpoint: int, cluster: int, event: int, status: int) -> bytes:
    """Encode an EventReportIB with a status."""
    return _status_report(event_path_ib(endpoint, cluster, event), status)


def _status_report(path_ib: bytes, status: int) -> bytes:
    return b"\x15\x35\x00" + path_ib + status_ib(1, status) + b"\x18\x18"


@lru_cache(maxsize=1024)
def command_path_ib(endpoint: int, cluster: int, command: int) -> bytes:
    """Encode a concrete CommandPathIB with context tag 0."""
    return encode(TlvList(enumerate((endpoint, cluster, command))), 0)


def command_data_response(
    endpoint: int, cluster: int, command: int, fields: bytes, reference: int | None
) -> bytes:
    """Encode an InvokeResponseIB with a response command; `fields` have context tag 1."""
    writer = Writer()
    writer.raw(b"\x15\x35\x00")
    writer.raw(command_path_ib(endpoint, cluster, command))
    writer.raw(fields)
    if reference is not None:
        writer.uint(2, reference)
    writer.raw(b"\x18\x18")
    return writer.getvalue()


def command_status_response(
    endpoint: int,
    cluster: int,
    command: int,
    status: int,
    cluster_status: int | None,
    reference: int | None,
) -> bytes:
    """Encode an InvokeResponseIB with a status."""
    writer = Writer()
    writer.raw(b"\x15\x35\x01")
    writer.raw(command_path_ib(endpoint, cluster, command))
    writer.raw(status_ib(1, status, cluster_status))
    if reference is not None:
        writer.uint(2, reference)
    writer.raw(b"\x18\x18")
    return writer.getvalue()
