"""Annotations of server classes, compared with the types of the definitions.

    BOOLEAN                  bool
    UNSIGNED SIGNED          int, or a NewType of it
    ENUM BITMAP              int, a NewType of it, or an IntEnum or IntFlag
    FLOAT STRING OCTETS      float, str, bytes
    LIST                     list[...], Sequence[...]
    STRUCT                   Mapping[str, Value], dict[str, Value], or a TypedDict of its fields
    nullable                 ... | None

`Value` stands for any type. None of this runs after import.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum, IntFlag
from inspect import get_annotations
from types import NoneType, UnionType
from typing import Final, ForwardRef, NotRequired, Union, get_args, get_origin, is_typeddict

from evse_node.cluster.definitions.data_type import (
    FABRIC_INDEX,
    Kind,
    StructDefinition,
    ValueType,
)

_PLAIN: Final[Mapping[Kind, type]] = {
    Kind.BOOLEAN: bool,
    Kind.FLOAT: float,
    Kind.STRING: str,
    Kind.OCTETS: bytes,
}
_ATTRIBUTE: Final = "Attribute["
_NUMBERS: Final = frozenset({Kind.UNSIGNED, Kind.SIGNED, Kind.ENUM, Kind.BITMAP})
_LISTS: Final = (list, Sequence)
_MAPPINGS: Final = (dict, Mapping)
# `Value` is a recursive alias, which only type checkers resolve.
_NAMES: Final = {"Value": object}


def evaluate(annotation: object, namespace: dict[str, object]) -> object:
    """Return the type that an annotation of a module with this namespace means.

    Raises NameError for a name that the module does not have.
    """
    if not isinstance(annotation, str):
        return annotation
    return eval(annotation, namespace, _NAMES)


def attribute_annotations(cls: type) -> dict[str, object]:
    """Return the attributes that a class and its bases declare: `Attribute[...]` by name."""
    found: dict[str, object] = {}
    for base in reversed(cls.__mro__):
        namespace = vars(sys.modules[base.__module__])
        for name, annotation in get_annotations(base).items():
            if _ATTRIBUTE in str(annotation):
                found[name] = evaluate(annotation, namespace)
    return found


def function_annotations(function: Callable[..., object]) -> dict[str, object]:
    """Return the annotations of a function's parameters, evaluated, and of its `return`."""
    namespace = function.__globals__
    return {
        name: evaluate(annotation, namespace)
        for name, annotation in function.__annotations__.items()
        if name not in ("self", "context")
    }


def check(
    annotation: object, type_: ValueType, *, may_be_absent: bool = False, has_default: bool = False
) -> None:
    """Raise TypeError unless an annotation matches the type of a definition.

    With `may_be_absent`, the value is None too where a message lacks it, unless the
    parameter has a default.
    """
    members = _members(annotation)
    if members == (object,) or isinstance(annotation, ForwardRef):
        return
    accepts_none = NoneType in members
    if type_.is_nullable or (may_be_absent and not has_default):
        if not accepts_none:
            raise TypeError(f"{_name(annotation)} lacks None: {type_.name} can be null or absent")
    elif accepts_none and not may_be_absent:
        raise TypeError(f"{_name(annotation)} has None, but {type_.name} is not nullable")
    members = tuple(member for member in members if member is not NoneType)
    if len(members) != 1 or not _is_of_kind(members[0], type_):
        kind = "a list" if type_.kind is Kind.LIST else "the type"
        raise TypeError(f"{_name(annotation)} is not {kind} of {type_.name}")


def _members(annotation: object) -> tuple[object, ...]:
    is_union = get_origin(annotation) in (Union, UnionType)
    return get_args(annotation) if is_union else (annotation,)


def _name(annotation: object) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)


def _is_of_kind(annotation: object, type_: ValueType) -> bool:
    kind = type_.kind
    if kind in _PLAIN:
        return annotation is _PLAIN[kind]
    if kind in _NUMBERS:
        return _is_integer(annotation, kind)
    arguments = get_args(annotation)
    if kind is Kind.LIST:
        if get_origin(annotation) not in _LISTS or type_.entry is None:
            return False
        check(arguments[0], type_.entry)
        return True
    if is_typeddict(annotation) and isinstance(annotation, type) and type_.struct is not None:
        _check_fields(annotation, type_.struct)
        return True
    return get_origin(annotation) in _MAPPINGS and arguments[0] is str


def _is_integer(annotation: object, kind: Kind) -> bool:
    annotation = getattr(annotation, "__supertype__", annotation)
    if annotation is int:
        return True
    is_named = kind in (Kind.ENUM, Kind.BITMAP)
    return is_named and isinstance(annotation, type) and issubclass(annotation, IntEnum | IntFlag)


def _check_fields(typed_dict: type, struct: StructDefinition) -> None:
    fields = {field.key: field for field in struct.fields}
    namespace = vars(sys.modules[typed_dict.__module__])
    for name, forward in typed_dict.__annotations__.items():
        annotation = evaluate(getattr(forward, "__forward_arg__", forward), namespace)
        is_optional = get_origin(annotation) is NotRequired
        if is_optional:
            (annotation,) = get_args(annotation)
        field = fields.get(name)
        where = f"{typed_dict.__name__}.{name}"
        if name == FABRIC_INDEX and struct.is_fabric_scoped:
            continue
        if field is None:
            raise TypeError(f"{where}: {struct.name} has no such field")
        if is_optional != field.is_optional:
            raise TypeError(f"{where}: NotRequired is for the optional fields of {struct.name}")
        try:
            check(annotation, field.type)
        except TypeError as error:
            raise TypeError(f"{where}: {error}") from None
