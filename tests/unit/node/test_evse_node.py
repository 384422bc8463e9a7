"""Whole nodes on the loopback interface, with their real store, sockets and control API."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

import pytest

from evse_node.cli.control_client import ControlError, find_node
from evse_node.cluster.definitions.definition import Value
from evse_node.cluster.servers.root.general_diagnostics import HardwareFault
from evse_node.hal.interface import HalEvent, HalInbox, Ratings
from evse_node.hal.simulated.backend import SimulatedBackend
from evse_node.matter.messaging.message import PROTOCOL_INTERACTION_MODEL
from evse_node.node.evse_node import EvseNode
from evse_node.platform.crash_reporter import CrashReporter
from evse_node.state_machine.enums import State
from evse_node.state_machine.events import ContactorReported, FaultRaised
from evse_node.state_machine.faults import FaultState
from evse_node.units import Milliamps, Milliwatts
from tests.support.loopback_node import call, config, kinds, part, until


async def test_new_node_is_discoverable_and_has_codes(tmp_path: Path) -> None:
    async with EvseNode(config(tmp_path, passcode=20202021, discriminator=3840)) as node:
        assert node.qr_code == "MT:-24J0AFN00KA0648G00"
        assert node.manual_code == "34970112332"
        assert node.port > 0
        assert kinds(node) == ["_matterc._udp"]
        (service,) = node.mdns.services
        assert service.port == node.port
        assert service.txt["D"] == "3840"
        assert service.txt["VP"] == "65521+32769"
    assert not node.is_running
    with pytest.raises(RuntimeError, match="not running"):
        _ = node.qr_code


async def test_restart_keeps_codes_and_serial_number(tmp_path: Path) -> None:
    async with EvseNode(config(tmp_path)) as node:
        codes = (node.qr_code, node.factory.serial_number)
    async with EvseNode(config(tmp_path)) as node:
        assert (node.qr_code, node.factory.serial_number) == codes


async def test_simulated_car_changes_the_charger_state(tmp_path: Path) -> None:
    async with EvseNode(config(tmp_path)) as node:
        seen: list[State] = []
        unwatch = node.watch(lambda: seen.append(node.state.state))
        node.car.plug_in()
        await until(lambda: node.state.state is State.PLUGGED_IN_NO_DEMAND)
        node.car.demand()
        await until(lambda: node.state.state is State.PLUGGED_IN_DEMAND)
        await until(lambda: State.PLUGGED_IN_DEMAND in seen)
        unwatch()
        unwatch()


async def test_observer_with_settling_time_is_called_once_for_several_changes(
    tmp_path: Path,
) -> None:
    async with EvseNode(config(tmp_path, control=None)) as node:
        seen: list[State] = []
        soon: list[State] = []
        unwatch = node.watch(lambda: seen.append(node.state.state), settling_s=0.2)
        node.watch(lambda: soon.append(node.state.state))
        begin = time.monotonic()
        node.car.plug_in()
        await until(lambda: State.PLUGGED_IN_NO_DEMAND in soon)
        node.car.demand()
        await until(lambda: bool(seen))
        assert time.monotonic() - begin >= 0.19
        # A scheduled call is cancelled.
        node.car.unplug()
        await until(lambda: State.NOT_PLUGGED_IN in soon)
        unwatch()
        before = list(seen)
        await asyncio.sleep(0.25)
        assert seen == before


async def test_contactor_timeout_comes_from_the_ratings(tmp_path: Path) -> None:
    backend = SimulatedBackend(ratings=Ratings(contactor_timeout_s=2.0))
    async with EvseNode(config(tmp_path, control=None), backend=backend) as node:
        assert node.charger.state.settings.contactor_timeout_s == 2.0


async def test_control_api_controls_the_simulated_car(tmp_path: Path) -> None:
    async with EvseNode(config(tmp_path)) as node:
        codes = await call(tmp_path, "GET", "/onboarding")
        assert (codes["qr_code"], codes["manual_code"]) == (node.qr_code, node.manual_code)
        await call(tmp_path, "POST", "/sim/plug-in")
        await call(tmp_path, "POST", "/sim/demand")
        await until(lambda: node.state.state is State.PLUGGED_IN_DEMAND)
        status = await call(tmp_path, "POST", "/sim/battery", {"soc_percent": 55})
        assert part(status, "charger")["state"] == "PluggedInDemand"
        assert part(status, "simulation")["soc_percent"] == 55
        assert part(status, "node")["commissioning_window"] == "basic"
        await call(tmp_path, "POST", "/sim/fault", {"name": "GroundFault"})
        await until(lambda: node.state.state is State.FAULT)
        await call(tmp_path, "POST", "/sim/clear-fault")
        await until(lambda: node.state.state is not State.FAULT)
        await call(tmp_path, "POST", "/sim/derate", {"current_ma": 10000})
        limits = part(part(await call(tmp_path, "GET", "/status"), "charger"), "charge_limits_ma")
        assert limits["temperature"] == 10000
        await call(tmp_path, "POST", "/sim/derate")
        await call(tmp_path, "POST", "/sim/tap", {"uid": "04a1b2"})
        await call(tmp_path, "POST", "/sim/no-demand")
        await call(tmp_path, "POST", "/sim/unplug")
        await until(lambda: node.state.state is State.NOT_PLUGGED_IN)
        with pytest.raises(ControlError, match="unknown fault 'Sunburn'; known faults are"):
            await call(tmp_path, "POST", "/sim/fault", {"name": "Sunburn"})
    with pytest.raises(ControlError, match="no node runs"):
        find_node(tmp_path)


async def test_control_api_clears_faults_and_sets_surplus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with EvseNode(config(tmp_path)) as node:
        simulation = part(
            await call(tmp_path, "POST", "/sim/temperature", {"celsius": 70}), "simulation"
        )
        assert simulation["temperature_mc"] == 70_000
        await call(tmp_path, "POST", "/sim/fault", {"name": "OverVoltage"})
        await until(lambda: node.state.state is State.FAULT)
        await call(tmp_path, "POST", "/sim/clear-fault")
        await call(tmp_path, "POST", "/clear-faults")
        assert node.state.faults == ()
        reported: list[tuple[Milliwatts | None, float | None]] = []
        monkeypatch.setattr(
            node.charger,
            "set_surplus",
            lambda watts, now, valid_s: reported.append((watts, valid_s)),
        )
        await call(tmp_path, "POST", "/surplus", {"watts": 2_300, "seconds": 60})
        await call(tmp_path, "POST", "/surplus", {"watts": 0})
        await call(tmp_path, "POST", "/surplus", {"watts": -500})
        await call(tmp_path, "POST", "/surplus", {"watts": 2999.6})
        assert reported == [(2_300_000, 60), (0, 60), (-500_000, 60), (2_999_600, 60)]


async def test_factory_reset_keeps_only_factory_data(tmp_path: Path) -> None:
    async with EvseNode(config(tmp_path)) as node:
        codes, port = node.qr_code, node.port
        store = node.stack.store
        store.set("attr/0000/0028/0005", b"label")
        unique_id = store.get("basic/unique_id")
        await call(tmp_path, "POST", "/factory-reset")
        assert (node.qr_code, node.port) == (codes, port)
        assert node.stack.store.get("attr/0000/0028/0005") is None
        assert node.stack.store.get("basic/unique_id") != unique_id
        assert kinds(node) == ["_matterc._udp"]
        node.car.plug_in()
        await until(lambda: node.state.state is State.PLUGGED_IN_NO_DEMAND)


async def test_simulated_contactor_is_open_after_stop() -> None:
    # Otherwise a node that restarts at once reports it as welded.
    now, events = 50.0, list[HalEvent]()
    backend = SimulatedBackend(clock=lambda: now)
    await backend.start(events.append)
    backend.plug_in()
    backend.demand()
    backend.control_pilot.offer(Milliamps(16_000))
    backend.contactor.close()
    now += 0.1
    backend.advance()
    assert events[-1] == ContactorReported(True)
    await backend.stop()
    events.clear()
    await backend.start(events.append)
    assert events[0] == ContactorReported(False)
    await backend.stop()


async def test_simultaneous_factory_resets_run_one_after_another(tmp_path: Path) -> None:
    node = EvseNode(config(tmp_path))
    await node.start()
    codes = node.qr_code
    await asyncio.gather(node.factory_reset(), node.factory_reset(), node.factory_reset())
    assert node.qr_code == codes
    reset = asyncio.create_task(node.factory_reset())
    await asyncio.sleep(0)
    await node.stop()
    await reset
    assert not node.is_running
    with pytest.raises(RuntimeError, match="not running"):
        await node.factory_reset()


async def test_second_start_is_rejected_and_node_keeps_running(tmp_path: Path) -> None:
    async with EvseNode(config(tmp_path)) as node:
        with pytest.raises(RuntimeError, match="the node is running"):
            await node.start()
        assert node.is_running
        assert kinds(node) == ["_matterc._udp"]


async def test_stop_during_start_takes_effect_after_it(tmp_path: Path) -> None:
    node = EvseNode(config(tmp_path))
    starting = asyncio.create_task(node.start())
    await asyncio.sleep(0)
    await node.stop()
    await starting
    assert not node.is_running
    # The folder is unlocked.
    async with EvseNode(config(tmp_path)):
        pass


async def test_two_nodes_in_one_process_are_independent(tmp_path: Path) -> None:
    async with (
        EvseNode(config(tmp_path / "one")) as one,
        EvseNode(config(tmp_path / "two")) as two,
    ):
        assert one.port != two.port
        assert one.manual_code != two.manual_code
        one.car.plug_in()
        await until(lambda: one.state.state is State.PLUGGED_IN_NO_DEMAND)
        assert two.state.state is State.NOT_PLUGGED_IN


async def test_backend_may_report_events_from_another_thread(tmp_path: Path) -> None:
    backend = _ThreadedBackend()
    async with EvseNode(config(tmp_path), backend=backend) as node:
        await asyncio.to_thread(backend.post, FaultRaised(FaultState.OVER_TEMPERATURE))
        await until(lambda: node.state.state is State.FAULT)


class _ThreadedBackend(SimulatedBackend):
    async def start(self, post: HalInbox) -> None:
        self.post = post
        await super().start(post)


@pytest.mark.parametrize(("version", "revision"), [("1.3", 11), ("1.4.2", 12)])
async def test_interaction_model_revision_follows_the_matter_version(
    tmp_path: Path, version: str, revision: int
) -> None:
    async with EvseNode(config(tmp_path, matter_version=version)) as node:
        endings = node.stack.exchanges.endings
        assert endings[PROTOCOL_INTERACTION_MODEL] == bytes((0x24, 0xFF, revision, 0x18))


async def test_no_current_is_offered_through_an_unknown_cable(tmp_path: Path) -> None:
    async with EvseNode(config(tmp_path, charging=True)) as node:
        node.car.cable_ma = None  # type: ignore[assignment]
        node.car.plug_in()
        node.car.demand()
        await until(lambda: node.state.state is State.PLUGGED_IN_DEMAND)
        assert node.state.offered_ma == 0
        node.car.unplug()
        await until(lambda: node.state.state is State.NOT_PLUGGED_IN)
        node.car.cable_ma = Milliamps(20_000)
        node.car.plug_in()
        node.car.demand()
        await until(lambda: node.state.state is State.PLUGGED_IN_CHARGING)
        assert node.state.offered_ma == 20_000


async def test_observer_is_called_when_commissioning_window_closes(tmp_path: Path) -> None:
    async with EvseNode(config(tmp_path)) as node:
        seen: list[bool] = []
        node.watch(lambda: seen.append(node.stack.window.is_open))
        await asyncio.sleep(0)
        seen.clear()
        node.stack.window.close(0.0)
        await until(lambda: bool(seen))
        assert seen == [False]


async def test_meter_failure_is_an_active_hardware_fault(tmp_path: Path) -> None:
    async with EvseNode(config(tmp_path)) as node:
        diagnostics = node._running.clusters.general_diagnostics
        node.car.fault("MeterFailure")
        await until(lambda: diagnostics.active_hardware_faults == [HardwareFault.SENSOR])


async def test_exception_in_the_node_emits_software_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with EvseNode(config(tmp_path)) as node:
        software = node._running.clusters.software_diagnostics
        events: list[str] = []
        emit = software.emit

        def record(event: str, /, **fields: Value) -> None:
            emit(event, **fields)
            events.append(event)

        monkeypatch.setattr(software, "emit", record)
        monkeypatch.setattr(node.car.board, "reset", None)
        node.charger.acknowledge_faults(time.monotonic())
        assert events == []
        await until(lambda: events == ["SoftwareFault"])
    handlers = logging.getLogger("evse_node").handlers
    assert not [each for each in handlers if isinstance(each, CrashReporter)]
