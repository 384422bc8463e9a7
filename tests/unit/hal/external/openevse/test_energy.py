"""Tests of the total over sessions that the controller counts in whole watt-hours."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from evse_node.hal.external.openevse.state import EnergyTotal


def test_present_session_adds_to_total() -> None:
    total = EnergyTotal()
    assert total.update(0, 500, is_connected=True) == 500_000
    assert total.update(3_600, 500, is_connected=True) == 501_000
    assert total.update(5_400, 500, is_connected=True) == 501_500


def test_finished_session_counts_once() -> None:
    total = EnergyTotal()
    total.update(7_300, 500, is_connected=True)
    before = total.update(7_300, 502, is_connected=False)
    assert before == 500_000 + 7_300 * 10 // 36
    # The controller rounds down; the total stays until the next session has caught up.
    assert total.update(0, 502, is_connected=True) == before
    assert total.update(3_600, 502, is_connected=True) == 503_000


def test_total_ignores_late_connected_flag() -> None:
    total = EnergyTotal()
    total.update(7_200, 500, is_connected=True)
    assert total.update(7_200, 502, is_connected=True) == 502_000
    assert total.update(7_200, 502, is_connected=False) == 502_000


def test_finished_session_counts_once_when_started_without_vehicle() -> None:
    total = EnergyTotal()
    assert total.update(7_200, 502, is_connected=False) == 502_000
    assert total.update(36, 502, is_connected=True) == 502_010


def test_total_keeps_session_lost_by_controller_restart() -> None:
    total = EnergyTotal()
    assert total.update(36_000, 500, is_connected=True) == 510_000
    assert total.update(0, 500, is_connected=True) == 510_000
    assert total.update(3_600, 500, is_connected=True) == 511_000


def test_total_continues_after_controller_total_was_reset() -> None:
    total = EnergyTotal()
    total.update(0, 500, is_connected=False)
    assert total.update(0, 0, is_connected=False) == 500_000
    assert total.update(3_600, 0, is_connected=True) == 501_000


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**4), st.booleans())))
def test_total_never_decreases(shown: list[tuple[int, int, bool]]) -> None:
    total = EnergyTotal()
    totals = [
        total.update(session_ws, finished_wh, is_connected=is_connected)
        for session_ws, finished_wh, is_connected in shown
    ]
    assert totals == sorted(totals)


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=8))
def test_total_is_sum_of_sessions(sessions_ws: list[int]) -> None:
    total = EnergyTotal()
    finished_wh = 0
    shown = 0
    for session_ws in sessions_ws:
        for part in (0, session_ws // 2, session_ws):
            shown = total.update(part, finished_wh, is_connected=True)
        finished_wh += session_ws // 3600
        shown = total.update(session_ws, finished_wh, is_connected=False)
    assert abs(shown - sum(sessions_ws) / 3.6) <= 1_001 * len(sessions_ws)
