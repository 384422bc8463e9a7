"""Access control entries of each fabric, and the privileges that they grant.

Spec: Matter Core 1.3 "Access Control"
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct

from evse_node.errors import ConfigError, DecodeError, StatusError
from evse_node.matter.data_model import (
    AuthMode,
    Privilege,
    Subject,
    is_operational_node_id,
)
from evse_node.matter.fabrics.fabric import FabricTable
from evse_node.matter.interaction.status import Status
from evse_node.matter.store import Store, items_by_fabric
from evse_node.matter.tlv import Tag, TagKey, TlvList, TlvValue, decode, encode
from evse_node.matter.tlv_fields import expect_array, expect_integer, expect_structure

MAX_EXTENSION_SIZE: Final = 128
_ACL_PREFIX: Final = "acl/"
_EXTENSION_PREFIX: Final = "aclext/"

# Subjects 0xFFFFFFFD_iiiivvvv are CASE authenticated tags: identifier and version.
_CAT_PREFIX: Final = 0xFFFFFFFD
_CAT_VERSION: Final = 0xFFFF


def privilege_bit(privilege: Privilege) -> int:
    """Return the bit of a privilege in a privilege mask."""
    return 1 << privilege


_VIEW: Final = privilege_bit(Privilege.VIEW)
_OPERATE: Final = _VIEW | privilege_bit(Privilege.OPERATE)
_MANAGE: Final = _OPERATE | privilege_bit(Privilege.MANAGE)
ALL_PRIVILEGES: Final = (
    _MANAGE | privilege_bit(Privilege.PROXY_VIEW) | privilege_bit(Privilege.ADMINISTER)
)
# Privileges that each privilege includes.
# Spec: Matter Core 1.3 "Access Control Entry: Privilege"
_IMPLIED: Final = {
    Privilege.VIEW: _VIEW,
    Privilege.PROXY_VIEW: _VIEW | privilege_bit(Privilege.PROXY_VIEW),
    Privilege.OPERATE: _OPERATE,
    Privilege.MANAGE: _MANAGE,
    Privilege.ADMINISTER: ALL_PRIVILEGES,
}


class Target(Struct, frozen=True):
    """Clusters to which an entry applies; a field that is None matches all.

    Spec: Matter Core 1.3 "AccessControlTargetStruct"
    """

    cluster: int | None = None
    endpoint: int | None = None
    device_type: int | None = None


class AccessControlEntry(Struct, frozen=True):
    """A grant of `privilege` to `subjects` on `targets`; None stands for all of them.

    Subjects are node ids or tagged subjects (CASE), or group ids (Group).
    Spec: Matter Core 1.3 "AccessControlEntryStruct"
    """

    privilege: Privilege
    auth_mode: AuthMode
    subjects: tuple[int, ...] | None = None
    targets: tuple[Target, ...] | None = None


class AccessControl:
    """The access control lists of all fabrics.

    `generation` changes with every change of any list; results of `granted` may be cached
    until then. Observers in `on_changed` receive the fabric index. Lists of a pending
    fabric are stored when it is committed, those of a removed fabric are deleted.

    Raises ConfigError for a stored list that cannot be read.
    """

    def __init__(
        self,
        store: Store,
        fabrics: FabricTable,
        *,
        entries_per_fabric: int = 4,
        subjects_per_entry: int = 4,
        targets_per_entry: int = 3,
    ) -> None:
        self._store = store
        self._fabrics = fabrics
        self.entries_per_fabric = entries_per_fabric
        self.subjects_per_entry = subjects_per_entry
        self.targets_per_entry = targets_per_entry
        self.generation = 0
        self.on_changed: list[Callable[[int], None]] = []
        self._entries: dict[int, tuple[AccessControlEntry, ...]] = {}
        self._extensions: dict[int, bytes] = {}
        self._load()
        fabrics.on_committed.append(self._persist)
        fabrics.on_removed.append(self._on_fabric_removed)

    def _load(self) -> None:
        for index, value in items_by_fabric(self._store, _ACL_PREFIX, self._fabrics):
            try:
                self._entries[index] = _decode_entries(value)
            except (DecodeError, ValueError) as error:
                raise ConfigError(
                    f"storage: {_ACL_PREFIX}{index} cannot be read ({error})"
                ) from None
        self._extensions.update(items_by_fabric(self._store, _EXTENSION_PREFIX, self._fabrics))

    def granted(
        self, subject: Subject, endpoint: int, cluster: int, device_types: Sequence[int]
    ) -> int:
        """Return the mask of `privilege_bit`s that a subject has on a cluster.

        `device_types` are the ids of the endpoint's device types.
        Spec: Matter Core 1.3 "Access Control Algorithm"
        """
        if subject.auth_mode is AuthMode.PASE:
            # PASE sessions exist only during commissioning, which implies Administer.
            return ALL_PRIVILEGES
        mask = 0
        for entry in self._entries.get(subject.fabric_index, ()):
            if (
                entry.auth_mode is subject.auth_mode
                and _matches_subject(entry, subject)
                and _matches_target(entry, endpoint, cluster, device_types)
            ):
                mask |= _IMPLIED[entry.privilege]
        return mask

    def entries(self, fabric_index: int) -> tuple[AccessControlEntry, ...]:
        """Return the entries of a fabric."""
        return self._entries.get(fabric_index, ())

    def set_entries(self, fabric_index: int, entries: Sequence[AccessControlEntry]) -> None:
        """Replace the entries of a fabric.

        Raises StatusError, and changes nothing: RESOURCE_EXHAUSTED when a limit is exceeded,
        CONSTRAINT_ERROR for an invalid entry.
        """
        if len(entries) > self.entries_per_fabric:
            raise StatusError(Status.RESOURCE_EXHAUSTED, reason="too many entries")
        for entry in entries:
            self._check(entry)
        self._entries[fabric_index] = tuple(_normalized(entry) for entry in entries)
        self._changed(fabric_index)

    def extension(self, fabric_index: int) -> bytes | None:
        """Return the extension of a fabric's list, or None."""
        return self._extensions.get(fabric_index)

    def set_extension(self, fabric_index: int, data: bytes | None) -> None:
        """Replace or remove the extension of a fabric's list.

        Raises StatusError CONSTRAINT_ERROR when `data` is not a TLV list of at most 128
        bytes whose members all have profile tags.
        Spec: Matter Core 1.3 "Extension Attribute"
        """
        if data is None:
            self._extensions.pop(fabric_index, None)
        else:
            check_extension(data)
            self._extensions[fabric_index] = data
        self._changed(fabric_index)

    def _check(self, entry: AccessControlEntry) -> None:
        if len(entry.subjects or ()) > self.subjects_per_entry:
            raise StatusError(Status.RESOURCE_EXHAUSTED, reason="too many subjects")
        if len(entry.targets or ()) > self.targets_per_entry:
            raise StatusError(Status.RESOURCE_EXHAUSTED, reason="too many targets")
        violation = _constraint_violation(entry)
        if violation is not None:
            raise StatusError(Status.CONSTRAINT_ERROR, reason=violation)

    def _changed(self, fabric_index: int) -> None:
        self.generation += 1
        if not self._fabrics.is_pending(fabric_index):
            self._persist(fabric_index)
        for observer in list(self.on_changed):
            observer(fabric_index)

    def _persist(self, fabric_index: int) -> None:
        entries = self._entries.get(fabric_index)
        _set_or_delete(
            self._store,
            f"{_ACL_PREFIX}{fabric_index}",
            _encode_entries(entries) if entries else None,
        )
        _set_or_delete(
            self._store,
            f"{_EXTENSION_PREFIX}{fabric_index}",
            self._extensions.get(fabric_index),
        )

    def _on_fabric_removed(self, fabric_index: int) -> None:
        self._entries.pop(fabric_index, None)
        self._extensions.pop(fabric_index, None)
        self._changed(fabric_index)


