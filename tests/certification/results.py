"""Outcomes of scripts, and the table of results."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.certification.scripts import SCRIPTS, Kind, Script

CONTROLLER = "home-assistant-chip-core 2025.7.0"
SDK_COMMIT = "9151e79d6b"
# The runner writes the part of the document below this mark.
MARK = "<!-- Results: written by the runner, do not edit. -->"

_GROUPS = {
    "core": "Whole node, interaction model, sessions, access, commissioning, root clusters",
    "energy": "Energy",
    "optional": "Optional clusters",
    "yaml": "YAML suites",
    "long": "Suites that take hours",
}
_PYTHON_SUMMARY = re.compile(
    # Commissioning is a test class too; only the script's own class counts.
    r"Summary for test class (?!CommissionDeviceTest)\w+: "
    r"Error (\d+), Executed \d+, Failed (\d+), Passed (\d+), Requested \d+, Skipped (\d+)"
)
_COMMISSIONED = re.compile(r"Summary for test class CommissionDeviceTest: .*\bPassed 1\b")
_ERROR = re.compile(r"((Error|Exception|Failure|failure|failed|signals)\b.*:|Test step failed )")
TIMED_OUT = 124


@dataclass(frozen=True, slots=True)
class Result:
    """Result of one script: outcome is pass, fail, skip or not run. `date` is ISO.

    `node` and `commit` identify the node, `options` are those common to all nodes; they are
    empty if not recorded.
    """

    title: str
    outcome: str
    seconds: float
    reason: str
    date: str = ""
    node: str = ""
    commit: str = ""
    options: str = ""

    @property
    def is_pass(self) -> bool:
        """Return whether it passed; a skipped script did not."""
        return self.outcome == "pass"


def judge(output: str, code: int) -> tuple[str, str]:
    """Return the outcome and its reason from a Python script's output and exit status."""
    if code == TIMED_OUT:
        return "fail", "took too long"
    summary = _PYTHON_SUMMARY.findall(output)
    if not summary:
        return "fail", last_error(output)
    errors, failed, passed, skipped = map(int, summary[-1])
    if code or errors or failed:
        return "fail", last_error(output)
    if not passed:
        return ("skip", "skipped itself") if skipped else ("fail", "ran no test method")
    return "pass", f"{passed} passed" + (f", {skipped} skipped" if skipped else "")


def has_commissioned(output: str) -> bool:
    """Return whether a Python script commissioned the node."""
    return bool(_COMMISSIONED.search(output))


def judge_suite(output: str, code: int, enabled: int, total: int) -> tuple[str, str]:
    """Return the outcome of a YAML suite with `enabled` of `total` steps enabled."""
    if code == TIMED_OUT:
        return "fail", "took too long"
    if code:
        return "fail", last_error(output)
    if not enabled:
        return "skip", "no step applies"
    return "pass", f"{enabled} of {total} steps apply"


def last_error(output: str) -> str:
    """Return the last line that is likely to name the cause."""
    details = re.findall(r"^mobly\.signals\.\w+: Details=(.*?),? Extras=", output, re.MULTILINE)
    details += re.findall(r"^Exception: (Test step failed .*)", output, re.MULTILINE)
    if details:
        return str(details[-1])[:160]
    for line in reversed(output.splitlines()):
        # Errors of the controller itself, mostly at its end, are not the reason.
        if _ERROR.search(line) and not re.search(r"CHIP:|chip\.native", line):
            return re.sub(r"\s+", " ", line).strip()[-160:]
    return "no result; see script.log"


class ResultStore:
    """Store of results beside their logs, with the newest result of each script."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def folder_of(self, title: str) -> Path:
        """Return the folder of the logs and the result of a script."""
        return self._folder / re.sub(r"[^\w.]", "_", title)

    def load(self) -> dict[str, Result]:
        """Return the stored results by title."""
        stored = (
            Result(**json.loads(file.read_text(encoding="utf-8")))
            for file in self._folder.glob("*/result.json")
        )
        return {each.title: each for each in stored}

    def add(self, result: Result) -> None:
        """Store a result."""
        folder = self.folder_of(result.title)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "result.json").write_text(json.dumps(asdict(result)), encoding="utf-8")


def document(before: str, results: Mapping[str, Result], scripts: Iterable[Script]) -> str:
    """Return the document with its results replaced."""
    head, _, _ = before.partition(MARK)
    return f"{head.rstrip()}\n\n{MARK}\n\n{table(results, scripts)}"


def table(results: Mapping[str, Result], scripts: Iterable[Script] = SCRIPTS) -> str:
    """Return the results as Markdown; scripts that did not run count as not passed."""
    rows = [(script, results.get(script.title) or _not_run(script)) for script in scripts]
    passed = sum(result.is_pass for _, result in rows)
    were_run = [result for _, result in rows if result.date]
    dates = sorted(result.date for result in were_run)
    node = _most_common(result.node for result in were_run)
    commit = _most_common(result.commit for result in were_run)
    others = {result.commit for result in were_run} - {commit}
    lines = [
        "## Results",
        "",
        f"{passed} of {len(rows)} passed.",
        "",
        f"- date: {_span(dates)}",
        f"- node: {node or 'unknown'}, simulated backend",
        f"- commit: {commit or 'unknown'}{', except for rows that name another' if others else ''}",
        f"- controller: {CONTROLLER}, Python 3.12",
        f"- scripts and suites: Matter SDK at commit {SDK_COMMIT}, unmodified",
        "- node configuration: the defaults (Matter 1.3, all features of the simulated hardware,",
        "  energy management 0x7B) but for what the column says",
    ]
    for group, heading in _GROUPS.items():
        of_group = [row for row in rows if row[0].group == group]
        if of_group:
            count = sum(result.is_pass for _, result in of_group)
            lines += ["", f"### {heading}", "", f"{count} of {len(of_group)} passed.", ""]
            lines += ["| script | node | result | s | reason |", "| --- | --- | --- | ---: | --- |"]
            lines += [_row(script, result, node, commit) for script, result in of_group]
    return "\n".join(lines) + "\n"


def _not_run(script: Script) -> Result:
    return Result(script.title, "not run", 0, script.cannot)


def _span(dates: list[str]) -> str:
    if not dates:
        return "never"
    return dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"


def _most_common(texts: Iterable[str]) -> str:
    (found, _), *_ = Counter(texts).most_common(1) or [("", 0)]
    return found


def _row(script: Script, result: Result, node: str, commit: str) -> str:
    suffix = "yaml" if script.kind is Kind.YAML else "py"
    name = script.title.replace(script.name, f"{script.name}.{suffix}", 1)
    given = " ".join((*script.node_options, *filter(None, (result.options,))))
    options = f"`{given}`" if given else ""
    if script.suite_config:
        options += "suite: " + ", ".join(f"{k} = {v}" for k, v in script.suite_config.items())
    notes = [result.reason]
    if result.date and result.node != node:
        notes.append(result.node or "node unknown")
    if result.date and result.commit != commit:
        notes.append(f"commit {result.commit or 'unknown'}")
    reason = "; ".join(notes).replace("|", "\\|").replace("<", "&lt;")
    outcome = result.outcome if result.is_pass else f"**{result.outcome}**"
    return f"| {name} | {options} | {outcome} | {result.seconds:.0f} | {reason} |"
