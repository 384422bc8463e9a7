from collections.abc import Callable

import pytest

from evse_node.cluster.definitions.definition import Value
from evse_node.errors import StatusError
from evse_node.matter.interaction.status import Status
from tests.support.matter.root_node import ADMIN, RootNode

ADMIN_ENTRY: dict[str, Value] = {
    "privilege": 5,
    "auth_mode": 2,
    "subjects": [ADMIN],
    "targets": None,
}


def entry(
    privilege: int = 3,
    auth_mode: int = 2,
    subjects: list[Value] | None = None,
    targets: list[Value] | None = None,
) -> dict[str, Value]:
    return {
        "privilege": privilege,
        "auth_mode": auth_mode,
        "subjects": subjects,
        "targets": targets,
    }


def target(
    cluster: int | None = None, endpoint: int | None = None, device_type: int | None = None
) -> dict[str, Value]:
    return {"cluster": cluster, "endpoint": endpoint, "device_type": device_type}


@pytest.fixture
def root() -> RootNode:
    node = RootNode()
    node.add_fabric(1)
    node.add_fabric(2)
    return node


def test_limits_are_those_of_lists(root: RootNode) -> None:
    assert root.read(root.access, "subjects_per_access_control_entry") == 4
    assert root.read(root.access, "targets_per_access_control_entry") == 3
    assert root.read(root.access, "access_control_entries_per_fabric") == 4


def test_first_administrator_has_entry(root: RootNode) -> None:
    assert root.read(root.access, "acl") == [ADMIN_ENTRY]


def test_written_list_is_read_back(root: RootNode) -> None:
    entries = [
        ADMIN_ENTRY,
        entry(1, 3, [111, 222, 333, 444], [target(cluster=11), target(endpoint=22)]),
        entry(4, 2, None, [target(55, None, 66)]),
    ]
    root.write(root.access, "acl", entries, root.case())
    assert root.read(root.access, "acl") == entries
    # The entries of the other fabric stay.
    assert root.read(root.access, "acl", root.case(2)) == [ADMIN_ENTRY]
    assert "acl" in root.reported()
    root.store.commit()
    again = root.restart()
    assert again.read(again.access, "acl") == entries


def test_each_entry_change_emits_event(root: RootNode) -> None:
    other = entry(3, 3)
    root.write(root.access, "acl", [ADMIN_ENTRY, other], root.case())
    common = {"admin_node_id": ADMIN, "admin_passcode_id": None}
    assert root.events.take() == [
        (
            "AccessControlEntryChanged",
            {**common, "change_type": 0, "latest_value": ADMIN_ENTRY},
            1,
        ),
        ("AccessControlEntryChanged", {**common, "change_type": 1, "latest_value": other}, 1),
    ]
    root.write(root.access, "acl", [ADMIN_ENTRY], root.case())
    assert [fields["change_type"] for _, fields, _ in root.events.take()] == [0, 2]


def test_append_emits_event_for_new_entry_only(root: RootNode) -> None:
    root.append(root.access, "acl", entry(), root.case())
    assert [fields["change_type"] for _, fields, _ in root.events.take()] == [1]
    assert root.read(root.access, "acl") == [ADMIN_ENTRY, entry()]
    root.write(root.access, "acl", [ADMIN_ENTRY], root.case())
    assert [fields["change_type"] for _, fields, _ in root.events.take()] == [0, 2]


def test_event_names_passcode_of_commissioner() -> None:
    node = RootNode()
    context = node.pase()
    node.add_fabric(1)
    node.access.grant_administration(context.subject, 1, ADMIN)
    ((name, fields, fabric_index),) = node.events.take()
    assert (name, fabric_index) == ("AccessControlEntryChanged", 1)
    assert fields == {
        "admin_node_id": None,
        "admin_passcode_id": 0,
        "change_type": 1,
        "latest_value": ADMIN_ENTRY,
    }


