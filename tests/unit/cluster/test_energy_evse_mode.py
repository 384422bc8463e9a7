"""StartUpMode of a mode cluster, and where a revision of the cluster has none."""

from __future__ import annotations

import pytest

from evse_node.cluster.energy_evse_mode import MODES, EnergyEvseMode
from evse_node.cluster.mode_base import Mode
from evse_node.cluster.zap import revision_definitions
from evse_node.errors import StatusError
from evse_node.matter.interaction.status import Status
from evse_node.matter.store import MemoryStore
from tests.cluster_host import ClusterHost

NAME = "Energy EVSE Mode"


class Host:
    def __init__(self, store: MemoryStore | None = None, version: str = "1.3") -> None:
        self.chosen: list[Mode] = []
        self.server = EnergyEvseMode(
            revision_definitions(version)[NAME], lambda mode, now: self.chosen.append(mode)
        )
        self.clusters = ClusterHost(store=store)
        self.clusters.attach(self.server)


def test_begins_with_the_first_and_then_with_the_last_chosen() -> None:
    host = Host()
    assert host.chosen == [MODES[0]]
    host.server.change_to(MODES[2], 0.0)
    assert Host(host.clusters.store).chosen == [MODES[2]]


def test_start_up_mode_goes_before_what_was() -> None:
    host = Host()
    host.server.change_to(MODES[2], 0.0)
    host.clusters.write(host.server, "StartUpMode", 1)
    assert host.server.current is MODES[2]
    again = Host(host.clusters.store)
    assert again.chosen == [MODES[1]]
    again.clusters.write(again.server, "StartUpMode", None)
    again.server.change_to(MODES[3], 0.0)
    assert Host(again.clusters.store).chosen == [MODES[3]]


def test_start_up_mode_is_one_that_there_is() -> None:
    host = Host()
    with pytest.raises(StatusError) as caught:
        host.clusters.write(host.server, "StartUpMode", 9)
    assert caught.value.status == Status.CONSTRAINT_ERROR


def test_a_later_revision_has_none() -> None:
    assert Host().server.has_attribute("start_up_mode")
    assert not Host(version="1.4.2").server.has_attribute("start_up_mode")
