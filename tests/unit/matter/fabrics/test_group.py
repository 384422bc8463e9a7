import pytest

from evse_node.errors import ConfigError, StatusError
from evse_node.matter.fabrics.fabric import FabricTable
from evse_node.matter.fabrics.group import GroupKeyMapping, GroupKeys
from evse_node.matter.fabrics.group_key import (
    EpochKey,
    GroupKeySet,
    derive_operational_key,
    make_key_set,
)
from evse_node.matter.interaction.status import Status
from evse_node.matter.tlv import TlvValue, decode_struct, encode
from evse_node.testing.memory_store import MemoryStore
from tests.support.matter.fake_fabric import IPK_EPOCH_KEY, add_pending
from tests.vectors import fabric as vectors

KEYS = tuple(
    bytes.fromhex(f"{first}d1d2d3d4d5d6d7d8d9dadbdcdddedf") for first in ("d0", "d1", "d2")
)
LATE, LATER = 18446744073709551613, 18446744073709551614


@pytest.fixture
def groups(store: MemoryStore, fabrics: FabricTable) -> GroupKeys:
    return GroupKeys(store, fabrics)


def key_set(key_set_id: int = 0x1A, *keys: EpochKey) -> GroupKeySet:
    return GroupKeySet(key_set_id, 0, keys or (EpochKey(KEYS[0], 1),))


@pytest.mark.parametrize(("epoch", "compressed", "operational"), vectors.OPERATIONAL_KEYS)
def test_operational_key_matches_vector(epoch: str, compressed: str, operational: str) -> None:
    derived = derive_operational_key(bytes.fromhex(epoch), bytes.fromhex(compressed))
    assert derived.hex() == operational


@pytest.mark.parametrize("count", [1, 2, 3])
def test_key_set_accepts_one_to_three_keys(count: int) -> None:
    times = (1, LATE, LATER)
    made = make_key_set(
        0x1A,
        0,
        tuple(KEYS[i] if i < count else None for i in range(3)),  # type: ignore[arg-type]
        tuple(times[i] if i < count else None for i in range(3)),  # type: ignore[arg-type]
    )
    assert made.epoch_keys == tuple(EpochKey(KEYS[i], times[i]) for i in range(count))


K0, K1, K2 = KEYS


@pytest.mark.parametrize(
    ("keys", "times", "status"),
    [
        ((None, K1, K2), (1, LATE, LATER), Status.INVALID_COMMAND),
        ((K0, K1, K2), (None, LATE, LATER), Status.INVALID_COMMAND),
        ((K0, K1, K2), (0, LATE, LATER), Status.INVALID_COMMAND),
        ((K0, None, K2), (1, LATE, LATER), Status.INVALID_COMMAND),
        ((K0, K1, K2), (1, None, LATER), Status.INVALID_COMMAND),
        ((K0, K1, K2), (LATE, 1, LATER), Status.INVALID_COMMAND),
        ((K0, None, K2), (1, None, LATER), Status.INVALID_COMMAND),
        ((K0, K1, None), (1, LATE, LATER), Status.INVALID_COMMAND),
        ((K0, K1, K2), (1, LATE, None), Status.INVALID_COMMAND),
        ((K0, K1, K2), (1, LATE, 1), Status.INVALID_COMMAND),
        ((K0, K1, K2), (1, LATE, LATE), Status.INVALID_COMMAND),
        ((None, None, None), (None, None, None), Status.INVALID_COMMAND),
        ((b"\xd0", K1, K2), (1, LATE, 1), Status.CONSTRAINT_ERROR),
        ((K0, b"\xd1", K2), (1, LATE, 1), Status.CONSTRAINT_ERROR),
        ((K0, K1, b"\xd2"), (1, LATE, 1), Status.CONSTRAINT_ERROR),
        ((K0[:15], K1, K2), (1, LATE, 1), Status.CONSTRAINT_ERROR),
        ((K0, K1[:15], K2), (1, LATE, 1), Status.CONSTRAINT_ERROR),
        ((K0, K1, K2[:15]), (1, LATE, 1), Status.CONSTRAINT_ERROR),
        ((K0 + b"\xde", K1, K2), (1, LATE, 1), Status.CONSTRAINT_ERROR),
        ((K0, K1 + b"\xde", K2), (1, LATE, 1), Status.CONSTRAINT_ERROR),
        ((K0, K1, K2 + b"\xde"), (1, LATE, 1), Status.CONSTRAINT_ERROR),
    ],
)
def test_invalid_key_set_is_refused(
    keys: tuple[bytes | None, bytes | None, bytes | None],
    times: tuple[int | None, int | None, int | None],
    status: Status,
) -> None:
    with pytest.raises(StatusError) as error:
        make_key_set(0x1A, 0, keys, times)
    assert error.value.status == status


@pytest.mark.parametrize(
    ("policy", "status"), [(1, Status.INVALID_COMMAND), (2, Status.CONSTRAINT_ERROR)]
)
def test_unsupported_policy_is_refused(policy: int, status: Status) -> None:
    with pytest.raises(StatusError) as error:
        make_key_set(0x1A, policy, (K0, None, None), (1, None, None))
    assert error.value.status == status


