"""Opcodes of the interaction model, and decoders for requests.

Decoding is strict: a member of the wrong type, a missing mandatory member or an invalid
path raises DecodeError, which is answered by INVALID_ACTION. Unknown members are ignored,
since later revisions may add some.

Spec: Matter Core 1.3 "Action Encoding", chapter 10 "Interaction Model Encoding Specification"
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

from msgspec import Struct

from evse_node.errors import DecodeError
from evse_node.matter.tlv import TagKey, TlvList, TlvValue, decode_struct

MAX_U8 = 0xFF
MAX_U16 = 0xFFFF
MAX_U32 = 0xFFFFFFFF
MAX_U64 = 0xFFFFFFFFFFFFFFFF
FIRST_GLOBAL_ATTRIBUTE = 0xF000
LAST_GLOBAL_ATTRIBUTE = 0xFFFE

# Decoded requests to cache, since controllers poll with identical requests.
_REPEATED_REQUESTS = 32


class Opcode:
    """Opcodes; plain integers, which compare faster than members of an IntEnum.

    Spec: Matter Core 1.3 "Interaction Model Protocol Opcodes"
    """

    STATUS_RESPONSE: Final = 0x01
    READ_REQUEST: Final = 0x02
    SUBSCRIBE_REQUEST: Final = 0x03
    SUBSCRIBE_RESPONSE: Final = 0x04
    REPORT_DATA: Final = 0x05
    WRITE_REQUEST: Final = 0x06
    WRITE_RESPONSE: Final = 0x07
    INVOKE_REQUEST: Final = 0x08
    INVOKE_RESPONSE: Final = 0x09
    TIMED_REQUEST: Final = 0x0A


class AttributeRequest(NamedTuple):
    """A requested attribute path; None is a wildcard."""

    endpoint: int | None
    cluster: int | None
    attribute: int | None


class EventRequest(NamedTuple):
    """A requested event path; None is a wildcard."""

    endpoint: int | None
    cluster: int | None
    event: int | None
    is_urgent: bool = False


class DataVersionFilter(NamedTuple):
    """The data version of a cluster that the requester already has."""

    endpoint: int
    cluster: int
    data_version: int


class ReadRequest(Struct, frozen=True):
    """A decoded read request; `event_minimum` is the first event number to report.

    Spec: Matter Core 1.3 "ReadRequestMessage"
    """

    attributes: tuple[AttributeRequest, ...] = ()
    events: tuple[EventRequest, ...] = ()
    event_minimum: int = 0
    fabric_filtered: bool = True
    data_versions: tuple[DataVersionFilter, ...] = ()


class SubscribeRequest(Struct, frozen=True):
    """A decoded subscribe request; intervals in seconds.

    Spec: Matter Core 1.3 "SubscribeRequestMessage"
    """

    keep_subscriptions: bool
    minimum_interval_s: int
    maximum_interval_s: int
    read: ReadRequest


class WriteItem(NamedTuple):
    """An attribute value to write.

    With `is_append` the data is an item to append to a list. `has_list_index` is set for
    the index of an item to replace, which is not supported.
    """

    endpoint: int
    cluster: int
    attribute: int
    data: TlvValue
    data_version: int | None = None
    is_append: bool = False
    has_list_index: bool = False


class WriteRequest(Struct):
    """A decoded write request. Spec: Matter Core 1.3 "WriteRequestMessage"."""

    suppress_response: bool
    is_timed: bool
    items: list[WriteItem]
    more_chunks: bool


class CommandItem(NamedTuple):
    """A command; `fields` None is absent."""

    endpoint: int
    cluster: int
    command: int
    fields: TlvValue
    reference: int | None = None


class InvokeRequest(Struct):
    """A decoded invoke request. Spec: Matter Core 1.3 "InvokeRequestMessage"."""

    suppress_response: bool
    is_timed: bool
    items: list[CommandItem]


def _unsigned(value: TlvValue, maximum: int, what: str) -> int:
    if type(value) is not int or value > maximum:
        raise DecodeError(f"{what} is not an unsigned integer up to {maximum:#x}")
    return value


def _boolean(members: dict[TagKey, TlvValue], tag: int, what: str) -> bool:
    value = members.get(tag)
    if not isinstance(value, bool):
        raise DecodeError(f"{what} is missing or not a boolean")
    return value


def _optional_boolean(members: dict[TagKey, TlvValue], tag: int, what: str) -> bool:
    return _boolean(members, tag, what) if tag in members else False


def _array(members: dict[TagKey, TlvValue], tag: int, what: str) -> list[TlvValue]:
    value = members.get(tag)
    if not isinstance(value, list) or isinstance(value, TlvList):
        raise DecodeError(f"{what} is missing or not an array")
    return value


def _optional_array(members: dict[TagKey, TlvValue], tag: int, what: str) -> list[TlvValue]:
    return _array(members, tag, what) if tag in members else []


def _structure(value: TlvValue, what: str) -> dict[TagKey, TlvValue]:
    if not isinstance(value, dict):
        raise DecodeError(f"{what} is not a structure")
    return value


def _path(value: TlvValue, what: str) -> dict[TagKey, TlvValue]:
    """Return the members of a path by tag. Raises DecodeError for repeated and anonymous tags."""
    if not isinstance(value, TlvList):
        raise DecodeError(f"{what} is not a list")
    members: dict[TagKey, TlvValue] = {}
    for tag, member in value:
        if tag is None or tag in members:
            raise DecodeError(f"{what} has a repeated or anonymous member")
        members[tag] = member
    return members


def _optional_unsigned(
    members: dict[TagKey, TlvValue], tag: int, maximum: int, what: str
) -> int | None:
    return _unsigned(members[tag], maximum, what) if tag in members else None


def _attribute_path(value: TlvValue) -> tuple[AttributeRequest, dict[TagKey, TlvValue]]:
    # The node id (tag 1) is ignored: the message has reached this node.
    members = _path(value, "attribute path")
    if members.get(0):
        raise DecodeError("tag compression is not supported")
    return (
        AttributeRequest(
            _optional_unsigned(members, 2, MAX_U16, "endpoint"),
            _optional_unsigned(members, 3, MAX_U32, "cluster"),
            _optional_unsigned(members, 4, MAX_U32, "attribute"),
        ),
        members,
    )


def _attribute_request(value: TlvValue) -> AttributeRequest:
    path, members = _attribute_path(value)
    if 5 in members:
        raise DecodeError("list index in a read")
    if (
        path.cluster is None
        and path.attribute is not None
        and not FIRST_GLOBAL_ATTRIBUTE <= path.attribute <= LAST_GLOBAL_ATTRIBUTE
    ):
        raise DecodeError("wildcard cluster with an attribute that is not global")
    return path


def _event_request(value: TlvValue) -> EventRequest:
    members = _path(value, "event path")
    path = EventRequest(
        _optional_unsigned(members, 1, MAX_U16, "endpoint"),
        _optional_unsigned(members, 2, MAX_U32, "cluster"),
        _optional_unsigned(members, 3, MAX_U32, "event"),
        _optional_boolean(members, 4, "IsUrgent"),
    )
    if path.cluster is None and path.event is not None:
        raise DecodeError("wildcard cluster with a concrete event")
    return path


def _data_version_filter(value: TlvValue) -> DataVersionFilter:
    members = _structure(value, "data version filter")
    path = _path(members.get(0), "cluster path")
    return DataVersionFilter(
        _unsigned(path.get(1), MAX_U16, "endpoint"),
        _unsigned(path.get(2), MAX_U32, "cluster"),
        _unsigned(members.get(1), MAX_U32, "data version"),
    )


def _event_minimum(value: TlvValue) -> int:
    return _unsigned(_structure(value, "event filter").get(1), MAX_U64, "EventMin")


def _read_parts(
    members: dict[TagKey, TlvValue], attributes: int, events: int, filters: int, filtered: int
) -> ReadRequest:
    """Decode the members that read and subscribe requests share, given their tags."""
    return ReadRequest(
        tuple(map(_attribute_request, _optional_array(members, attributes, "AttributeRequests"))),
        tuple(map(_event_request, _optional_array(members, events, "EventRequests"))),
        max(
            (_event_minimum(v) for v in _optional_array(members, filters, "EventFilters")),
            default=0,
        ),
        _boolean(members, filtered, "FabricFiltered"),
        tuple(
            map(_data_version_filter, _optional_array(members, filtered + 1, "DataVersionFilters"))
        ),
    )


@lru_cache(maxsize=_REPEATED_REQUESTS)
def decode_read_request(payload: bytes) -> ReadRequest:
    """Decode a ReadRequestMessage. Raises DecodeError."""
    return _read_parts(decode_struct(payload), 0, 1, 2, 3)


@lru_cache(maxsize=_REPEATED_REQUESTS)
def decode_subscribe_request(payload: bytes) -> SubscribeRequest:
    """Decode a SubscribeRequestMessage. Raises DecodeError."""
    members = decode_struct(payload)
    return SubscribeRequest(
        _boolean(members, 0, "KeepSubscriptions"),
        _unsigned(members.get(1), MAX_U16, "MinIntervalFloor"),
        _unsigned(members.get(2), MAX_U16, "MaxIntervalCeiling"),
        _read_parts(members, 3, 4, 5, 7),
    )


def _write_item(value: TlvValue) -> WriteItem:
    members = _structure(value, "attribute data")
    path, path_members = _attribute_path(members.get(1))
    if path.endpoint is None or path.cluster is None or path.attribute is None:
        raise DecodeError("wildcard in the path of a write")
    if 2 not in members:
        raise DecodeError("attribute data without Data")
    has_list_index = False
    is_append = False
    if 5 in path_members:
        is_append = path_members[5] is None
        has_list_index = not is_append
        if has_list_index:
            _unsigned(path_members[5], MAX_U16, "list index")
    return WriteItem(
        path.endpoint,
        path.cluster,
        path.attribute,
        members[2],
        _optional_unsigned(members, 0, MAX_U32, "data version"),
        is_append,
        has_list_index,
    )


def decode_write_request(payload: bytes) -> WriteRequest:
    """Decode a WriteRequestMessage. Raises DecodeError."""
    members = decode_struct(payload)
    return WriteRequest(
        _optional_boolean(members, 0, "SuppressResponse"),
        _boolean(members, 1, "TimedRequest"),
        [_write_item(v) for v in _array(members, 2, "WriteRequests")],
        _optional_boolean(members, 3, "MoreChunkedMessages"),
    )


def _command_item(value: TlvValue) -> CommandItem:
    members = _structure(value, "command data")
    path = _path(members.get(0), "command path")
    return CommandItem(
        _unsigned(path.get(0), MAX_U16, "endpoint"),
        _unsigned(path.get(1), MAX_U32, "cluster"),
        _unsigned(path.get(2), MAX_U32, "command"),
        members.get(1),
        _optional_unsigned(members, 2, MAX_U16, "CommandRef"),
    )


def decode_invoke_request(payload: bytes) -> InvokeRequest:
    """Decode an InvokeRequestMessage. Raises DecodeError."""
    members = decode_struct(payload)
    return InvokeRequest(
        _boolean(members, 0, "SuppressResponse"),
        _boolean(members, 1, "TimedRequest"),
        [_command_item(v) for v in _array(members, 2, "InvokeRequests")],
    )


@lru_cache(maxsize=_REPEATED_REQUESTS)
def decode_timed_request(payload: bytes) -> int:
    """Return the timeout of a TimedRequestMessage, in milliseconds. Raises DecodeError."""
    return _unsigned(decode_struct(payload).get(0), MAX_U16, "Timeout")


SUCCESS_RESPONSES = frozenset(
    bytes((0x15, 0x24, 0, 0, 0x24, 0xFF, revision, 0x18)) for revision in range(1, 32)
)
"""Status responses of success, of every revision."""


def decode_status_response(payload: bytes) -> int:
    """Return the status of a StatusResponseMessage. Raises DecodeError."""
    return _unsigned(decode_struct(payload).get(0), MAX_U8, "Status")
