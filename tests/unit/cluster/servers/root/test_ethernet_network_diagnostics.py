from __future__ import annotations

import pytest

from evse_node.cluster.servers.root.ethernet_network_diagnostics import (
    EthernetCounters,
    EthernetNetworkDiagnosticsServer,
    EthernetStatus,
)
from tests.support.matter.root_node import RootNode
from tests.unit.cluster.servers.optional_clusters import add, invoke, shipped

COUNTS = ("packet_rx_count", "packet_tx_count", "tx_err_count", "collision_count", "overrun_count")


class Interface:
    def __init__(self) -> None:
        self.status = EthernetStatus(1000, True, True, EthernetCounters(100, 90, 3, 2, 1))
        self.looks = 0

    def read(self) -> EthernetStatus:
        self.looks += 1
        return self.status

    def count(self, *counts: int) -> None:
        self.status = EthernetStatus(1000, True, True, EthernetCounters(*counts))


@pytest.fixture
def interface() -> Interface:
    return Interface()


@pytest.fixture
def root() -> RootNode:
    return RootNode()


@pytest.fixture
def server(root: RootNode, interface: Interface) -> EthernetNetworkDiagnosticsServer:
    definition = shipped("Ethernet Network Diagnostics")
    return add(root, EthernetNetworkDiagnosticsServer(definition, interface.read))


def counts(root: RootNode, server: EthernetNetworkDiagnosticsServer) -> list[object]:
    root.now += 1
    return [root.read(server, name) for name in COUNTS]


def test_counts_start_at_zero(
    root: RootNode, server: EthernetNetworkDiagnosticsServer, interface: Interface
) -> None:
    assert counts(root, server) == [0, 0, 0, 0, 0]
    interface.count(111, 97, 4, 2, 2)
    assert counts(root, server) == [11, 7, 1, 0, 1]


def test_reset_counts_zeroes_counters(
    root: RootNode, server: EthernetNetworkDiagnosticsServer, interface: Interface
) -> None:
    interface.count(200, 200, 200, 200, 200)
    assert counts(root, server) != [0, 0, 0, 0, 0]
    invoke(root, server, "ResetCounts")
    assert [root.read(server, name) for name in COUNTS] == [0, 0, 0, 0, 0]
    interface.count(201, 202, 203, 204, 205)
    assert counts(root, server) == [1, 2, 3, 4, 5]


def test_replaced_interface_counts_from_zero(
    root: RootNode, server: EthernetNetworkDiagnosticsServer, interface: Interface
) -> None:
    interface.count(5, 95, 0, 0, 0)
    assert counts(root, server) == [5, 5, 0, 0, 0]


def test_interface_is_read_once_per_message(
    root: RootNode, server: EthernetNetworkDiagnosticsServer, interface: Interface
) -> None:
    before = interface.looks
    counts(root, server)
    assert interface.looks == before + 1


@pytest.mark.parametrize(
    ("rate", "number"), [(10, 0), (100, 1), (1000, 2), (10_000, 5), (400_000, 9), (77, None)]
)
def test_link_attributes(
    root: RootNode,
    server: EthernetNetworkDiagnosticsServer,
    interface: Interface,
    rate: int,
    number: int | None,
) -> None:
    interface.status = EthernetStatus(rate, False, True)
    assert root.read(server, "phy_rate") == number
    assert root.read(server, "full_duplex") is False
    assert root.read(server, "carrier_detect") is True


def test_unknown_link_reads_null(
    root: RootNode, server: EthernetNetworkDiagnosticsServer, interface: Interface
) -> None:
    interface.status = EthernetStatus()
    assert root.read(server, "phy_rate") is None
    assert root.read(server, "full_duplex") is None
    assert root.read(server, "carrier_detect") is None


def test_time_since_reset_counts_minutes(
    root: RootNode, server: EthernetNetworkDiagnosticsServer
) -> None:
    root.now += 185.0
    assert root.read(server, "time_since_reset") == 3
    invoke(root, server, "ResetCounts")
    assert root.read(server, "time_since_reset") == 3
