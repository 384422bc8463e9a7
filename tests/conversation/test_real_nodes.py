"""Whole nodes with sockets and stores in one process, and a controller in another thread."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from evse_node.config.node_config import NodeConfig
from evse_node.matter.messaging.session import Address
from evse_node.node.evse_node import EvseNode
from evse_node.testing.memory_store import MemoryStore
from tests.conversation.test_commissioning import COMMISSIONING, CREDENTIALS, Commissioner
from tests.support.matter.fake_controller import FakeController
from tests.support.matter.interaction_client import InteractionClient
from tests.support.matter.udp_network import UdpNetwork

EVSE, STATE = 0x0099, 0x0000
NOT_PLUGGED_IN, PLUGGED_IN_NO_DEMAND = 0, 1


class UdpCommissioner(Commissioner):
    """A commissioner of several nodes, with one fabric."""

    def __init__(
        self, network: UdpNetwork, seed: int = 99, store: MemoryStore | None = None
    ) -> None:
        self.network = network
        self.controller = FakeController(
            network, ("::1", 0, 0, 0), ("::1", 0, 0, 0), seed=seed, store=store
        )
        self.client = InteractionClient(self.controller)
        self.authority = self.controller.authority

    def connect(self, peer: Address, node_id: int) -> None:
        """Establish a CASE session with a node of the fabric."""
        self.controller.peer = peer
        self.controller.case(node_id)

    def commission_node(self, peer: Address, passcode: int, node_id: int) -> None:
        """Commission the node at `peer`."""
        self.controller.peer = peer
        self.controller.pase(passcode)
        assert self.arm(60) == 0
        noc = self.request_noc(node_id=node_id)
        assert self.invoke(CREDENTIALS, "AddTrustedRootCertificate", self.authority.rcac) == 0
        status = self.code(
            *(CREDENTIALS, "AddNOC", noc, self.authority.icac),
            *(self.controller.ipk_epoch_key, self.controller.node_id, 0xFFF1),
        )
        assert status == 0
        self.connect(peer, node_id)
        assert self.code(COMMISSIONING, "CommissioningComplete") == 0

    def state(self) -> object:
        """Read the EVSE's State from the node connected last."""
        return self.client.read((1, EVSE, STATE)).value(1, EVSE, STATE)


@pytest.fixture
def commissioner() -> Iterator[UdpCommissioner]:
    network = UdpNetwork()
    yield UdpCommissioner(network)
    network.close()


def config(folder: Path) -> NodeConfig:
    return NodeConfig(storage=folder, port=0, interfaces=("lo",), control=None)


def node_address(node: EvseNode) -> Address:
    return ("::1", node.port, 0, 0)


async def test_controller_commissions_two_nodes_in_one_process(
    tmp_path: Path, commissioner: UdpCommissioner
) -> None:
    async with EvseNode(config(tmp_path / "1")) as one, EvseNode(config(tmp_path / "2")) as two:
        for node_id, node in ((1, one), (2, two)):
            passcode = node.factory.passcode
            await asyncio.to_thread(
                commissioner.commission_node, node_address(node), passcode, node_id
            )
            (fabric,) = node.stack.fabrics
            assert fabric.node_id == node_id
            assert [service.type for service in node.mdns.services] == ["_matter._tcp"]
        two.car.plug_in()
        assert await asyncio.to_thread(commissioner.state) == PLUGGED_IN_NO_DEMAND
        await asyncio.to_thread(commissioner.connect, node_address(one), 1)
        assert await asyncio.to_thread(commissioner.state) == NOT_PLUGGED_IN


async def test_node_is_discoverable_after_restart_but_not_after_factory_reset(
    tmp_path: Path, commissioner: UdpCommissioner
) -> None:
    async with EvseNode(config(tmp_path)) as node:
        passcode = node.factory.passcode
        await asyncio.to_thread(commissioner.commission_node, node_address(node), passcode, 7)
        instance = node.mdns.services[0].instance
    async with EvseNode(config(tmp_path)) as node:
        assert [service.instance for service in node.mdns.services] == [instance]
        await asyncio.to_thread(commissioner.connect, node_address(node), 7)
        assert await asyncio.to_thread(commissioner.state) == NOT_PLUGGED_IN
        await node.factory_reset()
        assert [service.type for service in node.mdns.services] == ["_matterc._udp"]
        assert len(node.stack.fabrics) == 0
        await asyncio.to_thread(commissioner.commission_node, node_address(node), passcode, 8)
        assert await asyncio.to_thread(commissioner.state) == NOT_PLUGGED_IN
