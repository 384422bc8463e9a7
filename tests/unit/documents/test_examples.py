"""Every example runs on the loopback interface."""

from __future__ import annotations

import asyncio
import itertools
import runpy
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
from msgspec.structs import fields, replace

from evse_node.config.node_config import SETTINGS, load_config
from evse_node.hal.gpio.board import load_board
from evse_node.hal.simulated.options import Options
from evse_node.node.evse_node import EvseNode
from tests.support.hal.gpio_electronics import SimulatedElectronics
from tests.support.loopback_node import config as loopback_config

EXAMPLES = Path(__file__).parents[3] / "examples"


def run(name: str, *arguments: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_virtual_charger_example_charges(tmp_path: Path) -> None:
    lines = run(
        *("virtual_charger.py", "--interface", "lo", "--port", "0"),
        *("--storage", str(tmp_path), "--visit", "0.2"),
    )
    assert lines[0].startswith("QR code MT:")
    assert "PluggedInDemand Disabled" in lines
    assert lines[-2:] == ["NotPluggedIn Disabled", "the car took 0.000 kWh"]


def test_two_chargers_example_runs_two_nodes(tmp_path: Path) -> None:
    lines = run(
        "two_chargers.py", "--interface", "lo", "--storage", str(tmp_path), "--seconds", "0.1"
    )
    assert lines[-1] == "left: PluggedInNoDemand, right: NotPluggedIn"
    assert lines[0].split()[-1] != lines[1].split()[-1]


@pytest.mark.parametrize(
    ("name", "arguments", "line"),
    [
        ("two_chargers.py", ["--interface", "nowhere0"], "interface: 'nowhere0' does not exist"),
        ("virtual_charger.py", ["--port", "70000"], "NodeConfig.port: '70000' cannot be used"),
        ("relay_bench.py", ["--board", "nothing"], "board: 'nothing' is no file"),
        ("follow_status.py", ["/nowhere"], "no node runs on /nowhere"),
    ],
)
def test_example_reports_a_wrong_setting_in_one_line(
    name: str, arguments: list[str], line: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments],
        cwd=tmp_path,
        env={"PYTHONPATH": str(EXAMPLES.parent), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(line)
    assert done.stderr.count("\n") == 1


async def test_follow_status_example_follows_a_node_with_charger_toml(tmp_path: Path) -> None:
    flags = {"storage": str(tmp_path), "port": "0", "interface": "lo", "control": "127.0.0.1:0"}
    config = load_config(flags, {}, EXAMPLES / "charger.toml")
    async with EvseNode(config) as node:
        assert node.manual_code == "34970112332"
        node.car.plug_in()
        lines = await asyncio.to_thread(run, "follow_status.py", str(tmp_path), "1")
        assert lines == ["PluggedInNoDemand Disabled 0"]


def test_solar_surplus_example_follows_the_sun() -> None:
    lines = run("solar_surplus.py", "--peak", "5000")
    assert lines[11] == "12:00  surplus  4870 W  charging 4 kW"
    assert lines[14] == "15:00  surplus     0 W  charging 0 kW"
    assert lines[-1] == "36.0 kWh, 2 starts of the contactor"


def test_week_example_meets_its_targets() -> None:
    lines = run("week.py", "--days", "6")
    assert [line.split()[0] for line in lines] == ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]
    assert lines[0] == "Mon starts Tue 01:21, ready with 80 %, 18.000 kWh"
    assert lines[4].startswith("Fri starts Sat 08:07, ready with 6")


@pytest.mark.parametrize("is_stuck", [False, True])
def test_relay_bench_example_checks_contactors(
    is_stuck: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    script = runpy.run_path(str(EXAMPLES / "relay_bench.py"))
    now = itertools.count(1.0)
    electronics = SimulatedElectronics(load_board("relay-hat-ads1115"), lambda: next(now))
    electronics.is_stuck_open = is_stuck
    assert script["exercise"](electronics.board, electronics, 2, 0.0) is not is_stuck
    shown = capsys.readouterr().out
    assert "contactor 1 2: off, follows" in shown
    assert ("DOES NOT FOLLOW" in shown) is is_stuck
    assert electronics.open_count == 0
    assert not any(electronics.coils.values())


def test_relay_bench_example_keeps_the_heartbeat(capsys: pytest.CaptureFixture[str]) -> None:
    """With a long timeout, because the test machine may be busy."""
    script = runpy.run_path(str(EXAMPLES / "relay_bench.py"))
    board = load_board("pi-evse-hat")
    assert board.heartbeat is not None
    board = replace(board, heartbeat=replace(board.heartbeat, limit_ms=100.0))
    electronics = SimulatedElectronics(board, time.monotonic)
    assert script["exercise"](board, electronics, 1, 0.15)
    assert "contactor 1 1: on, follows" in capsys.readouterr().out
    assert electronics.open_count == 0
    assert electronics.lines["heartbeat"] is False


def test_charger_toml_has_every_setting() -> None:
    text = (EXAMPLES / "charger.toml").read_text()
    for setting in SETTINGS:
        assert f"\n{setting.key} = " in text or f"\n# {setting.key} = " in text


def test_charger_toml_has_every_key_of_the_simulated_hardware() -> None:
    keys = {field.encode_name for field in fields(Options)}
    hal = tomllib.loads((EXAMPLES / "charger.toml").read_text())["hal"]
    assert set(hal) == keys


async def test_follow_status_example_ends_with_the_node(tmp_path: Path) -> None:
    async with EvseNode(loopback_config(tmp_path)):
        script = EXAMPLES / "follow_status.py"
        following = await asyncio.create_subprocess_exec(
            *(sys.executable, str(script), str(tmp_path)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert following.stdout is not None
        assert await following.stdout.readline() == b"NotPluggedIn Disabled 0\n"
    async with asyncio.timeout(10):
        assert await following.communicate() == (b"", b"the node has ended\n")


def test_every_example_has_a_test() -> None:
    tested = Path(__file__).read_text()
    assert all(file.name in tested for file in EXAMPLES.iterdir() if file.is_file())
