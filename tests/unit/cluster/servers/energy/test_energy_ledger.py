"""Energy is neither lost nor counted twice."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evse_node.cluster.servers.energy.energy_ledger import (
    EnergyLedger,
    PowerIntegrator,
    RegisterCounter,
)
from evse_node.cluster.servers.energy.measurement import Instant

ENERGIES = st.integers(0, 10**12)


@given(st.lists(st.tuples(st.integers(0, 50_000_000), st.integers(0, 10_000_000)), max_size=100))
def test_integrator_is_exact(portions: list[tuple[int, int]]) -> None:
    integrator = PowerIntegrator()
    total_mwh = sum(integrator.add(power, duration) for power, duration in portions)
    exact_mw_ms = sum(power * duration for power, duration in portions)
    assert total_mwh == exact_mw_ms // 3_600_000


@given(st.integers(0, 50_000_000), st.lists(st.integers(1, 100_000), min_size=1, max_size=50))
def test_integral_does_not_depend_on_time_steps(power_mw: int, durations: list[int]) -> None:
    whole, parts = PowerIntegrator(), PowerIntegrator()
    assert whole.add(power_mw, sum(durations)) == sum(parts.add(power_mw, d) for d in durations)


def test_integrator_refuses_negative_values() -> None:
    with pytest.raises(ValueError, match="-1 mW"):
        PowerIntegrator().add(-1, 1000)
    with pytest.raises(ValueError, match="-5 ms"):
        PowerIntegrator().add(1, -5)


@given(st.lists(ENERGIES, max_size=30))
def test_total_equals_register_that_never_restarts(gains: list[int]) -> None:
    counter = RegisterCounter()
    register = 0
    for gain in gains:
        register += gain
        assert counter.update(register) == gain
    assert counter.total_mwh == register


@given(st.lists(st.lists(st.integers(1, 10**9), min_size=2, max_size=10), min_size=1, max_size=8))
def test_total_adds_up_over_register_restarts(lives: list[list[int]]) -> None:
    """The first two readings after each restart are below the last one before it."""
    counter = RegisterCounter()
    total = 0
    for gains in lives:
        register = 0
        # The first readings after the restart are low.
        seen = [counter.update(0), counter.update(0)] if counter.register_mwh else []
        assert not any(seen)
        for gain in gains:
            register += gain
            counter.update(register)
        total += register
    assert counter.total_mwh == total


@given(st.integers(1, 10**9), st.integers(0, 10**9), st.integers(0, 10**9))
def test_single_low_reading_is_ignored(register: int, wrong: int, gain: int) -> None:
    counter = RegisterCounter()
    counter.update(register)
    assert counter.update(min(wrong, register - 1)) == 0
    assert counter.update(register + gain) == gain
    assert counter.total_mwh == register + gain


def test_second_low_reading_counts_as_restart() -> None:
    counter = RegisterCounter(total_mwh=500, register_mwh=500)
    assert counter.update(30) == 0
    assert counter.update(40) == 40
    assert (counter.total_mwh, counter.register_mwh) == (540, 40)
    assert counter.update(45) == 5


@given(st.lists(st.tuples(ENERGIES, ENERGIES, st.booleans()), max_size=50))
def test_periods_add_up_to_totals(steps: list[tuple[int, int, bool]]) -> None:
    ledger = EnergyLedger()
    ledger.start(7, 9, Instant(0, 0))
    periods = []
    for number, (imported, exported, is_end) in enumerate(steps, 1):
        ledger.add(imported, exported, Instant(number, number * 1000))
        if is_end:
            periods.append(ledger.close_period())
    assert ledger.period == (periods[-1] if periods else None)
    last = ledger.close_period()
    assert 7 + sum(period.imported_mwh for period in [*periods, last]) == ledger.imported_mwh
    assert 9 + sum(period.exported_mwh for period in [*periods, last]) == ledger.exported_mwh
    chain = [*periods, last]
    assert chain[0].start == Instant(0, 0)
    assert all(b.start == a.end for a, b in pairwise(chain))


def test_close_period_without_measurement_raises() -> None:
    ledger = EnergyLedger()
    assert ledger.period_ms == 0
    with pytest.raises(RuntimeError):
        ledger.close_period()
