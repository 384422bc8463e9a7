"""Electrical Energy Measurement: totals, periods, events, reports, storage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evse_node.cluster.server import Value
from evse_node.cluster.servers.energy.electrical_energy_measurement import (
    FEATURES,
    ElectricalEnergyMeasurement,
    EnergyReading,
)
from evse_node.testing.memory_store import MemoryStore
from tests.support.matter.cluster_host import START_EPOCH_S, START_UTC_MS, ClusterHost
from tests.support.matter.values import as_int, as_struct, as_structs

TOTALS = ["cumulative_energy_imported", "cumulative_energy_exported"]
PERIODS = ["periodic_energy_imported", "periodic_energy_exported"]
PERIOD_S = 900


class Setup:
    def __init__(
        self,
        *,
        store: MemoryStore | None = None,
        has_clock: bool = True,
        features: Sequence[str] = FEATURES,
        period_s: float = PERIOD_S,
    ) -> None:
        self.host = ClusterHost(store=store, has_clock=has_clock)
        self.cluster = ElectricalEnergyMeasurement(
            self.host.definition("Electrical Energy Measurement"),
            features=features,
            period_s=period_s,
        )
        self.host.attach(self.cluster)

    def update(
        self, imported: int = 0, exported: int = 0, *, flows: bool = True, after: float = 0.0
    ) -> None:
        self.host.advance(after)
        self.cluster.update(EnergyReading(imported, exported, flows), self.host.now)

    def read(self, name: str) -> Value:
        return self.host.read(self.cluster, name)

    def read_struct(self, name: str) -> Mapping[str, Value]:
        return as_struct(self.read(name))

    def energies(self) -> tuple[int, int]:
        imported, exported = (as_int(self.read_struct(name)["energy"]) for name in TOTALS)
        return imported, exported


def energy_imported(fields: Mapping[str, Value]) -> int:
    """Return the imported energy of an event."""
    return as_int(as_struct(fields["energy_imported"])["energy"])


def test_energies_are_null_before_first_reading() -> None:
    """TC_EEM_2_1."""
    setup = Setup()
    for name in [*TOTALS, *PERIODS, "cumulative_energy_reset"]:
        assert setup.read(name) is None
    accuracy = setup.read_struct("accuracy")
    assert accuracy["measurement_type"] == 14
    assert as_structs(accuracy["accuracy_ranges"])[0]["percent_max"] == 100
    assert setup.read("feature_map") == 0xF


def test_total_equals_meter_register() -> None:
    setup = Setup()
    setup.update(123_456, 789, flows=False)
    assert setup.read("cumulative_energy_imported") == {
        "energy": 123_456,
        "end_timestamp": START_EPOCH_S,
    }
    assert setup.read_struct("cumulative_energy_exported")["energy"] == 789
    assert setup.host.take_reports() == TOTALS
    assert setup.read("periodic_energy_imported") is None
    assert setup.host.take_events() == []


def test_times_without_clock_are_system_times() -> None:
    setup = Setup(has_clock=False)
    setup.update(10, flows=False, after=2.5)
    assert setup.read("cumulative_energy_imported") == {"energy": 10, "end_systime": 2_500}
    setup.update(11, after=2.0)
    assert setup.read("periodic_energy_imported") == {
        "energy": 1,
        "start_systime": 2_500,
        "end_systime": 4_500,
    }


def test_period_uses_system_time_when_clock_is_set_back() -> None:
    setup = Setup()
    setup.update(0, flows=False)
    setup.host.utc_ms = START_UTC_MS - 100_000
    setup.update(5, after=3.0)
    assert setup.read("periodic_energy_imported") == {
        "energy": 5,
        "start_systime": 0,
        "end_systime": 3_000,
    }


def test_period_ends_when_flow_starts_or_stops() -> None:
    setup = Setup()
    setup.update(100, flows=False)
    setup.update(100, after=60.0)
    assert [name for name, _ in setup.host.take_events()] == [
        "CumulativeEnergyMeasured",
        "PeriodicEnergyMeasured",
    ]
    setup.host.take_reports()
    setup.update(150, flows=False, after=30.0)
    events = dict(setup.host.take_events())
    times = {"start_timestamp": START_EPOCH_S + 60, "end_timestamp": START_EPOCH_S + 90}
    assert events["PeriodicEnergyMeasured"] == {
        "energy_imported": {"energy": 50, **times},
        "energy_exported": {"energy": 0, **times},
    }
    assert energy_imported(events["CumulativeEnergyMeasured"]) == 150
    assert setup.host.take_reports() == [*TOTALS, *PERIODS]
    assert setup.read("periodic_energy_imported") == {"energy": 50, **times}


def test_period_ends_after_its_duration_while_energy_flows() -> None:
    setup = Setup()
    setup.update(0)
    for second in range(1, 2 * PERIOD_S + 1):
        setup.update(second, after=1.0)
    periods = [fields for name, fields in setup.host.take_events() if name.startswith("Per")]
    assert [energy_imported(fields) for fields in periods] == [PERIOD_S] * 2
    assert as_struct(periods[1]["energy_imported"])["start_timestamp"] == START_EPOCH_S + PERIOD_S


def test_idle_hours_emit_no_events() -> None:
    setup = Setup()
    setup.update(10, flows=False)
    setup.host.take_reports()
    for _ in range(24 * 360):
        setup.update(10, flows=False, after=10.0)
    assert setup.host.take_events() == []
    assert setup.host.take_reports() == []


def test_edge_within_first_second_is_delayed() -> None:
    """The ends of a period are different seconds."""
    setup = Setup()
    setup.update(0, flows=False)
    setup.update(1, after=0.4)
    assert setup.host.take_events() == []
    setup.update(2, after=0.6)
    assert len(setup.host.take_events()) == 2


def test_edge_soon_after_report_waits_for_next_reading() -> None:
    """No attribute is reported twice within a second."""
    setup = Setup()
    setup.update(0)
    setup.host.take_reports()
    setup.update(5, after=10.0)
    assert setup.host.take_reports() == TOTALS
    setup.update(6, flows=False, after=0.5)
    assert setup.host.take_reports() == []
    setup.update(6, flows=False, after=0.5)
    assert setup.host.take_reports() == [*TOTALS, *PERIODS]
    assert len(setup.host.take_events()) == 2


def test_reading_steps_data_version() -> None:
    setup = Setup()
    setup.update(0)
    version = setup.cluster.data_version
    setup.update(7, after=1.0)
    assert setup.cluster.data_version != version


def test_rising_total_is_reported_every_ten_seconds() -> None:
    setup = Setup()
    setup.update(0)
    setup.host.take_reports()
    for second in range(1, 61):
        setup.update(second, after=1.0)
    assert setup.host.take_reports().count("cumulative_energy_imported") == 6


def test_read_between_reports_returns_latest_total() -> None:
    setup = Setup()
    setup.update(0)
    setup.update(7, after=1.0)
    assert setup.energies() == (7, 0)


@pytest.mark.parametrize(
    ("features", "attributes", "events"),
    [
        (("IMPE", "CUME"), [1, 5], [0]),
        (("EXPE", "PERE"), [4], [1]),
        (("IMPE", "EXPE", "CUME"), [1, 2, 5], [0]),
        (FEATURES, [1, 2, 3, 4, 5], [0, 1]),
    ],
)
def test_features_select_attributes_and_event_fields(
    features: Sequence[str], attributes: list[int], events: list[int]
) -> None:
    setup = Setup(features=features)
    assert [n for n in setup.cluster.attributes if 0 < n < 0xF000] == attributes
    assert list(setup.cluster.events) == events
    setup.update(0, flows=False)
    setup.update(0, after=2.0)
    emitted = setup.host.take_events()
    assert len(emitted) == len(events)
    for _, fields in emitted:
        assert ("energy_imported" in fields) is ("IMPE" in features)
        assert ("energy_exported" in fields) is ("EXPE" in features)


# Storage


def test_total_survives_restart_with_persistent_meter() -> None:
    store = MemoryStore()
    before = Setup(store=store)
    before.update(5_000, 40)
    assert before.energies() == (5_000, 40)
    after = Setup(store=store)
    after.update(6_000, 50, flows=False)
    assert after.energies() == (6_000, 50)


def test_total_continues_when_meter_restarts_at_zero() -> None:
    store = MemoryStore()
    before = Setup(store=store)
    before.update(5_000, 40)
    before.cluster.save()
    after = Setup(store=store)
    after.update(0, 0)
    after.update(10, 2, after=1.0)
    assert after.energies() == (5_010, 42)


def test_unreadable_record_is_ignored(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore({"energy/1": b"\x15\x24"})
    setup = Setup(store=store)
    assert "cannot be read" in caplog.text
    setup.update(3)
    assert setup.energies() == (3, 0)


def test_store_is_not_written_without_report_or_read() -> None:
    setup = Setup()
    setup.update(0)
    setup.host.store.commit()
    for second in range(1, 60):
        setup.update(second, after=1.0)
    assert not setup.host.store.is_dirty
    setup.update(60, after=1.0)
    assert setup.host.store.is_dirty


def test_read_of_unchanged_total_does_not_write() -> None:
    setup = Setup()
    setup.update(5)
    setup.energies()
    setup.host.store.commit()
    setup.energies()
    assert not setup.host.store.is_dirty


_STEP = st.one_of(
    st.tuples(st.just("flow"), st.integers(1, 10_000)),
    st.tuples(st.just("idle"), st.integers(1, 100)),
    st.tuples(st.sampled_from(["read", "cut"]), st.just(0)),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(_STEP, max_size=40), st.booleans())
def test_energy_is_neither_lost_nor_counted_twice_over_power_cuts(
    steps: list[tuple[str, int]], restarts_at_zero: bool
) -> None:
    """The total follows a persistent meter exactly. A meter that restarts at zero may lose
    energy that was not reported yet, but a reported total never decreases.
    """
    store = MemoryStore()
    setup = Setup(store=store)
    register = used = reported = 0

    def update(flows: bool) -> None:
        setup.update(register, flows=flows, after=1.0)
        setup.host.store.commit()

    update(False)
    for kind, number in steps:
        if kind == "flow":
            register += number
            used += number
            update(True)
        elif kind == "idle":
            for _ in range(number):
                update(False)
        elif kind == "read":
            total = setup.energies()[0]
            setup.host.store.commit()
            assert total >= reported
            reported = total
        else:
            if restarts_at_zero:
                register = 0
            setup = Setup(store=setup.host.store.after_power_cut())
            # One reading after the restart is ignored, the second accepted.
            update(False)
            update(False)
        for name, fields in setup.host.take_events():
            if name == "CumulativeEnergyMeasured":
                assert energy_imported(fields) >= reported
                reported = energy_imported(fields)
    if not restarts_at_zero:
        assert setup.energies()[0] == used
    assert reported <= setup.energies()[0] <= used


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 5000), st.booleans()), max_size=80))
def test_periodic_energies_add_up_to_total(steps: list[tuple[int, int, bool]]) -> None:
    setup = Setup(period_s=5.0)
    setup.update(100, 200, flows=False)
    imported, exported = 100, 200
    for more_in, more_out, flows in steps:
        imported += more_in
        exported += more_out
        setup.update(imported, exported, flows=flows, after=1.0)
    periods = [fields for name, fields in setup.host.take_events() if name.startswith("Periodic")]
    # An edge ends the last period.
    setup.update(imported, exported, flows=setup.cluster.is_flowing is False, after=5.0)
    periods += [fields for name, fields in setup.host.take_events() if name.startswith("Periodic")]
    closed = sum(energy_imported(fields) for fields in periods)
    assert closed == imported - 100
    assert setup.energies() == (imported, exported)
    for before, after in pairwise(periods):
        one, two = as_struct(before["energy_exported"]), as_struct(after["energy_exported"])
        assert two["start_timestamp"] == one["end_timestamp"]
        assert as_int(two["end_timestamp"]) > as_int(two["start_timestamp"])


# Reset


def test_reset_zeroes_totals_and_records_time() -> None:
    store = MemoryStore()
    setup = Setup(store=store)
    setup.update(5_000, 40)
    setup.host.advance(3.0)
    setup.cluster.reset(setup.host.now)
    stamp = START_EPOCH_S + 3
    assert setup.energies() == (0, 0)
    reset = {"imported_reset_timestamp": stamp, "exported_reset_timestamp": stamp}
    assert setup.read("cumulative_energy_reset") == reset
    setup.update(5_003, 41, after=1.0)
    assert setup.energies() == (3, 1)
    again = Setup(store=store)
    assert again.read("cumulative_energy_reset") == reset
    again.update(5_004, 41)
    assert again.energies() == (4, 1)


def test_reset_without_clock_uses_system_time() -> None:
    setup = Setup(has_clock=False)
    setup.host.advance(2.0)
    setup.cluster.reset(setup.host.now)
    assert setup.read("cumulative_energy_reset") == {
        "imported_reset_systime": 2_000,
        "exported_reset_systime": 2_000,
    }


# Simulation


def test_simulation_starts_at_zero_and_ends_with_meter_totals() -> None:
    setup = Setup()
    setup.update(5_000, 40, flows=False, after=10.0)
    setup.cluster.start_simulation(setup.host.now, 2)
    setup.cluster.simulate(7, 0, setup.host.now)
    stamp = START_EPOCH_S + 10
    assert setup.energies() == (7, 0)
    assert setup.read_struct("cumulative_energy_reset")["imported_reset_timestamp"] == stamp
    assert setup.read("periodic_energy_imported") == {
        "energy": 7,
        "start_timestamp": stamp - 2,
        "end_timestamp": stamp,
    }
    setup.host.take_events()
    # The meter keeps counting unseen.
    setup.update(5_010, 40, after=2.0)
    assert setup.host.take_events() == []
    setup.cluster.simulate(8, 0, setup.host.now)
    assert setup.energies() == (15, 0)
    assert setup.read_struct("periodic_energy_imported")["start_timestamp"] == stamp
    setup.host.take_reports()
    setup.cluster.end_simulation()
    assert setup.energies() == (5_010, 40)
    assert setup.read("cumulative_energy_reset") is None
    assert set(setup.host.take_reports()) == {*TOTALS, *PERIODS, "cumulative_energy_reset"}


def test_simulated_energy_is_not_stored() -> None:
    store = MemoryStore()
    setup = Setup(store=store)
    setup.update(5_000, 40)
    setup.cluster.start_simulation(setup.host.now, 2)
    setup.cluster.simulate(7, 0, setup.host.now)
    setup.energies()
    again = Setup(store=store)
    again.update(5_000, 40)
    assert again.energies() == (5_000, 40)
    assert again.read("cumulative_energy_reset") is None


def test_simulated_energy_without_start_raises() -> None:
    with pytest.raises(RuntimeError):
        Setup().cluster.simulate(1, 0, 0.0)
