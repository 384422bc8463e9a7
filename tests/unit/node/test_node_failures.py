"""Failures of a whole node: they are reported, and nothing stays open."""

from __future__ import annotations

from pathlib import Path

import pytest

from evse_node.cli.control_client import ControlError, find_node
from evse_node.cluster.definitions.zap import SHIPPED_FOLDER
from evse_node.errors import ConfigError, HalError, StorageError
from evse_node.hal.interface import HalInbox
from evse_node.hal.simulated.backend import SimulatedBackend
from evse_node.node.evse_node import EvseNode
from evse_node.platform.sqlite_store import SqliteStore
from evse_node.state_machine.enums import State
from tests.support.loopback_node import call, config, until


async def test_failed_start_leaves_nothing_open(tmp_path: Path) -> None:
    async with EvseNode(config(tmp_path / "one")) as one:
        for settings, message in (
            ({"storage": tmp_path / "one"}, "in use by another node"),
            ({"port": one.port}, f"port: {one.port} is taken"),
            ({"interfaces": ("nowhere0",)}, "interface: 'nowhere0' does not exist"),
            ({"control": one.control_address}, "control: .* cannot be used"),
            (
                {"hal": {"without": ["V2X"]}, "features": ("V2X",)},
                "features: 'V2X' is not possible",
            ),
        ):
            other = EvseNode(config(tmp_path / "two", **settings))
            with pytest.raises(ConfigError, match=message):
                await other.start()
            assert not other.is_running
    async with EvseNode(config(tmp_path / "two", features=("PREF",))) as two:
        assert two.charger.features == {"PREF"}


async def test_malformed_cluster_file_is_reported_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "broken.xml"
    file.write_text("<configurator>\n<cluster>\n</configurator>\n")
    with pytest.raises(ConfigError, match=r"broken\.xml:3: "):
        await EvseNode(config(tmp_path / "state", cluster_xml=file)).start()


async def test_cluster_file_replaces_definition_but_must_define_what_is_served(
    tmp_path: Path,
) -> None:
    own = (SHIPPED_FOLDER / "energy_evse.xml").read_text()
    file = tmp_path / "own.xml"
    for wrong, message in (
        ("CircuitCapacity", "Energy EVSE has no attribute circuit_capacity"),
        ("EnableCharging", "EnergyEvse does not handle"),
    ):
        file.write_text(own.replace(wrong, "Something"))
        with pytest.raises(ConfigError, match=rf"own\.xml: .*{message}"):
            await EvseNode(config(tmp_path / "state", cluster_xml=file)).start()
    file.write_text(own)
    async with EvseNode(config(tmp_path / "state", cluster_xml=file)) as node:
        assert node.is_running


class _MissingBackend(SimulatedBackend):
    async def start(self, post: HalInbox) -> None:
        raise HalError("no board")


async def test_start_fails_without_hardware(tmp_path: Path) -> None:
    node = EvseNode(config(tmp_path), backend=_MissingBackend())
    with pytest.raises(HalError, match="no board"):
        await node.start()
    assert not node.is_running


class _StuckBackend(SimulatedBackend):
    is_stuck = True

    async def stop(self) -> None:
        await super().stop()
        if self.is_stuck:
            raise OSError("a line cannot be closed")


async def test_failed_stop_leaves_nothing_open(tmp_path: Path) -> None:
    backend = _StuckBackend()
    node = EvseNode(config(tmp_path), backend=backend)
    await node.start()
    with pytest.raises(OSError, match="a line cannot be closed"):
        await node.stop()
    with pytest.raises(ControlError, match="no node runs"):
        find_node(tmp_path)
    backend.is_stuck = False
    async with EvseNode(config(tmp_path), backend=backend):
        pass


async def test_hardware_is_stopped_even_if_saving_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(now: float) -> None:
        raise ValueError("no")

    backend = SimulatedBackend()
    stopped: list[bool] = []

    async def stop() -> None:
        stopped.append(True)

    node = EvseNode(config(tmp_path), backend=backend)
    await node.start()
    monkeypatch.setattr(node.charger, "save", fail)
    monkeypatch.setattr(backend, "stop", stop)
    with pytest.raises(ValueError, match="no"):
        await node.stop()
    assert stopped == [True]
    monkeypatch.undo()
    await backend.stop()


async def test_factory_reset_on_full_disk_is_reported_and_completed_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(store: SqliteStore) -> None:
        raise StorageError("the disk is full")

    node = EvseNode(config(tmp_path))
    await node.start()
    store = node.stack.store
    assert isinstance(store, SqliteStore)
    store.set("attr/0000/0028/0005", b"label")
    store.commit()
    with monkeypatch.context() as full:
        full.setattr(SqliteStore, "commit", refuse)
        with pytest.raises(StorageError, match="the disk is full"):
            await node.factory_reset()
        assert node.is_running
        assert store.is_dirty
    node.wake()
    await until(lambda: not store.is_dirty)
    await node.stop()
    reopened = SqliteStore(tmp_path)
    assert reopened.get("attr/0000/0028/0005") is None
    reopened.close()


async def test_factory_reset_stops_node_if_hardware_does_not_restart(tmp_path: Path) -> None:
    class VanishingBackend(SimulatedBackend):
        starts = 0

        async def start(self, post: HalInbox) -> None:
            self.starts += 1
            if self.starts > 1:
                raise HalError("the board is gone")
            await super().start(post)

    async with EvseNode(config(tmp_path), backend=VanishingBackend()) as node:
        with pytest.raises(ControlError, match="the board is gone"):
            await call(tmp_path, "POST", "/factory-reset")
        assert not node.is_running
        with pytest.raises(ControlError, match="the node restarts"):
            await call(tmp_path, "GET", "/status")


async def test_node_starts_with_warning_if_control_file_cannot_be_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "control.new").mkdir()
    async with EvseNode(config(tmp_path)) as node:
        assert node.control_address is not None
        assert "commands cannot find the control API" in caplog.text
        (tmp_path / "control.json").mkdir()


async def test_hardware_that_does_not_stop_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class UnstoppableBackend(SimulatedBackend):
        async def stop(self) -> None:
            await super().stop()
            raise HalError("the relay is stuck")

    async with EvseNode(config(tmp_path), backend=UnstoppableBackend()):
        pass
    assert "the hardware did not stop: the relay is stuck" in caplog.text


async def test_failing_observer_does_not_affect_other_observers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise BrokenPipeError

    async with EvseNode(config(tmp_path)) as node:
        seen: list[State] = []
        node.watch(fail)
        node.watch(lambda: seen.append(node.state.state))
        node.car.plug_in()
        await until(lambda: State.PLUGGED_IN_NO_DEMAND in seen)
    assert "an observer of the node failed" in caplog.text
