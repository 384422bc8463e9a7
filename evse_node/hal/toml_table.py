"""Reading a TOML table key by key; each complaint names file, key, value and what is right."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

from evse_node.config.reading import read_toml
from evse_node.errors import ConfigError


def load_toml(file: Path) -> TomlTable:
    """Read a whole file. Raises ConfigError when it cannot be read or is not TOML."""
    return TomlTable(read_toml(file), str(file), "")


class TomlTable:
    """One table. Each getter takes its key away; what `finish` finds left is unknown.

    A getter without default insists on the key. All raise ConfigError.
    """

    def __init__(self, content: Mapping[str, object], file: str, path: str) -> None:
        self._left = dict(content)
        self._known: list[str] = []
        self.file = file
        self.path = path

    def where(self, key: str) -> str:
        """Return how a complaint names a key."""
        return f"{self.file}: {self.path}{key}"

    def wrong(self, key: str, value: object, right: str) -> ConfigError:
        """Return the complaint about a value."""
        return ConfigError(f"{self.where(key)}: {value!r} cannot be used: give {right}")

    def has(self, key: str) -> bool:
        """Return whether the key is there and not yet taken."""
        return key in self._left

    def take(self, key: str, default: object, right: str) -> object:
        """Return a raw value; None as default insists."""
        self._known.append(key)
        if key not in self._left:
            if default is None:
                raise ConfigError(f"{self.where(key)} is missing: give {right}")
            return default
        return self._left.pop(key)

    def text(self, key: str, default: str | None = None, right: str = "a text") -> str:
        """Return a text that is not empty (unless it is the default)."""
        value = self.take(key, default, right)
        if not isinstance(value, str) or (not value and default != ""):
            raise self.wrong(key, value, right)
        return value

    def number(self, key: str, low: float, high: float, default: float | None = None) -> float:
        """Return a number from `low` to `high`."""
        right = f"{low:g} to {high:g}"
        value = self.take(key, default, right)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.wrong(key, value, right)
        if not low <= value <= high:
            raise self.wrong(key, value, right)
        return value

    def whole(self, key: str, low: int, high: int, default: int | None = None) -> int:
        """Return a whole number from `low` to `high`."""
        value = self.number(key, low, high, default)
        if not isinstance(value, int):
            raise self.wrong(key, value, f"a whole number from {low} to {high}")
        return value

    def flag(self, key: str, default: bool) -> bool:
        """Return true or false."""
        value = self.take(key, default, "true or false")
        if not isinstance(value, bool):
            raise self.wrong(key, value, "true or false")
        return value

    def one_of(self, key: str, names: tuple[str, ...], default: str | None = None) -> str:
        """Return one of these words."""
        right = f"one of {', '.join(names)}"
        value = self.take(key, default, right)
        if not isinstance(value, str) or value not in names:
            raise self.wrong(key, value, right)
        return value

    def words(self, key: str, default: tuple[str, ...] | None = None) -> tuple[str, ...]:
        """Return a list of texts; one text alone is a list, too."""
        value = self.take(key, default, "a text or a list of texts")
        items = (value,) if isinstance(value, str) else value
        if not isinstance(items, list | tuple) or not items:
            raise self.wrong(key, value, "a text or a list of texts")
        for item in items:
            if not isinstance(item, str) or not item:
                raise self.wrong(key, value, "a text or a list of texts")
        return tuple(items)

    def pairs(self, key: str) -> list[tuple[float, float]]:
        """Return a list of pairs of numbers."""
        right = "pairs of numbers like [[0, -12000], [4095, 12000]]"
        value = self.take(key, None, right)
        if not isinstance(value, list):
            raise self.wrong(key, value, right)
        found = []
        for item in value:
            if not isinstance(item, list) or len(item) != 2:
                raise self.wrong(key, value, right)
            first, second = item
            for number in item:
                if isinstance(number, bool) or not isinstance(number, int | float):
                    raise self.wrong(key, value, right)
                if not math.isfinite(number):
                    raise self.wrong(key, value, right)
            found.append((first, second))
        return found

    def table(self, key: str) -> TomlTable:
        """Return a table that must be there."""
        value = self.take(key, None, "a table")
        if not isinstance(value, dict):
            raise self.wrong(key, value, "a table")
        return TomlTable(value, self.file, f"{self.path}{key}.")

    def optional_table(self, key: str) -> TomlTable | None:
        """Return a table, or None without one."""
        if key in self._left:
            return self.table(key)
        self._known.append(key)
        return None

    def tables(self, key: str) -> Iterator[TomlTable]:
        """Return the tables of a list, none without the key."""
        value = self.take(key, [], "a list of tables")
        if not isinstance(value, list):
            raise self.wrong(key, value, "a list of tables")
        for number, item in enumerate(value, 1):
            if not isinstance(item, dict):
                raise self.wrong(key, item, "a table")
            yield TomlTable(item, self.file, f"{self.path}{key}[{number}].")

    def finish(self) -> None:
        """Complain about the first key that nobody asked for."""
        if self._left:
            raise ConfigError(
                f"{self.where(min(self._left))}: no such key; "
                f"known are {', '.join(sorted(set(self._known)))}"
            )
