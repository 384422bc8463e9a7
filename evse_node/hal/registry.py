"""Backends by name: built-in ones, and those of other packages.

A package adds a backend by an entry point in the group "evse_node.backends":

    [project.entry-points."evse_node.backends"]
    my-board = "my_package.board:create"

where `create(options)` receives the `[hal]` table of the configuration and returns an
`EvseBackend`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Final, TypeAlias, cast

from evse_node.errors import ConfigError
from evse_node.hal.interface import EvseBackend

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP: Final = "evse_node.backends"

BackendFactory: TypeAlias = Callable[[Mapping[str, object]], EvseBackend]


# Modules of the built-in backends, imported when they are used
_BUILT_IN: Final[Mapping[str, str]] = {
    "gpio": "evse_node.hal.gpio.linux",
    "openevse": "evse_node.hal.external.openevse.options",
    "modbus-evse": "evse_node.hal.external.modbus.options",
    "simulated": "evse_node.hal.simulated.options",
}


def backend_names() -> list[str]:
    """Return the names of all available backends, sorted."""
    return sorted({*_BUILT_IN, *(entry.name for entry in _entry_points())})


def create_backend(name: str, options: Mapping[str, object]) -> EvseBackend:
    """Create the backend with this name.

    Raises ConfigError for an unknown name and for an object that lacks members, and what the
    factory raises for invalid options.
    """
    factory: BackendFactory | None = None
    if name in _BUILT_IN:
        factory = import_module(_BUILT_IN[name]).create
    else:
        for entry in _entry_points():
            if entry.name == name:
                factory = _load(entry)
    if factory is None:
        raise ConfigError(f"backend: '{name}' is not known; known are {', '.join(backend_names())}")
    backend = factory(options)
    members = [member for member in vars(EvseBackend) if not member.startswith("_")]
    lacking = [member for member in members if not hasattr(backend, member)]
    if lacking:
        raise ConfigError(f"backend: '{name}' cannot be used: it has no {', no '.join(lacking)}")
    return backend


def _entry_points() -> tuple[EntryPoint, ...]:
    # Imported late: slow, and not needed for built-in backends.
    from importlib.metadata import entry_points

    return tuple(entry_points(group=GROUP))


def _load(entry: EntryPoint) -> BackendFactory:
    try:
        return cast(BackendFactory, entry.load())
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"backend: '{entry.name}' cannot be loaded: {error}") from error
