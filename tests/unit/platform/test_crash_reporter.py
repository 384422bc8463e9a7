from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator

import pytest

from evse_node.cluster.servers.root.software_diagnostics import Thread
from evse_node.platform.crash_reporter import CrashReporter

NAME = "evse_node.defects_test"


class Rig:
    def __init__(self) -> None:
        self.now = 5.0
        self.told: list[tuple[Thread, bytes]] = []
        self.waiting: list[Callable[[], None]] = []
        self.handler = CrashReporter(
            lambda thread, recording: self.told.append((thread, recording)),
            self.waiting.append,
            lambda: self.now,
        )

    def settle(self) -> list[tuple[Thread, bytes]]:
        while self.waiting:
            self.waiting.pop(0)()
        told, self.told = self.told, []
        return told


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    logger = logging.getLogger("evse_node")
    logger.addHandler(rig.handler)
    yield rig
    logger.removeHandler(rig.handler)


def fail() -> None:
    raise ValueError("the secret is 1234")


def log_defect() -> None:
    try:
        fail()
    except ValueError:
        logging.getLogger(NAME).exception("something")


def test_a_defect_is_told_later_with_its_place(rig: Rig) -> None:
    log_defect()
    assert rig.told == []
    ((thread, recording),) = rig.settle()
    assert thread == Thread(threading.get_native_id(), threading.current_thread().name)
    kind, innermost, outer = recording.decode().splitlines()
    assert kind == "ValueError"
    assert innermost.startswith("test_crash_reporter.py:")
    assert innermost.endswith(" fail")
    assert outer.endswith(" log_defect")
    assert b"secret" not in recording


def test_other_entries_are_no_defects(rig: Rig) -> None:
    logger = logging.getLogger(NAME)
    logger.error("the meter is lost")
    logger.error("outside of any handler", exc_info=True)
    logger.warning("a warning", exc_info=ValueError())
    assert rig.settle() == []


def test_no_more_than_one_a_minute(rig: Rig) -> None:
    log_defect()
    rig.now += 59
    log_defect()
    assert len(rig.settle()) == 1
    rig.now += 2
    log_defect()
    assert len(rig.settle()) == 1


def test_another_thread_has_its_own_name(rig: Rig) -> None:
    thread = threading.Thread(target=log_defect, name="hardware")
    thread.start()
    thread.join()
    ((told, _),) = rig.settle()
    assert told.name == "hardware"
    assert told.id != threading.get_native_id()


def test_a_deep_recursion_stays_small(rig: Rig) -> None:
    def deeper() -> None:
        deeper()

    try:
        deeper()
    except RecursionError:
        logging.getLogger(NAME).exception("too deep")
    ((_, recording),) = rig.settle()
    assert len(recording) < 1024
