"""Test event triggers of energy reporting, as in TC_EEM_2_2 to 2_5 and TC_EPM_2_2."""

from __future__ import annotations

import random
from collections.abc import Mapping

import pytest

from evse_node.cluster.server import Value
from evse_node.cluster.servers.energy.electrical_energy_measurement import (
    ElectricalEnergyMeasurement,
    EnergyReading,
)
from evse_node.cluster.servers.energy.electrical_power_measurement import (
    ElectricalPowerMeasurement,
    PowerReading,
    ac_accuracies,
)
from evse_node.cluster.servers.energy.simulated_load import Quantity, SimulatedLoad
from tests.support.matter.cluster_host import ClusterHost
from tests.support.matter.values import as_int, as_struct

STOP, LOAD, GENERATOR = (0x0091_0000_0000_0000 + scenario for scenario in range(3))


class Setup:
    def __init__(self, seed: int = 1) -> None:
        self.host = ClusterHost()
        self.power = ElectricalPowerMeasurement(
            self.host.definition("Electrical Power Measurement"), ac_accuracies(300_000, 40_000)
        )
        self.energy = ElectricalEnergyMeasurement(
            self.host.definition("Electrical Energy Measurement")
        )
        self.host.attach(self.power, self.energy)
        self.load = SimulatedLoad(
            self.power, self.energy, self.host.timers, random.Random(seed).random
        )

    def trigger(self, code: int) -> None:
        self.load.triggers[code](self.host.now)

    def power_now(self) -> tuple[int, int, int]:
        names = ("active_power", "voltage", "active_current")
        power, voltage, current = (as_int(self.host.read(self.power, name)) for name in names)
        return power, voltage, current

    def energy_now(self, name: str) -> int:
        return as_int(as_struct(self.host.read(self.energy, name))["energy"])


def energy(fields: Mapping[str, Value], direction: str) -> int:
    """Return the energy of an event."""
    return as_int(as_struct(fields[direction])["energy"])


@pytest.mark.parametrize("seed", range(20))
def test_one_kilowatt_load_is_in_range_and_varies(seed: int) -> None:
    """TC_EPM_2_2, TC_EEM_2_2 and TC_EEM_2_4: in range, and different 3 s later."""
    setup = Setup(seed)
    setup.trigger(LOAD)
    setup.host.advance(3.0)
    first = setup.power_now()
    total = setup.energy_now("cumulative_energy_imported")
    periodic = setup.energy_now("periodic_energy_imported")
    setup.host.advance(3.0)
    second = setup.power_now()
    for power, voltage, current in (first, second):
        assert 980_000 <= power <= 1_020_000
        assert 229_000 <= voltage <= 231_000
        assert 3_848 <= current <= 4_848
    assert all(a != b for a, b in zip(first, second, strict=True))
    assert setup.energy_now("cumulative_energy_imported") > total
    assert setup.energy_now("periodic_energy_imported") != periodic
    assert setup.energy_now("cumulative_energy_exported") == 0


@pytest.mark.parametrize("seed", range(20))
def test_three_kilowatt_generator_exports(seed: int) -> None:
    """TC_EEM_2_3 and TC_EEM_2_5."""
    setup = Setup(seed)
    setup.trigger(GENERATOR)
    setup.host.advance(6.0)
    power, _, current = setup.power_now()
    assert -3_020_000 <= power <= -2_980_000
    assert -13_543 <= current <= -12_543
    total = setup.energy_now("cumulative_energy_exported")
    periodic = setup.energy_now("periodic_energy_exported")
    setup.host.advance(6.0)
    assert setup.energy_now("cumulative_energy_exported") > total
    assert setup.energy_now("periodic_energy_exported") != periodic
    assert setup.energy_now("cumulative_energy_imported") == 0


