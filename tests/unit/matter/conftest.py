"""A store, and two fabrics in it."""

from __future__ import annotations

import pytest

from evse_node.matter.fabrics.fabric import FabricTable
from evse_node.testing.memory_store import MemoryStore
from tests.support.matter.fake_fabric import add_fabric


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def fabrics(store: MemoryStore) -> FabricTable:
    table = FabricTable(store)
    add_fabric(table, 1)
    add_fabric(table, 2)
    return table
