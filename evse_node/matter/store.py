"""Interface of the store for everything that survives a restart: bytes by key.

Keys are paths such as "fabric/1" or "acl/1". A value is durable once the owner of the
concrete store has called `commit`. The runtime commits before it sends the datagrams of the
same turn, so that no reply confirms what a power cut could undo.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Container
from typing import Protocol


class Store(Protocol):
    """Bytes by key. Reads are cheap and include uncommitted values."""

    def get(self, key: str) -> bytes | None:
        """Return the value, or None."""
        ...

    def set(self, key: str, value: bytes) -> None:
        """Store `value` under `key`."""
        ...

    def delete(self, key: str) -> None:
        """Delete `key` if it exists."""
        ...

    def items(self, prefix: str) -> list[tuple[str, bytes]]:
        """Return all pairs whose key starts with `prefix`, sorted by key."""
        ...


def items_by_fabric(store: Store, prefix: str, fabrics: Container[int]) -> list[tuple[int, bytes]]:
    """Return (fabric index, value) of each key that is `prefix` followed by a fabric index.

    Deletes the records of fabrics that do not exist, since their index may be reused.
    """
    records: list[tuple[int, bytes]] = []
    for key, value in store.items(prefix):
        index = key.removeprefix(prefix)
        if index.isdecimal() and int(index) in fabrics:
            records.append((int(index), value))
        else:
            store.delete(key)
    return records


def __getattr__(name: str) -> object:
    """Return the former `MemoryStore` with a warning."""
    if name != "MemoryStore":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(
        "evse_node.matter.store.MemoryStore is deprecated, "
        "use evse_node.testing.memory_store.MemoryStore",
        DeprecationWarning,
        stacklevel=2,
    )
    return getattr(importlib.import_module("evse_node.testing.memory_store"), name)
