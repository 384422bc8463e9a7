"""The node for the interaction model: endpoints, clusters, paths, accessing subjects.

Spec: Matter Core 1.3, chapter 7 "Data Model Specification"
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from typing import Final, NamedTuple

from msgspec import Struct, field

from evse_node.matter.tlv import TlvValue

_MIN_OPERATIONAL_NODE_ID: Final = 0x0000_0000_0000_0001
_MAX_OPERATIONAL_NODE_ID: Final = 0xFFFF_FFEF_FFFF_FFFF


class Privilege(IntEnum):
    """Access privileges; each implies the ones before it, but ProxyView only Administer does.

    Spec: Matter Core 1.3 "AccessControlEntryPrivilegeEnum"
    """

    VIEW = 1
    PROXY_VIEW = 2
    OPERATE = 3
    MANAGE = 4
    ADMINISTER = 5


class AuthMode(IntEnum):
    """Authentication of the peer. Spec: Matter Core 1.3 "AccessControlEntryAuthModeEnum"."""

    PASE = 1
    CASE = 2
    GROUP = 3


class EventPriority(IntEnum):
    """Spec: Matter Core 1.3 "Event Priority"."""

    DEBUG = 0
    INFO = 1
    CRITICAL = 2


class AttributePath(NamedTuple):
    """A concrete attribute."""

    endpoint: int
    cluster: int
    attribute: int


class EventPath(NamedTuple):
    """A concrete event."""

    endpoint: int
    cluster: int
    event: int


def is_operational_node_id(node_id: int) -> bool:
    """Return whether an id is in the range of operational node ids.

    Spec: Matter Core 1.3 "Node Identifier"
    """
    return _MIN_OPERATIONAL_NODE_ID <= node_id <= _MAX_OPERATIONAL_NODE_ID


class Subject(Struct, frozen=True):
    """The accessing fabric, and the identity that the session has authenticated.

    `fabric_index` is 0 without a fabric (PASE before AddNOC). `node_id` is the
    peer's operational node id (CASE), the group id (GROUP), or 0 (PASE).
    `case_authenticated_tags` are 32-bit CATs of the peer's NOC.
    """

    auth_mode: AuthMode
    fabric_index: int = 0
    node_id: int = 0
    case_authenticated_tags: tuple[int, ...] = ()


class InteractionContext(Struct):
    """Context of one read, write or invoke in a cluster.

    `now` is monotonic seconds. `session` is the secure session that carries the
    message (None for a report engine's own refresh and in unit tests); clusters
    that need it (attestation challenge, fabric of the session) import its type.
    """

    subject: Subject
    now: float
    is_timed: bool = False
    fabric_filtered: bool = True
    session: object | None = None


class AttributeEntry(Struct):
    """Metadata and encoded value of one attribute, from its definition.

    `path_ib` is the TLV of this attribute's AttributePathIB (context tag 1: endpoint,
    cluster, attribute), made once. `encoded` is the TLV of the current value as element
    with context tag 2 (Data), or None for an attribute that is computed on each read;
    it changes only when the value does.
    """

    id: int
    read_privilege: Privilege | None
    write_privilege: Privilege | None
    is_list: bool = False
    is_timed_write: bool = False
    is_fabric_scoped: bool = False
    changes_omitted: bool = False
    path_ib: bytes = b""
    encoded: bytes | None = None


class CommandEntry(Struct, frozen=True):
    """Metadata of one accepted command."""

    id: int
    invoke_privilege: Privilege
    response_id: int | None = None
    is_timed: bool = False
    is_fabric_scoped: bool = False


class EventEntry(Struct, frozen=True):
    """Metadata of one event."""

    id: int
    priority: EventPriority
    read_privilege: Privilege
    is_fabric_sensitive: bool = False


class EventRecord(Struct, frozen=True):
    """An event as it was logged. `payload` is the TLV of the data structure with context tag 7.

    `utc_ms` is milliseconds since 1970 or None when the wall clock is not set;
    `system_ms` milliseconds since start. `fabric_index` is 0 unless fabric-sensitive.
    """

    path: EventPath
    number: int
    priority: EventPriority
    utc_ms: int | None
    system_ms: int
    payload: bytes
    fabric_index: int = 0


class CommandReply(Struct, frozen=True):
    """Fields of a response command: `payload` is TLV of a structure with context tag 1."""

    command_id: int
    payload: bytes


class DeferredReply:
    """Return value of `Cluster.invoke` for a response that follows by one call of `answer`.

    `on_answered` is the callback of the interaction model.
    """

    def __init__(self) -> None:
        self.is_answered = False
        self.reply: CommandReply | None = None
        self.on_answered: Callable[[float], None] | None = None

    def answer(self, reply: CommandReply | None, now: float) -> None:
        """Answer with a response, or None for status success."""
        self.is_answered = True
        self.reply = reply
        if self.on_answered is not None:
            self.on_answered(now)


class Cluster(ABC):
    """A cluster instance on an endpoint, as the interaction model uses it.

    `attributes`, `commands` and `events` hold exactly the elements that this
    instance has, global attributes included, in order of id.
    """

    id: int
    revision: int
    data_version: int
    attributes: Mapping[int, AttributeEntry]
    commands: Mapping[int, CommandEntry]
    events: Mapping[int, EventEntry]

    @abstractmethod
    def encode_attribute(self, attribute_id: int, context: InteractionContext) -> bytes:
        """Return the value as TLV with context tag 2. Called when `encoded` is None.

        Raises StatusError when the attribute cannot be read now.
        """

    @abstractmethod
    def encode_list_items(self, attribute_id: int, context: InteractionContext) -> Sequence[bytes]:
        """Return a list attribute's items, each as anonymous TLV, for chunked reports."""

    @abstractmethod
    def write_attribute(
        self, attribute_id: int, value: TlvValue, context: InteractionContext
    ) -> None:
        """Replace the value (for a fabric-scoped list: the accessing fabric's items).

        Raises StatusError. Access and timed rules were checked before.
        """

    @abstractmethod
    def append_list_item(
        self, attribute_id: int, value: TlvValue, context: InteractionContext
    ) -> None:
        """Append one item to a list attribute. Raises StatusError."""

    @abstractmethod
    def invoke(
        self, command_id: int, fields: TlvValue, context: InteractionContext
    ) -> CommandReply | DeferredReply | None:
        """Carry out a command; None answers with status success. Raises StatusError.

        `fields` is the decoded CommandFields, or None when the message had none.
        """


class Endpoint(Struct):
    """An endpoint: its clusters by id, its device types (id, revision), its parts."""

    id: int
    device_types: tuple[tuple[int, int], ...]
    clusters: dict[int, Cluster] = field(default_factory=dict)


class Node:
    """All endpoints, and notification of changes and events.

    The interaction model sets the observers; clusters call `attribute_changed` after
    the value, its encoding and the data version changed, the event log `event_occurred`.
    """

    def __init__(self) -> None:
        self.endpoints: dict[int, Endpoint] = {}
        self.attribute_observers: list[Callable[[AttributePath], None]] = []
        self.event_observers: list[Callable[[EventRecord], None]] = []

    def attribute_changed(self, path: AttributePath) -> None:
        """Notify the observers that an attribute has a new value (or must be reported again)."""
        for observer in self.attribute_observers:
            observer(path)

    def event_occurred(self, record: EventRecord) -> None:
        """Notify the observers of a logged event."""
        for observer in self.event_observers:
            observer(record)

    def cluster(self, endpoint_id: int, cluster_id: int) -> Cluster | None:
        """Return the cluster instance, or None when it does not exist."""
        endpoint = self.endpoints.get(endpoint_id)
        return None if endpoint is None else endpoint.clusters.get(cluster_id)
