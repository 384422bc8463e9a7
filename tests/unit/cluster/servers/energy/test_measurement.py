"""Accuracies, instants and quieter reporting."""

from __future__ import annotations

from collections.abc import Sequence
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


def test_measurement_types_match_definition():
    values = load_definitions()["Electrical Power Measurement"].enum("MeasurementTypeEnum").values
    ours = {type_.name.replace("_", "").lower(): int(type_) for type_ in MeasurementType}
    assert ours == {name.lower(): value for name, value in values.items() if value}


@given(
    st.integers(3, 10**12), st.integers(0, 10_000), st.booleans(), st.sampled_from(MeasurementType)
)
def test_percent_accuracy_has_adjacent_ranges(maximum, percent, is_signed, type_):
    struct = percent_accuracy(type_, maximum, percent, is_signed=is_signed).to_struct()
    ranges = struct["accuracy_ranges"]
    assert isinstance(ranges, Sequence)
    assert struct["measurement_type"] == type_
    assert struct["min_measured_value"] == ranges[0]["range_min"] == (-maximum if is_signed else 0)
    assert struct["max_measured_value"] == ranges[-1]["range_max"] == maximum
    for before, after in pairwise(ranges):
        assert after["range_min"] == before["range_max"] + 1
    for item in ranges:
        assert item["range_max"] > item["range_min"]
        assert "percent_max" in item or "fixed_max" in item


def test_invalid_accuracy_is_refused():
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


def test_instant_has_both_clocks():
    assert Instant.at(946_684_801_999, 1.5) == Instant(1, 1500)
    assert Instant.at(None, 0.0) == Instant(None, 0)
    assert Instant(100, 5000).earlier(2) == Instant(98, 3000)
    assert Instant(None, 1000).earlier(2) == Instant(None, 0)


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [(10, 11, True), (10, 10, False), (11, 10, False), (None, 10, False), (10, None, False)],
)
def test_wall_times_require_increasing_seconds(start, end, expected):
    assert has_wall_times(Instant(start, 0), Instant(end, 0)) is expected


def test_first_change_is_due_at_once():
    assert QuietReporting().is_due(0.0, is_significant=False)


def test_significant_change_is_due_sooner_than_others():
    reporting = QuietReporting(fastest_s=1.0, slowest_s=10.0)
    assert reporting.is_due(100.0, is_significant=True)
    assert not reporting.is_due(100.9, is_significant=True)
    assert reporting.is_due(101.0, is_significant=True)
    assert not reporting.is_due(110.9, is_significant=False)
    assert reporting.is_due(111.0, is_significant=False)


@given(st.lists(st.tuples(st.floats(0.0, 5.0), st.booleans()), max_size=60))
def test_reports_keep_minimum_distance(steps):
    reporting = QuietReporting(fastest_s=1.0, slowest_s=10.0)
    now, reported = 0.0, []
    for seconds, is_significant in steps:
        now += seconds
        if reporting.is_due(now, is_significant=is_significant):
            reported.append(now)
    assert all(after >= before + 1.0 for before, after in pairwise(reported))
