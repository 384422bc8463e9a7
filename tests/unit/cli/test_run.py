from __future__ import annotations

import asyncio
import gc
import signal
import sys
import time
from pathlib import Path

import pytest

from evse_node.cli.run import _Changes, _draw, _ending_signals, _start, _wait
from evse_node.errors import ConfigError, HalError
from evse_node.hal.interface import HalInbox
from evse_node.hal.simulated.backend import SimulatedBackend
from evse_node.node.evse_node import EvseNode
from tests.support.loopback_node import config


async def test_slow_drawing_ends_with_node() -> None:
    stop = asyncio.Event()
    drawing = asyncio.create_task(
        _draw((sys.executable, "-c", "import time; time.sleep(60)"), stop)
    )
    await asyncio.sleep(0.1)
    assert not drawing.done()
    stop.set()
    async with asyncio.timeout(10):
        await drawing


async def test_drawing_is_completed(tmp_path: Path) -> None:
    drawn = tmp_path / "drawn"
    command = "import sys, pathlib; pathlib.Path(sys.argv[1]).touch()"
    async with asyncio.timeout(10):
        await _draw((sys.executable, "-c", command, str(drawn)), asyncio.Event())
    assert drawn.exists()


async def test_error_output_of_drawing_is_discarded(capfd: pytest.CaptureFixture[str]) -> None:
    await _draw((sys.executable, "-c", "raise SystemExit('no room')"), asyncio.Event())
    assert capfd.readouterr().err == ""


class _BackendFailingOnRestart(SimulatedBackend):
    starts = 0

    async def start(self, post: HalInbox) -> None:
        self.starts += 1
        if self.starts > 1:
            raise HalError("the board is gone")
        await super().start(post)


async def test_failed_restart_ends_process(tmp_path: Path) -> None:
    # A service manager would not notice otherwise.
    async with EvseNode(config(tmp_path, control=None), backend=_BackendFailingOnRestart()) as node:
        waiting = asyncio.create_task(_wait(node, asyncio.Event()))
        await asyncio.sleep(0)
        assert not waiting.done()
        with pytest.raises(HalError):
            await node.factory_reset()
        async with asyncio.timeout(10):
            with pytest.raises(HalError, match="the board is gone"):
                await waiting


class _UnresponsiveBackend(SimulatedBackend):
    def __init__(self) -> None:
        super().__init__()
        self.start_called = asyncio.Event()
        self.is_closed = False

    async def start(self, post: HalInbox) -> None:
        self.start_called.set()
        await asyncio.sleep(60)

    async def stop(self) -> None:
        self.is_closed = True
        await super().stop()


async def test_signal_cancels_slow_start(tmp_path: Path) -> None:
    stop, backend = asyncio.Event(), _UnresponsiveBackend()
    node = EvseNode(config(tmp_path, control=None), backend=backend)
    starting = asyncio.create_task(_start(node, stop))
    async with asyncio.timeout(10):
        await backend.start_called.wait()
        stop.set()
        assert not await starting
    assert backend.is_closed
    assert not node.is_running
    # The storage folder is released.
    async with EvseNode(config(tmp_path, control=None)):
        pass


@pytest.mark.parametrize("after_s", [0.001, 0.01, 0.05])
async def test_signal_during_start_leaves_no_resource_open(tmp_path: Path, after_s: float) -> None:
    stop = asyncio.Event()
    node = EvseNode(config(tmp_path, control=None))
    starting = asyncio.create_task(_start(node, stop))
    await asyncio.sleep(after_s)
    stop.set()
    async with asyncio.timeout(10):
        await starting
    await node.stop()
    # An open resource would warn when it is collected.
    await asyncio.sleep(0)
    del node, starting
    gc.collect()


async def test_start_raises_error_of_node(tmp_path: Path) -> None:
    node = EvseNode(config(tmp_path, control=None))
    assert await _start(node, asyncio.Event())
    with pytest.raises(ConfigError, match="in use by another node"):
        await _start(EvseNode(config(tmp_path)), asyncio.Event())
    await node.stop()


async def test_node_runs_until_signal_across_factory_reset(tmp_path: Path) -> None:
    stop = asyncio.Event()
    async with EvseNode(config(tmp_path, control=None)) as node:
        waiting = asyncio.create_task(_wait(node, stop))
        await node.factory_reset()
        assert not waiting.done()
        stop.set()
        async with asyncio.timeout(10):
            await waiting


async def test_node_about_to_restart_does_not_ask_for_restart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with EvseNode(config(tmp_path, control=None)) as node:
        changes = _Changes(node)
        node.stack.window.close(time.monotonic())
        changes.show()
        assert "restart the node" in capsys.readouterr().out
        node.stack.window.open_basic(180, time.monotonic())
        changes.show()
        node.stack.administration.is_decommissioned = True
        node.stack.window.close(time.monotonic())
        changes.show()
        assert "restart the node" not in capsys.readouterr().out


def test_hangup_ends_node_unless_inherited_as_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        assert signal.SIGHUP in _ending_signals()
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        assert _ending_signals() == (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT)
    finally:
        signal.signal(signal.SIGHUP, before)
