"""An attribute of a cluster instance: its value, its encoding, and each fabric's view of it.

Spec: Matter Core 1.3 "Attribute", "Fabric-Scoped Data", "Fabric-Sensitive Data"
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any

from evse_node.cluster.codec.codec import attribute_codec
from evse_node.cluster.definitions.data_type import FABRIC_INDEX, FABRIC_INDEX_FIELD, Kind, Value
from evse_node.cluster.definitions.definition import AttributeDefinition
from evse_node.errors import DecodeError, StatusError
from evse_node.matter.data_model import AttributeEntry, AttributePath, InteractionContext
from evse_node.matter.interaction.encoding import attribute_path_ib
from evse_node.matter.interaction.status import Status
from evse_node.matter.tlv import TlvValue, Writer, decode_element

_DATA_TAG = 2
_PATH_TAG = 1
_MAX_ENTRIES = 4096

Reader = Callable[[InteractionContext], Value]
AttributeWriter = Callable[[InteractionContext, Value], None]


class ServerAttribute:
    """One attribute. `entry` is the interaction model's view of it.

    `value` has the type of the server's annotation; `path` and `store_key` exist from
    `place` on. `entry.encoded` is None while the value is computed for each reader.
    """

    __slots__ = (
        "_codec",
        "_encoding",
        "_is_cached",
        "_maximum_length",
        "entry",
        "is_mutable",
        "is_stored",
        "key",
        "path",
        "reader",
        "store_key",
        "value",
        "writer",
    )

    path: AttributePath
    store_key: str

    def __init__(
        self,
        definition: AttributeDefinition,
        reader: Reader | None,
        writer: AttributeWriter | None,
        is_cached: bool,
        is_stored: bool,
    ) -> None:
        type_ = definition.type
        self.key = definition.key
        self.reader = reader
        self.writer = writer
        self.is_stored = is_stored
        self.is_mutable = type_.kind in (Kind.LIST, Kind.STRUCT)
        self.value: Any = None
        self._codec = attribute_codec(definition)
        self._maximum_length = _MAX_ENTRIES if type_.max_length is None else type_.max_length
        self._is_cached = is_cached
        self._encoding = b""
        self.entry = AttributeEntry(
            id=definition.id,
            read_privilege=definition.read_privilege,
            write_privilege=definition.write_privilege,
            is_list=type_.kind is Kind.LIST,
            is_timed_write=definition.is_timed_write,
            is_fabric_scoped=definition.is_fabric_scoped,
            changes_omitted=definition.changes_omitted,
        )

    def place(self, endpoint_id: int, cluster_id: int) -> None:
        """Set the path of the attribute on its endpoint, and its key in the store."""
        number = self.entry.id
        self.path = AttributePath(endpoint_id, cluster_id, number)
        self.store_key = f"attr/{endpoint_id}/{cluster_id:04x}/{number:04x}"
        self.entry.path_ib = attribute_path_ib(_PATH_TAG, endpoint_id, cluster_id, number)

    # Storing

    def changed_encoding(self, value: Value) -> bytes | None:
        """Return the encoding of a value that differs from the present one, else None.

        Raises TypeError, ValueError or OverflowError for a value that does not fit.
        """
        present = self.value
        # A container is compared by its encoding: its owner may have changed it in place.
        if not self.is_mutable and value == present and type(value) is type(present):
            return None
        if self.reader is not None:
            raise TypeError(f"{self.key} is computed on each read")
        encoded = self._codec.encoded(value, _DATA_TAG)
        return None if encoded == self._encoding else encoded

    def store(self, value: Value, encoded: bytes | None = None) -> None:
        """Set the value; `encoded` is its encoding if known."""
        if encoded is None:
            encoded = self._codec.encoded(value, _DATA_TAG)
        self.value = deepcopy(value) if self.is_mutable else value
        self._encoding = self.entry.encoded = encoded

    def load(self, data: bytes) -> bool:
        """Set the value from its stored encoding; return False if it does not fit."""
        try:
            _, decoded, _ = decode_element(data, 0)
            value = self._codec.decode(decoded)
        except (DecodeError, StatusError):
            return False
        self._restore_fabrics(value, decoded)
        self.store(value, data)
        return True

    def _restore_fabrics(self, value: Value, decoded: TlvValue) -> None:
        """Put fabric indexes back into a list of which the codec decodes the other fields."""

    def invalidate(self) -> None:
        """Discard the cached value of a reader."""
        if self._is_cached:
            self.entry.encoded = None

    # Reading

    def encode(self, context: InteractionContext) -> bytes:
        """Return the value that a reader of this context gets, with the tag of Data."""
        if self.reader is None:
            return self._encoding
        encoded = self._codec.encoded(self.reader(context), _DATA_TAG)
        if self._is_cached:
            self.entry.encoded = encoded
        return encoded

    def encode_items(self, context: InteractionContext) -> Sequence[bytes]:
        """Return the items of a list as anonymous elements. Raises StatusError for no list."""
        value = self.present(context)
        entry = self._codec.entry
        if entry is None or not isinstance(value, Sequence):
            raise StatusError(Status.FAILURE, reason=f"{self.key} is not a list")
        return [entry.encoded(item) for item in value]

    def present(self, context: InteractionContext) -> Value:
        """Return the value, stored or computed, with the items of all fabrics."""
        value: Value = self.value if self.reader is None else self.reader(context)
        return value

    # Writing

    def decode(self, value: TlvValue, context: InteractionContext) -> Value:
        """Return the value that a client writes. Raises StatusError."""
        return self._codec.decode(value)

    def decode_appended(self, value: TlvValue, context: InteractionContext) -> Value:
        """Return the list (its part of the accessing fabric) plus one item. Raises StatusError."""
        entry = self._codec.entry
        if entry is None:
            raise StatusError(Status.INVALID_DATA_TYPE, reason=f"{self.key} is not a list")
        items = [*self._own_items(context), self._owned(entry.decode(value), context)]
        if len(items) > self._maximum_length:
            raise StatusError(Status.CONSTRAINT_ERROR, reason=f"{self.key} has too many entries")
        return items

    def _own_items(self, context: InteractionContext) -> Sequence[Value]:
        """Return the items that a list write of this context replaces."""
        present = self.present(context)
        return present if isinstance(present, Sequence) else ()

    def _owned(self, item: Value, context: InteractionContext) -> Value:
        """Return an item as the accessing fabric's."""
        return item

    def merged(self, value: Value, context: InteractionContext) -> Value:
        """Return the value to store for a written one."""
        return value


