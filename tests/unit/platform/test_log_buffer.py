from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from evse_node.cluster.servers.root.diagnostic_logs import Intent
from evse_node.platform.log_buffer import LogBuffer

NAME = "evse_node.log_ring_test"


class Clocks:
    def __init__(self) -> None:
        self.now = 50.0
        self.utc_us: int | None = 7


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def buffer(clocks: Clocks) -> Iterator[LogBuffer]:
    buffer = LogBuffer(lambda: clocks.now, lambda: clocks.utc_us, capacity=1000)
    logger = logging.getLogger("evse_node")
    level = logger.level
    logger.addHandler(buffer)
    logger.setLevel(logging.INFO)
    yield buffer
    logger.removeHandler(buffer)
    logger.setLevel(level)


def lines(buffer: LogBuffer, intent: Intent = Intent.END_USER_SUPPORT) -> list[str]:
    return [entry.text.decode() for entry in buffer.read(intent)]


def test_entries_have_text_and_times(buffer: LogBuffer, clocks: Clocks) -> None:
    logger = logging.getLogger(NAME)
    clocks.now = 51.5
    logger.info("number %d", 5)
    clocks.utc_us = None
    logger.debug("not of interest")
    logger.warning("größer")
    first, second = buffer.read(Intent.END_USER_SUPPORT)
    assert first.text.decode().endswith(f" INFO {NAME}: number 5\n")
    assert (first.utc_us, first.system_us) == (7, 1_500_000)
    assert second.text.decode().endswith(f" WARNING {NAME}: größer\n")
    assert second.utc_us is None


def test_buffer_keeps_the_newest_entries(buffer: LogBuffer) -> None:
    logger = logging.getLogger(NAME)
    for number in range(100):
        logger.info("entry %03d %s", number, "." * 50)
    kept = lines(buffer)
    assert 1000 - len(kept[0]) < sum(map(len, kept)) <= 1000
    assert "entry 099" in kept[-1]
    logger.info("x" * 20_000)
    assert lines(buffer) == []


def test_wrong_format_does_not_raise(buffer: LogBuffer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)
    buffer.handle(logging.LogRecord(NAME, logging.INFO, "", 0, "number %d", ("five",), None))
    logging.getLogger(NAME).info("afterwards")
    (line,) = lines(buffer)
    assert "afterwards" in line


def test_entries_are_selected_by_intent(buffer: LogBuffer) -> None:
    logging.getLogger("evse_node.platform.dns_sd").info("announced")
    logging.getLogger(NAME).info("charging")
    try:
        raise ZeroDivisionError("by zero")
    except ZeroDivisionError:
        logging.getLogger(NAME).exception("trouble")
    (network,) = lines(buffer, Intent.NETWORK_DIAG)
    assert "announced" in network
    (crash,) = lines(buffer, Intent.CRASH_LOGS)
    assert "trouble" in crash
    assert "Traceback" in crash
    assert "by zero" in crash
    assert len(lines(buffer)) == 3
