"""A storage folder of version 0.1.0 (commit f2a395e) opens with all that is in it."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest

from evse_node.hal.simulated.backend import SimulatedBackend
from evse_node.matter.messaging.session import Address
from evse_node.matter.messaging.status_report import Opcode
from evse_node.node.evse_node import EvseNode
from evse_node.testing.memory_store import MemoryStore
from tests.conversation.test_last_fabric import NODE_ID, Owner
from tests.conversation.test_real_nodes import PLUGGED_IN_NO_DEMAND, config, node_address
from tests.support.loopback_node import until
from tests.support.matter.udp_network import UdpNetwork

FOLDER = Path(__file__).parents[1] / "data" / "storage-0.1.0"
EXPECTED: Mapping[str, Any] = json.loads((FOLDER / "expected.json").read_text())
ENERGY = "1/Electrical Energy Measurement/CumulativeEnergyImported"
REBOOT_COUNT = "0/General Diagnostics/RebootCount"


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[EvseNode]:
    shutil.copy(FOLDER / "node.db", tmp_path)
    backend = SimulatedBackend()
    backend.plug_in()  # the car of the running session is still there
    async with EvseNode(config(tmp_path), backend=backend) as node:
        yield node


@pytest.fixture
def owner() -> Iterator[Owner]:
    store = {key: bytes.fromhex(value) for key, value in EXPECTED["controller_store"].items()}
    network = UdpNetwork()
    yield Owner(network, store=MemoryStore(store))
    network.close()


def plain(value: object) -> object:
    """Return a TLV value as in `expected.json`."""
    if isinstance(value, dict):
        return {str(key): plain(member) for key, member in value.items()}
    if isinstance(value, list):
        return [plain(member) for member in value]
    return value.hex() if isinstance(value, bytes) else value


async def test_old_storage_keeps_codes_fabrics_and_counters(node: EvseNode) -> None:
    assert node.factory.passcode == EXPECTED["passcode"]
    assert node.factory.discriminator == EXPECTED["discriminator"]
    assert node.qr_code == EXPECTED["qr_code"]
    assert [
        {
            "index": fabric.index,
            "fabric_id": f"{fabric.fabric_id:016X}",
            "node_id": f"{fabric.node_id:016X}",
            "compressed_fabric_id": fabric.compressed_fabric_id.hex(),
        }
        for fabric in node.stack.fabrics
    ] == EXPECTED["fabrics"]
    assert [service.type for service in node.mdns.services] == ["_matter._tcp", "_matter._tcp"]
    assert node.stack.event_log.next_number > EXPECTED["event_number"]


async def test_old_storage_keeps_session_and_permission(node: EvseNode) -> None:
    await until(lambda: node.state.session is not None and node.state.session.is_active)
    assert node.state.session is not None
    assert node.state.session.id == EXPECTED["session_id"]
    assert node.state.supply_state.value == EXPECTED["supply_state"]


async def test_old_storage_keeps_all_that_its_controller_reads(
    node: EvseNode, owner: Owner
) -> None:
    await asyncio.to_thread(owner.connect, node_address(node), NODE_ID)
    expected = dict(EXPECTED["attributes"])
    expected[REBOOT_COUNT] += 1  # the node has started once more
    expected[ENERGY] = {**expected[ENERGY], "2": ANY}  # when the meter was read
    found = {}
    for key in expected:
        endpoint, cluster, attribute = key.split("/")
        value = await asyncio.to_thread(owner.get, int(endpoint), cluster, attribute)
        found[key] = plain(value)
    assert found == expected
    targets = await asyncio.to_thread(owner.send_command, 1, "Energy EVSE", "GetTargets", {})
    assert plain(targets) == EXPECTED["targets"]


@pytest.mark.parametrize("is_resumed", [True, False])
async def test_old_storage_lets_its_controller_connect(
    node: EvseNode, owner: Owner, is_resumed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    opcodes: list[int] = []
    receive = owner.controller.receive_datagram

    def record(data: bytes, source: Address, now: float) -> None:
        if data[1:3] == b"\0\0":  # no session; 8 bytes of node id follow the header
            opcodes.append(data[17])
        receive(data, source, now)

    monkeypatch.setattr(owner.controller, "receive_datagram", record)
    if not is_resumed:
        owner.controller.clear_resumption()
    await asyncio.to_thread(owner.connect, node_address(node), NODE_ID)
    expected = Opcode.CASE_SIGMA2_RESUME if is_resumed else Opcode.CASE_SIGMA2
    assert expected in opcodes
    assert await asyncio.to_thread(owner.state) == PLUGGED_IN_NO_DEMAND
