"""Power Topology: node, tree or set."""

from __future__ import annotations

import pytest

from evse_node.cluster.servers.energy.power_topology import SET, TREE, PowerTopology
from tests.support.matter.cluster_host import ClusterHost


def make(*arguments, **options):
    host = ClusterHost()
    topology = PowerTopology(host.definition("Power Topology"), *arguments, **options)
    host.attach(topology)
    return host, topology


@pytest.mark.parametrize(("arguments", "feature_map"), [((), 1), ((TREE,), 2)])
def test_node_and_tree_topology_have_no_endpoint_list(arguments, feature_map):
    host, topology = make(*arguments)
    assert host.read(topology, "feature_map") == feature_map
    assert [number for number in topology.attributes if number < 0xF000] == []


def test_set_lists_available_endpoints():
    host, topology = make(SET, available_endpoints=[2, 3])
    assert host.read(topology, "feature_map") == 4
    assert host.read(topology, "available_endpoints") == [2, 3]
    assert [number for number in topology.attributes if number < 0xF000] == [0]


def test_dynamic_set_lists_active_endpoints():
    host, topology = make(SET, available_endpoints=[2, 3, 4], active_endpoints=[])
    assert host.read(topology, "feature_map") == 0b1100
    assert host.read(topology, "active_endpoints") == []
    topology.active_endpoints = [3]
    assert host.read(topology, "active_endpoints") == [3]
    assert host.take_reports() == ["active_endpoints"]
