"""Temperature Measurement: hundredths of a degree, without noise (TC_TMP_2_1)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evse_node.cluster.servers.energy.temperature_measurement import TemperatureMeasurement
from tests.support.matter.cluster_host import ClusterHost
from tests.support.matter.values import as_int


def make(**options: int) -> tuple[ClusterHost, TemperatureMeasurement]:
    host = ClusterHost()
    cluster = TemperatureMeasurement(host.definition("Temperature Measurement"), **options)
    host.attach(cluster)
    return host, cluster


def test_limits_are_set_and_value_is_null_before_first_reading() -> None:
    host, cluster = make()
    names = ("measured_value", "min_measured_value", "max_measured_value", "tolerance")
    assert [host.read(cluster, name) for name in names] == [None, -4_000, 12_500, 100]


@pytest.mark.parametrize(
    ("millicelsius", "shown"),
    [(25_000, 2_500), (25_319, 2_531), (-7_005, -701), (-60_000, -4_000), (300_000, 12_500)],
)
def test_value_is_in_hundredths_of_degree(millicelsius: int, shown: int) -> None:
    host, cluster = make()
    cluster.update(millicelsius)
    assert host.read(cluster, "measured_value") == shown
    assert host.take_reports() == ["measured_value"]


def test_noise_is_ignored_but_drift_is_followed() -> None:
    host, cluster = make(step_mc=500)
    for millicelsius in (25_000, 25_400, 24_600, 25_490):
        cluster.update(millicelsius)
    assert host.read(cluster, "measured_value") == 2_500
    assert host.take_reports() == ["measured_value"]
    cluster.update(25_500)
    assert host.read(cluster, "measured_value") == 2_550


def test_failed_sensor_reads_null() -> None:
    host, cluster = make()
    cluster.update(25_000)
    cluster.update(None)
    assert host.read(cluster, "measured_value") is None
    cluster.update(25_001)
    assert host.read(cluster, "measured_value") == 2_500
    assert len(host.take_reports()) == 3


@given(st.integers(-300_000, 400_000))
def test_value_is_clamped_to_limits(millicelsius: int) -> None:
    host, cluster = make(minimum_mc=-10_000, maximum_mc=85_000)
    cluster.update(millicelsius)
    assert -1_000 <= as_int(host.read(cluster, "measured_value")) <= 8_500


def test_empty_range_is_refused() -> None:
    with pytest.raises(ValueError, match="is empty"):
        make(minimum_mc=5_000, maximum_mc=5_000)
