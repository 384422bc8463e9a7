"""Binding of server classes to definitions: `@serves` and the decorators of handlers.

`@command`, `@reader` and `@writer` give a method its role. `@serves` looks up handlers and
annotated attributes in the shipped definitions when the class is created, so that an unknown
name or a wrong type fails at import and not in a request.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TypeVar, get_args, get_origin, overload

from msgspec import Struct, field

from evse_node.cluster.annotations import attribute_annotations, check, function_annotations
from evse_node.cluster.attribute import Attribute, OptionalAttribute
from evse_node.cluster.definitions.conformance import Presence
from evse_node.cluster.definitions.definition import (
    AttributeDefinition,
    ClusterDefinition,
    CommandDefinition,
    ValueType,
    snake_case,
)
from evse_node.cluster.definitions.zap import load_definitions
from evse_node.errors import ConfigError

_ROLE = "_cluster_role"
_SERVED = "_cluster_served"
_NOT_PERSISTED = "not_persisted"

_Function = TypeVar("_Function", bound=Callable[..., object])
_Class = TypeVar("_Class", bound=type)


@overload
def command(target: str) -> Callable[[_Function], _Function]: ...
@overload
def command(target: _Function) -> _Function: ...
def command(target: str | _Function) -> _Function | Callable[[_Function], _Function]:
    """Mark a method as the handler of the command with its name, or with the name given.

    It is called as `handler(context, *, field=value, ...)` with the command's fields in
    snake_case; a field that the message lacks takes the parameter's default, or else None.
    It returns the response's fields, or None for status success, and raises StatusError
    for any other status.
    """
    return _mark("command", target)


@overload
def reader(target: str) -> Callable[[_Function], _Function]: ...
@overload
def reader(target: _Function) -> _Function: ...
def reader(target: str | _Function) -> _Function | Callable[[_Function], _Function]:
    """Mark `method(context) -> Value` as computing the attribute on each read.

    For a fabric-scoped list it returns the items of all fabrics, each with
    `fabric_index`; the server filters. Changes are reported only by calling `report`.
    """
    return _mark("reader", target)


def cached_reader(target: _Function) -> _Function:
    """Mark a method like `reader`; its encoded value is cached until `report` or `invalidate`."""
    setattr(target, _ROLE, ("cached_reader", snake_case(target.__name__)))
    return target


@overload
def writer(target: str) -> Callable[[_Function], _Function]: ...
@overload
def writer(target: _Function) -> _Function: ...
def writer(target: str | _Function) -> _Function | Callable[[_Function], _Function]:
    """Mark `method(context, value) -> None` as replacing the default write of an attribute.

    The value has passed the definition's checks. For a fabric-scoped list it is the
    accessing fabric's complete new list, each item with its `fabric_index`. The method
    stores the value or raises StatusError.
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
    """The handlers of a server class by snake_case name of their element.

    `attributes` are those annotated, `required` those that every instance must have.
    """

    served: str
    commands: Mapping[str, CommandHandler] = field(default_factory=dict)
    readers: Mapping[str, str] = field(default_factory=dict)
    cached_readers: Mapping[str, str] = field(default_factory=dict)
    writers: Mapping[str, str] = field(default_factory=dict)
    attributes: frozenset[str] = frozenset()
    required: frozenset[str] = frozenset()


def serves(
    name: str, definitions: Mapping[str, ClusterDefinition] | None = None
) -> Callable[[_Class], _Class]:
    """Bind a server class to the cluster with this name of the specification.

    `definitions` are those to check against, by default the shipped ones. Raises TypeError
    (so at import) for an attribute or handler that they do not have, for an annotation that
    does not match its type, and for parameters that are not the command's fields.
    """

    def bind(cls: _Class) -> _Class:
        try:
            definition = (load_definitions() if definitions is None else definitions)[name]
        except KeyError:
            raise TypeError(f"{cls.__name__} serves unknown cluster {name!r}") from None
        try:
            handlers = check_class(cls, definition)
        except (ConfigError, NameError) as error:
            raise TypeError(f"{cls.__name__}: {error}") from None
        for key in handlers.attributes:
            descriptor = Attribute if key in handlers.required else OptionalAttribute
            setattr(cls, key, descriptor(key))
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