def test_first_reading_is_immediate_and_others_periodic() -> None:
    setup = Setup()
    setup.trigger(LOAD)
    assert len(setup.host.take_events()) == 2
    setup.host.advance(1.9)
    assert setup.host.take_events() == []
    setup.host.advance(0.1)
    names = [name for name, _ in setup.host.take_events()]
    assert names == ["CumulativeEnergyMeasured", "PeriodicEnergyMeasured"]
    setup.host.advance(60.0)
    assert len(setup.host.take_events()) == 60


def test_energy_equals_power_times_time(monkeypatch: pytest.MonkeyPatch) -> None:
    setup = Setup()
    powers: list[int] = []
    show = setup.power.simulate

    def record(reading: PowerReading | None, now: float) -> None:
        assert reading is not None
        powers.append(reading.power_mw)
        show(reading, now)

    monkeypatch.setattr(setup.power, "simulate", record)
    setup.trigger(LOAD)
    setup.host.advance(7200.0)
    assert len(powers) == 3601
    exact = sum(powers) * 2 // 3600
    assert setup.energy_now("cumulative_energy_imported") == exact
    periodic = [f for name, f in setup.host.take_events() if name.startswith("Periodic")]
    assert sum(energy(fields, "energy_imported") for fields in periodic) == exact
    for fields, power in zip(periodic, powers, strict=True):
        # A carried remainder may add one.
        assert energy(fields, "energy_imported") - power * 2 // 3600 in (0, 1)
        assert energy(fields, "energy_exported") == 0


def test_periods_follow_without_gaps() -> None:
    setup = Setup()
    setup.trigger(GENERATOR)
    setup.host.advance(50.0)
    periods = [
        as_struct(fields["energy_exported"])
        for name, fields in setup.host.take_events()
        if name.startswith("Periodic")
    ]
    assert len(periods) == 11
    starts = [as_int(item["start_timestamp"]) for item in periods]
    ends = [as_int(item["end_timestamp"]) for item in periods]
    assert all(end - start == 5 for start, end in zip(starts, ends, strict=True))
    assert ends[:-1] == starts[1:]


def test_late_timer_does_not_delay_next_reading() -> None:
    setup = Setup()
    setup.trigger(LOAD)
    for _ in range(10):
        setup.host.now += 2.3
        setup.host.timers.run(setup.host.now)
    assert len(setup.host.take_events()) == 2 * 11
    assert setup.host.timers.deadline() == 500.0 + 22.0


def test_stop_shows_meter_again() -> None:
    setup = Setup()
    now = setup.host.now
    setup.power.update(PowerReading(0, (230_000,), (0,)), now)
    setup.energy.update(EnergyReading(70_000, 3, is_flowing=False), now)
    setup.trigger(LOAD)
    assert setup.load.is_active
    setup.host.advance(4.0)
    setup.energy.update(EnergyReading(70_001, 3, is_flowing=False), setup.host.now)
    setup.host.take_events()
    setup.trigger(STOP)
    assert not setup.load.is_active
    assert setup.power_now() == (0, 230_000, 0)
    assert setup.energy_now("cumulative_energy_imported") == 70_001
    setup.host.advance(100.0)
    assert setup.host.take_events() == []
    setup.trigger(STOP)


def test_another_load_restarts_at_zero() -> None:
    setup = Setup()
    setup.trigger(LOAD)
    setup.host.advance(20.0)
    setup.trigger(GENERATOR)
    assert setup.energy_now("cumulative_energy_imported") == 0
    assert 4_000 < setup.energy_now("cumulative_energy_exported") < 4_300
    setup.host.take_events()
    setup.host.advance(10.0)
    assert len(setup.host.take_events()) == 4


def test_quantity_includes_both_ends() -> None:
    quantity = Quantity(-100, 5)
    assert quantity.draw(lambda: 0.0) == -105
    assert quantity.draw(lambda: 0.999999) == -95


def test_constant_random_source_does_not_hang() -> None:
    setup = Setup()
    setup.load.draw = lambda: 0.5
    setup.trigger(LOAD)
    setup.host.advance(10.0)
    assert setup.power_now()[0] == 1_000_000
