"""Device Energy Management along certification tests: forecast adjustments and constraints."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from evse_node.matter.interaction.status import Status
from evse_node.matter.tlv import TagKey, TlvValue
from tests.support.charger.energy_host import PFR_MAP, SFR_MAP, EnergyHost
from tests.support.matter.values import as_int

LOCAL, GRID = 0, 1
ONLINE = 1
INTERNAL, REASON_LOCAL, REASON_GRID = 0, 1, 2
OPT_OUT_LOCAL, OPT_OUT_GRID, OPT_OUT_CLEAR = 2, 3, 4

both_maps = pytest.mark.parametrize("feature_map", [PFR_MAP, SFR_MAP])


# TC_DEM_2_5 and TC_DEM_2_6


def slot(index: int, duration: int, power: int | None = None) -> dict[TagKey, TlvValue]:
    """Return a SlotAdjustmentStruct."""
    struct: dict[TagKey, TlvValue] = {0: index, 2: duration}
    if power is not None:
        struct[1] = power
    return struct


@both_maps
def test_forecast_adjustment_sequence(feature_map: str) -> None:
    host = EnergyHost(feature_map)
    host.scenario(0x0A)
    assert host.esa_state == ONLINE
    first = host.read_forecast()
    assert 2 <= len(first.slots) <= 4
    assert host.opt_out == 0
    has_power = feature_map == PFR_MAP
    least = as_int(first.slots[0][14]) if has_power else None
    most = as_int(first.slots[0][15]) if has_power else None
    assert (14 in first.slots[0]) == (15 in first.slots[0]) == has_power
    shortest, longest = as_int(first.slots[0][16]), as_int(first.slots[0][17])
    assert (shortest, longest) == (120, 240)

    def modify(number: int, cause: int, *slots: dict[TagKey, TlvValue]) -> Status:
        return host.manage(
            "ModifyForecastRequest", forecast_id=number, slot_adjustments=list(slots), cause=cause
        )

    good = slot(0, longest, least)
    if has_power:
        assert least is not None
        assert most is not None
        assert modify(first.id, GRID, slot(0, shortest)) == Status.CONSTRAINT_ERROR
        assert modify(first.id, GRID, slot(0, longest, least - 1)) == Status.CONSTRAINT_ERROR
        assert modify(first.id, GRID, slot(0, shortest, most + 1)) == Status.CONSTRAINT_ERROR
    assert modify(first.id + 1, GRID, good) == Status.FAILURE
    assert modify(first.id, GRID, slot(len(first.slots), longest, least)) == Status.FAILURE
    assert modify(first.id, GRID, slot(0, longest + 1, least)) == Status.CONSTRAINT_ERROR
    assert modify(first.id, GRID, slot(0, shortest - 1, most)) == Status.CONSTRAINT_ERROR
    assert modify(first.id, GRID, good, slot(4, longest, least)) == Status.FAILURE
    assert modify(first.id, GRID, slot(1, longest, least)) == Status.CONSTRAINT_ERROR
    assert host.read_forecast() == first

    host.scenario(OPT_OUT_LOCAL)
    assert (host.esa_state, host.opt_out) == (ONLINE, 1)
    assert modify(first.id, LOCAL, good) == Status.CONSTRAINT_ERROR
    assert modify(first.id, GRID, good) == Status.SUCCESS
    second = host.read_forecast()
    assert second.reason == REASON_GRID
    assert second.slots[0][2] == longest
    assert second.end == first.end + longest - 15
    if has_power:
        assert second.slots[0][9] == least
    assert host.manage("CancelRequest") == Status.SUCCESS
    third = host.read_forecast()
    assert (third.reason, third.slots) == (INTERNAL, first.slots)
    assert modify(second.id, GRID, good) == Status.FAILURE
    assert modify(third.id, GRID, good) == Status.SUCCESS
    assert host.read_forecast().reason == REASON_GRID

    host.scenario(OPT_OUT_GRID)
    assert host.opt_out == 3
    fourth = host.read_forecast()
    assert fourth.reason == INTERNAL
    assert modify(fourth.id, GRID, good) == Status.CONSTRAINT_ERROR
    host.scenario(OPT_OUT_CLEAR)
    assert host.opt_out == 0
    # The forecast id read before the user opted in again is still valid.
    assert modify(fourth.id, LOCAL, slot(0, shortest, least)) == Status.SUCCESS
    assert host.read_forecast().reason == REASON_LOCAL
    assert host.manage("CancelRequest") == Status.SUCCESS
    fifth = host.read_forecast()
    assert fifth.reason == INTERNAL

    host.scenario(0x0B)
    assert modify(fifth.id, LOCAL, slot(0, shortest, least)) == Status.CONSTRAINT_ERROR
    assert host.manage("CancelRequest") == Status.INVALID_IN_STATE
    host.scenario(0x0C)
    assert modify(fifth.id, LOCAL, good) == Status.FAILURE
    assert host.is_quiet()


# TC_DEM_2_7 and TC_DEM_2_8


def constraint(
    start: int,
    duration: int,
    *,
    power: int | None = None,
    energy: int | None = None,
    load: int | None = None,
) -> dict[TagKey, TlvValue]:
    """Return a ConstraintsStruct."""
    struct: dict[TagKey, TlvValue] = {0: start, 1: duration}
    for tag, value in ((2, power), (3, energy), (4, load)):
        if value is not None:
            struct[tag] = value
    return struct


def _constrain(host: EnergyHost) -> Callable[..., Status]:
    def send(cause: int, *constraints: dict[TagKey, TlvValue]) -> Status:
        return host.manage(
            "RequestConstraintBasedForecast", constraints=list(constraints), cause=cause
        )

    return send


@both_maps
def test_constraint_based_forecast_sequence(feature_map: str) -> None:
    host = EnergyHost(feature_map)
    host.scenario(0x0D)
    assert host.esa_state == ONLINE
    forecast = host.read_forecast()
    first = forecast.slots[0]
    assert len(forecast.slots) == 4
    assert host.opt_out == 0
    send = _constrain(host)
    how: dict[str, int]
    if feature_map == PFR_MAP:
        assert all(as_int(first[tag]) > 0 for tag in (9, 10, 11, 12))
        how = {"power": as_int(first[9]), "energy": as_int(first[12])}
    else:
        assert first[8] == 23
        how = {"load": 0}
    now = host.epoch_s
    assert send(LOCAL, constraint(now - 10, 20, **how)) == Status.CONSTRAINT_ERROR
    for starts in ((10, 20, 40), (10, 20, 50), (10, 30, 40), (30, 10, 50), (10, 50, 30)):
        bad = [constraint(now + start, 20, **how) for start in starts]
        assert send(LOCAL, *bad) == Status.CONSTRAINT_ERROR
    # Later constraints are checked, too.
    late = constraint(now + 10, 20, **how), constraint(now - 30, 20, **how)
    assert send(LOCAL, *late) == Status.CONSTRAINT_ERROR

    def at_start(**values: int) -> dict[TagKey, TlvValue]:
        return constraint(forecast.start, as_int(first[2]), **values)

    if feature_map == PFR_MAP:
        power, energy = how["power"], how["energy"]
        most, least = as_int(host.show("AbsMaxPower")), as_int(host.show("AbsMinPower"))
        assert send(LOCAL, at_start(power=most + 1, energy=energy)) == Status.CONSTRAINT_ERROR
        assert send(LOCAL, at_start(power=least - 1, energy=energy)) == Status.CONSTRAINT_ERROR
        assert send(LOCAL, at_start(power=power)) == Status.INVALID_COMMAND
        assert send(LOCAL, at_start(energy=energy)) == Status.INVALID_COMMAND
    else:
        assert send(LOCAL, at_start(load=101)) == Status.CONSTRAINT_ERROR
        assert send(LOCAL, at_start(load=-101)) == Status.CONSTRAINT_ERROR
        assert send(LOCAL, at_start()) == Status.INVALID_COMMAND
        how = {"load": 1}
    assert host.read_forecast() == forecast

    good = at_start(**how)
    host.scenario(OPT_OUT_LOCAL)
    assert (host.esa_state, host.opt_out) == (ONLINE, 1)
    assert send(LOCAL, good) == Status.CONSTRAINT_ERROR
    assert send(GRID, good) == Status.SUCCESS
    assert host.read_forecast().reason == REASON_GRID
    assert host.read_forecast().id > forecast.id
    assert host.manage("CancelRequest") == Status.SUCCESS
    again = host.read_forecast()
    assert (again.reason, again.start, again.slots) == (0, forecast.start, forecast.slots)
    assert send(GRID, good) == Status.SUCCESS
    assert host.read_forecast().reason == REASON_GRID
    host.scenario(OPT_OUT_GRID)
    assert host.opt_out == 3
    assert host.read_forecast().reason == INTERNAL
    assert send(GRID, good) == Status.CONSTRAINT_ERROR
    host.scenario(OPT_OUT_CLEAR)
    assert host.opt_out == 0
    assert send(LOCAL, good) == Status.SUCCESS
    assert host.read_forecast().reason == REASON_LOCAL
    assert host.manage("CancelRequest") == Status.SUCCESS
    assert host.read_forecast().reason == INTERNAL
    assert host.manage("CancelRequest") == Status.INVALID_IN_STATE
    host.scenario(0x0E)
    assert send(LOCAL, good) == Status.FAILURE


@both_maps
def test_adjacent_constraints_are_accepted(feature_map: str) -> None:
    host = EnergyHost(feature_map)
    host.scenario(0x0D)
    how = {"power": 2_000_000, "energy": 2000} if feature_map == PFR_MAP else {"load": -10}
    start = host.epoch_s + 60
    both = constraint(start, 20, **how), constraint(start + 20, 20, **how)
    assert _constrain(host)(LOCAL, *both) == Status.SUCCESS


def test_constraint_longer_than_day_is_refused() -> None:
    host = EnergyHost(PFR_MAP)
    host.scenario(0x0D)
    long = constraint(host.epoch_s + 60, 86_401, power=2_000_000, energy=2000)
    assert _constrain(host)(LOCAL, long) == Status.CONSTRAINT_ERROR


# TC_DEM_2_9


@both_maps
def test_forecast_has_fields_of_features(feature_map: str) -> None:
    host = EnergyHost(feature_map)
    host.scenario(0x0F)
    (first, *_) = host.read_forecast().slots
    if feature_map == SFR_MAP:
        assert 8 in first
        assert not {9, 10, 11, 12} & set(first)
    else:
        assert {9, 10, 11, 12} <= set(first)
        assert 8 not in first
    host.scenario(0x10)
    assert host.show("Forecast") is None


# TC_DEM_2_10


@both_maps
def test_forecast_is_reported_on_change(feature_map: str) -> None:
    host = EnergyHost(feature_map)
    host.scenario(OPT_OUT_CLEAR)
    host.scenario(0x0A)
    host.counts.clear()
    host.run(12)
    assert host.counts.get("Forecast", 0) <= 2
    forecast = host.read_forecast()
    power = as_int(forecast.slots[0][14]) if feature_map == PFR_MAP else None
    adjustment = slot(0, as_int(forecast.slots[0][17]), power)
    assert (
        host.manage(
            "ModifyForecastRequest",
            forecast_id=forecast.id,
            slot_adjustments=[adjustment],
            cause=GRID,
        )
        == Status.SUCCESS
    )
    host.counts.clear()
    assert host.manage("CancelRequest") == Status.SUCCESS
    assert host.counts == {"Forecast": 1}
    host.run(5)
    assert host.counts == {"Forecast": 1}


def test_power_adjustment_capability_is_reported_on_change() -> None:
    host = EnergyHost(PFR_MAP)
    host.scenario(0x00)
    assert host.capability[1] == 0
    host.counts.clear()
    request = {"power": 30_000_000, "duration": 20, "cause": LOCAL}
    assert host.manage("PowerAdjustRequest", **request) == Status.SUCCESS
    host.run(12)
    assert host.counts == {"ESAState": 1, "PowerAdjustmentCapability": 1}
    host.counts.clear()
    assert host.manage("CancelPowerAdjustRequest") == Status.SUCCESS
    assert host.counts == {"ESAState": 1, "PowerAdjustmentCapability": 1}


@both_maps
def test_scripts_do_not_affect_each_other(feature_map: str) -> None:
    """The state left by one test does not affect the next."""
    host = EnergyHost(feature_map)
    for begin in (0x00, 0x05, 0x07, 0x0A, 0x0D, 0x0F):
        host.scenario(OPT_OUT_LOCAL)
        host.scenario(begin)
        assert (host.esa_state, host.opt_out) == (ONLINE, 0)
        if begin:
            assert host.read_forecast().reason == INTERNAL
            assert host.read_forecast().active == 0
