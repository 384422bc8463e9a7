from __future__ import annotations

import re
from pathlib import Path

from evse_node.state_machine.faults import FAULT_CLASSES

DOCUMENT = Path(__file__).parents[3] / "docs" / "safety.md"


def test_table_of_faults_matches_code() -> None:
    rows = re.findall(
        r"^\| (\w+) \| (retried|while present|latched) \|", DOCUMENT.read_text(), re.M
    )
    expected = {fault.value: kind.value for fault, kind in FAULT_CLASSES.items()}
    assert dict(rows) == expected
    assert len(rows) == len(expected)
