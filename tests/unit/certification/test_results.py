"""Outcomes of scripts, and the table of results."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.certification.results import (
    MARK,
    Result,
    ResultStore,
    document,
    has_commissioned,
    judge,
    judge_suite,
    table,
)
from tests.certification.run import current_commit
from tests.certification.scripts import Kind, Script


def summary(
    error: int = 0, failed: int = 0, passed: int = 0, skipped: int = 0, name: str = "TC_X_1_1"
) -> str:
    return (
        f"INFO Summary for test class {name}: Error {error}, Executed {passed + failed}, "
        f"Failed {failed}, Passed {passed}, Requested 9, Skipped {skipped}\n"
    )


COMMISSIONED = summary(passed=1, name="CommissionDeviceTest")


@pytest.mark.parametrize(
    ("output", "code", "outcome", "reason"),
    [
        (COMMISSIONED + summary(passed=2), 0, "pass", "2 passed"),
        (COMMISSIONED + summary(passed=2, skipped=1), 0, "pass", "2 passed, 1 skipped"),
        (COMMISSIONED + summary(skipped=1), 0, "skip", "skipped itself"),
        (COMMISSIONED + summary(), 0, "fail", "ran no test method"),
        (COMMISSIONED, 0, "fail", "no result; see script.log"),
        ("", 0, "fail", "no result; see script.log"),
        (summary(passed=2), 1, "fail", "no result; see script.log"),
        (summary(passed=2, failed=1), 0, "fail", "no result; see script.log"),
        (summary(passed=2, error=1), 0, "fail", "no result; see script.log"),
        (summary(passed=2), 124, "fail", "took too long"),
        (
            "ValueError: the cause\nCHIP:DMG: Error: not this\n" + summary(failed=1),
            1,
            "fail",
            "ValueError: the cause",
        ),
        (
            "mobly.signals.TestFailure: Details=Not so, Extras=None\n"
            + summary(failed=1)
            + "ERROR:chip.native.-:src/a.cpp:1: CHIP Error 0x7: No handler at src/b.cpp:5\n",
            1,
            "fail",
            "Not so",
        ),
    ],
)
def test_outcome_of_python_script(output: str, code: int, outcome: str, reason: str) -> None:
    assert judge(output, code) == (outcome, reason)


def test_commissioning_is_recognised_in_output() -> None:
    assert has_commissioned(COMMISSIONED + summary(failed=1))
    assert not has_commissioned(summary(failed=1, name="CommissionDeviceTest") + summary(passed=1))
    assert not has_commissioned(summary(passed=1))


@pytest.mark.parametrize(
    ("code", "enabled", "outcome", "reason"),
    [
        (0, 3, "pass", "3 of 5 steps apply"),
        (0, 0, "skip", "no step applies"),
        (254, 3, "fail", "Test step failed Read it"),
        (124, 3, "fail", "took too long"),
    ],
)
def test_outcome_of_yaml_suite(code: int, enabled: int, outcome: str, reason: str) -> None:
    end = "RuntimeError: Event loop is closed\n"
    output = f"Exception: Test step failed Read it\n{end}" if code == 254 else ""
    assert judge_suite(output, code, enabled, 5) == (outcome, reason)


SCRIPTS = (
    Script("TC_A_1_1"),
    Script("TC_B_1_1", variant="1.4.2", node_options=("--matter-version", "1.4.2")),
    Script("TC_C_1_1", cannot="no entry for it"),
    Script("Test_TC_D_1_1", kind=Kind.YAML, group="yaml"),
)
RESULTS = {
    "TC_A_1_1": Result("TC_A_1_1", "pass", 3.6, "1 passed", "2026-01-02"),
    "TC_B_1_1 (1.4.2)": Result("TC_B_1_1 (1.4.2)", "skip", 2, "a|b", "2026-01-03"),
}


def test_table_lists_every_script_with_outcome() -> None:
    lines = table(RESULTS, SCRIPTS).splitlines()
    assert "1 of 4 passed." in lines
    assert "- date: 2026-01-02 to 2026-01-03" in lines
    assert "| TC_A_1_1.py |  | pass | 4 | 1 passed |" in lines
    assert "| TC_B_1_1.py (1.4.2) | `--matter-version 1.4.2` | **skip** | 2 | a\\|b |" in lines
    assert "| TC_C_1_1.py |  | **not run** | 0 | no entry for it |" in lines
    assert "| Test_TC_D_1_1.yaml |  | **not run** | 0 |  |" in lines


def test_table_names_node_commit_and_options() -> None:
    now = {"date": "2026-01-02", "node": "evse-node 1.0, Python 3.11", "commit": "aaa"}
    with_options = now | {"options": "--features none"}
    earlier = now | {"node": "evse-node 0.9, Python 3.11", "commit": "bbb with changes"}
    results = [
        Result("TC_A_1_1", "pass", 1, "1 passed", **now),
        Result("TC_B_1_1 (1.4.2)", "pass", 1, "1 passed", **with_options),
        Result("TC_C_1_1", "pass", 1, "1 passed", **earlier),
        Result("Test_TC_D_1_1", "pass", 1, "of another time", date="2025-01-02"),
    ]
    lines = table({each.title: each for each in results}, SCRIPTS).splitlines()
    assert "- node: evse-node 1.0, Python 3.11, simulated backend" in lines
    assert "- commit: aaa, except for rows that name another" in lines
    rows = [line for line in lines if line.startswith(("| TC", "| Test"))]
    assert rows[0] == "| TC_A_1_1.py |  | pass | 1 | 1 passed |"
    assert "| `--matter-version 1.4.2 --features none` | pass | 1 | 1 passed |" in rows[1]
    assert "| 1 passed; evse-node 0.9, Python 3.11; commit bbb with changes |" in rows[2]
    assert "| of another time; node unknown; commit unknown |" in rows[3]
    assert "- commit: aaa" in table({"TC_A_1_1": results[0]}, SCRIPTS).splitlines()


def test_table_without_results_has_no_date() -> None:
    lines = table({}, SCRIPTS).splitlines()
    assert "- date: never" in lines
    assert "- node: unknown, simulated backend" in lines


def test_current_commit_marks_changed_files(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        author = ("-c", "user.name=n", "-c", "user.email=e@example.org")
        command = ["git", "-C", str(tmp_path), *author, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    assert current_commit(tmp_path) == ""
    git("init", "-q")
    (tmp_path / "evse_node").mkdir()
    (tmp_path / "evse_node/node.py").write_text("1")
    git("add", "evse_node")
    git("commit", "-q", "-m", "first")
    commit = git("rev-parse", "HEAD")[:10]
    (tmp_path / "README.md").write_text("not what is tested")
    assert current_commit(tmp_path) == commit
    (tmp_path / "evse_node/new.py").write_text("2")
    assert current_commit(tmp_path) == f"{commit} with changes"


def test_document_keeps_text_above_results() -> None:
    first = document("# Certification\n\nText.\n", RESULTS, SCRIPTS)
    assert first.startswith(f"# Certification\n\nText.\n\n{MARK}\n")
    again = document(first, {}, SCRIPTS)
    assert again.count(MARK) == 1
    assert "pass |" not in again
    assert "0 of 4 passed." in again


def test_result_store_keeps_newest_result_of_each_script(tmp_path: Path) -> None:
    store = ResultStore(tmp_path / "logs")
    assert store.load() == {}
    for result in RESULTS.values():
        store.add(result)
    better = Result("TC_B_1_1 (1.4.2)", "pass", 1, "1 passed", "2026-01-04")
    store.add(better)
    assert ResultStore(tmp_path / "logs").load() == RESULTS | {better.title: better}