@pytest.mark.parametrize(
    "bad",
    [
        entry(auth_mode=1),
        entry(5, 3),
        entry(subjects=[0]),
        entry(subjects=[0xFFFFFFFFFFFFFFFF]),
        entry(subjects=[0xFFFFFFFD00000000]),
        entry(subjects=[0xFFFFFFFFFFFF0000]),
        entry(targets=[target()]),
        entry(targets=[target(cluster=0xFFFFFFFE)]),
        entry(targets=[target(endpoint=0xFFFE, device_type=1)]),
        entry(targets=[target(device_type=0xFFFFFFFE)]),
        entry(targets=[target(11, 22, 33)]),
        entry(3, 3, [0]),
    ],
)
def test_list_with_invalid_entry_is_refused(root: RootNode, bad: Value) -> None:
    changes: list[Callable[[], object]] = [
        lambda: root.write(root.access, "acl", [ADMIN_ENTRY, bad], root.case()),
        lambda: root.append(root.access, "acl", bad, root.case()),
    ]
    for change in changes:
        with pytest.raises(StatusError) as error:
            change()
        assert error.value.status == Status.CONSTRAINT_ERROR
    assert root.read(root.access, "acl") == [ADMIN_ENTRY]
    assert root.events.take() == []


def test_unknown_privilege_or_mode_is_refused(root: RootNode) -> None:
    acl = root.access.definition.attribute("acl")
    for privilege, mode in ((255, 2), (3, 255), (0, 2)):
        with pytest.raises(StatusError) as error:
            root.access.write_attribute(
                acl.id, [{1: privilege, 2: mode, 3: None, 4: None}], root.case()
            )
        assert error.value.status == Status.CONSTRAINT_ERROR


def test_entries_beyond_maximum_are_refused(root: RootNode) -> None:
    with pytest.raises(StatusError) as error:
        root.write(root.access, "acl", [ADMIN_ENTRY] * 5, root.case())
    assert error.value.status == Status.RESOURCE_EXHAUSTED
    root.write(root.access, "acl", [ADMIN_ENTRY] * 4, root.case())
    with pytest.raises(StatusError) as error:
        root.append(root.access, "acl", ADMIN_ENTRY, root.case())
    assert error.value.status == Status.RESOURCE_EXHAUSTED


def test_extension_changes_emit_events(root: RootNode) -> None:
    first, second = b"\x17\x18", bytes.fromhex("17d00000f1ff01000178 18")
    assert root.read(root.access, "extension") == []
    root.write(root.access, "extension", [], root.case())
    assert root.events.take() == []
    steps: list[tuple[list[bytes], int]] = [([first], 1), ([second], 0), ([], 2)]
    for data, change in steps:
        root.write(root.access, "extension", [{"data": item} for item in data], root.case())
        assert root.read(root.access, "extension") == [{"data": item} for item in data]
        assert "extension" in root.reported()
        ((name, fields, fabric_index),) = root.events.take()
        assert (name, fields["change_type"], fabric_index) == (
            "AccessControlExtensionChanged",
            change,
            1,
        )
        assert fields["latest_value"] == {"data": data[0] if data else second}
    assert root.read(root.access, "extension", root.case(2)) == []


def test_second_extension_is_refused(root: RootNode) -> None:
    root.write(root.access, "extension", [{"data": b"\x17\x18"}], root.case())
    root.events.take()
    changes: list[Callable[[], object]] = [
        lambda: root.write(root.access, "extension", [{"data": b"\x17\x18"}] * 2, root.case()),
        lambda: root.append(root.access, "extension", {"data": b"\x17\x18"}, root.case()),
        lambda: root.write(root.access, "extension", [{"data": b"\x15\x18"}], root.case()),
        lambda: root.write(root.access, "extension", [{"data": bytes(129)}], root.case()),
    ]
    for change in changes:
        with pytest.raises(StatusError) as error:
            change()
        assert error.value.status == Status.CONSTRAINT_ERROR
    assert root.read(root.access, "extension") == [{"data": b"\x17\x18"}]
    assert root.events.take() == []


def test_first_extension_can_be_appended(root: RootNode) -> None:
    root.write(root.access, "extension", [], root.case())
    root.append(root.access, "extension", {"data": b"\x17\x18"}, root.case())
    assert root.read(root.access, "extension") == [{"data": b"\x17\x18"}]