def _set_or_delete(store: Store, key: str, value: bytes | None) -> None:
    if value is None:
        store.delete(key)
    else:
        store.set(key, value)


def _matches_subject(entry: AccessControlEntry, subject: Subject) -> bool:
    if entry.subjects is None:
        return True
    for allowed in entry.subjects:
        if allowed >> 32 == _CAT_PREFIX:
            if _matches_tag(allowed & 0xFFFFFFFF, subject.case_authenticated_tags):
                return True
        elif allowed == subject.node_id:
            return True
    return False


def _matches_tag(allowed: int, tags: Sequence[int]) -> bool:
    """Return whether a tag has the identifier and at least the version of `allowed`."""
    return any(tag >> 16 == allowed >> 16 and tag & 0xFFFF >= allowed & 0xFFFF for tag in tags)


def _matches_target(
    entry: AccessControlEntry, endpoint: int, cluster: int, device_types: Sequence[int]
) -> bool:
    if entry.targets is None:
        return True
    return any(
        (target.cluster is None or target.cluster == cluster)
        and (target.endpoint is None or target.endpoint == endpoint)
        and (target.device_type is None or target.device_type in device_types)
        for target in entry.targets
    )


def is_valid_case_subject(subject: int) -> bool:
    """Return whether `subject` is an operational node id, or a tag with a version over 0."""
    if subject >> 32 == _CAT_PREFIX:
        return subject & _CAT_VERSION != 0
    return is_operational_node_id(subject)


