import pytest

from evse_node.errors import ConfigError
from evse_node.matter.crypto import KeyPair
from evse_node.matter.fabrics.fabric import FabricTable
from evse_node.matter.fabrics.fabric_identity import (
    Fabric,
    FabricError,
    NodeOperationalCertStatus,
    derive_compressed_fabric_id,
)
from evse_node.matter.fabrics.group_key import EpochKey, GroupKeySet, derive_operational_key
from evse_node.testing.memory_store import MemoryStore
from tests.support.matter.fake_ca import CertificateAuthority
from tests.support.matter.fake_fabric import IPK_EPOCH_KEY, add_fabric, add_pending
from tests.vectors import fabric as vectors

Status = NodeOperationalCertStatus


@pytest.fixture
def table(store: MemoryStore) -> FabricTable:
    return FabricTable(store)


class Log:
    """Record of observer calls."""

    def __init__(self, table: FabricTable) -> None:
        self.calls: list[tuple[str, int]] = []
        for name in ("added", "updated", "removed", "committed"):
            observers = getattr(table, f"on_{name}")
            observers.append(lambda index, name=name: self.calls.append((name, index)))


def test_compressed_fabric_id_matches_vector() -> None:
    derived = derive_compressed_fabric_id(vectors.ROOT_PUBLIC_KEY, vectors.FABRIC_ID)
    assert derived == vectors.COMPRESSED_FABRIC_ID


def test_destination_id_matches_vector() -> None:
    fabric = Fabric(
        index=1,
        root_certificate=b"",
        noc=b"",
        icac=None,
        operational_key=KeyPair.generate(),
        fabric_id=vectors.FABRIC_ID,
        node_id=vectors.NODE_ID,
        root_public_key=vectors.ROOT_PUBLIC_KEY,
        vendor_id=0xFFF1,
        ipk=GroupKeySet(0, 0, (EpochKey(bytes(16), 0),)),
    )
    assert (
        fabric.destination_id(vectors.INITIATOR_RANDOM, vectors.OPERATIONAL_IPK)
        == vectors.DESTINATION_ID
    )


def test_committed_fabric_is_restored_after_restart(store: MemoryStore, table: FabricTable) -> None:
    added = add_fabric(table, 0x1234)
    table.set_label(added.index, "Home")
    store.commit()
    again = FabricTable(store.after_power_cut())
    loaded = again.get(added.index)
    assert loaded is not None
    assert loaded.label == "Home"
    assert loaded.operational_key.private_bytes == added.operational_key.private_bytes
    for name in ("index", "root_certificate", "noc", "icac", "fabric_id", "node_id", "vendor_id"):
        assert getattr(loaded, name) == getattr(added, name)
    assert loaded.compressed_fabric_id == added.compressed_fabric_id
    assert loaded.operational_ipk == added.operational_ipk
    assert loaded.ipk.epoch_keys == (EpochKey(IPK_EPOCH_KEY, 0),)


@pytest.mark.parametrize(("count", "chosen"), [(1, 0), (2, 0), (3, 1)])
def test_operational_ipk_is_the_second_newest(table: FabricTable, count: int, chosen: int) -> None:
    index = add_fabric(table).index
    keys = tuple(EpochKey(bytes((number,)) * 16, number) for number in range(1, count + 1))
    table.set_ipk(index, GroupKeySet(0, 0, keys))
    fabric = table.get(index)
    assert fabric is not None
    assert fabric.operational_ipk == derive_operational_key(
        keys[chosen].key, fabric.compressed_fabric_id
    )


def test_fabric_without_icac_is_restored_after_restart(
    table: FabricTable, store: MemoryStore
) -> None:
    added = add_fabric(table, authority=CertificateAuthority(with_icac=False))
    loaded = FabricTable(store).get(added.index)
    assert loaded is not None
    assert loaded.icac is None


def test_pending_fabric_is_in_table_but_not_stored(store: MemoryStore, table: FabricTable) -> None:
    log = Log(table)
    fabric = add_pending(table)
    assert table.get(fabric.index) is fabric
    assert list(table) == [fabric]
    assert table.is_pending(fabric.index)
    assert store.items("") == []
    table.commit_pending()
    assert not table.is_pending(fabric.index)
    assert len(FabricTable(store)) == 1
    assert log.calls == [("added", 1), ("committed", 1)]


