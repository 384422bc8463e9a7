"""docs/virtual-charger.md: its test passes, and its table is complete."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import msgspec

from evse_node.cli.main import _SIMULATIONS
from evse_node.node.control.operations import OPERATIONS

DOCUMENT = Path(__file__).parents[3] / "docs" / "virtual-charger.md"


def test_script_in_document_passes(tmp_path: Path) -> None:
    [(name, text)] = re.findall(
        r"^```python\n# (\S+)\n(.*?)^```$", DOCUMENT.read_text(), re.M | re.S
    )
    (tmp_path / name).write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", name],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_document_lists_every_action() -> None:
    text = DOCUMENT.read_text()
    actions = {each.path.removeprefix("/sim/") for each in OPERATIONS if each.is_simulation}
    assert {simulation.name for simulation in _SIMULATIONS} <= actions
    table = text[text.index("| `evse-node sim") : text.index("$ curl")]
    assert all(f"`{action}" in table for action in actions)
    parameters = {
        field.name
        for each in OPERATIONS
        if each.is_simulation and each.request
        for field in msgspec.structs.fields(each.request)
    }
    assert set(re.findall(r'"(\w+)":', table)) == parameters
