"""Tests of backends by name."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from evse_node.errors import ConfigError
from evse_node.hal import registry
from evse_node.hal.interface import EvseBackend
from evse_node.hal.simulated.backend import SimulatedBackend


def create_incomplete(options: object) -> EvseBackend:
    """Return a backend that lacks two members."""
    backend = SimulatedBackend()
    del backend.grid_meter
    del backend.lock
    return backend


def test_backend_without_required_members_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("old", f"{__name__}:create_incomplete", registry.GROUP)
    monkeypatch.setattr(registry, "_entry_points", lambda: (entry,))
    with pytest.raises(ConfigError, match="'old' cannot be used: it has no lock, no grid_meter"):
        registry.create_backend("old", {})


def test_creates_built_in_backend() -> None:
    assert "simulated" in registry.backend_names()
    assert isinstance(registry.create_backend("simulated", {}), SimulatedBackend)


def test_unknown_backend_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'nothing' is not known; known are .*simulated"):
        registry.create_backend("nothing", {})


def test_creates_backends_of_entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = EntryPoint("other", "evse_node.hal.simulated.options:create", registry.GROUP)
    broken = EntryPoint("broken", "evse_node.nowhere:create", registry.GROUP)
    monkeypatch.setattr(registry, "_entry_points", lambda: (ours, broken))
    assert registry.backend_names() == [
        "broken",
        "gpio",
        "modbus-evse",
        "openevse",
        "other",
        "simulated",
    ]
    assert isinstance(registry.create_backend("other", {}), SimulatedBackend)
    with pytest.raises(ConfigError, match="'broken' cannot be loaded"):
        registry.create_backend("broken", {})
