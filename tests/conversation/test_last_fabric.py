"""Factory reset of a whole node after the removal of its last fabric."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from evse_node.cluster.definitions.zap import load_definitions
from evse_node.cluster.servers.energy.electrical_energy_measurement import (
    ElectricalEnergyMeasurement,
    EnergyReading,
)
from evse_node.errors import HalError
from evse_node.hal.interface import HalInbox
from evse_node.hal.simulated.backend import SimulatedBackend
from evse_node.matter.fabrics.fabric import is_decommissioned
from evse_node.matter.tlv import SignedInt, TagKey, TlvValue
from evse_node.node.evse_node import EvseNode
from evse_node.platform.sqlite_store import SqliteStore
from evse_node.state_machine.enums import SupplyState
from evse_node.state_machine.faults import FaultState
from evse_node.state_machine.state import ContactorState
from tests.conversation.test_commissioning import CREDENTIALS
from tests.conversation.test_real_nodes import UdpCommissioner, config, node_address
from tests.support.loopback_node import until
from tests.support.matter.fake_fabric import add_fabric
from tests.support.matter.interaction_client import Write
from tests.support.matter.udp_network import UdpNetwork

NODE_ID = 7
# Event numbers are reserved in blocks; a restart skips the rest of a block.
EVENT_BLOCK = 1024
_DEFINITIONS = load_definitions()
# Attributes written by administrators: value and factory default.
WRITTEN: dict[tuple[int, str, str], tuple[TlvValue, TlvValue]] = {
    (0, "Basic Information", "NodeLabel"): ("Carport", ""),
    (0, "Basic Information", "Location"): ("DE", "XX"),
    (0, "Basic Information", "LocalConfigDisabled"): (True, False),
    (0, "Localization Configuration", "ActiveLocale"): ("de-DE", "en-US"),
    (0, "Time Format Localization", "HourFormat"): (1, 255),
    (0, "Time Format Localization", "ActiveCalendarType"): (4, 255),
    (0, "Unit Localization", "TemperatureUnit"): (0, 1),
    (1, "User Label", "LabelList"): ([{0: "room", 1: "carport"}], []),
    (1, "Energy EVSE", "UserMaximumChargeCurrent"): (SignedInt(10_000), 80_000),
    (1, "Energy EVSE", "RandomizationDelayWindow"): (1, 600),
    (1, "Energy EVSE", "ApproximateEVEfficiency"): (5_000, None),
}
# Fields of commands.
_ZONE: TlvValue = [{0: SignedInt(3600), 1: 0, 2: "Europe/Berlin"}]
_TARGETS: TlvValue = [{0: 127, 1: [{0: 420, 1: 80}]}]
_FOREVER = 4_102_444_800 - 946_684_800


class Owner(UdpCommissioner):
    """A commissioner that uses all endpoints of the node."""

    def path(self, endpoint: int, cluster: str, name: str) -> tuple[int, int, int]:
        definition = _DEFINITIONS[cluster]
        return endpoint, definition.id, definition.attribute(name).id

    def get(self, endpoint: int, cluster: str, name: str) -> TlvValue:
        path = self.path(endpoint, cluster, name)
        value: TlvValue = self.client.read(path).value(*path)
        return value

    def send_command(
        self, endpoint: int, cluster: str, name: str, fields: dict[TagKey, TlvValue]
    ) -> object:
        definition = _DEFINITIONS[cluster]
        path = (endpoint, definition.id, definition.command(name).id)
        return self.client.invoke(path, fields, timed_ms=5000)

    def change_settings(self) -> None:
        """Change all settings that an administrator can change."""
        for path, (value, _) in WRITTEN.items():
            (status,) = self.client.write(Write(self.path(*path), value))
            assert status == 0, path
        assert isinstance(
            self.send_command(0, "Time Synchronization", "SetTimeZone", {0: _ZONE}), dict
        )
        assert (
            self.send_command(0, "Time Synchronization", "SetDefaultNTP", {0: "ntp.example.org"})
            == 0
        )
        source: dict[TagKey, TlvValue] = {0: {0: NODE_ID + 1, 1: 0}}
        assert self.send_command(0, "Time Synchronization", "SetTrustedTimeSource", source) == 0
        assert self.send_command(1, "Energy EVSE", "SetTargets", {0: _TARGETS}) == 0
        assert self.charge(_FOREVER) == 0

    def charge(self, until: int | None = None) -> object:
        fields: dict[TagKey, TlvValue] = {0: until, 1: SignedInt(6_000), 2: SignedInt(16_000)}
        return self.send_command(1, "Energy EVSE", "EnableCharging", fields)

    def remove_fabric(self) -> None:
        index = self.get(0, CREDENTIALS, "CurrentFabricIndex")
        assert self.code(CREDENTIALS, "RemoveFabric", index) == 0


@pytest.fixture
def owner() -> Iterator[Owner]:
    network = UdpNetwork()
    yield Owner(network)
    network.close()


async def commission(owner: Owner, node: EvseNode) -> None:
    await asyncio.to_thread(
        owner.commission_node, node_address(node), node.factory.passcode, NODE_ID
    )


def is_new(node: EvseNode) -> bool:
    return node.is_running and node.stack.window.commissioning_mode == 1


async def test_removal_of_last_fabric_resets_node_to_factory_defaults(
    tmp_path: Path, owner: Owner
) -> None:
    async with EvseNode(config(tmp_path)) as node:
        codes, unique_id = node.qr_code, node.stack.store.get("basic/unique_id")
        await commission(owner, node)
        defaults = {path: await asyncio.to_thread(owner.get, *path) for path in WRITTEN}
        assert defaults == {path: default for path, (_, default) in WRITTEN.items()}
        time = ("TimeZone", "DSTOffset", "TrustedTimeSource", "DefaultNTP")
        for name in time:
            path = (0, "Time Synchronization", name)
            defaults[path] = await asyncio.to_thread(owner.get, *path)
        await asyncio.to_thread(owner.change_settings)
        for path, (value, _) in WRITTEN.items():
            assert await asyncio.to_thread(owner.get, *path) == value
        await asyncio.to_thread(owner.remove_fabric)
        await until(lambda: is_new(node))
        assert node.qr_code == codes
        assert node.stack.store.get("basic/unique_id") != unique_id
        assert node.state.supply_state is SupplyState.DISABLED
        assert node.charger.targets == ()
        owner.controller.clear_resumption()
        await commission(owner, node)
        found = {path: await asyncio.to_thread(owner.get, *path) for path in defaults}
        assert found == defaults
        assert await asyncio.to_thread(owner.get, 0, CREDENTIALS, "CurrentFabricIndex") == 1


async def test_counters_are_kept_by_removal_of_last_fabric(tmp_path: Path, owner: Owner) -> None:
    async with EvseNode(config(tmp_path)) as node:
        await commission(owner, node)
        assert node.stack.event_log.next_number < EVENT_BLOCK
        node.car.plug_in()
        await until(lambda: node.state.session is not None)
        node.car.unplug()
        await until(lambda: node.state.session is not None and not node.state.session.is_active)
        node.car.plug_in()
        await until(lambda: node.state.session is not None and node.state.session.is_active)
        session = node.state.session
        assert session is not None
        node.stack.node.endpoints[0].clusters[0x33].total_operational_hours = 77  # type: ignore[attr-defined]
        meter = node.stack.node.endpoints[1].clusters[0x91]
        assert isinstance(meter, ElectricalEnergyMeasurement)
        meter.update(EnergyReading(5_000_000, 0, is_flowing=False), time.monotonic())
        await asyncio.to_thread(owner.remove_fabric)
        await until(lambda: is_new(node))
        assert node.stack.event_log.next_number > EVENT_BLOCK
        assert node.state.session is not None
        assert node.state.session.id == session.id
        await commission(owner, node)
        diagnostics = (0, "General Diagnostics")
        assert await asyncio.to_thread(owner.get, *diagnostics, "RebootCount") == 2
        assert await asyncio.to_thread(owner.get, *diagnostics, "TotalOperationalHours") == 77
        measured = (1, "Electrical Energy Measurement", "CumulativeEnergyImported")
        energy = await asyncio.to_thread(owner.get, *measured)
        assert isinstance(energy, dict)
        assert energy[0] == 5_000_000


async def test_charging_stops_when_last_fabric_is_removed(tmp_path: Path, owner: Owner) -> None:
    async with EvseNode(config(tmp_path)) as node:
        await commission(owner, node)
        assert await asyncio.to_thread(owner.charge) == 0
        node.car.plug_in()
        node.car.demand()
        await until(lambda: node.state.contactor is ContactorState.CLOSED)
        await asyncio.to_thread(owner.remove_fabric)
        await until(lambda: is_new(node))
        assert node.state.supply_state is SupplyState.DISABLED
        assert node.state.contactor is ContactorState.OPEN
        assert node.car.status()["contactor"] == "open"


async def test_faults_are_kept_by_factory_reset(tmp_path: Path, owner: Owner) -> None:
    async with EvseNode(config(tmp_path)) as node:
        await commission(owner, node)
        node.car.fault("GroundFault")
        await until(lambda: node.state.fault is FaultState.GROUND_FAULT)
        await asyncio.to_thread(owner.remove_fabric)
        await until(lambda: is_new(node))
        assert node.state.faults == (FaultState.GROUND_FAULT,)
        await node.factory_reset()
        assert node.state.faults == (FaultState.GROUND_FAULT,)


async def test_removal_of_one_of_two_fabrics_keeps_settings(tmp_path: Path, owner: Owner) -> None:
    async with EvseNode(config(tmp_path)) as node:
        await commission(owner, node)
        await asyncio.to_thread(owner.change_settings)
        assert await asyncio.to_thread(owner.open_window, 34567890) == 0
        with closing(UdpNetwork()) as network:
            second = Owner(network, seed=3)
            await asyncio.to_thread(second.commission_node, node_address(node), 34567890, NODE_ID)
            stack = node.stack
            await asyncio.to_thread(second.remove_fabric)
        assert [fabric.index for fabric in node.stack.fabrics] == [1]
        for path, (value, _) in WRITTEN.items():
            assert await asyncio.to_thread(owner.get, *path) == value
        assert node.stack is stack


async def test_power_cut_after_removal_of_last_fabric_still_resets_node(
    tmp_path: Path, owner: Owner
) -> None:
    async with EvseNode(config(tmp_path)) as node:
        await commission(owner, node)
        await asyncio.to_thread(owner.change_settings)
        assert not is_decommissioned(node.stack.store)
    # The state of the store when the command is answered: only the fabric is removed.
    store = SqliteStore(tmp_path)
    store.delete("fabric/1")
    store.commit()
    assert is_decommissioned(store)
    store.close()
    async with EvseNode(config(tmp_path)) as node:
        await commission(owner, node)
        for path, (_, default) in WRITTEN.items():
            assert await asyncio.to_thread(owner.get, *path) == default
        assert node.state.supply_state is SupplyState.DISABLED


async def test_failed_restart_after_last_fabric_is_reported(tmp_path: Path, owner: Owner) -> None:
    class FailingRestart(SimulatedBackend):
        starts = 0

        async def start(self, post: HalInbox) -> None:
            self.starts += 1
            if self.starts > 1:
                raise HalError("the board is gone")
            await super().start(post)

    backend = FailingRestart()
    async with EvseNode(config(tmp_path), backend=backend) as node:
        await commission(owner, node)
        await asyncio.to_thread(owner.remove_fabric)
        async with asyncio.timeout(10):
            with pytest.raises(HalError, match="the board is gone"):
                await node.wait_failed()
        assert not node.is_running
        await node.stop()
        # The same object can be started again.
        backend.starts = 0
        await node.start()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await node.wait_failed()


async def test_stop_during_restart_after_last_fabric(tmp_path: Path, owner: Owner) -> None:
    node = EvseNode(config(tmp_path))
    await node.start()
    await commission(owner, node)
    await asyncio.to_thread(owner.remove_fabric)
    await until(lambda: not node.is_running or is_new(node))
    await node.stop()
    assert not node.is_running


def test_node_runs_in_another_loop_after_restart(tmp_path: Path) -> None:
    node = EvseNode(config(tmp_path))

    async def remove_last_fabric() -> None:
        async with node:
            stack = node.stack
            index = add_fabric(stack.fabrics).index
            stack.administration.remove_fabric(index, time.monotonic())
            node.wake()
            await until(lambda: is_new(node) and node.stack is not stack)

    async def run_again() -> None:
        async with node:
            assert is_new(node)

    asyncio.run(remove_last_fabric())
    asyncio.run(run_again())
