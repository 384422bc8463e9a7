"""Group key sets, the group key map and the group table of each fabric.

Spec: Matter Core 1.3 "Group Key Management", "Group Table"
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from msgspec import Struct, field

from evse_node.errors import ConfigError, DecodeError, StatusError
from evse_node.matter.crypto import AeadKey
from evse_node.matter.fabrics.fabric import FabricTable
from evse_node.matter.fabrics.fabric_identity import Fabric
from evse_node.matter.fabrics.group_key import (
    IPK_KEY_SET_ID,
    GroupKeySet,
    derive_operational_key,
    derive_privacy_key,
    derive_session_id,
    group_multicast_address,
)
from evse_node.matter.interaction.status import Status
from evse_node.matter.messaging.message_layer import GroupKeyCandidate
from evse_node.matter.store import Store, items_by_fabric
from evse_node.matter.tlv import TlvValue, decode_struct, encode
from evse_node.matter.tlv_fields import expect_array, expect_integer, expect_structure, expect_text

_PREFIX: Final = "groupkeys/"


class GroupKeyMapping(NamedTuple):
    """The key set of a group. Spec: Matter Core 1.3 "GroupKeyMapStruct"."""

    group_id: int
    key_set_id: int


class Group(Struct):
    """A group and its endpoints. Spec: Matter Core 1.3 "GroupInfoMapStruct"."""

    id: int
    name: str
    endpoints: list[int]


class _FabricGroups(Struct):
    key_sets: dict[int, GroupKeySet] = field(default_factory=dict)
    key_map: tuple[GroupKeyMapping, ...] = ()
    groups: dict[int, Group] = field(default_factory=dict)
    # Session id and candidate key of each epoch key.
    candidates: list[tuple[int, GroupKeyCandidate]] = field(default_factory=list)


class GroupKeys:
    """Group key sets, the key map and the group table of all fabrics.

    Key set 0, the identity protection key, is stored with its fabric and counts as one of
    `keys_per_fabric`. `on_changed` observers receive the index of a fabric whose groups,
    and possibly multicast addresses, changed.

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
        self._by_session_id: dict[int, list[GroupKeyCandidate]] = {}
        for index, value in items_by_fabric(store, _PREFIX, fabrics):
            try:
                self._by_fabric[index] = _decode(value)
            except DecodeError as error:
                raise ConfigError(f"storage: {_PREFIX}{index} cannot be read ({error})") from None
            self._derive(index)
        self._index_sessions()
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

    # Group table

    def groups(self, fabric_index: int) -> list[Group]:
        """Return the groups of a fabric that have endpoints, in order of id."""
        return [group for _, group in sorted(self._groups(fabric_index).groups.items())]

    def add_endpoint(self, fabric_index: int, group_id: int, endpoint: int, name: str = "") -> None:
        """Add an endpoint to a group, and set the group's name.

        Raises StatusError RESOURCE_EXHAUSTED when the fabric has too many groups.
        """
        groups = self._own(fabric_index).groups
        group = groups.get(group_id)
        if group is None:
            if len(groups) >= self.groups_per_fabric:
                raise StatusError(Status.RESOURCE_EXHAUSTED, reason="too many groups")
            group = groups[group_id] = Group(group_id, name, [])
        group.name = name
        if endpoint not in group.endpoints:
            group.endpoints = sorted([*group.endpoints, endpoint])
        self._changed(fabric_index)

    def remove_endpoint(self, fabric_index: int, group_id: int, endpoint: int) -> None:
        """Remove an endpoint from a group; a group without endpoints is removed."""
        groups = self._groups(fabric_index).groups
        group = groups.get(group_id)
        if group is None or endpoint not in group.endpoints:
            return
        group.endpoints.remove(endpoint)
        if not group.endpoints:
            del groups[group_id]
        self._changed(fabric_index)

    def endpoints(self, fabric_index: int, group_id: int) -> tuple[int, ...]:
        """Return the endpoints of a group."""
        group = self._groups(fabric_index).groups.get(group_id)
        return () if group is None else tuple(group.endpoints)

    # Messages

    def candidates(self, session_id: int) -> Sequence[GroupKeyCandidate]:
        """Return the keys of all fabrics with this group session id."""
        return self._by_session_id.get(session_id, ())

    def multicast_addresses(self) -> set[str]:
        """Return the IPv6 addresses of all groups that have a key set and endpoints."""
        return {
            group_multicast_address(fabric.fabric_id, mapping.group_id)
            for fabric in self._fabrics
            for own in (self._groups(fabric.index),)
            for mapping in own.key_map
            if mapping.group_id in own.groups and mapping.key_set_id in own.key_sets
        }

    def _groups(self, fabric_index: int) -> _FabricGroups:
        """Return the data of a fabric for reading, without adding the fabric."""
        return self._by_fabric.get(fabric_index) or _FabricGroups()

    def _own(self, fabric_index: int) -> _FabricGroups:
        return self._by_fabric.setdefault(fabric_index, _FabricGroups())

    def _changed(self, fabric_index: int) -> None:
        self._derive(fabric_index)
        self._index_sessions()
        if not self._fabrics.is_pending(fabric_index):
            self._persist(fabric_index)
        for observer in list(self.on_changed):
            observer(fabric_index)

    def _derive(self, fabric_index: int) -> None:
        fabric = self._fabrics.get(fabric_index)
        groups = self._by_fabric.get(fabric_index)
        if groups is not None and fabric is not None:
            groups.candidates = _derive_candidates(fabric, groups)

    def _index_sessions(self) -> None:
        self._by_session_id = {}
        for groups in self._by_fabric.values():
            for session_id, candidate in groups.candidates:
                self._by_session_id.setdefault(session_id, []).append(candidate)

    def _persist(self, fabric_index: int) -> None:
        groups = self._by_fabric.get(fabric_index)
        if groups is not None:
            self._store.set(f"{_PREFIX}{fabric_index}", _encode(groups))

    def _on_fabric_removed(self, fabric_index: int) -> None:
        self._store.delete(f"{_PREFIX}{fabric_index}")
        if self._by_fabric.pop(fabric_index, None) is not None:
            self._index_sessions()
            for observer in list(self.on_changed):
                observer(fabric_index)


