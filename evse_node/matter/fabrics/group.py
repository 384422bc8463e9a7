"""Group key sets and the group key map of each fabric.

Spec: Matter Core 1.3 "Group Key Management"
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from msgspec import Struct, field

from evse_node.errors import ConfigError, DecodeError, StatusError
from evse_node.matter.fabrics.fabric import FabricTable
from evse_node.matter.fabrics.group_key import IPK_KEY_SET_ID, GroupKeySet
from evse_node.matter.interaction.status import Status
from evse_node.matter.store import Store, items_by_fabric
from evse_node.matter.tlv import TlvValue, decode_struct, encode
from evse_node.matter.tlv_fields import expect_array, expect_integer, expect_structure

_PREFIX: Final = "groupkeys/"


class GroupKeyMapping(NamedTuple):
    """The key set of a group. Spec: Matter Core 1.3 "GroupKeyMapStruct"."""

    group_id: int
    key_set_id: int


class _FabricGroups(Struct):
    key_sets: dict[int, GroupKeySet] = field(default_factory=dict)
    key_map: tuple[GroupKeyMapping, ...] = ()


class GroupKeys:
    """Group key sets and the key map of all fabrics.

    Key set 0, the identity protection key, is stored with its fabric and counts as one of
    `keys_per_fabric`. `on_changed` observers receive the index of a fabric whose keys changed.
    No endpoint can be a member of a group.

    Raises ConfigError for stored groups that cannot be read.
    """

    def __init__(
        self,
        store: Store,
        fabrics: FabricTable,
        *,
        groups_per_fabric: int = 4,
        keys_per_fabric: int = 4,
    ) -> None:
        self._store = store
        self._fabrics = fabrics
        self.groups_per_fabric = groups_per_fabric
        self.keys_per_fabric = keys_per_fabric
        self.on_changed: list[Callable[[int], None]] = []
        self._by_fabric: dict[int, _FabricGroups] = {}
        for index, value in items_by_fabric(store, _PREFIX, fabrics):
            try:
                self._by_fabric[index] = _decode(value)
            except DecodeError as error:
                raise ConfigError(f"storage: {_PREFIX}{index} cannot be read ({error})") from None
        fabrics.on_committed.append(self._persist)
        fabrics.on_removed.append(self._on_fabric_removed)

    # Key sets

    def key_set(self, fabric_index: int, key_set_id: int) -> GroupKeySet | None:
        """Return a key set of a fabric."""
        if key_set_id == IPK_KEY_SET_ID:
            fabric = self._fabrics.get(fabric_index)
            return None if fabric is None else fabric.ipk
        return self._groups(fabric_index).key_sets.get(key_set_id)

    def key_set_ids(self, fabric_index: int) -> list[int]:
        """Return the ids of a fabric's key sets, 0 first."""
        return [IPK_KEY_SET_ID, *sorted(self._groups(fabric_index).key_sets)]

    def set_key_set(self, fabric_index: int, key_set: GroupKeySet) -> None:
        """Add or replace a key set made by `make_key_set`.

        Raises StatusError RESOURCE_EXHAUSTED when the fabric has too many.
        """
        if key_set.id == IPK_KEY_SET_ID:
            self._fabrics.set_ipk(fabric_index, key_set)
            return
        key_sets = self._own(fabric_index).key_sets
        if key_set.id not in key_sets and len(key_sets) + 1 >= self.keys_per_fabric:
            raise StatusError(Status.RESOURCE_EXHAUSTED, reason="too many group key sets")
        key_sets[key_set.id] = key_set
        self._changed(fabric_index)

    def remove_key_set(self, fabric_index: int, key_set_id: int) -> None:
        """Remove a key set and its entries of the key map.

        Raises StatusError: INVALID_COMMAND for key set 0, NOT_FOUND.
        Spec: Matter Core 1.3 "KeySetRemove Command"
        """
        if key_set_id == IPK_KEY_SET_ID:
            raise StatusError(Status.INVALID_COMMAND, reason="the IPK cannot be removed")
        groups = self._groups(fabric_index)
        if key_set_id not in groups.key_sets:
            raise StatusError(Status.NOT_FOUND, reason="no such group key set")
        del groups.key_sets[key_set_id]
        groups.key_map = tuple(item for item in groups.key_map if item.key_set_id != key_set_id)
        self._changed(fabric_index)

    # Key map

    def key_map(self, fabric_index: int) -> tuple[GroupKeyMapping, ...]:
        """Return the key map of a fabric."""
        return self._groups(fabric_index).key_map

    def set_key_map(self, fabric_index: int, key_map: Sequence[GroupKeyMapping]) -> None:
        """Replace the key map of a fabric.

        Raises StatusError, and changes nothing: RESOURCE_EXHAUSTED when it is too long,
        CONSTRAINT_ERROR for group 0, key set 0 or a repeated entry.
        Spec: Matter Core 1.3 "GroupKeyMap Attribute"
        """
        if len(key_map) > self.groups_per_fabric:
            raise StatusError(Status.RESOURCE_EXHAUSTED, reason="too many groups")
        if len(set(key_map)) != len(key_map):
            raise StatusError(Status.CONSTRAINT_ERROR, reason="an entry is repeated")
        for mapping in key_map:
            if not mapping.group_id or mapping.key_set_id == IPK_KEY_SET_ID:
                raise StatusError(Status.CONSTRAINT_ERROR, reason=f"{mapping} is not allowed")
        self._own(fabric_index).key_map = tuple(key_map)
        self._changed(fabric_index)

    def _groups(self, fabric_index: int) -> _FabricGroups:
        """Return the data of a fabric for reading, without adding the fabric."""
        return self._by_fabric.get(fabric_index) or _FabricGroups()

    def _own(self, fabric_index: int) -> _FabricGroups:
        return self._by_fabric.setdefault(fabric_index, _FabricGroups())

    def _changed(self, fabric_index: int) -> None:
        if not self._fabrics.is_pending(fabric_index):
            self._persist(fabric_index)
        for observer in list(self.on_changed):
            observer(fabric_index)

    def _persist(self, fabric_index: int) -> None:
        groups = self._by_fabric.get(fabric_index)
        if groups is not None:
            self._store.set(f"{_PREFIX}{fabric_index}", _encode(groups))

    def _on_fabric_removed(self, fabric_index: int) -> None:
        self._store.delete(f"{_PREFIX}{fabric_index}")
        if self._by_fabric.pop(fabric_index, None) is not None:
            for observer in list(self.on_changed):
                observer(fabric_index)


def _encode(groups: _FabricGroups) -> bytes:
    return encode(
        {
            0: [key_set.to_tlv() for key_set in groups.key_sets.values()],
            1: [{0: mapping.group_id, 1: mapping.key_set_id} for mapping in groups.key_map],
            2: [],  # members of groups
        }
    )


def _decode(data: bytes) -> _FabricGroups:
    members = decode_struct(data)
    key_sets = [GroupKeySet.from_tlv(item) for item in expect_array(members.get(0))]
    return _FabricGroups(
        {key_set.id: key_set for key_set in key_sets},
        tuple(_decode_mapping(item) for item in expect_array(members.get(1))),
    )


def _decode_mapping(value: TlvValue) -> GroupKeyMapping:
    members = expect_structure(value)
    return GroupKeyMapping(expect_integer(members.get(0)), expect_integer(members.get(1)))
