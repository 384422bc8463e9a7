"""`dataclass` of the standard library, quick to define and quick to make objects of.

The original compiles up to eight methods for every class, most of a millisecond each time;
for the two hundred classes here that was a third of the node's start. This one gathers the
fields with the original, shares the methods that can be shared, and compiles `__init__`
when the first object is made; the compiled one fills slots directly.

For users and for type checkers it is the same decorator, for the options below. A class
and its base class take it from the same module. `replace` is the original's, made quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass, replace
else:
    from collections.abc import Callable
    from dataclasses import MISSING, Field, FrozenInstanceError, fields
    from dataclasses import dataclass as _standard_dataclass
    from dataclasses import replace as _standard_replace
    from operator import attrgetter
    from reprlib import recursive_repr
    from types import MemberDescriptorType

    def dataclass(
        cls: type | None = None,
        /,
        *,
        eq: bool = True,
        frozen: bool = False,
        kw_only: bool = False,
        repr: bool = True,
        slots: bool = False,
    ) -> type | Callable[[type], type]:
        """Add `__init__`, `__repr__`, `__eq__` and `__hash__` from annotated fields."""

        def decorate(cls: type) -> type:
            own = {name for name, value in cls.__dict__.items() if value is not None}
            if cls.__doc__ is None:
                # The original would look for a signature, slowly.
                cls.__doc__ = cls.__name__
            cls = _standard_dataclass(
                init=False, repr=False, eq=False, slots=slots, kw_only=kw_only
            )(cls)
            cls.__init__ = _init_for(cls, frozen)
            if repr and "__repr__" not in own:
                cls.__repr__ = _repr
            if eq:
                _add_comparison(cls, frozen, own)
            if frozen:
                cls.__setattr__ = _refuse
                cls.__delattr__ = _refuse
                if slots:
                    cls.__getstate__ = _get_state
                    cls.__setstate__ = _set_state
            return cls

        return decorate if cls is None else decorate(cls)

    def _init_for(cls: type, is_frozen: bool) -> Callable[..., None]:
        def __init__(self: object, /, *args: object, **kwargs: object) -> None:  # noqa: N807
            cls.__init__ = _compile_init(cls, is_frozen)
            cls.__init__(self, *args, **kwargs)

        return __init__

    def _compile_init(cls: type, is_frozen: bool) -> Callable[..., None]:
        names: dict[str, object] = {"_missing": MISSING, "_set": object.__setattr__}
        positional: list[str] = []
        by_keyword: list[str] = []
        body: list[str] = []
        for field in fields(cls):
            parameter, value = _parameter(field, names)
            if field.init:
                (by_keyword if field.kw_only else positional).append(parameter)
            if not value:
                continue
            # A slot's own setter knows nothing of the class being frozen.
            slot = getattr(cls, field.name, None)
            if isinstance(slot, MemberDescriptorType):
                names[f"_set_{field.name}"] = slot.__set__
                body.append(f"_set_{field.name}(self, {value})")
            elif is_frozen:
                body.append(f"_set(self, {field.name!r}, {value})")
            else:
                body.append(f"self.{field.name} = {value}")
        if hasattr(cls, "__post_init__"):
            body.append("self.__post_init__()")
        parameters = ["self", *positional, *(["*", *by_keyword] if by_keyword else [])]
        lines = [f"def __init__({', '.join(parameters)}):", *(body or ["pass"])]
        exec("\n ".join(lines), names)
        made = names["__init__"]
        made.__qualname__ = f"{cls.__qualname__}.__init__"
        return made

    def _parameter(field: Field, names: dict[str, object]) -> tuple[str, str]:
        """Return a field's parameter and the expression of its value; "" for none."""
        name = field.name
        if field.default_factory is not MISSING:
            names[f"_make_{name}"] = field.default_factory
            value = f"_make_{name}()"
            if field.init:
                return f"{name}=_missing", f"{value} if {name} is _missing else {name}"
            return "", value
        if field.default is not MISSING:
            names[f"_default_{name}"] = field.default
            return f"{name}=_default_{name}", name if field.init else f"_default_{name}"
        return name, name if field.init else ""

    def _add_comparison(cls: type, is_frozen: bool, own: set[str]) -> None:
        compared = [field for field in fields(cls) if field.compare]
        key = attrgetter(*(field.name for field in compared)) if compared else type

        def __eq__(self: object, other: object) -> bool:  # noqa: N807
            if other.__class__ is self.__class__:
                return key(self) == key(other)
            return NotImplemented

        def __hash__(self: object) -> int:  # noqa: N807
            return hash(key(self))

        if "__eq__" not in own:
            cls.__eq__ = __eq__
        if "__hash__" not in own:
            cls.__hash__ = __hash__ if is_frozen else None

    _PARTS: dict[type, tuple[dict[str, int], Callable[[object], tuple[object, ...]]] | None] = {}

    def replace(record: object, /, **changes: object) -> object:
        """Return a copy with other values for some fields. Raises TypeError for unknown ones."""
        cls = record.__class__
        try:
            parts = _PARTS[cls]
        except KeyError:
            parts = _PARTS[cls] = _parts_of(cls)
        if parts is None:
            return _standard_replace(record, **changes)
        places, values_of = parts
        values = [*values_of(record)]
        for name, value in changes.items():
            if name not in places:
                raise TypeError(f"{cls.__name__} has no field {name!r}")
            values[places[name]] = value
        return cls(*values)

    def _parts_of(
        cls: type,
    ) -> tuple[dict[str, int], Callable[[object], tuple[object, ...]]] | None:
        """Return the fields' places and what gets their values, if `__init__` takes them all."""
        if any(not field.init or field.kw_only for field in fields(cls)):
            return None
        names = tuple(field.name for field in fields(cls))
        # An attrgetter of less than two names returns no tuple.
        if len(names) < 2:
            return None
        return {name: place for place, name in enumerate(names)}, attrgetter(*names)

    @recursive_repr()
    def _repr(self: object) -> str:
        shown = (f"{each.name}={getattr(self, each.name)!r}" for each in fields(self) if each.repr)
        return f"{self.__class__.__qualname__}({', '.join(shown)})"

    def _refuse(self: object, name: str, value: object = None) -> None:
        raise FrozenInstanceError(f"field {name!r} of a frozen {type(self).__name__}")

    def _get_state(self: object) -> list[object]:
        return [getattr(self, field.name) for field in fields(self)]

    def _set_state(self: object, state: list[object]) -> None:
        for field, value in zip(fields(self), state, strict=True):
            object.__setattr__(self, field.name, value)


__all__ = ["dataclass", "replace"]
