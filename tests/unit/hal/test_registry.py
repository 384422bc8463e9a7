"""Backends by name: what an installed package brings is looked at before it is used."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from evse_node.errors import ConfigError
from evse_node.hal import registry
from evse_node.hal.interface import EvseBackend
from evse_node.hal.simulated.backend import SimulatedBackend


def old_fashioned(options: object) -> EvseBackend:
    """A backend from before there were meters for houses."""
    backend = SimulatedBackend()
    del backend.grid_meter
    del backend.lock
    return backend


def test_what_a_backend_lacks_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("old", f"{__name__}:old_fashioned", registry.GROUP)
    monkeypatch.setattr(registry, "_entry_points", lambda: (entry,))
    with pytest.raises(ConfigError, match="'old' cannot be used: it has no lock, no grid_meter"):
        registry.create_backend("old", {})
