"""The solar surplus is stable for a grid meter with delay, and a frozen meter is detected."""

from __future__ import annotations

import pytest

from benchmarks.solar_stability import simulate
from evse_node.charger.surplus_estimator import SurplusEstimator


@pytest.mark.parametrize("delay_s", range(11))
@pytest.mark.parametrize("ramp", [0.5, 2.0, 26.0])
def test_offer_does_not_oscillate(delay_s: int, ramp: float) -> None:
    assert simulate(delay_s, ramp, noise_w=0) < 0.1


@pytest.mark.parametrize("delay_s", [0, 2, 5, 10])
def test_noise_is_not_amplified(delay_s: int) -> None:
    assert simulate(delay_s, 2.0, noise_w=200) < 2 * 2 * 200 / 230


def test_frozen_value_is_detected_and_stays_ignored_until_it_moves() -> None:
    estimator = SurplusEstimator(12.0)
    estimator.observe_own(0, 0.0)
    assert estimator.estimate(-4_000_000, 0.0) == 4_000_000
    for now in range(1, 40):
        estimator.observe_own(4_000_000, now)
        surplus = estimator.estimate(-4_000_000, now)
        assert surplus in (4_000_000, None)
    assert estimator.is_frozen
    for now in range(40, 80):
        estimator.observe_own(0, now)
        assert estimator.estimate(-4_000_000, now) is None
    assert estimator.estimate(-4_000_001, 80.0) == 4_000_001


def test_constant_value_at_constant_power_is_not_frozen() -> None:
    estimator = SurplusEstimator(12.0)
    for now in range(600):
        estimator.observe_own(4_000_000, now)
        assert estimator.estimate(0, now) == 4_000_000


def test_value_that_is_constant_while_own_power_is_unknown_gives_no_surplus() -> None:
    assert SurplusEstimator(12.0).estimate(-4_000_000, 0.0) is None
