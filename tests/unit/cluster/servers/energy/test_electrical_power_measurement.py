"""Electrical Power Measurement: values, accuracy, ranges, quieter reporting."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from evse_node.cluster.server import Value
from evse_node.cluster.servers.energy.electrical_power_measurement import (
    ElectricalPowerMeasurement,
    PowerReading,
    ac_accuracies,
    is_significant,
)
from evse_node.cluster.servers.energy.measurement import Accuracy, AccuracyRange, MeasurementType
from tests.support.matter.cluster_host import START_EPOCH_S, ClusterHost
from tests.support.matter.values import as_structs

CHARGING = PowerReading(7_360_000, (230_000,), (32_000,), 50_010)
IDLE = PowerReading(0, (230_000,), (0,), 50_000)
MEASURED = (
    "voltage",
    "active_current",
    "active_power",
    "apparent_power",
    "rms_voltage",
    "rms_current",
    "frequency",
    "power_factor",
)


class Setup:
    def __init__(self, *, phases: int = 1, has_clock: bool = True, **options: float) -> None:
        self.host = ClusterHost(has_clock=has_clock)
        self.cluster = ElectricalPowerMeasurement(
            self.host.definition("Electrical Power Measurement"),
            ac_accuracies(300_000, 40_000, phases),
            phases=phases,
            **options,
        )
        self.host.attach(self.cluster)

    def update(self, reading: PowerReading | None, after: float = 0.0) -> None:
        self.host.advance(after)
        self.cluster.update(reading, self.host.now)

    def read(self, name: str) -> Value:
        return self.host.read(self.cluster, name)


def test_measurements_are_null_before_first_reading() -> None:
    setup = Setup()
    assert {name: setup.read(name) for name in MEASURED} == dict.fromkeys(MEASURED)
    assert setup.read("power_mode") == 2
    assert setup.read("ranges") == []
    assert setup.read("feature_map") == 0b00010


def test_accuracy_has_entry_for_each_type() -> None:
    """TC_EPM_2_1 steps 3 and 4."""
    setup = Setup(phases=3)
    accuracy = as_structs(setup.read("accuracy"))
    types = [item["measurement_type"] for item in accuracy]
    assert setup.read("number_of_measurement_types") == len(accuracy) == len(set(types))
    assert MeasurementType.ACTIVE_POWER in types
    for item in accuracy:
        ranges = as_structs(item["accuracy_ranges"])
        assert item["min_measured_value"] == ranges[0]["range_min"]
        assert item["max_measured_value"] == ranges[-1]["range_max"]
    power = accuracy[types.index(MeasurementType.ACTIVE_POWER)]
    assert power["max_measured_value"] == 36_000_000
    assert power["min_measured_value"] == -36_000_000


def test_accuracies_select_attributes() -> None:
    host = ClusterHost()
    definition = host.definition("Electrical Power Measurement")
    only_power = Accuracy(
        MeasurementType.ACTIVE_POWER, (AccuracyRange(-100, 100, percent_100ths=100),)
    )
    cluster = ElectricalPowerMeasurement(definition, [only_power])
    host.attach(cluster)
    assert [number for number in cluster.attributes if number < 0xF000] == [0, 1, 2, 3, 8]
    cluster.update(CHARGING, host.now)
    assert host.read(cluster, "active_power") == 7_360_000
    with pytest.raises(ValueError, match="Active Power is missing"):
        ElectricalPowerMeasurement(
            definition, [Accuracy(MeasurementType.VOLTAGE, (AccuracyRange(0, 1, fixed=1),))]
        )


def test_values_with_one_phase() -> None:
    setup = Setup()
    setup.update(replace(CHARGING, power_mw=7_286_400))
    assert {name: setup.read(name) for name in MEASURED} == {
        "voltage": 230_000,
        "active_current": 31_680,
        "active_power": 7_286_400,
        "apparent_power": 7_360_000,
        "rms_voltage": 230_000,
        "rms_current": 32_000,
        "frequency": 50_010,
        "power_factor": 9_900,
    }


def test_values_with_three_phases() -> None:
    """Power is the sum, current that of the most loaded conductor."""
    setup = Setup(phases=3)
    setup.update(PowerReading(10_000_000, (229_000, 230_000, 232_000), (14_000, 16_000, 15_000)))
    assert setup.read("feature_map") == 0b00110
    assert setup.read("voltage") == 230_333
    assert setup.read("rms_current") == 16_000
    assert setup.read("apparent_power") == 3_206_000 + 3_680_000 + 3_480_000
    assert setup.read("power_factor") == 9_646
    assert setup.read("active_current") == 15_433
    assert setup.read("frequency") is None


def test_neutral_current_and_reactive_power_are_optional() -> None:
    host = ClusterHost()
    more = [
        Accuracy(type_, (AccuracyRange(0, 100_000, fixed=1),))
        for type_ in (MeasurementType.NEUTRAL_CURRENT, MeasurementType.REACTIVE_POWER)
    ]
    cluster = ElectricalPowerMeasurement(
        host.definition("Electrical Power Measurement"),
        [*ac_accuracies(300_000, 40_000, 3), *more],
        phases=3,
    )
    host.attach(cluster)
    cluster.update(
        PowerReading(
            300_000,
            (230_000,) * 3,
            (100, 500, 300),
            reactive_power_mvar=400_000,
            neutral_current_ma=346,
        ),
        host.now,
    )
    assert host.read(cluster, "neutral_current") == 346
    assert host.read(cluster, "reactive_power") == 400_000
    assert host.read(cluster, "apparent_power") == 500_000
    assert host.read(cluster, "power_factor") == 6_000


def test_exported_power_and_current_are_negative() -> None:
    setup = Setup()
    setup.update(PowerReading(-3_000_000, (230_000,), (14_000,)))
    assert setup.read("active_power") == -3_000_000
    assert setup.read("active_current") == -13_042
    assert setup.read("rms_current") == 14_000
    assert setup.read("apparent_power") == 3_220_000
    assert setup.read("power_factor") == -9_316


@given(
    st.integers(-(10**8), 10**8),
    st.lists(st.tuples(st.integers(0, 400_000), st.integers(0, 100_000)), max_size=3),
)
def test_any_reading_is_within_attribute_constraints(
    power_mw: int, phases: list[tuple[int, int]]
) -> None:
    reading = PowerReading(power_mw, tuple(v for v, _ in phases), tuple(i for _, i in phases))
    factor = reading.power_factor_100ths
    assert factor is None or -10_000 <= factor <= 10_000
    apparent = reading.apparent_power_mva
    assert apparent is None or apparent >= abs(power_mw)
    active, current = reading.active_current_ma, reading.current_ma
    assert (active is None) == (current is None)
    assert active is None or current is None or abs(active) <= current


def test_unavailable_meter_reads_null_and_is_reported() -> None:
    setup = Setup()
    setup.update(CHARGING)
    setup.host.take_reports()
    setup.update(None, after=1.0)
    assert {setup.read(name) for name in MEASURED} == {None}
    assert set(setup.host.take_reports()) == set(MEASURED)


def test_read_between_reports_returns_latest_value() -> None:
    setup = Setup()
    setup.update(CHARGING)
    setup.host.take_reports()
    setup.update(replace(CHARGING, power_mw=7_361_000), after=1.0)
    assert setup.read("active_power") == 7_361_000
    assert setup.host.take_reports() == []


def test_significant_change_reports_all_changed_values() -> None:
    setup = Setup()
    setup.update(CHARGING)
    setup.host.take_reports()
    setup.update(PowerReading(3_680_000, (230_500,), (16_000,), 50_010), after=5.0)
    # An insignificant change of the power factor is reported with the others.
    assert set(setup.host.take_reports()) == set(MEASURED) - {"frequency"}


def test_reports_are_at_least_one_second_apart() -> None:
    setup = Setup()
    setup.update(CHARGING)
    setup.host.take_reports()
    setup.update(IDLE, after=0.5)
    assert setup.host.take_reports() == []
    setup.update(IDLE, after=0.5)
    assert "active_power" in setup.host.take_reports()


def test_steady_charging_is_reported_once_a_minute() -> None:
    """A fluctuating voltage is reported once a minute, not once a second."""
    setup = Setup()
    setup.update(CHARGING)
    setup.host.take_reports()
    for second in range(3600):
        voltage = 230_000 + 100 * (second % 7)
        setup.update(
            PowerReading(voltage * 32, (voltage,), (32_000,), 50_000 + second % 20), after=1.0
        )
    reports = setup.host.take_reports()
    assert 55 <= reports.count("voltage") <= 60
    assert reports.count("rms_current") == 0


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (None, 5, True),
        (5, None, True),
        (0, 1, True),
        (1, 0, True),
        (1_000_000, 1_019_999, False),
        (1_000_000, 1_020_000, True),
        (7_000_000, 7_139_999, False),
        (7_000_000, 6_860_000, True),
        (-7_000_000, -7_139_999, False),
        (-7_000_000, -7_140_000, True),
    ],
)
def test_significance_of_power_change(
    before: int | None, after: int | None, expected: bool
) -> None:
    assert is_significant(MeasurementType.ACTIVE_POWER, before, after) is expected


def test_simulated_reading_replaces_meter_until_cleared() -> None:
    setup = Setup()
    setup.update(CHARGING)
    fake = PowerReading(1_000_000, (231_000,), (4_400,))
    setup.cluster.simulate(fake, setup.host.now)
    assert setup.read("active_power") == 1_000_000
    setup.update(IDLE, after=1.0)
    assert setup.read("active_power") == 1_000_000
    setup.host.take_reports()
    setup.host.advance(1.0)
    setup.cluster.simulate(None, setup.host.now)
    assert setup.read("active_power") == 0
    assert "active_power" in setup.host.take_reports()


def test_range_period_starts_with_power_flow() -> None:
    setup = Setup(range_period_s=60.0)
    setup.update(IDLE)
    setup.update(IDLE, after=100.0)
    start = setup.host.now + 10.0
    for power_mw in (7_000_000, 7_200_000, 6_900_000, 7_100_000):
        setup.update(PowerReading(power_mw, (230_000,), (32_000,)), after=10.0)
    assert setup.host.take_events() == []
    setup.host.take_reports()
    setup.update(IDLE, after=30.0)
    [(name, fields)] = setup.host.take_events()
    assert name == "MeasurementPeriodRanges"
    assert fields["ranges"] == setup.read("ranges")
    assert "ranges" in setup.host.take_reports()
    power = as_structs(setup.read("ranges"))[2]
    offset = int(start - 500.0) + START_EPOCH_S
    assert power == {
        "measurement_type": MeasurementType.ACTIVE_POWER,
        "min": 0,
        "max": 7_200_000,
        "start_timestamp": offset,
        "end_timestamp": offset + 60,
        "min_timestamp": offset + 60,
        "max_timestamp": offset + 10,
    }
    setup.update(IDLE, after=100.0)
    setup.update(IDLE, after=100.0)
    assert setup.host.take_events() == []


def test_ranges_without_clock_use_system_time() -> None:
    setup = Setup(has_clock=False, range_period_s=60.0)
    setup.update(CHARGING, after=5.0)
    setup.update(CHARGING, after=60.0)
    voltage = as_structs(setup.read("ranges"))[0]
    assert voltage == {
        "measurement_type": MeasurementType.VOLTAGE,
        "min": 230_000,
        "max": 230_000,
        "start_systime": 5_000,
        "end_systime": 65_000,
        "min_systime": 5_000,
        "max_systime": 5_000,
    }
