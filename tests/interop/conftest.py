"""Test hosts, the node as a process on one of them, and drivers of real controllers."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.interop import environment
from tests.interop.hosts import TwoHosts, why_not

DRIVERS = Path(__file__).parent / "drivers"
ENABLE_KEY = "000102030405060708090a0b0c0d0e0f"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.interop)


@pytest.fixture(scope="session")
def hosts_possible() -> None:
    if reason := why_not():
        pytest.skip(reason)


@pytest.fixture
def hosts(hosts_possible: None) -> Iterator[TwoHosts]:
    pair = TwoHosts(f"evse{os.getpid() % 10000}")
    try:
        yield pair
    finally:
        pair.close()


class NodeProcess:
    """`evse-node run` on the node's host, and its CLI."""

    def __init__(self, hosts: TwoHosts, folder: Path, *options: str) -> None:
        self.hosts = hosts
        self.storage = folder / "node"
        self.log_path = folder / "node.log"
        self.options = options
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                self.hosts.command(
                    self.hosts.device,
                    *(sys.executable, "-m", "evse_node", "run"),
                    *("--storage", str(self.storage), "--log-level", "info"),
                    *("--enable-key", ENABLE_KEY),
                    *self.options,
                ),
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        deadline = time.monotonic() + 20
        while True:
            try:
                self.cli("sim", "status", "--json")
                return
            except subprocess.CalledProcessError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(f"the node did not start:\n{self.log()}") from None
                time.sleep(0.1)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(how)
        code = self.process.wait(15)
        self.process = None
        return code

    def restart(self, how: signal.Signals = signal.SIGTERM) -> None:
        self.stop(how)
        self.start()

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def cli(self, *arguments: str) -> str:
        done = subprocess.run(
            self.hosts.command(
                self.hosts.device,
                *(sys.executable, "-m", "evse_node", *arguments),
                *("--storage", str(self.storage)),
            ),
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    def onboarding(self) -> dict[str, Any]:
        codes = json.loads(self.cli("onboarding", "--json"))
        assert isinstance(codes, dict)
        return codes

    def write_paa(self, folder: Path) -> Path:
        command = (sys.executable, "-m", "evse_node", "paa", "--output", str(folder))
        subprocess.run(command, capture_output=True, check=True)
        return folder


@pytest.fixture
def node(hosts: TwoHosts, tmp_path: Path) -> Iterator[NodeProcess]:
    process = NodeProcess(hosts, tmp_path)
    process.start()
    try:
        yield process
    finally:
        if process.process is not None:
            process.stop()


class ControllerError(AssertionError):
    """The controller reported a failure."""


class Controller:
    """Process of a driver on the controller's host."""

    def __init__(self, command: list[str], log_path: Path) -> None:
        self.log_path = log_path
        self._log = log_path.open("wb")
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    def call(self, method: str, reply_within: float = 120, **arguments: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"do": method, **arguments}) + "\n")
        self.process.stdin.flush()
        killer = threading.Timer(reply_within, self.process.kill)
        killer.start()
        try:
            line = self.process.stdout.readline()
        finally:
            killer.cancel()
        if not line:
            raise ControllerError(f"{method}: the driver ended:\n{self._tail()}")
        reply = json.loads(line)
        if "error" in reply:
            raise ControllerError(f"{method}{arguments}: {reply['error']}\n{self._tail()}")
        return reply["ok"]

    def _tail(self) -> str:
        return self.log_path.read_text(errors="replace")[-3000:]

    def close(self) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self._log.close()


def driver_command(name: str, storage: Path, paa: Path) -> list[str]:
    """Return the command of a driver; skip the test if its controller is not installed."""
    if name == "chip-core":
        python, script = environment.CHIP_PYTHON, DRIVERS / "chip_core.py"
    elif name == "matter-server":
        python, script = environment.MATTER_SERVER_PYTHON, DRIVERS / "matter_server.py"
    else:
        return _matter_js_command(storage)
    if not python.exists():
        pytest.skip(f"{name} is not installed: run `make interop-env`")
    Path("/data").mkdir(exist_ok=True)
    return [str(python), str(script), str(storage), str(paa)]


def _matter_js_command(storage: Path) -> list[str]:
    if not environment.MATTER_JS_MODULES.exists() or shutil.which("node") is None:
        pytest.skip("matter.js is not installed: run `make interop-env`")
    # Node.js looks for packages beside the script.
    script = storage / "matter_js.mjs"
    shutil.copy(DRIVERS / "matter_js.mjs", script)
    (storage / "node_modules").symlink_to(environment.MATTER_JS_MODULES)
    return ["node", str(script), str(storage)]


@pytest.fixture
def controller_of(
    hosts: TwoHosts, node: NodeProcess, tmp_path: Path
) -> Iterator[Callable[[str], Controller]]:
    started: list[Controller] = []
    paa = node.write_paa(tmp_path / "paa")

    def start(name: str) -> Controller:
        storage = tmp_path / name
        storage.mkdir()
        command = hosts.command(hosts.controller, *driver_command(name, storage, paa))
        started.append(Controller(command, tmp_path / f"{name}.log"))
        return started[-1]

    yield start
    for controller in started:
        controller.close()
