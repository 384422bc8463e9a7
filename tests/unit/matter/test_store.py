import pytest

from evse_node.errors import StorageError
from evse_node.matter.store import MemoryStore, items_by_fabric


def test_items_come_in_order_of_keys() -> None:
    store = MemoryStore()
    for key in ("fabric/2", "acl/1", "fabric/10", "fabric/1"):
        store.set(key, key.encode())
    assert [key for key, _ in store.items("fabric/")] == ["fabric/1", "fabric/10", "fabric/2"]


def test_a_power_cut_leaves_what_was_committed() -> None:
    store = MemoryStore()
    store.set("a", b"1")
    store.commit()
    store.set("a", b"2")
    store.set("b", b"3")
    assert store.get("a") == b"2"
    after = store.after_power_cut()
    assert after.get("a") == b"1"
    assert after.get("b") is None


def test_commit_counts_only_changes() -> None:
    store = MemoryStore()
    store.set("a", b"1")
    store.commit()
    store.set("a", b"1")
    store.commit()
    assert store.commits == 1
    store.delete("a")
    assert store.is_dirty


def test_faults_on_demand() -> None:
    store = MemoryStore()
    store.fail_commit = True
    store.set("a", b"1")
    with pytest.raises(StorageError):
        store.commit()
    seen: list[tuple[str, bytes | None]] = []
    store.before_set = lambda key, value: seen.append((key, value))
    store.set("b", b"2")
    store.delete("b")
    assert seen == [("b", b"2"), ("b", None)]


def test_items_by_fabric_skips_and_deletes_records_of_absent_fabrics() -> None:
    store = MemoryStore()
    kept = {"acl/2": b"two", "acl/10": b"ten", "aclext/3": b"of another prefix"}
    for key, value in {**kept, "acl/3": b"gone", "acl/x": b"?", "acl/": b"", "acl/-2": b""}.items():
        store.set(key, value)
    assert dict(items_by_fabric(store, "acl/", {2, 10})) == {2: b"two", 10: b"ten"}
    assert dict(store.items("")) == kept