def test_reverted_pending_fabric_is_removed(store: MemoryStore, table: FabricTable) -> None:
    log = Log(table)
    add_pending(table)
    table.revert_pending()
    assert len(table) == 0
    assert store.items("") == []
    assert log.calls == [("added", 1), ("removed", 1)]
    table.revert_pending()
    table.commit_pending()
    assert len(log.calls) == 2


def test_pending_update_is_reverted(store: MemoryStore, table: FabricTable) -> None:
    authority = CertificateAuthority()
    old = add_fabric(table, authority=authority)
    log = Log(table)
    key = KeyPair.generate()
    noc = authority.issue_noc(key.public_key, 0x77)
    new = table.update_pending(old.index, noc, authority.icac, key)
    assert (new.node_id, new.index, new.fabric_id) == (0x77, old.index, old.fabric_id)
    # Other data of the fabric is stored at once, since the fabric is committed.
    assert not table.is_pending(old.index)
    assert table.has_pending_change(old.index)
    stored = FabricTable(store).get(old.index)
    assert stored is not None
    assert stored.node_id == old.node_id
    table.revert_pending()
    assert not table.has_pending_change(old.index)
    assert table.get(old.index) == old
    assert log.calls == [("updated", 1), ("updated", 1)]


def test_pending_update_is_committed(store: MemoryStore, table: FabricTable) -> None:
    authority = CertificateAuthority()
    old = add_fabric(table, authority=authority)
    key = KeyPair.generate()
    table.update_pending(old.index, authority.issue_noc(key.public_key, 0x77), authority.icac, key)
    table.commit_pending()
    stored = FabricTable(store).get(old.index)
    assert stored is not None
    assert stored.node_id == 0x77


def test_label_and_ipk_set_during_update_are_kept_by_revert(
    store: MemoryStore, table: FabricTable
) -> None:
    authority = CertificateAuthority()
    old = add_fabric(table, authority=authority)
    key = KeyPair.generate()
    table.update_pending(old.index, authority.issue_noc(key.public_key, 0x77), authority.icac, key)
    table.set_label(old.index, "Home")
    stored = FabricTable(store).get(old.index)
    assert stored is not None
    assert (stored.label, stored.node_id) == ("Home", old.node_id)
    table.revert_pending()
    reverted = table.get(old.index)
    assert reverted is not None
    assert (reverted.label, reverted.node_id) == ("Home", old.node_id)


def test_fabric_indices_are_not_reused_soon(store: MemoryStore, table: FabricTable) -> None:
    first, second = add_fabric(table, 1), add_fabric(table, 2)
    assert (first.index, second.index) == (1, 2)
    table.remove(2)
    assert add_fabric(table, 3).index == 3
    assert add_pending(FabricTable(store), 4).index == 4


def test_fabric_indices_wrap_around(store: MemoryStore, table: FabricTable) -> None:
    add_fabric(table, 1)
    store.set("counter/fabric_index", bytes((254,)))
    assert add_fabric(table, 2).index == 2
    store.set("counter/fabric_index", bytes((253,)))
    assert add_fabric(table, 3).index == 254


def test_full_table_refuses_fabric(store: MemoryStore) -> None:
    table = FabricTable(store, supported=5)
    for number in range(5):
        add_fabric(table, number + 1)
    with pytest.raises(FabricError) as error:
        add_pending(table, 6)
    assert error.value.status is Status.TABLE_FULL


def test_duplicate_root_and_fabric_id_are_refused(table: FabricTable) -> None:
    authority = CertificateAuthority(7)
    fabric = add_fabric(table, 7, authority=authority)
    with pytest.raises(FabricError) as error:
        add_pending(table, 7, authority=authority, node_id=99)
    assert error.value.status is Status.FABRIC_CONFLICT
    assert table.find(authority.root_public_key, 7) is fabric
    assert table.find(authority.root_public_key, 8) is None
    # The same fabric id under another root is a different fabric.
    assert add_pending(table, 7).index == 2


