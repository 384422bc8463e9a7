import pytest

from evse_node.errors import StorageError
from evse_node.testing.memory_store import MemoryStore


def test_items_are_sorted_by_key() -> None:
    store = MemoryStore()
    for key in ("fabric/2", "acl/1", "fabric/10", "fabric/1"):
        store.set(key, key.encode())
    assert [key for key, _ in store.items("fabric/")] == ["fabric/1", "fabric/10", "fabric/2"]


def test_power_cut_keeps_only_committed_values() -> None:
    store = MemoryStore()
    store.set("a", b"1")
    store.commit()
    store.set("a", b"2")
    store.set("b", b"3")
    assert store.get("a") == b"2"
    after = store.after_power_cut()
    assert after.get("a") == b"1"
    assert after.get("b") is None


def test_commit_without_changes_is_not_counted() -> None:
    store = MemoryStore()
    store.set("a", b"1")
    store.commit()
    store.set("a", b"1")
    store.commit()
    assert store.commits == 1
    store.delete("a")
    assert store.is_dirty


def test_faults_and_hooks_run_on_demand() -> None:
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
