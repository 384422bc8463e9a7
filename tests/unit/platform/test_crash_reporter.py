from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator

import pytest

from evse_node.cluster.servers.root.software_diagnostics import Thread
from evse_node.platform.crash_reporter import CrashReporter

NAME = "evse_node.crash_test"


class Rig:
    def __init__(self) -> None:
        self.now = 5.0
        self.reports: list[tuple[Thread, bytes]] = []
        self.calls: list[Callable[[], None]] = []
        self.handler = CrashReporter(
            lambda thread, trace: self.reports.append((thread, trace)),
            self.calls.append,
            lambda: self.now,
        )

    def run_calls(self) -> list[tuple[Thread, bytes]]:
        while self.calls:
            self.calls.pop(0)()
        reports, self.reports = self.reports, []
        return reports


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    logger = logging.getLogger("evse_node")
    logger.addHandler(rig.handler)
    yield rig
    logger.removeHandler(rig.handler)


def fail() -> None:
    raise ValueError("the secret is 1234")


def log_crash() -> None:
    try:
        fail()
    except ValueError:
        logging.getLogger(NAME).exception("something")


def test_crash_is_reported_later_with_its_place(rig: Rig) -> None:
    log_crash()
    assert rig.reports == []
    ((thread, trace),) = rig.run_calls()
    assert thread == Thread(threading.get_native_id(), threading.current_thread().name)
    kind, innermost, outer = trace.decode().splitlines()
    assert kind == "ValueError"
    assert innermost.startswith("test_crash_reporter.py:")
    assert innermost.endswith(" fail")
    assert outer.endswith(" log_crash")
    assert b"secret" not in trace


def test_entries_without_a_raised_exception_are_not_reported(rig: Rig) -> None:
    logger = logging.getLogger(NAME)
    logger.error("the meter is lost")
    logger.error("outside of any handler", exc_info=True)
    logger.warning("a warning", exc_info=ValueError())
    assert rig.run_calls() == []


def test_crashes_are_reported_once_a_minute_at_most(rig: Rig) -> None:
    log_crash()
    rig.now += 59
    log_crash()
    assert len(rig.run_calls()) == 1
    rig.now += 2
    log_crash()
    assert len(rig.run_calls()) == 1


def test_crash_in_another_thread_is_reported_with_its_name(rig: Rig) -> None:
    thread = threading.Thread(target=log_crash, name="hardware")
    thread.start()
    thread.join()
    ((reported, _),) = rig.run_calls()
    assert reported.name == "hardware"
    assert reported.id != threading.get_native_id()


def test_report_of_a_deep_recursion_is_short(rig: Rig) -> None:
    def deeper() -> None:
        deeper()

    try:
        deeper()
    except RecursionError:
        logging.getLogger(NAME).exception("too deep")
    ((_, trace),) = rig.run_calls()
    assert len(trace) < 1024
