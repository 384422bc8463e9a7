"""Access Control: the access control lists, read and written by administrators.

Spec: Matter Core 1.3 "Access Control Cluster"
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import TypedDict

from evse_node.cluster.definitions.definition import ClusterDefinition, Value
from evse_node.cluster.server import Attribute, ClusterServer, cached_reader, reader, serves, writer
from evse_node.errors import StatusError
from evse_node.matter.data_model import AuthMode, InteractionContext, Privilege, Subject
from evse_node.matter.fabrics.access_control import AccessControl, AccessControlEntry, Target
from evse_node.matter.fabrics.fabric import FabricTable
from evse_node.matter.interaction.status import Status
from evse_node.matter.tlv import TlvValue


class ChangeType(IntEnum):
    """Spec: Matter Core 1.3 "ChangeTypeEnum"."""

    CHANGED = 0
    ADDED = 1
    REMOVED = 2


class AccessControlTargetStruct(TypedDict):
    """Spec: Matter Core 1.3 "AccessControlTargetStruct"."""

    cluster: int | None
    endpoint: int | None
    device_type: int | None


class AccessControlEntryStruct(TypedDict):
    """Spec: Matter Core 1.3 "AccessControlEntryStruct"."""

    privilege: int
    auth_mode: int
    subjects: list[int] | None
    targets: list[AccessControlTargetStruct] | None


class AccessControlExtensionStruct(TypedDict):
    """Spec: Matter Core 1.3 "AccessControlExtensionStruct"."""

    data: bytes


@serves("Access Control")
class AccessControlServer(ClusterServer):
    """Read and write access to `access_control`; each change is recorded as an event."""

    subjects_per_access_control_entry: Attribute[int]
    targets_per_access_control_entry: Attribute[int]
    access_control_entries_per_fabric: Attribute[int]

    def __init__(
        self,
        definition: ClusterDefinition,
        access_control: AccessControl,
        fabrics: FabricTable,
        *,
        has_extension: bool = True,
    ) -> None:
        super().__init__(
            definition,
            # A feature since 1.4, an optional attribute before.
            features=["EXTS"] if has_extension and definition.has_feature("EXTS") else [],
            optional=["Extension"] if has_extension else [],
        )
        self.subjects_per_access_control_entry = access_control.subjects_per_entry
        self.targets_per_access_control_entry = access_control.targets_per_entry
        self.access_control_entries_per_fabric = access_control.entries_per_fabric
        self._access_control = access_control
        self._fabrics = fabrics
        # Number of leading entries that the write in progress leaves unchanged.
        self._unchanged = 0
        access_control.on_changed.append(lambda index: self.report("acl"))

    def grant_administration(self, subject: Subject, fabric_index: int, admin: int) -> None:
        """Make `admin` (node id or tagged subject) administrator of a new fabric.

        `subject` is the commissioner that requested it.
        """
        entry = AccessControlEntry(Privilege.ADMINISTER, AuthMode.CASE, (admin,))
        self._access_control.set_entries(fabric_index, [entry])
        self._record_change(subject, fabric_index, ChangeType.ADDED, entry)

    @cached_reader
    def acl(self, context: InteractionContext) -> Sequence[Mapping[str, Value]]:
        return [
            _encode_entry(entry, fabric.index)
            for fabric in self._fabrics
            for entry in self._access_control.entries(fabric.index)
        ]

    @writer("acl")
    def write_acl(
        self, context: InteractionContext, value: Sequence[AccessControlEntryStruct]
    ) -> None:
        """Replace the accessing fabric's entries, all of them or none."""
        subject = context.subject
        index = subject.fabric_index
        old = self._access_control.entries(index)
        self._access_control.set_entries(index, [_decode_entry(item) for item in value])
        new = self._access_control.entries(index)
        # Changes are recorded by position in the list, also for entries that stay the same.
        for number in range(self._unchanged, max(len(old), len(new))):
            if number >= len(new):
                self._record_change(subject, index, ChangeType.REMOVED, old[number])
            else:
                change = ChangeType.CHANGED if number < len(old) else ChangeType.ADDED
                self._record_change(subject, index, change, new[number])

    def append_list_item(
        self, attribute_id: int, value: TlvValue, context: InteractionContext
    ) -> None:
        """Append an item; the items before it are recorded as unchanged."""
        self._unchanged = len(self._access_control.entries(context.subject.fabric_index))
        try:
            super().append_list_item(attribute_id, value, context)
        finally:
            self._unchanged = 0

    @reader
    def extension(self, context: InteractionContext) -> Sequence[Mapping[str, Value]]:
        """Return the extensions of all fabrics, at most one for each."""
        return [
            {"data": data, "fabric_index": fabric.index}
            for fabric in self._fabrics
            if (data := self._access_control.extension(fabric.index)) is not None
        ]

    @writer("extension")
    def write_extension(
        self, context: InteractionContext, value: Sequence[AccessControlExtensionStruct]
    ) -> None:
        index = context.subject.fabric_index
        if len(value) > 1:
            raise StatusError(Status.CONSTRAINT_ERROR, reason="more than one extension")
        old = self._access_control.extension(index)
        new = value[0]["data"] if value else None
        if old is None and new is None:
            return
        self._access_control.set_extension(index, new)
        self.report("extension")
        if new is None:
            change, latest = ChangeType.REMOVED, old
        else:
            change = ChangeType.ADDED if old is None else ChangeType.CHANGED
            latest = new
        self._emit_change(
            "AccessControlExtensionChanged",
            context.subject,
            index,
            change,
            {"data": latest, "fabric_index": index},
        )

    def _record_change(
        self, subject: Subject, fabric_index: int, change: ChangeType, entry: AccessControlEntry
    ) -> None:
        latest = _encode_entry(entry, fabric_index)
        self._emit_change("AccessControlEntryChanged", subject, fabric_index, change, latest)

    def _emit_change(
        self,
        event: str,
        subject: Subject,
        fabric_index: int,
        change: ChangeType,
        latest: Mapping[str, Value],
    ) -> None:
        is_case = subject.auth_mode is AuthMode.CASE
        is_pase = subject.auth_mode is AuthMode.PASE
        self.emit(
            event,
            admin_node_id=subject.node_id if is_case else None,
            # PASE sessions use the default passcode only.
            admin_passcode_id=0 if is_pase else None,
            change_type=change,
            latest_value=latest,
            fabric_index=fabric_index,
        )


def _encode_entry(entry: AccessControlEntry, fabric_index: int) -> dict[str, Value]:
    targets = entry.targets
    return {
        "privilege": entry.privilege,
        "auth_mode": entry.auth_mode,
        "subjects": None if entry.subjects is None else list(entry.subjects),
        "targets": None
        if targets is None
        else [
            {
                "cluster": target.cluster,
                "endpoint": target.endpoint,
                "device_type": target.device_type,
            }
            for target in targets
        ],
        "fabric_index": fabric_index,
    }


def _decode_entry(item: AccessControlEntryStruct) -> AccessControlEntry:
    subjects, targets = item["subjects"], item["targets"]
    return AccessControlEntry(
        Privilege(item["privilege"]),
        AuthMode(item["auth_mode"]),
        None if subjects is None else tuple(subjects),
        None
        if targets is None
        else tuple(
            Target(each["cluster"], each["endpoint"], each["device_type"]) for each in targets
        ),
    )
