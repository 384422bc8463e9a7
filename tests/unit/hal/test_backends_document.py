"""Tests of the backend in docs/backends.md."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

import pytest

from evse_node.config.node_config import NodeConfig, load_config
from evse_node.errors import ConfigError, HalError
from evse_node.hal.interface import HalEvent
from evse_node.hal.registry import backend_names, create_backend
from evse_node.node.evse_node import EvseNode
from evse_node.state_machine.control_pilot import PilotOutput
from evse_node.state_machine.enums import State
from evse_node.state_machine.events import FaultCleared, FaultRaised
from evse_node.state_machine.faults import FaultState

DOCUMENT = Path(__file__).parents[3] / "docs" / "backends.md"


class FakeBox(Protocol):
    """Type of the document's microcontroller."""

    send: Callable[[str], None]
    is_closed: bool
    output: str

    def on_order(self, line: str) -> None: ...
    def set_vehicle(self, vehicle: str) -> None: ...
    def pass_time(self, seconds: float) -> None: ...
    def report_energy(self) -> None: ...


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder on the path with the document's files, as if installed by pip."""
    blocks = re.findall(r"^```\w+\n# (\S+)\n(.*?)^```$", DOCUMENT.read_text(), re.M | re.S)
    for name, text in blocks:
        (tmp_path / name).write_text(text)
    project = tomllib.loads((tmp_path / "pyproject.toml").read_text())["project"]
    lines = []
    for group, entries in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {where}" for name, where in entries.items())]
    info = tmp_path / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    (info / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(str(tmp_path))
    for module in ("text_box", "test_text_box"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    return tmp_path


def test_example_has_fewer_than_110_lines(installed: Path) -> None:
    code = (installed / "text_box.py").read_text().splitlines()
    assert len([line for line in code if line.strip()]) < 110


def test_entry_point_is_found_and_creates_backend(installed: Path) -> None:
    assert "text-box" in backend_names()
    config = load_config({}, {}, installed / "evse-node.toml")
    assert type(create_backend(config.backend, config.hal)).__name__ == "TextBox"
    with pytest.raises(ConfigError, match="give host and port"):
        create_backend("text-box", {"port": 1})


def test_project_file_lists_every_module(installed: Path) -> None:
    project = tomllib.loads((installed / "pyproject.toml").read_text())
    entries = project["project"]["entry-points"]["evse_node.backends"].values()
    # Listed, because setuptools refuses to choose between backend and test.
    modules = sorted({entry.partition(":")[0] for entry in entries})
    assert project["tool"]["setuptools"]["py-modules"] == modules


def test_example_passes_contract_suite(installed: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_text_box.py"],
        cwd=installed,
        env={"PYTHONPATH": str(installed), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert re.search(r"^\d+ passed", done.stdout, re.M), done.stdout


class BoxServer:
    """The document's microcontroller on a TCP server."""

    def __init__(self) -> None:
        module = import_module("test_text_box")
        self.box = cast(FakeBox, module.FakeBox(self._send))
        self.writers: list[asyncio.StreamWriter] = []
        self.heartbeats = 0
        self.orders: list[str] = []

    def _send(self, line: str) -> None:
        for writer in self.writers:
            writer.write(f"{line}\n".encode())

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        beat = asyncio.create_task(self._beat())
        while line := (await reader.readline()).decode().strip():
            self.heartbeats += line == "H"
            self.orders.append(line)
            self.box.on_order(line)
        beat.cancel()
        self.writers.remove(writer)
        writer.close()
        self.box.on_order("0")

    async def _beat(self) -> None:
        while True:
            self.box.pass_time(1)
            self.box.report_energy()
            await asyncio.sleep(0.05)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


async def test_node_charges_and_recovers_from_lost_connection(
    installed: Path, tmp_path: Path
) -> None:
    served = BoxServer()
    server = await asyncio.start_server(served.serve, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    config = NodeConfig(
        storage=tmp_path / "node", port=0, interfaces=("lo",), control=None, charging=True,
        backend="text-box", hal={"host": address[0], "port": address[1]},
    )  # fmt: skip
    box = served.box
    async with server, EvseNode(config) as node:
        box.set_vehicle("B")
        await until(lambda: node.state.pilot_output is PilotOutput.X2)
        assert box.output == "O"
        box.set_vehicle("C")
        await until(lambda: node.state.state is State.PLUGGED_IN_CHARGING)
        await until(lambda: box.is_closed and node.state.contactor.value == "closed")
        begun = node.state.meter.imported_mwh
        await until(lambda: node.state.meter.imported_mwh > begun + 1000)
        session = node.state.session
        assert session is not None

        # A broken connection raises a fault, opens the contactor, and is re-established.
        served.writers[0].close()
        await until(lambda: node.state.fault is FaultState.OTHER)
        await until(lambda: not box.is_closed)
        await until(lambda: node.state.fault is FaultState.NO_ERROR)
        await until(lambda: box.is_closed)
        assert node.state.session is not None
        assert node.state.session.id == session.id

        box.set_vehicle("A")
        await until(lambda: node.state.state is State.NOT_PLUGGED_IN)
        assert not box.is_closed
    assert served.heartbeats > 0


async def test_stop_right_after_start_opens_and_withdraws(installed: Path) -> None:
    served = BoxServer()
    served.box.set_vehicle("C")
    served.box.is_closed = True
    server = await asyncio.start_server(served.serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    backend = create_backend("text-box", {"host": host, "port": port})
    async with server:
        await backend.start(lambda event: None)
        await backend.stop()
        await until(lambda: len(served.orders) >= 5)
    assert served.orders == ["0", "W", "?", "0", "W"]
    assert not served.box.is_closed


async def test_lost_box_is_one_fault_until_it_returns(
    installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sleep = asyncio.sleep
    monkeypatch.setattr(asyncio, "sleep", lambda seconds: sleep(seconds / 100))
    events: list[HalEvent] = []
    served = BoxServer()
    server = await asyncio.start_server(served.serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    backend = create_backend("text-box", {"host": host, "port": port})
    await backend.start(events.append)
    await until(lambda: FaultCleared() in events)
    events.clear()
    server.close()  # refuses new connections, keeps this one
    served.writers[0].write(b"x" * 100_000)
    await until(lambda: not served.writers)
    await sleep(0.1)  # ten failed attempts
    assert events == [FaultRaised(FaultState.OTHER)]
    server = await asyncio.start_server(served.serve, host, port)
    await until(lambda: FaultCleared() in events)
    await backend.stop()
    server.close()


async def test_start_fails_without_box(installed: Path) -> None:
    backend = create_backend("text-box", {"host": "127.0.0.1", "port": 1})
    with pytest.raises(HalError, match="no box at"):
        await backend.start(lambda event: None)
    await backend.stop()
