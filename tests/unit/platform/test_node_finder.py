"""Look-ups of nodes by their operational name."""

from __future__ import annotations

import asyncio

import pytest

from evse_node.matter.messaging.session import Address
from evse_node.platform.node_finder import NodeFinder
from tests.support.matter.root_node import RootNode

HERE: Address = ("fe80::1", 5540, 0, 2)


class FinderBench:
    """A finder for a node on fabric 1; `queries` are the names that it resolved."""

    def __init__(self) -> None:
        self.root = RootNode()
        self.root.add_fabric()
        self.queries: list[tuple[str, str]] = []
        self.answers: list[tuple[Address | None, float]] = []
        self.turns = 0
        self.is_silent = False
        self.finder = NodeFinder(self.resolve, self.root.fabrics, lambda: 7.0, self.on_done)

    async def resolve(self, kind: str, instance: str) -> Address | None:
        self.queries.append((kind, instance))
        if self.is_silent:
            await asyncio.sleep(60)
        return HERE if instance.endswith("-000000000000ABCD") else None

    def on_done(self) -> None:
        self.turns += 1

    def find(self, fabric_index: int, node_id: int) -> None:
        self.finder.find(
            fabric_index, node_id, lambda address, now: self.answers.append((address, now)), 1.0
        )


@pytest.fixture
def finding() -> FinderBench:
    return FinderBench()


async def test_find_resolves_the_operational_name(finding: FinderBench) -> None:
    fabric = finding.root.fabrics.get(1)
    assert fabric is not None
    finding.find(1, 0xABCD)
    finding.find(1, 0xABCE)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    prefix = fabric.compressed_fabric_id.hex().upper()
    assert finding.queries == [
        ("_matter._tcp", f"{prefix}-000000000000ABCD"),
        ("_matter._tcp", f"{prefix}-000000000000ABCE"),
    ]
    assert finding.answers == [(HERE, 7.0), (None, 7.0)]
    assert finding.turns == 2


async def test_find_on_a_removed_fabric_returns_none(finding: FinderBench) -> None:
    finding.find(2, 0xABCD)
    assert finding.answers == [(None, 1.0)]
    assert finding.queries == []


async def test_close_cancels_a_look_up(finding: FinderBench) -> None:
    finding.is_silent = True
    finding.find(1, 0xABCD)
    await asyncio.sleep(0)
    await finding.finder.close()
    assert finding.answers == []
