"""Run the tests of `guest_*.py` inside the virtual machine; each is a test here as well."""

from __future__ import annotations

import ast
import json
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.hw.virtual_machine import VirtualMachine, why_not

pytestmark = [pytest.mark.hw, pytest.mark.slow]

FOLDER = Path(__file__).parent
FILES = sorted(file for file in FOLDER.glob("guest_*.py") if "def test_" in file.read_text())
LIMIT_S = 900.0


def _tests(file: Path) -> list[str]:
    body = ast.parse(file.read_text()).body
    functions = (node for node in body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return [node.name for node in functions if node.name.startswith("test_")]


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """Return the failure of each guest test, or "" if it passed."""
    if reason := why_not():
        pytest.skip(reason)
    out = tmp_path_factory.mktemp("machine")
    command = [sys.executable, "-m", "pytest", "-q", *("-p", "no:cacheprovider")]
    command += [
        "-p",
        "no:hypothesispytest",
        "--log-level=INFO",
        "--junitxml=/mnt/out/results.xml",
        "--basetemp=/mnt/tmp/pytest",
    ]
    command += [str(file) for file in FILES]
    _, console = VirtualMachine().run(command, out, LIMIT_S)
    if (out / "measured.json").exists():
        _say(json.loads((out / "measured.json").read_text()))
    file = out / "results.xml"
    assert file.exists(), console
    found: dict[str, str] = {}
    for case in ElementTree.parse(file).iter("testcase"):
        module = case.get("classname", "").rpartition(".")[2]
        problems = [child for child in case if child.tag in ("failure", "error", "skipped")]
        found[f"{module}:{case.get('name')}"] = "\n".join(
            f"{child.tag}: {child.get('message')}\n{child.text}" for child in problems
        )
    return found


def _say(taken: Mapping[str, list[float]]) -> None:
    for name, values in taken.items():
        ordered = sorted(values)
        middle, worst = ordered[len(ordered) // 2], ordered[-1]
        print(f"in the machine, {name}: median {middle:.0f} ms, worst {worst:.0f} ms")


@pytest.mark.parametrize("name", [f"{file.stem}:{test}" for file in FILES for test in _tests(file)])
def test_guest_test_passes(results: Mapping[str, str], name: str) -> None:
    assert name in results, f"it did not run; there are {sorted(results)}"
    assert not results[name], results[name]
