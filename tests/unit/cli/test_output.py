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
        (WindowStatus.ENHANCED_OPEN, 1, "codes of the controller that opened it"),
        (WindowStatus.NOT_OPEN, 0, "restart the node"),
        (WindowStatus.NOT_OPEN, 1, "Commissioned, on 1 fabric; to add a controller"),
        (WindowStatus.NOT_OPEN, 2, "Commissioned, on 2 fabrics; to add a controller"),
    ],
)
def test_commissioning_line_for_window_and_fabrics(
    status: WindowStatus, fabrics: int, text: str
) -> None:
    assert text in commissioning_line(status.label, fabrics)


def test_log_record_of_library_has_no_traceback(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("tests.library")
    logger.addFilter(_without_traceback)
    try:
        raise OSError("unreachable")
    except OSError:
        logger.warning("cannot send", exc_info=True)
    assert caplog.records[-1].message == "cannot send"
    assert "Traceback" not in caplog.text


def test_qr_code_is_not_drawn_without_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", None)
    assert drawing_command("MT:") == []
