"""Runs the Matter SDK's Python certification scripts, unmodified, against the node.

    python -m tests.certification --sdk DIR --python CONTROLLER_PYTHON [NAME ...]

Each script meets a factory-fresh node on a pair of test hosts of its own. `--python` is
an interpreter (3.12) that has chip-core 2025.7.0, mobly and `chip.testing`. A script
that ran no test method counts as not passed.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.certification.scripts import ENABLE_KEY, Script, select
from tests.interop.hosts import TwoHosts, why_not

DISCRIMINATOR, PASSCODE = "1234", "20202021"
PICS = Path(__file__).resolve().parent / "pics"


@dataclass(frozen=True, slots=True)
class Result:
    """How one script ended."""

    script: Script
    outcome: str
    seconds: float
    reason: str


def run_script(script: Script, options: argparse.Namespace, number: int) -> Result:
    """Run one script against a fresh node; return its result and keep its logs."""
    logs = options.logs / script.name
    logs.mkdir(parents=True, exist_ok=True)
    hosts = TwoHosts(f"cert{os.getpid() % 1000}x{number}")
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        try:
            code = _run(script, options, hosts, Path(temporary), logs)
        finally:
            hosts.close()
    output = (logs / "script.log").read_text(errors="replace")
    outcome, reason = judge(output, code)
    return Result(script, outcome, time.monotonic() - begin, reason)


def _run(
    script: Script, options: argparse.Namespace, hosts: TwoHosts, folder: Path, logs: Path
) -> int:
    with (logs / "node.log").open("wb") as node_log, (logs / "script.log").open("wb") as log:
        node = subprocess.Popen(
            hosts.command(
                hosts.device,
                *(sys.executable, "-m", "evse_node", "run", "--storage", str(folder / "node")),
                *("--discriminator", DISCRIMINATOR, "--passcode", PASSCODE),
                *("--enable-key", ENABLE_KEY, "--log-level", options.node_log_level),
                *script.node_options,
                *options.node_option,
            ),
            stdout=node_log,
            stderr=node_log,
            stdin=subprocess.DEVNULL,
        )
        try:
            time.sleep(2)
            return subprocess.run(
                hosts.command(
                    hosts.controller,
                    *(str(options.python), f"{script.name}.py"),
                    *("--commissioning-method", "on-network"),
                    *("--discriminator", DISCRIMINATOR, "--passcode", PASSCODE),
                    *("--storage-path", str(folder / "controller.json")),
                    "--paa-trust-store-path",
                    str(options.sdk / "credentials/development/paa-root-certs"),
                    *("--logs-path", str(folder / "logs")),
                    *(argument.format(pics=PICS, sdk=options.sdk) for argument in script.arguments),
                ),
                cwd=options.sdk / "src/python_testing",
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                timeout=options.timeout,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            return 124
        finally:
            node.terminate()
            try:
                node.wait(10)
            except subprocess.TimeoutExpired:
                node.kill()
                node.wait()


def judge(output: str, code: int) -> tuple[str, str]:
    """Return the outcome and its reason from a script's output and exit status."""
    # Commissioning counts as a test class too; only the script's own one matters here.
    summary = re.findall(
        r"Summary for test class (?!CommissionDeviceTest)\w+: "
        r"Error (\d+), Executed \d+, Failed (\d+), Passed (\d+), Requested \d+, Skipped (\d+)",
        output,
    )
    if code == 124:
        return "fail", "took too long"
    if not summary:
        return "fail", _last_error(output)
    errors, failed, passed, skipped = map(int, summary[-1])
    if code or errors or failed:
        return "fail", _last_error(output)
    if not passed:
        return ("skip", "skipped itself") if skipped else ("fail", "ran no test method")
    return "pass", f"{passed} passed" + (f", {skipped} skipped" if skipped else "")


def _last_error(output: str) -> str:
    for line in reversed(output.splitlines()):
        if re.search(r"(Error|Exception|Failure|signals)\b.*:", line) and "CHIP:" not in line:
            return line.strip()[-160:]
    return "no result; see script.log"


def main() -> int:
    """Run the scripts, print the table, exit 1 unless all passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="scripts or groups; all by default")
    parser.add_argument("--sdk", type=Path, required=True)
    parser.add_argument("--python", type=Path, required=True)
    parser.add_argument("--logs", type=Path, default=Path("certification-logs"))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--timeout", type=float, default=900)
    parser.add_argument("--node-option", action="append", default=[])
    parser.add_argument("--node-log-level", default="info")
    options = parser.parse_args()
    if reason := why_not():
        print(reason, file=sys.stderr)
        return 2
    chosen = select(options.names)
    results: list[Result] = []
    with ThreadPoolExecutor(options.jobs) as pool:
        for result in pool.map(
            lambda numbered: run_script(numbered[1], options, numbered[0]), enumerate(chosen)
        ):
            results.append(result)
            print(
                f"{result.outcome:5} {result.script.name:32} {result.seconds:5.0f} s  "
                f"{result.reason}",
                flush=True,
            )
    passed = sum(result.outcome == "pass" for result in results)
    print(f"{passed} of {len(results)} passed")
    return 0 if passed == len(results) else 1


if __name__ == "__main__":
    sys.exit(main())
