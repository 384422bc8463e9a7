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
