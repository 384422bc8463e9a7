"""How fast time goes by for the programs of a certification run."""

from __future__ import annotations

from tests.certification.node_process import PollTimings


def test_usually_time_is_left_alone() -> None:
    assert PollTimings().prefix() == ()


def test_programs_that_begin_later_have_the_same_time() -> None:
    now = 100.0
    pace = PollTimings(10, "/lib/faketime.so", clock=lambda: now)
    assert pace.prefix() == ("env", "LD_PRELOAD=/lib/faketime.so", "FAKETIME=+0 x10")
    # A minute later it is ten minutes later for who began at once: nine more than it seems.
    now += 60.0
    assert pace.prefix()[-1] == "FAKETIME=+540 x10"
