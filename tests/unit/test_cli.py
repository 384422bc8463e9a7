"""The command line, as a process: what it prints, and with which code it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from evse_node.cli import _parser
from evse_node.settings import SETTINGS


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "evse_node", *arguments],
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
        (["run", "--prot", "1"], "unrecognized arguments: --prot 1 (evse-node --help tells more)"),
        (["run", "--port"], "argument --port: expected one argument"),
        (["dance"], "argument COMMAND: invalid choice: 'dance'"),
        (["sim", "tap"], "the following arguments are required: UID"),
        (["sim", "status", "--control", "x"], "--control: 'x' cannot be used"),
        ([], "the following arguments are required: COMMAND"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_exit_code_2(
    arguments: list[str], line: str, tmp_path: Path
) -> None:
    done = run(*arguments, EVSE_NODE_STORAGE=str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.startswith(f"evse-node: {line}")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_without_a_running_node_it_says_how_to_start_one(tmp_path: Path) -> None:
    done = run("sim", "plug-in", "--storage", str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith(f"evse-node: no node runs on {tmp_path}: start one with")


def test_the_root_certificate_is_written(tmp_path: Path) -> None:
    done = run("paa", "--output", str(tmp_path / "paa"))
    assert done.returncode == 0
    files = [Path(line) for line in done.stdout.splitlines()]
    assert [file.name for file in files] == ["evse-node-paa.der", "evse-node-paa.pem"]
    assert files[0].read_bytes().startswith(b"\x30\x82")
    assert files[1].read_text().startswith("-----BEGIN CERTIFICATE-----")
    (tmp_path / "file").write_text("")
    done = run("paa", "--output", str(tmp_path / "file"))
    assert done.returncode == 2


def test_running_needs_no_heavy_import() -> None:
    code = (
        "import sys, evse_node.cli, evse_node.console; import json;"
        "print(json.dumps(sorted(name for name in sys.modules if '.' not in name)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout))
    heavy = {"segno", "rich", "aiohttp", "pydantic", "typer", "Crypto", "email", "zipfile"}
    assert loaded & heavy == set()


def test_every_command_line_option_is_read_by_the_settings_table() -> None:
    arguments = _parser().parse_args(["run", "--interface", "a", "--interface", "b"])
    assert vars(arguments)["setting interface"] == ["a", "b"]
