"""Run of one script or suite against a factory-fresh node on a pair of hosts of its own.

Alternatively, scripts run in sequence against one node that the first of them commissions.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from evse_node import __version__
from tests.certification.node_process import NodeProcess, ScaledClock
from tests.certification.reboot_server import RebootServer
from tests.certification.results import (
    TIMED_OUT,
    Result,
    ResultStore,
    has_commissioned,
    judge,
    judge_suite,
)
from tests.certification.scripts import SUITES, Kind, Script
from tests.interop.hosts import TwoHosts

DISCRIMINATOR, PASSCODE = "1234", "20202021"
# Settings that the YAML suites expect of the node under test.
SUITE_DISCRIMINATOR = "3840"
SUITE_DRIVER = "scripts/tests/chiptest/yamltest_with_chip_repl_tester.py"
# PICS of the test, not of the node: it is automated, without prompts.
TEST_PICS = "PICS_SDK_CI_ONLY=1\nPICS_USER_PROMPT=0\nPICS_SKIP_SAMPLE_APP=0\n"
PROJECT = Path(__file__).resolve().parents[2]
# A result depends on these files; documents and other tests may change meanwhile.
_TESTED = ("evse_node", "pyproject.toml", "tests/certification")
_COUNT_STEPS = Path(__file__).resolve().parent / "count_steps.py"


@dataclass(frozen=True, slots=True)
class Bench:
    """Settings common to all runs."""

    sdk: Path
    python: Path
    store: ResultStore
    timeout: float
    node_options: tuple[str, ...]
    node_log_level: str
    time_scale: int = 1
    faketime: str = ""

    def clock(self) -> ScaledClock:
        """Return the clock of a device and its controllers."""
        return ScaledClock(self.time_scale, self.faketime)


def current_commit(project: Path = PROJECT) -> str:
    """Return the checked-out commit, "... with changes" when files differ from it.

    Returns "" outside of a git repository.
    """
    try:
        commit = _git(project, "rev-parse", "--short=10", "HEAD")
        changes = _git(project, "status", "--porcelain", "--", *_TESTED)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return f"{commit} with changes" if changes else commit


def _git(project: Path, *arguments: str) -> str:
    command = ["git", "-C", str(project), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


class Device:
    """Node on one of two hosts while its context is open, and the state of its controller.

    Its log goes to `log`. Both hosts use `clock`.
    """

    def __init__(self, options: tuple[str, ...], name: str, log: Path, clock: ScaledClock) -> None:
        self.options = options
        self.clock = clock
        self.is_commissioned = False
        self._name = name
        self._log = log
        self._closing = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as closing:
            self.folder = Path(closing.enter_context(tempfile.TemporaryDirectory()))
            self.hosts = TwoHosts(self._name)
            closing.callback(self.hosts.close)
            log = closing.enter_context(self._log.open("wb"))
            self.node = NodeProcess(self.hosts, self.folder / "node", self.options, log, self.clock)
            closing.callback(self.node.stop)
            self.node.start()
            self._closing = closing.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.close()


def node_options(script: Script, bench: Bench) -> tuple[str, ...]:
    """Return the node options for a script."""
    is_suite = script.kind is Kind.YAML
    return (
        *("--discriminator", SUITE_DISCRIMINATOR if is_suite else DISCRIMINATOR),
        *("--passcode", PASSCODE, "--enable-key", script.enable_key),
        *("--log-level", bench.node_log_level),
        *script.node_options,
        *bench.node_options,
    )


def share_devices(scripts: Sequence[Script]) -> list[list[Script]]:
    """Return lists of scripts that may run on the same device, in order.

    A script without options joins the first list. Scripts that commission or restart the
    node themselves are omitted.
    """
    fitting = [
        script
        for script in scripts
        if script.kind is Kind.PYTHON and script.is_commissioning and not script.cannot
    ]
    chosen = [script.node_options for script in fitting if script.node_options]
    default = chosen[0] if chosen else ()
    shared: dict[tuple[str, ...], list[Script]] = {}
    for script in fitting:
        options = script.node_options or default
        variant = ", ".join(filter(None, (script.variant, "one device")))
        shared.setdefault(options, []).append(
            replace(script, node_options=options, variant=variant)
        )
    return list(shared.values())


def run_on_one_device(scripts: Sequence[Script], bench: Bench, number: int) -> Iterator[Result]:
    """Run scripts in sequence on one device, commissioned by the first."""
    logs = bench.store.folder_of(f"one device {number}")
    logs.mkdir(parents=True, exist_ok=True)
    options = node_options(scripts[0], bench)
    name = f"cert{os.getpid() % 10000}x{number}"
    with Device(options, name, logs / "node.log", bench.clock()) as device:
        for script in scripts:
            yield run_script(script, bench, number, device)


def run_script(script: Script, bench: Bench, number: int, device: Device | None = None) -> Result:
    """Run one script and return its result; its logs are in a folder of its own.

    Without a device, a new one is started.
    """
    date = datetime.now(UTC).date().isoformat()
    if script.cannot:
        return Result(script.title, "not run", 0, script.cannot)
    logs = bench.store.folder_of(script.title)
    logs.mkdir(parents=True, exist_ok=True)
    commit = current_commit()
    begin = time.monotonic()
    try:
        outcome, reason = _Run(script, bench, logs, number).outcome(device)
        if bench.time_scale != 1:
            reason += f", {bench.time_scale} times as fast"
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        outcome, reason = "fail", str(error)
    return Result(
        script.title,
        outcome,
        round(time.monotonic() - begin, 1),
        reason,
        date,
        node=f"evse-node {__version__}, Python {platform.python_version()}",
        commit=commit,
        options=" ".join(bench.node_options),
    )


class _Run:
    def __init__(self, script: Script, bench: Bench, logs: Path, number: int) -> None:
        self._script = script
        self._bench = bench
        self._logs = logs
        self._number = number

    def outcome(self, device: Device | None) -> tuple[str, str]:
        with ExitStack() as closing:
            log = closing.enter_context((self._logs / "script.log").open("wb"))
            self._write_pics()
            if device is None:
                name = f"cert{os.getpid() % 10000}x{self._number}"
                options = node_options(self._script, self._bench)
                node_log = self._logs / "node.log"
                device = closing.enter_context(Device(options, name, node_log, self._bench.clock()))
            hosts = device.hosts
            is_suite = self._script.kind is Kind.YAML
            if is_suite:
                closing.enter_context(RebootServer(hosts, device.node))
            try:
                code = subprocess.run(
                    hosts.command(
                        hosts.controller,
                        *device.clock.prefix(),
                        *(self._suite(device.node) if is_suite else self._python(device)),
                    ),
                    cwd=self._bench.sdk / ("" if is_suite else "src/python_testing"),
                    env=self._environment(),
                    stdout=log,
                    stderr=log,
                    # Answer yes to every prompt of a suite.
                    input=b"y\n" * 100 if is_suite else None,
                    stdin=None if is_suite else subprocess.DEVNULL,
                    timeout=max(self._bench.timeout, self._script.timeout_s),
                    check=False,
                ).returncode
            except subprocess.TimeoutExpired:
                code = TIMED_OUT
        output = (self._logs / "script.log").read_text(errors="replace")
        if is_suite:
            return judge_suite(output, code, *self._count_steps())
        device.is_commissioned |= has_commissioned(output)
        return judge(output, code)

    @property
    def _pics(self) -> Path:
        return (self._logs / "pics").resolve()

    def _write_pics(self) -> None:
        endpoint = self._script.pics_endpoint
        done = subprocess.run(
            [
                *(sys.executable, "-m", "evse_node", "pics"),
                *node_options(self._script, self._bench),
                *(() if endpoint is None else ("--endpoint", str(endpoint))),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(done.stderr.strip())
        # Both parsers of PICS files use the last line of a key.
        test_pics = "" if self._script.is_pure_pics else TEST_PICS
        self._pics.write_text(done.stdout + test_pics + self._script.pics, encoding="ascii")

    def _python(self, device: Device) -> list[str]:
        commissioning = (
            *("--commissioning-method", "on-network"),
            *("--discriminator", DISCRIMINATOR, "--passcode", PASSCODE),
        )
        sdk = self._bench.sdk
        return [
            *(str(self._bench.python), f"{self._script.name}.py"),
            *(() if device.is_commissioned or not self._script.is_commissioning else commissioning),
            *("--storage-path", str(device.folder / "controller.json")),
            *("--paa-trust-store-path", str(sdk / "credentials/development/paa-root-certs")),
            *("--logs-path", str(device.folder / "logs")),
            *(
                argument.format(pics=self._pics, sdk=sdk, qr=device.node.qr_code)
                for argument in self._script.arguments
            ),
        ]

    def _suite(self, node: NodeProcess) -> list[str]:
        return [
            *(str(self._bench.python), SUITE_DRIVER, "--setup-code", node.qr_code),
            *("--yaml-path", str(self._suite_file()), "--pics-file", str(self._pics)),
        ]

    def _suite_file(self) -> Path:
        file = self._bench.sdk / SUITES / f"{self._script.name}.yaml"
        if not self._script.suite_config:
            return file
        copy = self._logs.resolve() / file.name
        copy.write_text(configured(file.read_text(encoding="utf-8"), self._script.suite_config))
        return copy

    def _environment(self) -> dict[str, str]:
        if self._script.kind is Kind.PYTHON:
            return dict(os.environ)
        scripts = self._bench.sdk / "scripts"
        path = f"{scripts / 'py_matter_idl'}:{scripts / 'py_matter_yamltests'}"
        return os.environ | {"PYTHONPATH": path}

    def _count_steps(self) -> tuple[int, int]:
        """Return the number of enabled steps and of all steps."""
        done = subprocess.run(
            [str(self._bench.python), str(_COUNT_STEPS), str(self._suite_file()), str(self._pics)],
            cwd=self._bench.sdk,
            env=self._environment(),
            capture_output=True,
            text=True,
            check=True,
        )
        enabled, total = done.stdout.split()[-2:]
        return int(enabled), int(total)


def configured(suite: str, config: Mapping[str, str]) -> str:
    """Return a suite's text with other defaults in its `config`, as a test harness sets them.

    Raises RuntimeError for an unknown key.
    """
    for key, value in config.items():
        pattern = rf"(^    {key}:\n        type: \w+\n        defaultValue: ).*"
        suite, count = re.subn(pattern, rf"\g<1>{value}", suite, flags=re.MULTILINE)
        if count != 1:
            raise RuntimeError(f"the suite has no configuration value {key}")
    return suite
