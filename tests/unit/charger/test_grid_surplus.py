"""Solar surplus from a meter at the grid connection."""

from __future__ import annotations

import logging

import pytest

from evse_node.cluster.servers.energy.modes import EVSE_MODES
from evse_node.hal.simulated.backend import SimulatedBackend
from evse_node.hal.simulated.electric_vehicle import ElectricCar, Habits
from evse_node.hal.simulated.options import create
from evse_node.state_machine.enums import State
from evse_node.units import Milliamps, Milliwatts
from tests.support.charger.charger_host import ChargerHost

MANUAL, _, SOLAR, _ = EVSE_MODES
SIX_AMPERES_W = 1_380


@pytest.fixture
def host() -> ChargerHost:
    hosts: list[ChargerHost] = []
    backend = SimulatedBackend(
        clock=lambda: hosts[0].now if hosts else 1000.0,
        car=ElectricCar(charger_maximum_ma=Milliamps(32_000), habits=Habits(asks_at_once=True)),
        has_grid_meter=True,
    )
    host = ChargerHost(backend=backend)
    hosts.append(host)
    host.invoke("EnableCharging", None, 6_000, 32_000)
    host.mode.change_to(SOLAR, host.now)
    backend.plug_in()
    return host


def offered(host: ChargerHost) -> int:
    return host.backend.status()["offered_ma"]


def grid_w(host: ChargerHost) -> int:
    return host.backend.board.read_grid_power_mw() // 1000


def test_grid_meter_is_not_polled_in_test_mode(host: ChargerHost) -> None:
    host.run(20)
    host.trigger(0x00)
    host.now += 10
    host.charger.on_timer(host.now)
    deadline = host.charger.next_deadline()
    assert deadline is None or deadline > host.now
    host.trigger(0x01)
    deadline = host.charger.next_deadline()
    assert deadline is not None
    assert deadline <= host.now + 5


def test_no_surplus_does_not_charge(host: ChargerHost) -> None:
    host.backend.set_surplus(-500)
    host.run(600)
    assert host.charger.state.state is State.PLUGGED_IN_DEMAND
    assert grid_w(host) == 500


def test_draw_of_vehicle_does_not_reduce_surplus(host: ChargerHost) -> None:
    host.backend.set_surplus(2 * SIX_AMPERES_W)
    assert grid_w(host) == -2 * SIX_AMPERES_W
    host.run(80)
    for _ in range(20):
        host.run(30)
        assert offered(host) == 12_000
        assert grid_w(host) == 0
    host.backend.set_surplus(3 * SIX_AMPERES_W)
    host.run(15)
    assert offered(host) == 18_000
    assert grid_w(host) == 0
    host.backend.set_surplus(100)
    host.run(600)
    assert offered(host) == 0
    assert grid_w(host) == -100


def test_lost_grid_meter_ends_solar_charging(
    host: ChargerHost, caplog: pytest.LogCaptureFixture
) -> None:
    host.backend.set_surplus(2 * SIX_AMPERES_W)
    host.run(400)
    caplog.set_level(logging.INFO)
    host.backend.set_surplus(None)
    host.run(20)
    assert offered(host) == 12_000
    host.run(30)
    assert offered(host) == 6_000
    host.run(300)
    assert offered(host) == 0
    host.backend.set_surplus(2 * SIX_AMPERES_W)
    host.run(400)
    assert offered(host) == 12_000
    logged = [each.getMessage() for each in caplog.records if "grid" in each.getMessage()]
    assert len(logged) == 2


def test_frozen_grid_meter_ends_solar_charging(
    host: ChargerHost, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    frozen = Milliwatts(-4_000_000)
    monkeypatch.setattr(host.backend.board, "read_grid_power_mw", lambda: frozen)
    offers = []
    for _ in range(600):
        host.run(1)
        offers.append(offered(host))
    host.run(3600)
    assert 17_000 < max(offers) < 17_400
    assert offered(host) == 0
    assert "its value does not move" in caplog.text
    monkeypatch.undo()
    host.backend.set_surplus(2 * SIX_AMPERES_W)
    host.run(400)
    assert offered(host) == 12_000


@pytest.mark.parametrize("delay_s", [2, 5, 10])
def test_late_grid_meter_does_not_make_offer_oscillate(
    host: ChargerHost, monkeypatch: pytest.MonkeyPatch, delay_s: int
) -> None:
    board = host.backend.board
    read_now = board.read_grid_power_mw
    host.backend.set_surplus(4_000)
    readings = [read_now()]

    def read_late() -> Milliwatts:
        return readings[max(0, len(readings) - 1 - delay_s)]

    monkeypatch.setattr(board, "read_grid_power_mw", read_late)
    offers = []
    for _ in range(1800):
        host.run(1)
        readings.append(read_now())
        offers.append(offered(host))
    assert max(offers[600:]) - min(offers[600:]) < 100
    assert 17_000 <= offers[-1] < 17_400


def test_surplus_is_not_set_without_charger_meter(host: ChargerHost) -> None:
    host.backend.set_surplus(2 * SIX_AMPERES_W)
    host.backend.fault("MeterFailure")
    host.run(10)
    assert host.charger._solar._surplus_mw == 0


def test_grid_meter_is_not_polled_in_other_modes(
    host: ChargerHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    polls: list[int] = []

    def read() -> Milliwatts:
        polls.append(0)
        return Milliwatts(0)

    monkeypatch.setattr(host.backend.board, "read_grid_power_mw", read)
    host.run(60)
    assert len(polls) in (12, 13)
    host.mode.change_to(MANUAL, host.now)
    host.run(60)
    assert offered(host) == 32_000
    assert len(polls) in (12, 13)


def test_simulated_grid_meter_follows_option() -> None:
    assert create({"grid-meter": True}).grid_meter is not None
    assert create({}).grid_meter is None
