"""Reading of TOML and JSON into typed Structs; each error is one line.

`board.toml: ratings.maximum-current-a: 100 cannot be used: give 6 to 80`: file, key, the value
found and what would be right. The last comes from the type: the limits of `Meta`, the members
of an Enum or Literal, or the `description` of a `Meta`, which goes before both. A description
of a list speaks for its items, too, unless they are tables.

A Struct checks keys against each other in `__post_init__`, and raises `FieldError` for one key
or ValueError for the whole table. The module imports nothing of the package but the errors, so
that any layer may use it.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from evse_node.errors import ConfigError

if TYPE_CHECKING:
    from msgspec import inspect

T = TypeVar("T")
_LONGEST_VALUE: Final = 120


class TomlStruct(msgspec.Struct, frozen=True, rename="kebab", forbid_unknown_fields=True):
    """Base of a TOML table: keys with hyphens, and no others than the fields.

    A subclass repeats `frozen=True`, which type checkers need to see.
    """


class FieldError(ValueError):
    """Error of one key of a Struct, to be raised in `__post_init__`.

    `key` is spelled as in the file and may lead into an inner table ("states.C").
    """

    def __init__(self, key: str, message: str, separator: str = ": ") -> None:
        self.key = key
        self.separator = separator
        super().__init__(message)


def unusable(key: str, value: object, right: str) -> FieldError:
    """Return the error for a value; `right` describes the valid ones."""
    return FieldError(key, f"{_show(value)} cannot be used: give {right}")


def missing(key: str, right: str) -> FieldError:
    """Return the error for a key that is not there."""
    return FieldError(key, f"is missing: give {right}", " ")


def read_toml(file: Path) -> dict[str, object]:
    """Return a file's keys and values. Raises ConfigError when it cannot be read or is not TOML."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{file}: is not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: not TOML: {error}") from None


def load_toml(file: Path, to: type[T]) -> T:
    """Read a whole TOML file. Raises ConfigError."""
    return convert(read_toml(file), to, str(file))


def convert(
    data: object,
    to: type[T],
    source: str = "",
    *,
    prefix: str = "",
    strict: bool = True,
    dec_hook: Callable[[type, Any], Any] | None = None,
) -> T:
    """Convert plain data. Raises ConfigError: `source`, if any, then `prefix` and key."""
    try:
        return msgspec.convert(data, to, strict=strict, dec_hook=dec_hook)
    except msgspec.ValidationError as error:
        line = explain(error, data, to, prefix=prefix)
        raise ConfigError(f"{source}: {line}" if source else line) from None


def convert_options(options: Mapping[str, object], to: type[T]) -> T:
    """Convert a backend's `[hal]` table, hyphens or underscores in keys. Raises ConfigError."""
    keys = {key.replace("_", "-"): value for key, value in options.items()}
    return convert(keys, to, "configuration", prefix="hal.")


def explain(
    error: msgspec.ValidationError,
    data: object,
    to: object,
    *,
    prefix: str = "",
    is_json: bool = False,
) -> str:
    """Return one line for an error of msgspec's: key, value found, what would be right.

    `data` is the plain data that was not valid as a `to`.
    """
    return _Explanation(error, data, to, prefix, is_json).text()


def expected(to: object) -> str:
    """Describe the valid values of a type, as errors show them."""
    return _Explanation(msgspec.ValidationError(), None, to, "", False).expected()