def _derive_candidates(
    fabric: Fabric, groups: _FabricGroups
) -> list[tuple[int, GroupKeyCandidate]]:
    found: list[tuple[int, GroupKeyCandidate]] = []
    for key_set in groups.key_sets.values():
        group_ids = frozenset(
            mapping.group_id for mapping in groups.key_map if mapping.key_set_id == key_set.id
        )
        for epoch_key in key_set.epoch_keys:
            key = derive_operational_key(epoch_key.key, fabric.compressed_fabric_id)
            candidate = GroupKeyCandidate(
                fabric.index, group_ids, AeadKey(key), derive_privacy_key(key)
            )
            found.append((derive_session_id(key), candidate))
    return found


def _encode(groups: _FabricGroups) -> bytes:
    return encode(
        {
            0: [key_set.to_tlv() for key_set in groups.key_sets.values()],
            1: [{0: mapping.group_id, 1: mapping.key_set_id} for mapping in groups.key_map],
            2: [{0: g.id, 1: g.name, 2: list(g.endpoints)} for g in groups.groups.values()],
        }
    )


def _decode(data: bytes) -> _FabricGroups:
    members = decode_struct(data)
    key_sets = [GroupKeySet.from_tlv(item) for item in expect_array(members.get(0))]
    groups = [_decode_group(item) for item in expect_array(members.get(2))]
    return _FabricGroups(
        {key_set.id: key_set for key_set in key_sets},
        tuple(_decode_mapping(item) for item in expect_array(members.get(1))),
        {group.id: group for group in groups},
    )


def _decode_mapping(value: TlvValue) -> GroupKeyMapping:
    members = expect_structure(value)
    return GroupKeyMapping(expect_integer(members.get(0)), expect_integer(members.get(1)))


def _decode_group(value: TlvValue) -> Group:
    members = expect_structure(value)
    endpoints = [expect_integer(item) for item in expect_array(members.get(2))]
    return Group(expect_integer(members.get(0)), expect_text(members.get(1)), endpoints)
