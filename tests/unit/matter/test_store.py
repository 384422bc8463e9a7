from evse_node.matter.store import items_by_fabric
from evse_node.testing.memory_store import MemoryStore


def test_items_by_fabric_skips_and_deletes_records_of_absent_fabrics() -> None:
    store = MemoryStore()
    kept = {"acl/2": b"two", "acl/10": b"ten", "aclext/3": b"of another prefix"}
    for key, value in {**kept, "acl/3": b"gone", "acl/x": b"?", "acl/": b"", "acl/-2": b""}.items():
        store.set(key, value)
    assert dict(items_by_fabric(store, "acl/", {2, 10})) == {2: b"two", 10: b"ten"}
    assert dict(store.items("")) == kept