def _show(value: object, is_json: bool = False) -> str:
    text = json.dumps(value, ensure_ascii=False) if is_json else repr(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"


class _Explanation:
    """Walk along the path of an error, through the data and its type at the same time."""

    def __init__(
        self,
        error: msgspec.ValidationError,
        data: object,
        to: object,
        prefix: str,
        is_json: bool,
    ) -> None:
        # Only needed after an error.
        from msgspec import inspect

        self._inspect = inspect
        self._is_json = is_json
        self._prefix = prefix
        self._cause = error.__cause__
        self._message, _, path = str(error).partition(" - at ")
        self._value = data
        self._type = inspect.type_info(to)
        self._where = ""
        # "[...]" stands for a value of a dictionary whose key msgspec does not name.
        self._walk(re.findall(r"\[(\d+)\]|\.([^.\[`]+)", path.replace("[...]", "")))

    def text(self) -> str:
        """Return the line."""
        named = re.match(r"Object (missing required|contains unknown) field `(.*)`", self._message)
        if isinstance(self._cause, FieldError):
            return f"{self._at(self._cause.key)}{self._cause.separator}{self._cause}"
        if named is not None and named[1] == "missing required":
            right = self._expected(self._field(named[2]))
            return f"{self._at(named[2])} is missing: give {right}"
        if named is not None:
            return f"{self._at(named[2])}: no such key; known keys are {', '.join(self._keys())}"
        struct = self._struct()
        if isinstance(self._cause, ValueError) and struct is not None and not struct.array_like:
            return ": ".join(filter(None, (self._at(), str(self._cause))))
        right = self._expected(self._type) or str(self._cause or self._message)
        shown = f"{_show(self._value, self._is_json)} cannot be used: give {right}"
        return ": ".join(filter(None, (self._at(), shown)))

    def expected(self) -> str:
        """Describe the valid values."""
        return self._expected(self._type)

    def _at(self, key: str = "") -> str:
        dot = "." if key and self._where else ""
        return f"{self._prefix}{self._where}{dot}{key}".rstrip(".")

    def _walk(self, steps: Sequence[tuple[str, str]]) -> None:
        for index, key in steps:
            if key:
                self._type = self._field(key)
                self._value = self._value[key] if isinstance(self._value, Mapping) else None
                self._where = f"{self._where}.{key}" if self._where else key
            else:
                item = self._item(int(index))
                is_table = isinstance(item, self._inspect.StructType) and not item.array_like
                if self._description(self._type) and not is_table:
                    return
                self._type = item
                if isinstance(self._value, list | tuple):
                    self._value = self._value[int(index)]
                self._where = f"{self._where}[{int(index) + 1}]"

    def _description(self, found: inspect.Type) -> str:
        if isinstance(found, self._inspect.Metadata):
            schema = found.extra_json_schema or {}
            return str(schema.get("description", "")) or self._description(found.type)
        parts = self._parts(found)
        return self._description(parts[0]) if len(parts) == 1 else ""

    def _parts(self, found: inspect.Type) -> list[inspect.Type]:
        """Return the types of a union, without None."""
        if not isinstance(found, self._inspect.UnionType):
            return []
        return [each for each in found.types if not isinstance(each, self._inspect.NoneType)]

    def _alternatives(self, found: inspect.Type) -> list[inspect.Type]:
        """Return the types that a value may have, without descriptions."""
        if isinstance(found, self._inspect.Metadata):
            return self._alternatives(found.type)
        if isinstance(found, self._inspect.UnionType):
            return [each for part in self._parts(found) for each in self._alternatives(part)]
        return [found]

    def _structs(self) -> list[inspect.StructType]:
        kinds = self._alternatives(self._type)
        return [kind for kind in kinds if isinstance(kind, self._inspect.StructType)]

    def _struct(self) -> inspect.StructType | None:
        """Return the Struct that the value is meant to be, by its tag if there are several."""
        found = self._structs()
        given = self._value if isinstance(self._value, Mapping) else {}
        if len(found) > 1:
            found = [each for each in found if each.tag == given.get(each.tag_field)]
        return found[0] if found else None

    def _keys(self) -> list[str]:
        struct = self._struct()
        if struct is None:
            return []
        keys = {each.encode_name for each in struct.fields}
        return sorted(keys | ({struct.tag_field} if struct.tag_field else set()))

    def _field(self, key: str) -> inspect.Type:
        for struct in self._structs():
            if struct.tag_field == key:
                return self._inspect.LiteralType(
                    tuple(each.tag for each in self._structs() if each.tag is not None)
                )
        struct_or_none = self._struct()
        for field in () if struct_or_none is None else struct_or_none.fields:
            if field.encode_name == key:
                return field.type
        return self._inspect.AnyType()

    def _item(self, index: int) -> inspect.Type:
        for kind in self._alternatives(self._type):
            if isinstance(kind, self._inspect.TupleType):
                return kind.item_types[index]
            if isinstance(kind, self._inspect.CollectionType):
                return kind.item_type
            if isinstance(kind, self._inspect.StructType) and kind.array_like:
                return kind.fields[index].type
        return self._inspect.AnyType()

    def _expected(self, found: inspect.Type) -> str:
        """Describe the valid values, by the description or the type."""
        described = self._description(found)
        if described:
            return described
        if isinstance(found, self._inspect.Metadata):
            return self._expected(found.type)
        if isinstance(found, self._inspect.UnionType):
            texts = dict.fromkeys(self._expected(part) for part in self._parts(found))
            return " or ".join(filter(None, texts))
        return self._expected_kind(found)

    def _expected_kind(self, kind: inspect.Type) -> str:
        match kind:
            case self._inspect.IntType():
                limits = _limits(kind)
                if limits and isinstance(self._value, float):
                    return f"a whole number, {limits}"
                return limits or "a whole number"
            case self._inspect.FloatType():
                return _limits(kind) or "a number"
            case self._inspect.StrType(min_length=length):
                return "a string that is not empty" if length else "a string"
            case self._inspect.BoolType():
                return "true or false"
            case self._inspect.EnumType():
                return f"one of {', '.join(str(each.value) for each in kind.cls)}"
            case self._inspect.LiteralType():
                return f"one of {', '.join(map(str, kind.values))}"
            case self._inspect.StructType(array_like=True):
                return f"a list of {len(kind.fields)}"
            case self._inspect.StructType() | self._inspect.DictType():
                return "an object" if self._is_json else "a table"
            case self._inspect.TupleType():
                return f"a list of {len(kind.item_types)}"
            case self._inspect.CollectionType():
                return _list_of(kind.min_length, kind.max_length)
        return ""


def _limits(number: inspect.IntType | inspect.FloatType) -> str:
    low, high = number.ge, number.le
    if low is not None and high is not None:
        return f"{low:g} to {high:g}" if isinstance(low, float) else f"{low} to {high}"
    if number.gt is not None:
        return f"more than {number.gt:g}"
    if low is not None:
        return f"{low:g} or more"
    return "" if high is None else f"at most {high:g}"


def _list_of(low: int | None, high: int | None) -> str:
    if high is not None:
        return f"a list of {low or 0} to {high}"
    return "a list that is not empty" if low else "a list"