def _constraint_violation(entry: AccessControlEntry) -> str | None:
    """Return the rule that an entry breaks. Spec: Matter Core 1.3 "AccessControlEntryStruct"."""
    if entry.auth_mode is AuthMode.GROUP:
        if entry.privilege is Privilege.ADMINISTER:
            return "Administer cannot be granted to groups"
    elif entry.auth_mode is not AuthMode.CASE:
        return "auth mode PASE is reserved"
    for subject in entry.subjects or ():
        if entry.auth_mode is AuthMode.CASE:
            if not is_valid_case_subject(subject):
                return f"subject 0x{subject:016X} is neither a node id nor a CASE authenticated tag"
        elif not 0 < subject <= 0xFFFF:
            return f"subject 0x{subject:016X} is not a group id"
    for target in entry.targets or ():
        if not _is_valid_target(target):
            return f"{target} is not valid"
    return None


def _is_valid_target(target: Target) -> bool:
    cluster, endpoint, device_type = target.cluster, target.endpoint, target.device_type
    if cluster is None and endpoint is None and device_type is None:
        return False
    if endpoint is not None and (device_type is not None or endpoint == 0xFFFF):
        return False
    if cluster is not None and not _is_valid_cluster(cluster):
        return False
    return device_type is None or (
        device_type >> 16 <= _MAX_VENDOR_PREFIX and device_type & 0xFFFF <= 0xBFFF
    )


_MAX_VENDOR_PREFIX: Final = 0xFFF4


def _is_valid_cluster(cluster: int) -> bool:
    """Spec: Matter Core 1.3 "Manufacturer Extensible Identifier (MEI)"."""
    prefix, suffix = cluster >> 16, cluster & 0xFFFF
    if prefix == 0:
        return suffix <= 0x7FFF
    return prefix <= _MAX_VENDOR_PREFIX and 0xFC00 <= suffix <= 0xFFFE


def check_extension(data: bytes) -> None:
    """Raise StatusError CONSTRAINT_ERROR unless `data` is a valid extension."""
    if len(data) > MAX_EXTENSION_SIZE:
        raise StatusError(Status.CONSTRAINT_ERROR, reason=f"extension of {len(data)} bytes")
    try:
        value = decode(data)
    except DecodeError as error:
        raise StatusError(Status.CONSTRAINT_ERROR, reason=f"extension: {error}") from None
    if not isinstance(value, TlvList) or not all(isinstance(tag, Tag) for tag, _ in value):
        raise StatusError(Status.CONSTRAINT_ERROR, reason="extension is not a list of profile tags")


def _normalized(entry: AccessControlEntry) -> AccessControlEntry:
    """Replace empty lists by None: either way all subjects or targets match."""
    return AccessControlEntry(
        entry.privilege, entry.auth_mode, entry.subjects or None, entry.targets or None
    )


def _encode_entries(entries: Sequence[AccessControlEntry]) -> bytes:
    return encode([_entry_to_tlv(entry) for entry in entries])


def _entry_to_tlv(entry: AccessControlEntry) -> TlvValue:
    members: dict[TagKey, TlvValue] = {1: entry.privilege, 2: entry.auth_mode}
    if entry.subjects is not None:
        members[3] = list(entry.subjects)
    if entry.targets is not None:
        members[4] = [
            {
                tag: value
                for tag, value in enumerate((target.cluster, target.endpoint, target.device_type))
                if value is not None
            }
            for target in entry.targets
        ]
    return members


def _decode_entries(data: bytes) -> tuple[AccessControlEntry, ...]:
    return tuple(_decode_entry(item) for item in expect_array(decode(data)))


def _decode_entry(value: TlvValue) -> AccessControlEntry:
    members = expect_structure(value)
    subjects = targets = None
    if 3 in members:
        subjects = tuple(expect_integer(item) for item in expect_array(members[3]))
    if 4 in members:
        targets = tuple(_decode_target(item) for item in expect_array(members[4]))
    return AccessControlEntry(
        Privilege(expect_integer(members.get(1))),
        AuthMode(expect_integer(members.get(2))),
        subjects,
        targets,
    )


def _decode_target(value: TlvValue) -> Target:
    members = expect_structure(value)
    return Target(*(expect_integer(members[tag]) if tag in members else None for tag in range(3)))
