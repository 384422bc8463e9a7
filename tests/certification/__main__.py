"""Run the Matter SDK's certification scripts and suites, unmodified, against the node.

    python -m tests.certification setup --sdk DIR --env DIR
    python -m tests.certification --sdk DIR --env DIR [NAME or GROUP ...]
    python -m tests.certification report

The first command creates the controller's environment. The second runs scripts (all by
default), each against a factory-fresh node on a pair of test hosts of its own; groups are
core, energy, optional, yaml and long (hours, run only by name). A script that was skipped,
or ran no test method, did not pass. The third writes the table in docs from the results
stored beside the logs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from tests.certification import controller
from tests.certification.node_process import find_faketime
from tests.certification.results import Result, ResultStore, document
from tests.certification.run import Bench, run_on_one_device, run_script, share_devices
from tests.certification.scripts import SCRIPTS, Script, missing, select
from tests.interop.hosts import why_not

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/certification.md"


def main() -> int:
    """Run the scripts, print and store the results; exit with status 1 unless all passed."""
    options = _parser().parse_args()
    store = ResultStore(options.logs)
    if options.names[:1] == ["report"]:
        _write_document(store)
        return 0
    if options.sdk is None:
        print("give the SDK's tree with --sdk DIR", file=sys.stderr)
        return 2
    setting_up = options.names[:1] == ["setup"]
    chosen = [] if setting_up else select(options.names)
    if complaint := missing(options.sdk, chosen):
        print(complaint, file=sys.stderr)
        return 2
    if setting_up:
        if options.env is None:
            print("setup needs --env DIR", file=sys.stderr)
            return 2
        return controller.main(options.sdk.resolve(), options.env.resolve(), options.base_python)
    python: Path | None = options.python or (options.env and controller.python_of(options.env))
    if python is None or not python.exists():
        print("no controller: give the --env DIR that setup created", file=sys.stderr)
        return 2
    faketime = find_faketime() if options.time_scale != 1 else ""
    if options.time_scale != 1 and not faketime:
        print("--time-scale needs faketime, which is not installed", file=sys.stderr)
        return 2
    if reason := why_not():
        print(reason, file=sys.stderr)
        return 2
    bench = Bench(
        options.sdk.resolve(),
        python.absolute(),
        store,
        options.timeout,
        tuple(options.node_option),
        options.node_log_level,
        options.time_scale,
        faketime,
    )
    results: Iterator[Result]
    if options.one_device:
        shared = share_devices(chosen)
        chosen = [script for scripts in shared for script in scripts]
        results = (
            result
            for number, scripts in enumerate(shared)
            for result in run_on_one_device(scripts, bench, number)
        )
    else:
        results = _each_on_its_own(chosen, bench, options.jobs)
    passed = 0
    for result in results:
        store.add(result)
        passed += result.is_pass
        print(
            f"{result.outcome:7} {result.title:40} {result.seconds:5.0f} s  {result.reason}",
            flush=True,
        )
    print(f"{passed} of {len(chosen)} passed")
    if options.write_docs:
        _write_document(store)
    return 0 if passed == len(chosen) else 1


def _each_on_its_own(chosen: list[Script], bench: Bench, jobs: int) -> Iterator[Result]:
    with ThreadPoolExecutor(jobs) as pool:
        runs = [pool.submit(run_script, each, bench, n) for n, each in enumerate(chosen)]
        for done in as_completed(runs):
            yield done.result()


def _write_document(store: ResultStore) -> None:
    before = DOCUMENT.read_text(encoding="utf-8") if DOCUMENT.exists() else ""
    DOCUMENT.write_text(document(before, store.load(), SCRIPTS), encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.certification",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", help="setup, report, or scripts and groups (all)")
    parser.add_argument("--sdk", type=Path, help="the SDK's tree")
    parser.add_argument("--env", type=Path, help="the controller's environment")
    parser.add_argument("--python", type=Path, help="its interpreter, instead of --env")
    parser.add_argument("--base-python", default=controller.PYTHON, help="interpreter for setup")
    parser.add_argument("--logs", type=Path, default=Path("certification-logs"))
    parser.add_argument("--jobs", type=_count, default=2, help="parallel pairs of hosts (2)")
    parser.add_argument(
        "--one-device",
        action="store_true",
        help="run Python scripts in sequence on a device commissioned by the first,"
        " one device for each set of node options",
    )
    parser.add_argument(
        "--timeout", type=float, default=1800, help="seconds for each script (1800)"
    )
    parser.add_argument(
        "--time-scale",
        type=_count,
        default=1,
        metavar="N",
        help="run clocks and timers of node and controller N times as fast (1), for suites"
        " that wait for hours; needs faketime and a machine that fast",
    )
    parser.add_argument("--node-option", action="append", default=[], help="for every node")
    parser.add_argument("--node-log-level", default="info")
    parser.add_argument(
        "--write-docs",
        action="store_true",
        help="write the results stored in --logs, of this run and earlier ones, to docs",
    )
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' cannot be used: give a positive whole number")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
