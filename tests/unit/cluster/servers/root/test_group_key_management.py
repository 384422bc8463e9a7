import pytest

from evse_node.cluster.definitions.definition import Value
from evse_node.errors import StatusError
from evse_node.matter.interaction.status import Status
from tests.support.matter.root_node import RootNode

KEYS = tuple(
    bytes.fromhex(f"{first}d1d2d3d4d5d6d7d8d9dadbdcdddedf") for first in ("d0", "d1", "d2")
)
LATE, LATER = 18446744073709551613, 18446744073709551614


def key_set(
    key_set_id: int = 0x1A, keys: tuple[bytes | None, ...] = KEYS, times: tuple[Value, ...] = ()
) -> dict[str, Value]:
    times = times or (1, LATE, LATER)
    fields: dict[str, Value] = {"group_key_set_id": key_set_id, "group_key_security_policy": 0}
    for number in range(3):
        fields[f"epoch_key{number}"] = keys[number]
        fields[f"epoch_start_time{number}"] = times[number]
    return fields


@pytest.fixture
def root() -> RootNode:
    node = RootNode()
    node.add_fabric(1)
    node.add_fabric(2)
    return node


def test_key_set_read_omits_keys(root: RootNode) -> None:
    root.invoke(root.groups, "key_set_write", root.case(), group_key_set=key_set())
    reply = root.invoke(root.groups, "key_set_read", root.case(), group_key_set_id=0x1A)
    assert reply == {"group_key_set": key_set(keys=(None, None, None))}


def test_key_set_may_have_fewer_keys(root: RootNode) -> None:
    written = key_set(keys=(KEYS[0], None, None), times=(1, None, None))
    root.invoke(root.groups, "key_set_write", root.case(), group_key_set=written)
    reply = root.invoke(root.groups, "key_set_read", root.case(), group_key_set_id=0x1A)
    assert reply == {"group_key_set": {**written, "epoch_key0": None}}


def test_ipk_set_can_be_read(root: RootNode) -> None:
    reply = root.invoke(root.groups, "key_set_read", root.case(), group_key_set_id=0)
    assert reply["group_key_set"] == key_set(0, (None, None, None), (0, None, None))


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (key_set(keys=(None, KEYS[1], KEYS[2])), Status.INVALID_COMMAND),
        (key_set(times=(0, LATE, LATER)), Status.INVALID_COMMAND),
        (key_set(times=(LATE, 1, LATER)), Status.INVALID_COMMAND),
        (key_set(keys=(KEYS[0], None, KEYS[2])), Status.INVALID_COMMAND),
        (key_set(times=(1, LATE, 1)), Status.INVALID_COMMAND),
        (key_set(keys=(b"\xd0", KEYS[1], KEYS[2]), times=(1, LATE, 1)), Status.CONSTRAINT_ERROR),
        (key_set(keys=(*KEYS[:2], KEYS[2][:15]), times=(1, LATE, 1)), Status.CONSTRAINT_ERROR),
        ({**key_set(), "group_key_security_policy": 1}, Status.INVALID_COMMAND),
        ({**key_set(), "group_key_security_policy": 9}, Status.CONSTRAINT_ERROR),
    ],
)
def test_invalid_key_set_is_refused(root: RootNode, fields: Value, status: Status) -> None:
    with pytest.raises(StatusError) as error:
        root.invoke(root.groups, "key_set_write", root.case(), group_key_set=fields)
    assert error.value.status == status
    with pytest.raises(StatusError) as error:
        root.invoke(root.groups, "key_set_read", root.case(), group_key_set_id=0x1A)
    assert error.value.status == Status.NOT_FOUND


def test_key_sets_beyond_maximum_are_refused(root: RootNode) -> None:
    limit = root.read(root.groups, "max_group_keys_per_fabric")
    assert isinstance(limit, int)
    for number in range(1, limit):
        root.invoke(root.groups, "key_set_write", root.case(), group_key_set=key_set(number))
    with pytest.raises(StatusError) as error:
        root.invoke(root.groups, "key_set_write", root.case(), group_key_set=key_set(99))
    assert error.value.status == Status.RESOURCE_EXHAUSTED
    reply = root.invoke(root.groups, "key_set_read_all_indices", root.case())
    assert reply == {"group_key_set_ids": list(range(limit))}
    reply = root.invoke(root.groups, "key_set_read_all_indices", root.case(2))
    assert reply == {"group_key_set_ids": [0]}


def test_key_set_remove_drops_mappings(root: RootNode) -> None:
    root.invoke(root.groups, "key_set_write", root.case(), group_key_set=key_set(7))
    mapping: list[Value] = [{"group_id": 1, "group_key_set_id": 7}]
    root.write(root.groups, "group_key_map", mapping, root.case())
    root.invoke(root.groups, "key_set_remove", root.case(), group_key_set_id=7)
    assert root.read(root.groups, "group_key_map") == []
    for key_set_id, status in ((7, Status.NOT_FOUND), (0, Status.INVALID_COMMAND)):
        with pytest.raises(StatusError) as error:
            root.invoke(root.groups, "key_set_remove", root.case(), group_key_set_id=key_set_id)
        assert error.value.status == status


def test_group_key_map_is_written_per_fabric(root: RootNode) -> None:
    assert root.read(root.groups, "group_key_map") == []
    mapping: list[Value] = [{"group_id": 1, "group_key_set_id": 7}]
    root.write(root.groups, "group_key_map", mapping, root.case())
    root.append(root.groups, "group_key_map", {"group_id": 2, "group_key_set_id": 7}, root.case())
    expected = [*mapping, {"group_id": 2, "group_key_set_id": 7}]
    assert root.read(root.groups, "group_key_map") == expected
    assert root.read(root.groups, "group_key_map", root.case(2)) == []
    assert "group_key_map" in root.reported()
    root.store.commit()
    again = root.restart()
    assert again.read(again.groups, "group_key_map") == expected


def test_key_set_0_cannot_be_mapped(root: RootNode) -> None:
    with pytest.raises(StatusError) as error:
        root.write(
            root.groups, "group_key_map", [{"group_id": 1, "group_key_set_id": 0}], root.case()
        )
    assert error.value.status == Status.CONSTRAINT_ERROR


def test_group_table_is_empty(root: RootNode) -> None:
    assert root.read(root.groups, "group_table") == []
