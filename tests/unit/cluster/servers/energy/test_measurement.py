"""Accuracies, instants and quieter reporting."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evse_node.cluster.definitions.zap import load_definitions
from evse_node.cluster.servers.energy.measurement import (
    Accuracy,
    AccuracyRange,
    Instant,
    MeasurementType,
    QuietReporting,
    has_wall_times,
    percent_accuracy,
)
from tests.support.matter.values import as_int, as_structs


def test_measurement_types_match_definition() -> None:
    values = load_definitions()["Electrical Power Measurement"].enum("MeasurementTypeEnum").values
    ours = {type_.name.replace("_", "").lower(): int(type_) for type_ in MeasurementType}
    assert ours == {name.lower(): value for name, value in values.items() if value}


@given(
    st.integers(3, 10**12), st.integers(0, 10_000), st.booleans(), st.sampled_from(MeasurementType)
)
def test_percent_accuracy_has_adjacent_ranges(
    maximum: int, percent: int, is_signed: bool, type_: MeasurementType
) -> None:
    struct = percent_accuracy(type_, maximum, percent, is_signed=is_signed).to_struct()
    ranges = as_structs(struct["accuracy_ranges"])
    assert struct["measurement_type"] == type_
    assert struct["min_measured_value"] == ranges[0]["range_min"] == (-maximum if is_signed else 0)
    assert struct["max_measured_value"] == ranges[-1]["range_max"] == maximum
    for before, after in pairwise(ranges):
        assert as_int(after["range_min"]) == as_int(before["range_max"]) + 1
    for item in ranges:
        assert as_int(item["range_max"]) > as_int(item["range_min"])
        assert "percent_max" in item or "fixed_max" in item


def test_invalid_accuracy_is_refused() -> None:
    type_ = MeasurementType.VOLTAGE
    with pytest.raises(ValueError, match="starts at 10"):
        Accuracy(type_, (AccuracyRange(0, 9, fixed=1), AccuracyRange(11, 20, fixed=1)))
    with pytest.raises(ValueError, match="needs a range"):
        Accuracy(type_, ())
    with pytest.raises(ValueError, match="empty"):
        AccuracyRange(5, 5, fixed=1)
    with pytest.raises(ValueError, match="relative or a fixed"):
        AccuracyRange(0, 5)
    with pytest.raises(ValueError, match="10001"):
        AccuracyRange(0, 5, percent_100ths=10_001)


def test_instant_has_both_clocks() -> None:
    assert Instant.at(946_684_801_999, 1.5) == Instant(1, 1500)
    assert Instant.at(None, 0.0) == Instant(None, 0)
    assert Instant(100, 5000).earlier(2) == Instant(98, 3000)
    assert Instant(None, 1000).earlier(2) == Instant(None, 0)


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [(10, 11, True), (10, 10, False), (11, 10, False), (None, 10, False), (10, None, False)],
)
def test_wall_times_require_increasing_seconds(
    start: int | None, end: int | None, expected: bool
) -> None:
    assert has_wall_times(Instant(start, 0), Instant(end, 0)) is expected


def test_first_change_is_due_at_once() -> None:
    assert QuietReporting().is_due(0.0, is_significant=False)


def test_significant_change_is_due_sooner_than_others() -> None:
    reporting = QuietReporting(fastest_s=1.0, slowest_s=10.0)
    assert reporting.is_due(100.0, is_significant=True)
    assert not reporting.is_due(100.9, is_significant=True)
    assert reporting.is_due(101.0, is_significant=True)
    assert not reporting.is_due(110.9, is_significant=False)
    assert reporting.is_due(111.0, is_significant=False)


@given(st.lists(st.tuples(st.floats(0.0, 5.0), st.booleans()), max_size=60))
def test_reports_keep_minimum_distance(steps: list[tuple[float, bool]]) -> None:
    reporting = QuietReporting(fastest_s=1.0, slowest_s=10.0)
    now = 0.0
    reported: list[float] = []
    for seconds, is_significant in steps:
        now += seconds
        if reporting.is_due(now, is_significant=is_significant):
            reported.append(now)
    assert all(after >= before + 1.0 for before, after in pairwise(reported))
