"""The accelerated clock of a certification run."""

from __future__ import annotations

from tests.certification.node_process import ScaledClock


def test_unscaled_clock_needs_no_prefix() -> None:
    assert ScaledClock().prefix() == ()


def test_programs_started_later_share_the_scaled_time() -> None:
    now = 100.0
    clock = ScaledClock(10, "/lib/faketime.so", monotonic=lambda: now)
    assert clock.prefix() == ("env", "LD_PRELOAD=/lib/faketime.so", "FAKETIME=+0 x10")
    # After a minute the scaled clock shows ten: nine more than the real one.
    now += 60.0
    assert clock.prefix()[-1] == "FAKETIME=+540 x10"
