"""What a person is told of the codes."""

from __future__ import annotations

import logging

import pytest

from evse_node.cli.output import commissioning_line, drawing_command
from evse_node.cli.run import _without_traceback
from evse_node.matter.fabrics.commissioning import WindowStatus


@pytest.mark.parametrize(
    ("status", "fabrics", "text"),
    [
        (WindowStatus.BASIC_OPEN, 0, "Ready to be commissioned with these codes."),
        (WindowStatus.BASIC_OPEN, 1, "Ready to be commissioned with these codes."),
        (WindowStatus.ENHANCED_OPEN, 1, "codes of its own"),
        (WindowStatus.NOT_OPEN, 0, "restart the node"),
        (WindowStatus.NOT_OPEN, 1, "Commissioned, on 1 fabric:"),
        (WindowStatus.NOT_OPEN, 2, "Commissioned, on 2 fabrics:"),
    ],
)
def test_commissioning_line(status: WindowStatus, fabrics: int, text: str) -> None:
    assert text in commissioning_line(status.label, fabrics)


def test_a_library_that_cannot_send_gets_one_line(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("tests.library")
    logger.addFilter(_without_traceback)
    try:
        raise OSError("unreachable")
    except OSError:
        logger.warning("cannot send", exc_info=True)
    assert caplog.records[-1].message == "cannot send"
    assert "Traceback" not in caplog.text


def test_without_an_output_nothing_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", None)
    assert drawing_command("MT:") == []
