"""The command line as a process: output and exit status."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from evse_node.cli.main import _parser
from evse_node.config.node_config import SETTINGS
from evse_node.config.values import HostPort
from evse_node.platform.control_file import write_control_file


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "evse_node", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=30,
        check=False,
    )


def test_help_names_every_setting_and_command() -> None:
    shown = run("run", "--help").stdout
    for setting in SETTINGS:
        assert f"--{setting.key}" in shown
    assert "--config" in shown
    shown = run("--help").stdout
    assert all(name in shown for name in ("run", "onboarding", "factory-reset", "paa", "sim"))


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["run", "--port", "x"], "--port: 'x' cannot be used: give 0 to 65535"),
        (["run", "--config", "/nowhere.toml"], "/nowhere.toml: cannot be read"),
        (["run", "--interface", "nowhere0", "--port", "0"], "interface: 'nowhere0' does not exist"),
        (
            ["run", "--backend", "nothing", "--interface", "lo", "--port", "0"],
            "backend: 'nothing' is not known",
        ),
        (["run", "--port", "1\n\x1b[2J"], r"--port: '1\n\x1b[2J' cannot be used"),
        (["run", "--prot", "1"], "unrecognized arguments: --prot 1 (see evse-node run --help)"),
        (
            ["sim", "plug-in", "now"],
            "unrecognized arguments: now (see evse-node sim plug-in",
        ),
        (["run", "--interface", "a/b"], "--interface: 'a/b' cannot be used"),
        (
            ["run", "--backend", "gpio"],
            "configuration: hal.board is missing: give a file, or one of",
        ),
        (["run", "--port"], "argument --port: expected one argument"),
        (["dance"], "argument COMMAND: invalid choice: 'dance'"),
        (["sim", "tap"], "the following arguments are required: UID"),
        (["sim", "status", "--control", "x"], "--control: 'x' cannot be used"),
        ([], "the following arguments are required: COMMAND"),
    ],
)
def test_invalid_command_line_prints_one_line_and_exits_with_2(
    arguments: list[str], line: str, tmp_path: Path
) -> None:
    done = run(*arguments, EVSE_NODE_STORAGE=str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.startswith(f"evse-node: {line}")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_help_of_command_begins_with_sentence() -> None:
    assert "Run a node until Ctrl-C or SIGTERM." in run("run", "--help").stdout
    assert "Present a card to the RFID reader." in run("sim", "tap", "--help").stdout


def test_command_without_running_node_explains_how_to_start_one(tmp_path: Path) -> None:
    done = run("sim", "plug-in", "--storage", str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith(f"evse-node: no node runs on {tmp_path}: start one with")


def test_factory_reset_requires_confirmation(tmp_path: Path) -> None:
    write_control_file(tmp_path, HostPort("127.0.0.1", 9))
    done = run("factory-reset", "--storage", str(tmp_path))
    assert done.returncode == 2
    assert done.stderr == "evse-node: nothing was reset: not on a terminal, so give --yes\n"
    # With --yes the node is called, and not reachable.
    assert run("factory-reset", "--yes", "--storage", str(tmp_path)).returncode == 1


def test_paa_writes_root_certificate(tmp_path: Path) -> None:
    done = run("paa", "--output", str(tmp_path / "paa"))
    assert done.returncode == 0
    files = [Path(line) for line in done.stdout.splitlines()]
    assert [file.name for file in files] == ["evse-node-paa.der", "evse-node-paa.pem"]
    assert files[0].read_bytes().startswith(b"\x30\x82")
    assert files[1].read_text().startswith("-----BEGIN CERTIFICATE-----")
    (tmp_path / "file").write_text("")
    done = run("paa", "--output", str(tmp_path / "file"))
    assert done.returncode == 2


def test_run_does_not_import_heavy_modules() -> None:
    code = (
        "import sys, evse_node.cli.main, evse_node.cli.run; import json;"
        "print(json.dumps(sorted(name for name in sys.modules if '.' not in name)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout))
    heavy = {"segno", "rich", "aiohttp", "pydantic", "typer", "Crypto", "email", "zipfile"}
    assert loaded & heavy == set()


def test_interface_flag_may_be_repeated() -> None:
    arguments = _parser().parse_args(["run", "--interface", "a", "--interface", "b"])
    assert vars(arguments)["interface"] == ["a", "b"]


@contextmanager
def node(folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """Run a node on loopback; yield the process and its output until it has started."""
    arguments = ("run", "--interface", "lo", "--port", "0", "--storage", str(folder), *options)
    process = subprocess.Popen(
        [sys.executable, "-m", "evse_node", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONUTF8": "1"},
    )
    assert process.stdout is not None
    lines: list[str] = []
    try:
        while not lines or "NotPluggedIn" not in lines[-1]:
            lines.append(process.stdout.readline().rstrip("\n"))
            assert process.poll() is None, lines
        yield process, lines
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_node_prints_codes_accepts_commands_and_stops_on_signal(
    tmp_path: Path, number: signal.Signals
) -> None:
    with node(tmp_path, "--passcode", "20202021", "--discriminator", "3840") as (process, lines):
        shown = "\n".join(lines)
        assert f"Storage: {tmp_path}" in shown
        assert "Manual code: 3497-011-2332" in shown
        assert "QR code:     MT:-24J0AFN00KA0648G00" in shown
        assert "Ready to be commissioned with these codes." in shown
        assert "█▀▀▀▀▀█" in shown or "█ ▄▄▄▄▄ █" in shown
        storage = ("--storage", str(tmp_path))
        codes = json.loads(run("onboarding", "--json", *storage).stdout)
        assert codes["manual_code"] == "34970112332"
        assert "Ready to be commissioned with these codes." in run("onboarding", *storage).stdout
        assert run("sim", "plug-in", *storage).returncode == 0
        assert run("sim", "tap", "04a1b2", *storage).returncode == 0
        status = json.loads(run("sim", "status", "--json", *storage).stdout)
        assert status["charger"]["state"] == "PluggedInNoDemand"
        assert run("sim", "battery", "30", "50000000", *storage).returncode == 0
        assert run("sim", "battery", "20", *storage).returncode == 0
        assert run("sim", "derate", "10000", *storage).returncode == 0
        charger = json.loads(run("sim", "status", "--json", *storage).stdout)["charger"]
        assert charger["vehicle"]["state_of_charge_percent"] == 20
        assert charger["vehicle"]["battery_capacity_mwh"] == 50_000_000
        assert 10_000 in charger["charge_limits_ma"].values()
        assert run("sim", "derate", *storage).returncode == 0
        charger = json.loads(run("sim", "status", "--json", *storage).stdout)["charger"]
        assert 10_000 not in charger["charge_limits_ma"].values()
        refused = run("sim", "fault", "Sunburn", *storage)
        assert refused.returncode == 2
        assert refused.stderr.startswith("evse-node: unknown fault 'Sunburn'; known faults are")
        address = json.loads((tmp_path / "control.json").read_text())
        text = run("sim", "status", "--control", f"{address['host']}:{address['port']}").stdout
        assert "PluggedInNoDemand" in text
        process.send_signal(number)
        assert process.wait(10) == 0
        assert process.stdout is not None
        assert process.stdout.read().endswith("Stopped: the contactor is open.\n")
    assert not (tmp_path / "control.json").exists()


def test_second_node_on_same_storage_is_rejected(tmp_path: Path) -> None:
    with node(tmp_path):
        second = run("run", "--storage", str(tmp_path), "--interface", "lo", "--port", "0")
    assert second.returncode == 2
    assert "in use by another node" in second.stderr


def test_node_runs_without_importing_ssl() -> None:
    script = """if True:
        import sys
        from evse_node.cli.main import _import_asyncio_without_tls
        _import_asyncio_without_tls()
        import asyncio
        import evse_node.cli.run
        print([name for name in ("ssl", "_ssl", "_hashlib") if name in sys.modules])
        import ssl
        print(asyncio.run(asyncio.sleep(0, "runs")), ssl.__name__)
    """
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout == "[]\nruns ssl\n"


def test_unencodable_output_is_escaped(tmp_path: Path) -> None:
    folder = str(tmp_path / "odd\udcff")
    done = run("paa", "--output", folder, PYTHONIOENCODING="ascii:strict")
    assert (done.returncode, done.stderr) == (0, "")
    assert "odd\\udcff" in done.stdout


def test_full_disk_prints_one_line() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "evse_node", "pics"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=30,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == "evse-node: the output cannot be written: the disk is full\n"
