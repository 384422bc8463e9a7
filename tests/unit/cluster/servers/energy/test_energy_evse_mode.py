"""Energy EVSE Mode: the initial mode, and elements that are absent."""

from __future__ import annotations

import pytest

from evse_node.cluster.definitions.zap import revision_definitions
from evse_node.cluster.servers.energy.modes import EVSE_MODES, EnergyEvseMode, Mode
from evse_node.testing.memory_store import MemoryStore
from tests.support.matter.cluster_host import ClusterHost

NAME = "Energy EVSE Mode"


class Host:
    def __init__(self, store: MemoryStore | None = None, version: str = "1.3") -> None:
        self.chosen: list[Mode] = []
        self.server = EnergyEvseMode(
            revision_definitions(version)[NAME], lambda mode, now: self.chosen.append(mode)
        )
        self.clusters = ClusterHost(store=store)
        self.clusters.attach(self.server)


def test_first_mode_is_current_until_another_is_selected() -> None:
    host = Host()
    assert host.chosen == [EVSE_MODES[0]]
    host.server.change_to(EVSE_MODES[2], 0.0)
    assert Host(host.clusters.store).chosen == [EVSE_MODES[2]]


@pytest.mark.parametrize("version", ["1.3", "1.4.2"])
def test_start_up_and_on_mode_are_absent(version: str) -> None:
    server = Host(version=version).server
    assert "start_up_mode" not in server.attributes_by_key
    assert "on_mode" not in server.attributes_by_key