def test_invalid_certificates_are_refused(table: FabricTable) -> None:
    authority, other = CertificateAuthority(), CertificateAuthority()
    key = KeyPair.generate()
    noc = authority.issue_noc(key.public_key, 1)
    cases = [
        ((other.rcac, noc, authority.icac), Status.INVALID_NOC),
        ((authority.rcac, noc, None), Status.INVALID_NOC),
        ((authority.rcac, noc, other.icac), Status.INVALID_NOC),
        ((authority.rcac, b"\x15\x18", authority.icac), Status.INVALID_NOC),
    ]
    for (root, leaf, icac), status in cases:
        with pytest.raises(FabricError) as error:
            table.add_pending(root, leaf, icac, key, IPK_EPOCH_KEY, 1)
        assert error.value.status is status
    with pytest.raises(FabricError) as error:
        table.add_pending(authority.rcac, noc, authority.icac, KeyPair.generate(), IPK_EPOCH_KEY, 1)
    assert error.value.status is Status.INVALID_PUBLIC_KEY
    assert len(table) == 0


def test_update_for_another_fabric_is_refused(table: FabricTable) -> None:
    authority = CertificateAuthority(1)
    fabric = add_fabric(table, authority=authority)
    key = KeyPair.generate()
    elsewhere = authority.issue_noc(key.public_key, 5, fabric_id=2)
    with pytest.raises(FabricError) as error:
        table.update_pending(fabric.index, elsewhere, authority.icac, key)
    assert error.value.status is Status.INVALID_NOC
    with pytest.raises(FabricError) as error:
        table.update_pending(9, elsewhere, authority.icac, key)
    assert error.value.status is Status.INVALID_FABRIC_INDEX


def test_duplicate_label_is_refused_unless_empty(table: FabricTable) -> None:
    first, second = add_fabric(table, 1), add_fabric(table, 2)
    log = Log(table)
    table.set_label(first.index, "Home")
    table.set_label(first.index, "Home")
    assert ("updated", first.index) in log.calls
    assert ("updated", second.index) not in log.calls
    with pytest.raises(FabricError) as error:
        table.set_label(second.index, "Home")
    assert error.value.status is Status.LABEL_CONFLICT
    table.set_label(first.index, "")
    table.set_label(second.index, "")


def test_removed_fabric_is_deleted_from_store(store: MemoryStore, table: FabricTable) -> None:
    fabric = add_fabric(table)
    log = Log(table)
    table.remove(fabric.index)
    assert log.calls == [("removed", 1)]
    assert store.items("fabric/") == []
    with pytest.raises(FabricError) as error:
        table.remove(fabric.index)
    assert error.value.status is Status.INVALID_FABRIC_INDEX


def test_removal_clears_pending_update(table: FabricTable) -> None:
    authority = CertificateAuthority()
    fabric = add_fabric(table, authority=authority)
    key = KeyPair.generate()
    noc = authority.issue_noc(key.public_key, 0x77)
    table.update_pending(fabric.index, noc, authority.icac, key)
    table.remove(fabric.index)
    table.revert_pending()
    assert len(table) == 0


def test_destination_id_is_found_for_each_ipk(table: FabricTable) -> None:
    add_fabric(table, 1)
    fabric = add_fabric(table, 2)
    keys = (EpochKey(IPK_EPOCH_KEY, 0), EpochKey(bytes(range(16)), 99))
    table.set_ipk(fabric.index, GroupKeySet(0, 0, keys))
    fabric = table.get(fabric.index) or fabric
    random = bytes(32)
    for ipk in fabric.operational_ipks:
        assert table.find_by_destination_id(fabric.destination_id(random, ipk), random) == (
            fabric,
            ipk,
        )
    assert table.find_by_destination_id(bytes(32), random) is None


def test_damaged_record_raises_config_error_with_its_key(
    store: MemoryStore, table: FabricTable
) -> None:
    add_fabric(table)
    for value in (b"", b"\x15\x18", b"\x15\x30\x00\x00\x18"):
        store.set("fabric/1", value)
        with pytest.raises(ConfigError, match="fabric/1"):
            FabricTable(store)


def test_repr_contains_no_secrets(table: FabricTable) -> None:
    fabric = add_fabric(table)
    assert fabric.operational_key.private_bytes.hex() not in repr(fabric)
    assert IPK_EPOCH_KEY.hex() not in repr(fabric)
    assert repr(IPK_EPOCH_KEY) not in repr(fabric.ipk)
