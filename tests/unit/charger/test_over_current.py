"""Overcurrent is judged by what was offered within the vehicle's reaction time."""

from __future__ import annotations

import pytest

from evse_node.charger.over_current import OverCurrentDetector


@pytest.fixture
def detector() -> OverCurrentDetector:
    return OverCurrentDetector(1_100, 500, 10.0)


def test_vehicle_that_follows_each_of_several_offers_in_time_is_allowed(
    detector: OverCurrentDetector,
) -> None:
    offers = (16_000, 12_000, 9_000, 6_000)

    def offered_at(now: float) -> int:
        return offers[min(max(0, int(now / 5)), 3)]

    for tenth in range(600):
        now = tenth / 10
        assert not detector.update(offered_at(now), offered_at(now - 4.8), now)


def test_vehicle_that_never_follows_is_detected_after_reaction_time(
    detector: OverCurrentDetector,
) -> None:
    times = [
        now for now in range(60) if detector.update(16_000 if now < 20 else 6_000, 16_000, now)
    ]
    assert times[0] == 35


def test_current_above_steady_offer_is_detected_after_duration(
    detector: OverCurrentDetector,
) -> None:
    assert [now for now in range(12) if detector.update(16_000, 20_000, now)] == [10]


def test_withdrawn_offer_restarts_detection(detector: OverCurrentDetector) -> None:
    detector.update(32_000, 32_000, 0.0)
    detector.update(None, 32_000, 1.0)
    assert not detector.update(6_000, 32_000, 2.0)
    assert detector.update(6_000, 32_000, 12.0)
