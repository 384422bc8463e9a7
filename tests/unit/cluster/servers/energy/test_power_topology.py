"""Power Topology: node, tree or set."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from evse_node.cluster.servers.energy.power_topology import SET, TREE, PowerTopology
from tests.support.matter.cluster_host import ClusterHost


def make(
    *features: str,
    available_endpoints: Sequence[int] = (),
    active_endpoints: Sequence[int] | None = None,
) -> tuple[ClusterHost, PowerTopology]:
    host = ClusterHost()
    topology = PowerTopology(
        host.definition("Power Topology"),
        *features,
        available_endpoints=available_endpoints,
        active_endpoints=active_endpoints,
    )
    host.attach(topology)
    return host, topology


@pytest.mark.parametrize(("features", "feature_map"), [((), 1), ((TREE,), 2)])
def test_node_and_tree_topology_have_no_endpoint_list(
    features: tuple[str, ...], feature_map: int
) -> None:
    host, topology = make(*features)
    assert host.read(topology, "feature_map") == feature_map
    assert [number for number in topology.attributes if number < 0xF000] == []


def test_set_lists_available_endpoints() -> None:
    host, topology = make(SET, available_endpoints=[2, 3])
    assert host.read(topology, "feature_map") == 4
    assert host.read(topology, "available_endpoints") == [2, 3]
    assert [number for number in topology.attributes if number < 0xF000] == [0]


def test_dynamic_set_lists_active_endpoints() -> None:
    host, topology = make(SET, available_endpoints=[2, 3, 4], active_endpoints=[])
    assert host.read(topology, "feature_map") == 0b1100
    assert host.read(topology, "active_endpoints") == []
    topology.active_endpoints = [3]
    assert host.read(topology, "active_endpoints") == [3]
    assert host.take_reports() == ["active_endpoints"]
