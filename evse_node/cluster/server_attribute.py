"""An attribute of a cluster instance: value, encoding, and what fabrics see of it.

Spec: Matter Core 1.3 "Attribute", "Fabric-Scoped Data", "Fabric-Sensitive Data"
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy

from evse_node.cluster.codec.codec import FABRIC_INDEX, attribute_codec
from evse_node.cluster.codec.values import structs
from evse_node.cluster.definitions.definition import (
    FABRIC_INDEX_FIELD,
    AttributeDefinition,
    Kind,
    Value,
)
from evse_node.errors import DecodeError, StatusError
from evse_node.matter.data_model import AttributeEntry, AttributePath, InteractionContext
from evse_node.matter.interaction.encoding import attribute_path_ib
from evse_node.matter.interaction.status import Status
from evse_node.matter.tlv import TlvValue, Writer, decode_element

_DATA_TAG = 2
_PATH_TAG = 1
_MAX_ENTRIES = 4096
# A union of types in its place would be made anew with each look.
_PLAIN = (int, str, bytes, float)

Reader = Callable[[InteractionContext], Value]
AttributeWriter = Callable[[InteractionContext, Value], None]


class ServerAttribute:
    """One attribute. `entry` is what the interaction model sees of it.

    `path` and `store_key` are there once it has its place.
    `entry.encoded` stays None when the value depends on who reads it: a computed
    attribute, or a list of which each fabric sees its own part.
    """

    __slots__ = (
        "_codec",
        "_fabric_items",
        "_fabric_lists",
        "_is_kept",
        "_maximum_length",
        "_stored_encoding",
        "entry",
        "is_stored",
        "key",
        "path",
        "reader",
        "store_key",
        "value",
        "writer",
    )

    def __init__(
        self,
        definition: AttributeDefinition,
        reader: Reader | None,
        writer: AttributeWriter | None,
        *,
        is_kept: bool = False,
        is_stored: bool = False,
    ) -> None:
        type_ = definition.type
        self.key = definition.key
        self.reader = reader
        self.writer = writer
        self.is_stored = is_stored and reader is None
        self.value: Value = None
        self._codec = attribute_codec(definition)
        self._maximum_length = _MAX_ENTRIES if type_.max_length is None else type_.max_length
        # Of a fabric-scoped list: each item's fabric, full and redacted encoding.
        self._fabric_items: list[tuple[int, bytes, bytes]] | None = None
        # The whole list as a fabric sees it, filtered or not; cleared with the items.
        self._fabric_lists: dict[tuple[int, bool], bytes] = {}
        self._is_kept = is_kept
        self._stored_encoding = b""
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
        """Note the path that the attribute has on its endpoint, and its key in the store."""
        number = self.entry.id
        self.path = AttributePath(endpoint_id, cluster_id, number)
        self.store_key = f"attr/{endpoint_id}/{cluster_id:04x}/{number:04x}"
        self.entry.path_ib = attribute_path_ib(_PATH_TAG, endpoint_id, cluster_id, number)

    # Storing.

    def changed_encoding(self, value: Value) -> bytes | None:
        """Return the encoding of a value that differs from the present one, else None.

        Raises TypeError, ValueError or OverflowError for a value that does not fit.
        """
        if self.reader is not None:
            raise TypeError(f"{self.key} is computed on each read")
        # A container is compared by its encoding: its owner may have changed it in place.
        if type(value) is type(self.value) and value == self.value and _is_plain(value):
            return None
        encoded = self._codec.encoded(value, _DATA_TAG)
        return None if encoded == self._stored_encoding else encoded

    def store(self, value: Value, encoded: bytes | None = None) -> None:
        """Take a value; `encoded` is its encoding if that is known."""
        self.value = value if _is_plain(value) else deepcopy(value)
        self._stored_encoding = (
            self._codec.encoded(value, _DATA_TAG) if encoded is None else encoded
        )
        if self.entry.is_fabric_scoped:
            self._fabric_items = self._encode_fabric_items(value)
            self._fabric_lists.clear()
        else:
            self.entry.encoded = self._stored_encoding

    def load(self, data: bytes) -> bool:
        """Take a value from the store; return False when it does not fit the definition."""
        try:
            _, decoded, _ = decode_element(data, 0)
            value = self._codec.decode(decoded)
        except (DecodeError, StatusError):
            return False
        if self.entry.is_fabric_scoped and isinstance(decoded, list) and isinstance(value, list):
            for item, fields in zip(value, decoded, strict=True):
                if isinstance(item, dict) and isinstance(fields, dict):
                    fabric_index = fields.get(FABRIC_INDEX_FIELD)
                    item[FABRIC_INDEX] = fabric_index if isinstance(fabric_index, int) else 0
        self.store(value, data)
        return True

    def forget(self) -> None:
        """Drop what was kept of a reader's value."""
        if self._is_kept:
            self.entry.encoded = self._fabric_items = None
            self._fabric_lists.clear()

    # Reading.

    def encode(self, context: InteractionContext) -> bytes:
        """Return the value that a reader of this context gets, with the tag of Data."""
        if self.entry.is_fabric_scoped:
            return self._encode_fabric_list(context)
        if self.reader is None:
            return self._stored_encoding
        encoded = self._codec.encoded(self.reader(context), _DATA_TAG)
        if self._is_kept:
            self.entry.encoded = encoded
        return encoded

    def _encode_fabric_list(self, context: InteractionContext) -> bytes:
        key = (context.subject.fabric_index, context.fabric_filtered)
        encoded = self._fabric_lists.get(key)
        if encoded is None:
            encoded = b"\x36\x02" + b"".join(self.encode_items(context)) + b"\x18"
            if self._fabric_items is not None:
                self._fabric_lists[key] = encoded
        return encoded

    def encode_items(self, context: InteractionContext) -> Sequence[bytes]:
        """Return the items of a list, as anonymous elements."""
        if self.entry.is_fabric_scoped:
            own = context.subject.fabric_index
            items = self._fabric_items
            if items is None:
                assert self.reader is not None
                items = self._encode_fabric_items(self.reader(context))
                if self._is_kept:
                    self._fabric_items = items
            if context.fabric_filtered:
                return [full for fabric_index, full, _ in items if fabric_index == own]
            return [
                full if fabric_index == own else redacted for fabric_index, full, redacted in items
            ]
        value = self.value if self.reader is None else self.reader(context)
        entry = self._codec.entry
        if entry is None or not isinstance(value, Sequence):
            raise StatusError(Status.FAILURE, reason=f"{self.key} is not a list")
        return [entry.encoded(item) for item in value]

    def _encode_fabric_items(self, value: Value) -> list[tuple[int, bytes, bytes]]:
        entry = self._codec.entry
        assert entry is not None
        items: list[tuple[int, bytes, bytes]] = []
        for item in structs(value):
            redacted = Writer()
            entry.redacted(redacted, None, item)
            items.append((_fabric_of(item), entry.encoded(item), redacted.getvalue()))
        return items

    # Writing.

    def decode(self, value: TlvValue, context: InteractionContext) -> Value:
        """Return the value that a peer wants to write. Raises StatusError."""
        decoded = self._codec.decode(value)
        if self.entry.is_fabric_scoped:
            fabric_index = context.subject.fabric_index
            return [{**item, FABRIC_INDEX: fabric_index} for item in structs(decoded)]
        return decoded

    def decode_appended(self, value: TlvValue, context: InteractionContext) -> Value:
        """Return the list (the accessing fabric's part) with one more item. Raises StatusError."""
        entry = self._codec.entry
        if entry is None:
            raise StatusError(Status.INVALID_DATA_TYPE, reason=f"{self.key} is not a list")
        item = entry.decode(value)
        present = self.value if self.reader is None else self.reader(context)
        items: list[Value]
        if self.entry.is_fabric_scoped:
            own = context.subject.fabric_index
            items = [other for other in structs(present) if _fabric_of(other) == own]
            item = {**structs([item])[0], FABRIC_INDEX: own}
        else:
            items = list(present) if isinstance(present, Sequence) else []
        if len(items) >= self._maximum_length:
            raise StatusError(Status.CONSTRAINT_ERROR, reason=f"{self.key} has too many entries")
        return [*items, item]

    def merged(self, value: Value, context: InteractionContext) -> Value:
        """Return what to store for a written value: other fabrics keep their items."""
        if not self.entry.is_fabric_scoped:
            return value
        own = context.subject.fabric_index
        return [
            *(item for item in structs(self.value) if _fabric_of(item) != own),
            *structs(value),
        ]


def _is_plain(value: Value) -> bool:
    return value is None or isinstance(value, _PLAIN)


def _fabric_of(item: Mapping[str, Value]) -> int:
    fabric_index = item.get(FABRIC_INDEX)
    return fabric_index if isinstance(fabric_index, int) else 0