def check_class(cls: type, definition: ClusterDefinition) -> Handlers:
    """Return the attributes and handlers of a class, checked against a definition.

    Raises TypeError, or ConfigError for a name that the definition does not have.
    """
    roles = _roles(cls)
    tables: dict[str, dict[str, str]] = {"reader": {}, "cached_reader": {}, "writer": {}}
    commands: dict[str, CommandHandler] = {}
    for method, (role, key) in roles.items():
        if role == "command":
            commands[key] = handler = _command_handler(cls, method)
            _check_command(cls, handler, definition.command(key))
        else:
            tables[role][key] = method
            _check_accessor(cls, method, role, definition.attribute(key))
    for key in getattr(cls, _NOT_PERSISTED, ()):
        definition.attribute(key)
    attributes = attribute_annotations(cls)
    for key, annotation in attributes.items():
        if key in tables["reader"] or key in tables["cached_reader"]:
            raise TypeError(f"{cls.__name__}.{key} is an attribute and has a reader")
        _check_attribute(f"{cls.__name__}.{key}", annotation, definition.attribute(key))
    return Handlers(
        definition.name,
        commands,
        tables["reader"],
        tables["cached_reader"],
        tables["writer"],
        frozenset(attributes),
        frozenset(key for key in attributes if get_origin(attributes[key]) is Attribute),
    )


def _roles(cls: type) -> dict[str, tuple[str, str]]:
    """Return role and key by method of a class and its bases; an override inherits them."""
    roles: dict[str, tuple[str, str]] = {}
    for base in reversed(cls.__mro__):
        for method, member in vars(base).items():
            role = getattr(member, _ROLE, None)
            if role is not None:
                roles[method] = role
    return roles


def _check_attribute(where: str, annotation: object, definition: AttributeDefinition) -> None:
    is_always_present = definition.conformance.evaluate(frozenset()) is Presence.MANDATORY
    if is_always_present and get_origin(annotation) is OptionalAttribute:
        raise TypeError(f"{where}: {definition.name} is mandatory, not optional")
    _check_type(where, get_args(annotation)[0], definition.type)


def _check_accessor(cls: type, method: str, role: str, definition: AttributeDefinition) -> None:
    """Check the parameters and the type of a reader or writer."""
    names = ["context", "value"] if role == "writer" else ["context"]
    found = [parameter.name for parameter in _parameters(cls, method)]
    if found != names:
        raise TypeError(f"{cls.__name__}.{method} takes {found}, not {names}")
    annotations = function_annotations(getattr(cls, method))
    annotation = annotations.get("value" if role == "writer" else "return", object)
    _check_type(f"{cls.__name__}.{method}", annotation, definition.type)


def _check_command(cls: type, handler: CommandHandler, definition: CommandDefinition) -> None:
    check_fields(cls.__name__, handler, definition)
    annotations = function_annotations(getattr(cls, handler.method))
    for field_ in definition.fields:
        _check_type(
            f"{cls.__name__}.{handler.method}: {field_.key}",
            annotations.get(field_.key, object),
            field_.type,
            may_be_absent=field_.is_optional,
            has_default=field_.key in handler.defaults,
        )


def _check_type(
    where: str,
    annotation: object,
    type_: ValueType,
    *,
    may_be_absent: bool = False,
    has_default: bool = False,
) -> None:
    try:
        check(annotation, type_, may_be_absent=may_be_absent, has_default=has_default)
    except TypeError as error:
        raise TypeError(f"{where}: {error}") from None


def _parameters(cls: type, method: str) -> list[inspect.Parameter]:
    """Return the parameters of a method without self."""
    return list(inspect.signature(getattr(cls, method)).parameters.values())[1:]


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


def check_fields(where: str, handler: CommandHandler, definition: CommandDefinition) -> None:
    """Raise TypeError unless a handler's parameters are the fields of its command."""
    fields = {field.key for field in definition.fields}
    if handler.parameters != fields:
        raise TypeError(
            f"{where}.{handler.method} takes {sorted(handler.parameters)},"
            f" but {definition.name} has {sorted(fields)}"
        )