class FabricScopedList(ServerAttribute):
    """A list in which each fabric sees and writes its own items.

    `entry.encoded` is always None.
    """

    __slots__ = ("_items", "_lists")

    def __init__(
        self,
        definition: AttributeDefinition,
        reader: Reader | None,
        writer: AttributeWriter | None,
        is_cached: bool,
        is_stored: bool,
    ) -> None:
        super().__init__(definition, reader, writer, is_cached, is_stored)
        # Each item's fabric, and its full and its redacted encoding.
        self._items: list[tuple[int, bytes, bytes]] | None = None
        # The whole list by fabric, filtered or not; cleared with the items.
        self._lists: dict[tuple[int, bool], bytes] = {}

    def store(self, value: Value, encoded: bytes | None = None) -> None:
        """Set the value; `encoded` is its encoding if known."""
        super().store(value, encoded)
        self.entry.encoded = None
        self._items = self._encoded_items(value)
        self._lists.clear()

    def _restore_fabrics(self, value: Value, decoded: TlvValue) -> None:
        if isinstance(decoded, list) and isinstance(value, list):
            for item, fields in zip(value, decoded, strict=True):
                if isinstance(item, dict) and isinstance(fields, dict):
                    fabric_index = fields.get(FABRIC_INDEX_FIELD)
                    item[FABRIC_INDEX] = fabric_index if isinstance(fabric_index, int) else 0

    def invalidate(self) -> None:
        """Discard the cached value of a reader."""
        if self._is_cached:
            self._items = None
            self._lists.clear()

    def encode(self, context: InteractionContext) -> bytes:
        """Return the list as the accessing fabric sees it, with the tag of Data."""
        key = (context.subject.fabric_index, context.fabric_filtered)
        encoded = self._lists.get(key)
        if encoded is None:
            encoded = b"\x36\x02" + b"".join(self.encode_items(context)) + b"\x18"
            if self._items is not None:
                self._lists[key] = encoded
        return encoded

    def encode_items(self, context: InteractionContext) -> Sequence[bytes]:
        """Return the items as anonymous elements; other fabrics' only unfiltered and redacted."""
        own = context.subject.fabric_index
        items = self._items
        if items is None:
            items = self._encoded_items(self.present(context))
            if self._is_cached:
                self._items = items
        if context.fabric_filtered:
            return [full for fabric_index, full, _ in items if fabric_index == own]
        return [full if fabric_index == own else redacted for fabric_index, full, redacted in items]

    def _encoded_items(self, value: Value) -> list[tuple[int, bytes, bytes]]:
        entry = self._codec.entry
        assert entry is not None
        encoded: list[tuple[int, bytes, bytes]] = []
        for item in _structs(value):
            redacted = Writer()
            entry.redacted(redacted, None, item)
            encoded.append((_fabric_of(item), entry.encoded(item), redacted.getvalue()))
        return encoded

    def decode(self, value: TlvValue, context: InteractionContext) -> Value:
        """Return the list that a client writes, each item with its fabric. Raises StatusError."""
        decoded = self._codec.decode(value)
        return [self._owned(item, context) for item in _structs(decoded)]

    def _own_items(self, context: InteractionContext) -> Sequence[Value]:
        own = context.subject.fabric_index
        return [item for item in _structs(self.present(context)) if _fabric_of(item) == own]

    def _owned(self, item: Value, context: InteractionContext) -> Value:
        assert isinstance(item, Mapping)
        return {**item, FABRIC_INDEX: context.subject.fabric_index}

    def merged(self, value: Value, context: InteractionContext) -> Value:
        """Return the list to store for a written one: the items of other fabrics stay."""
        own = context.subject.fabric_index
        others = (item for item in _structs(self.value) if _fabric_of(item) != own)
        return [*others, *_structs(value)]


def _structs(value: Value) -> list[Mapping[str, Value]]:
    """Return the items of a list of structs. Raises TypeError for any other value."""
    if not isinstance(value, Sequence):
        raise TypeError(f"{value!r} is not a list")
    items: list[Mapping[str, Value]] = []
    for item in value:
        if not isinstance(item, Mapping):
            raise TypeError(f"{item!r} is not a struct")
        items.append(item)
    return items


def _fabric_of(item: Mapping[str, Value]) -> int:
    fabric_index = item.get(FABRIC_INDEX)
    return fabric_index if isinstance(fabric_index, int) else 0