def test_ipk_is_key_set_0(groups: GroupKeys, fabrics: FabricTable, store: MemoryStore) -> None:
    ipk = groups.key_set(1, 0)
    assert ipk is not None
    assert ipk.epoch_keys == (EpochKey(IPK_EPOCH_KEY, 0),)
    assert groups.key_set(9, 0) is None
    assert groups.key_set_ids(1) == [0]
    groups.set_key_set(1, key_set(0, EpochKey(K1, 5)))
    fabric = FabricTable(store).get(1)
    assert fabric is not None
    assert fabric.ipk.epoch_keys == (EpochKey(K1, 5),)
    assert fabric.operational_ipk == derive_operational_key(K1, fabric.compressed_fabric_id)
    with pytest.raises(StatusError) as error:
        groups.remove_key_set(1, 0)
    assert error.value.status == Status.INVALID_COMMAND


def test_key_sets_are_restored_after_restart(
    groups: GroupKeys, fabrics: FabricTable, store: MemoryStore
) -> None:
    groups.set_key_set(1, key_set(7, EpochKey(K0, 1), EpochKey(K1, LATE)))
    groups.set_key_map(1, [GroupKeyMapping(1, 7), GroupKeyMapping(2, 9)])
    again = GroupKeys(store, fabrics)
    assert again.key_set(1, 7) == groups.key_set(1, 7)
    assert again.key_map(1) == ((1, 7), (2, 9))
    assert again.key_set_ids(2) == [0]


def test_key_set_beyond_limit_is_refused(groups: GroupKeys) -> None:
    for number in range(1, groups.keys_per_fabric):
        groups.set_key_set(1, key_set(number))
    assert groups.key_set_ids(1) == [0, 1, 2, 3]
    groups.set_key_set(1, key_set(1, EpochKey(K2, 9)))
    with pytest.raises(StatusError) as error:
        groups.set_key_set(1, key_set(99))
    assert error.value.status == Status.RESOURCE_EXHAUSTED
    groups.set_key_set(2, key_set(99))


def test_removed_key_set_is_removed_from_key_map(groups: GroupKeys) -> None:
    groups.set_key_set(1, key_set(7))
    groups.set_key_map(1, [GroupKeyMapping(1, 7), GroupKeyMapping(2, 8)])
    groups.remove_key_set(1, 7)
    assert groups.key_map(1) == ((2, 8),)
    with pytest.raises(StatusError) as error:
        groups.remove_key_set(1, 7)
    assert error.value.status == Status.NOT_FOUND


def test_invalid_key_map_is_refused_and_unchanged(groups: GroupKeys) -> None:
    groups.set_key_map(1, [GroupKeyMapping(1, 7)])
    refused = [
        ([GroupKeyMapping(2, 7), GroupKeyMapping(3, 0)], Status.CONSTRAINT_ERROR),
        ([GroupKeyMapping(0, 7)], Status.CONSTRAINT_ERROR),
        ([GroupKeyMapping(2, 7), GroupKeyMapping(2, 7)], Status.CONSTRAINT_ERROR),
        ([GroupKeyMapping(number, 7) for number in range(1, 6)], Status.RESOURCE_EXHAUSTED),
    ]
    for key_map, status in refused:
        with pytest.raises(StatusError) as error:
            groups.set_key_map(1, key_map)
        assert error.value.status == status
        assert groups.key_map(1) == ((1, 7),)


def test_membership_stored_by_earlier_version_is_ignored(
    groups: GroupKeys, fabrics: FabricTable, store: MemoryStore
) -> None:
    groups.set_key_map(1, [GroupKeyMapping(5, 7)])
    stored = store.get("groupkeys/1")
    assert stored is not None
    membership: TlvValue = [{0: 5, 1: "Garage", 2: [1]}]
    store.set("groupkeys/1", encode({**decode_struct(stored), 2: membership}))
    again = GroupKeys(store, fabrics)
    assert again.key_map(1) == ((5, 7),)
    again.set_key_map(1, [GroupKeyMapping(5, 7)])
    assert store.get("groupkeys/1") == stored


def test_groups_of_pending_fabric_are_not_stored(
    groups: GroupKeys, fabrics: FabricTable, store: MemoryStore
) -> None:
    index = add_pending(fabrics, 3).index
    groups.set_key_set(index, key_set())
    assert store.get(f"groupkeys/{index}") is None
    fabrics.commit_pending()
    assert GroupKeys(store, fabrics).key_set_ids(index) == [0, 0x1A]


def test_groups_of_removed_fabric_are_deleted(
    groups: GroupKeys, fabrics: FabricTable, store: MemoryStore
) -> None:
    groups.set_key_set(1, key_set())
    fabrics.remove(1)
    assert groups.key_map(1) == ()
    assert store.items("groupkeys/") == []
    store.set("groupkeys/9", b"\x15\x18")
    GroupKeys(store, fabrics)
    assert store.get("groupkeys/9") is None


def test_damaged_groups_raise_config_error_with_their_key(
    fabrics: FabricTable, store: MemoryStore
) -> None:
    store.set("groupkeys/1", b"\x15\x18")
    with pytest.raises(ConfigError, match="groupkeys/1"):
        GroupKeys(store, fabrics)
