"""Where the stack keeps what must survive a restart: bytes under names.

Keys are paths such as "fabric/1" or "acl/1". A value counts as kept once the owner of
the concrete store has called `commit`; the shell does so before any datagram of the same
turn leaves, so that a peer is never told of something that a power cut could undo.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Protocol

from evse_node.errors import StorageError


class Store(Protocol):
    """Bytes by key. Reads are cheap and see what was set before, committed or not."""

    def get(self, key: str) -> bytes | None:
        """Return the value, or None when there is none."""
        ...

    def set(self, key: str, value: bytes) -> None:
        """Keep `value` under `key`."""
        ...

    def delete(self, key: str) -> None:
        """Forget `key`; nothing happens when it does not exist."""
        ...

    def items(self, prefix: str) -> list[tuple[str, bytes]]:
        """Return all pairs whose key starts with `prefix`, in order of the keys."""
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


class MemoryStore:
    """A store without a disk, with the accidents that a disk can have.

    `fail_commit` makes `commit` raise StorageError; `before_set` is called with each
    (key, value or None) that is about to be set or deleted, and may raise.
    """

    def __init__(self, values: dict[str, bytes] | None = None) -> None:
        self.committed: dict[str, bytes] = dict(values or {})
        self._values = dict(self.committed)
        self.commits = 0
        self.fail_commit = False
        self.before_set: Callable[[str, bytes | None], None] | None = None

    def get(self, key: str) -> bytes | None:
        """Return the value, or None when there is none."""
        return self._values.get(key)

    def set(self, key: str, value: bytes) -> None:
        """Keep `value` under `key`."""
        if self.before_set is not None:
            self.before_set(key, value)
        self._values[key] = bytes(value)

    def delete(self, key: str) -> None:
        """Forget `key`; nothing happens when it does not exist."""
        if self.before_set is not None:
            self.before_set(key, None)
        self._values.pop(key, None)

    def items(self, prefix: str) -> list[tuple[str, bytes]]:
        """Return all pairs whose key starts with `prefix`, in order of the keys."""
        return sorted(pair for pair in self._values.items() if pair[0].startswith(prefix))

    @property
    def is_dirty(self) -> bool:
        """Whether anything differs from what was committed."""
        return self._values != self.committed

    def commit(self) -> None:
        """Make everything durable. Raises StorageError when `fail_commit` is set."""
        if self.fail_commit:
            raise StorageError("the store is told to fail")
        if self.is_dirty:
            self.committed = dict(self._values)
            self.commits += 1

    def close(self) -> None:
        """Let go of the store; what was not committed is lost."""

    def after_power_cut(self) -> MemoryStore:
        """Return a new store with what a node finds that lost power now."""
        return MemoryStore(self.committed)
