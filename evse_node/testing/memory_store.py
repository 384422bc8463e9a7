"""In-memory store for tests, examples and benchmarks."""

from __future__ import annotations

from collections.abc import Callable

from evse_node.errors import StorageError


class MemoryStore:
    """Store in memory that can simulate disk errors and power cuts.

    With `fail_commit`, `commit` raises StorageError. `before_set` is called with each
    (key, value or None) before it is set or deleted, and may raise.
    """

    def __init__(self, values: dict[str, bytes] | None = None) -> None:
        self.committed: dict[str, bytes] = dict(values or {})
        self._values = dict(self.committed)
        self.commits = 0
        self.fail_commit = False
        self.before_set: Callable[[str, bytes | None], None] | None = None

    def get(self, key: str) -> bytes | None:
        """Return the value, or None."""
        return self._values.get(key)

    def set(self, key: str, value: bytes) -> None:
        """Store `value` under `key`."""
        if self.before_set is not None:
            self.before_set(key, value)
        self._values[key] = bytes(value)

    def delete(self, key: str) -> None:
        """Delete `key` if it exists."""
        if self.before_set is not None:
            self.before_set(key, None)
        self._values.pop(key, None)

    def items(self, prefix: str) -> list[tuple[str, bytes]]:
        """Return all pairs whose key starts with `prefix`, sorted by key."""
        return sorted(pair for pair in self._values.items() if pair[0].startswith(prefix))

    @property
    def is_dirty(self) -> bool:
        """Whether there are uncommitted changes."""
        return self._values != self.committed

    def commit(self) -> None:
        """Make all changes durable. Raises StorageError when `fail_commit` is set."""
        if self.fail_commit:
            raise StorageError("commit fails as requested by the test")
        if self.is_dirty:
            self.committed = dict(self._values)
            self.commits += 1

    def close(self) -> None:
        """Close the store; uncommitted changes are lost."""

    def after_power_cut(self) -> MemoryStore:
        """Return a new store with the committed values, as found after a power cut."""
        return MemoryStore(self.committed)
