"""A meter at the house's connection shows what the sun leaves over."""

from __future__ import annotations

import logging

import pytest

from evse_node.cluster.servers.energy.energy_evse_mode import MODES
from evse_node.hal.simulated.backend import SimulatedBackend
from evse_node.hal.simulated.electric_vehicle import ElectricCar, Habits
from evse_node.hal.simulated.options import create
from evse_node.state_machine.enums import State
from evse_node.units import Milliamps
from tests.support.charger.charger_host import ChargerHost

MANUAL, _, SOLAR, _ = MODES
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


def test_is_not_read_in_a_test(host: ChargerHost) -> None:
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


def test_nothing_is_left_over(host: ChargerHost) -> None:
    host.backend.set_surplus(-500)
    host.run(600)
    assert host.charger.state.state is State.PLUGGED_IN_DEMAND
    assert grid_w(host) == 500


def test_what_the_car_takes_is_not_used_up(host: ChargerHost) -> None:
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


def test_a_silent_meter_is_no_sun(host: ChargerHost, caplog: pytest.LogCaptureFixture) -> None:
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
    told = [each.getMessage() for each in caplog.records if "grid" in each.getMessage()]
    assert len(told) == 2


def test_without_the_chargers_own_meter_nobody_knows(host: ChargerHost) -> None:
    host.backend.set_surplus(2 * SIX_AMPERES_W)
    host.backend.fault("MeterFailure")
    host.run(10)
    assert host.charger._solar._surplus_mw == 0


def test_other_modes_do_not_look(host: ChargerHost, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []
    monkeypatch.setattr(host.backend.board, "read_grid_power_mw", lambda: looks.append(0) or 0)
    host.run(60)
    assert len(looks) in (12, 13)
    host.mode.change_to(MANUAL, host.now)
    host.run(60)
    assert offered(host) == 32_000
    assert len(looks) in (12, 13)


def test_the_simulated_one_is_configured() -> None:
    assert create({"grid-meter": True}).grid_meter is not None
    assert create({}).grid_meter is None
