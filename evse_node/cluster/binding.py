"""Binding of handlers to definitions: the decorators of cluster servers.

`@command`, `@reader` and `@writer` give a method its role; `@serves` looks all of them
up in the shipped definitions when the class is made, so that a misspelt name fails at
import and not when a controller asks for it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar, overload

from msgspec import Struct, field

from evse_node.cluster.definitions.definition import (
    ClusterDefinition,
    CommandDefinition,
    snake_case,
)
from evse_node.cluster.definitions.zap import load_definitions
from evse_node.errors import ConfigError

_ROLE = "_cluster_role"
_SERVED = "_cluster_served"

_Function = TypeVar("_Function", bound=Callable[..., object])
_Class = TypeVar("_Class", bound=type)


@overload
def command(target: str) -> Callable[[_Function], _Function]: ...
@overload
def command(target: _Function) -> _Function: ...
def command(target: str | _Function) -> _Function | Callable[[_Function], _Function]:
    """Mark a method as handler of the command with its name (or of the name given).

    It is called as `handler(context, *, field=value, ...)` with the command's fields in
    snake_case; a field that the message lacks is left to the parameter's default, or is
    None. It returns the response's fields, or None for a plain status of success, and
    raises StatusError for any other answer.
    """
    return _mark("command", target)


@overload
def reader(target: str) -> Callable[[_Function], _Function]: ...
@overload
def reader(target: _Function) -> _Function: ...
def reader(target: str | _Function) -> _Function | Callable[[_Function], _Function]:
    """Mark `method(context) -> Value` as computing the attribute on each read.

    For a fabric-scoped list it returns the items of all fabrics, each with
    `fabric_index`; the server filters. Nothing is reported by itself: call `report`.
    """
    return _mark("reader", target)


def kept_reader(target: _Function) -> _Function:
    """Mark a method like `reader`, whose value stays the same until `report` names it.

    Its encoding is kept meanwhile.
    """
    setattr(target, _ROLE, ("kept_reader", snake_case(target.__name__)))
    return target


@overload
def writer(target: str) -> Callable[[_Function], _Function]: ...
@overload
def writer(target: _Function) -> _Function: ...
def writer(target: str | _Function) -> _Function | Callable[[_Function], _Function]:
    """Mark `method(context, value) -> None` as replacing the default write of an attribute.

    The value has passed the definition's checks. For a fabric-scoped list it is the
    accessing fabric's complete new list, each item with its `fabric_index`. The method
    stores the value (`self.set`) or raises StatusError.
    """
    return _mark("writer", target)


def _mark(role: str, target: str | _Function) -> _Function | Callable[[_Function], _Function]:
    if not isinstance(target, str):
        setattr(target, _ROLE, (role, snake_case(target.__name__)))
        return target
    key = snake_case(target)

    def mark(function: _Function) -> _Function:
        setattr(function, _ROLE, (role, key))
        return function

    return mark


class CommandHandler(Struct, frozen=True):
    """A method that carries out a command; `defaults` are the fields with a default."""

    method: str
    parameters: frozenset[str]
    defaults: frozenset[str]


class Handlers(Struct, frozen=True):
    """The handlers of a server class by snake_case name of their element."""

    served: str
    commands: Mapping[str, CommandHandler] = field(default_factory=dict)
    readers: Mapping[str, str] = field(default_factory=dict)
    kept_readers: Mapping[str, str] = field(default_factory=dict)
    writers: Mapping[str, str] = field(default_factory=dict)


def serves(
    name: str, definitions: Mapping[str, ClusterDefinition] | None = None
) -> Callable[[_Class], _Class]:
    """Bind a server class to the cluster with this name of the specification.

    `definitions` are those to check against, by default the shipped ones. Raises TypeError
    (so at import) for a handler whose element they do not know, or whose parameters are
    not the command's fields.
    """

    def bind(cls: _Class) -> _Class:
        try:
            definition = (load_definitions() if definitions is None else definitions)[name]
        except KeyError:
            raise TypeError(f"{cls.__name__} serves unknown cluster {name!r}") from None
        handlers = collect_handlers(cls, name)
        _check(cls, handlers, definition)
        setattr(cls, _SERVED, handlers)
        return cls

    return bind


def handlers_of(cls: type, definition: ClusterDefinition) -> Handlers:
    """Return the handlers of a class. Raises TypeError if it serves another cluster, or none."""
    handlers = getattr(cls, _SERVED, None)
    if not isinstance(handlers, Handlers):
        raise TypeError(f"{cls.__name__} lacks @serves")
    if handlers.served != definition.name:
        raise TypeError(f"{cls.__name__} serves {handlers.served}, not {definition.name}")
    return handlers


def collect_handlers(cls: type, served: str) -> Handlers:
    """Find the marked methods of a class and its bases; an override keeps the base's mark."""
    roles: dict[str, tuple[str, str]] = {}
    for base in reversed(cls.__mro__):
        for method, member in vars(base).items():
            role = getattr(member, _ROLE, None)
            if role is not None:
                roles[method] = role
    commands: dict[str, CommandHandler] = {}
    tables: dict[str, dict[str, str]] = {"reader": {}, "kept_reader": {}, "writer": {}}
    for method, (role, key) in roles.items():
        if role == "command":
            commands[key] = _command_handler(cls, method)
        else:
            _check_parameters(
                cls, method, ("context", "value") if role == "writer" else ("context",)
            )
            tables[role][key] = method
    return Handlers(served, commands, tables["reader"], tables["kept_reader"], tables["writer"])


def _parameters(cls: type, method: str) -> list[inspect.Parameter]:
    """Return the parameters of a method without self."""
    return list(inspect.signature(getattr(cls, method)).parameters.values())[1:]


def _check_parameters(cls: type, method: str, names: Iterable[str]) -> None:
    found = [parameter.name for parameter in _parameters(cls, method)]
    if found != list(names):
        raise TypeError(f"{cls.__name__}.{method} takes {found}, not {list(names)}")


def _command_handler(cls: type, method: str) -> CommandHandler:
    parameters = _parameters(cls, method)
    if not parameters or parameters[0].name != "context":
        raise TypeError(f"{cls.__name__}.{method} does not take the context first")
    fields = parameters[1:]
    for parameter in fields:
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            raise TypeError(f"{cls.__name__}.{method}: {parameter.name} is not keyword-only")
    return CommandHandler(
        method,
        frozenset(parameter.name for parameter in fields),
        frozenset(p.name for p in fields if p.default is not inspect.Parameter.empty),
    )


def _check(cls: type, handlers: Handlers, definition: ClusterDefinition) -> None:
    where = cls.__name__
    try:
        for key in (*handlers.readers, *handlers.kept_readers, *handlers.writers):
            definition.attribute(key)
        for key, handler in handlers.commands.items():
            check_fields(where, handler, definition.command(key))
    except ConfigError as error:
        raise TypeError(f"{where}: {error}") from None


def check_fields(where: str, handler: CommandHandler, definition: CommandDefinition) -> None:
    """Raise TypeError unless a handler's parameters are the fields of its command."""
    fields = {field.key for field in definition.fields}
    if handler.parameters != fields:
        raise TypeError(
            f"{where}.{handler.method} takes {sorted(handler.parameters)},"
            f" but {definition.name} has {sorted(fields)}"
        )
