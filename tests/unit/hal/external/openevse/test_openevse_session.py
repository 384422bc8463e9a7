"""Charging sessions on the OpenEVSE backend, simulated and over a pseudo-terminal."""

from __future__ import annotations

import asyncio
import termios
import time
from collections.abc import Callable

import pytest

from evse_node.charger import Charger, ChargerSettings
from evse_node.hal.external.backend import ExternalController
from evse_node.hal.external.openevse.link import OpenEvseLink, OpenEvseSettings
from evse_node.hal.external.poller import PollTimings
from evse_node.hal.serial_port import SerialPort
from evse_node.state_machine.control_pilot import PilotState
from evse_node.state_machine.effects import EnergyTransferStarted, EnergyTransferStopped
from evse_node.state_machine.enums import State
from evse_node.state_machine.events import Disable, LimitClaimed
from evse_node.state_machine.faults import FaultState
from evse_node.state_machine.limits import LimitSource
from evse_node.testing.memory_store import MemoryStore
from evse_node.units import Milliamps
from tests.contract.openevse_bench import OpenEvseBench
from tests.support.hal.rapi_peer import GFCI, SLEEPING, A, B, C, OpenEvseModel, PtyPeer

SETTINGS = ChargerSettings(may_charge_when_new=True)


class Site:
    """A charger on the bench, with one clock."""

    def __init__(self) -> None:
        self.bench = OpenEvseBench()
        self.charger = Charger(
            self.bench.backend, MemoryStore(), now=self.bench.now, settings=SETTINGS
        )
        self.notifications: list[object] = []
        self.charger.observers.append(lambda snapshot, new, now: self.notifications.extend(new))

    async def start(self) -> None:
        bench, charger = self.bench, self.charger
        await bench.backend.attach(lambda event: charger.receive(event, bench.now))
        self.wait(1)

    def wait(self, seconds: float) -> None:
        end = self.bench.now + seconds
        while self.bench.now < end - 1e-9:
            self.bench.wait(0.05)
            deadline = self.charger.next_deadline()
            if deadline is not None and deadline <= self.bench.now:
                self.charger.on_timer(self.bench.now)

    def turn(self, vehicle: int, seconds: float = 2.0) -> None:
        self.bench.model.car = vehicle
        self.wait(seconds)

    def charge(self) -> None:
        self.turn(B)
        self.turn(C)
        assert self.state is State.PLUGGED_IN_CHARGING
        assert self.bench.is_powered()

    @property
    def state(self) -> State:
        return self.charger.state.state

    @property
    def faults(self) -> tuple[FaultState, ...]:
        return self.charger.state.faults


@pytest.fixture
async def site() -> Site:
    made = Site()
    await made.start()
    return made


async def test_charging_session_from_plug_in_to_unplug(site: Site) -> None:
    model = site.bench.model
    assert site.state is State.NOT_PLUGGED_IN
    assert site.faults == ()
    site.turn(B)
    assert site.state is State.PLUGGED_IN_NO_DEMAND
    assert (model.state, model.amperes) == (B, 32)
    site.turn(C)
    assert site.state is State.PLUGGED_IN_CHARGING
    model.car_current_ma = 20_000
    site.wait(60)
    claim = LimitClaimed(LimitSource.USER, Milliamps(10_000))
    site.charger.handle(claim, site.bench.now)
    site.wait(1)
    assert model.amperes == 10
    site.wait(59)
    site.turn(B)
    assert site.state is State.PLUGGED_IN_NO_DEMAND
    assert not site.bench.is_powered()
    site.turn(A)
    assert site.state is State.NOT_PLUGGED_IN
    assert model.state == SLEEPING
    assert site.faults == ()
    started = [each for each in site.notifications if isinstance(each, EnergyTransferStarted)]
    stopped = [each for each in site.notifications if isinstance(each, EnergyTransferStopped)]
    assert len(started) == len(stopped) == 1
    assert abs(stopped[0].energy_charged_mwh - (20 + 10) * 230_000 // 60) < 4_000


async def test_session_continues_after_vehicle_pauses(site: Site) -> None:
    site.charge()
    for _ in range(3):
        site.turn(B)
        assert site.state is State.PLUGGED_IN_NO_DEMAND
        site.turn(C)
        assert site.state is State.PLUGGED_IN_CHARGING
        assert site.bench.is_powered()
    assert site.faults == ()


async def test_disable_ends_charging(site: Site) -> None:
    site.charge()
    site.charger.handle(Disable(), site.bench.now)
    site.wait(2)
    assert not site.bench.is_powered()
    assert site.bench.model.state == SLEEPING
    site.wait(30)
    assert site.faults == ()


async def test_vehicle_that_does_not_stop_is_cut_off(site: Site) -> None:
    site.charge()
    site.bench.model.is_stubborn = True
    site.charger.handle(Disable(), site.bench.now)
    site.wait(2)
    assert site.bench.is_powered()
    site.wait(2)
    assert not site.bench.is_powered()
    assert site.faults == ()


async def test_session_continues_after_controller_restart(site: Site) -> None:
    site.charge()
    site.bench.model.boot_s = 2.0
    site.bench.runs_polls = False
    site.bench.model.restart()
    site.wait(2.2)
    site.bench.runs_polls = True
    site.wait(5)
    assert site.bench.is_powered()
    assert site.state is State.PLUGGED_IN_CHARGING
    assert site.faults == ()
    assert site.bench.model.amperes == 32
    opened = [kind for kind, _ in site.bench.model.events]
    assert opened == ["closed", "open", "closed"]


async def test_residual_current_is_a_ground_fault(site: Site) -> None:
    site.charge()
    site.bench.model.fault = GFCI
    site.wait(10)
    assert site.faults == (FaultState.GROUND_FAULT,)
    assert site.state is State.FAULT
    assert site.bench.model.state == GFCI
    site.bench.model.fault = 0
    site.wait(10)
    assert site.faults == ()
    assert site.state is State.PLUGGED_IN_CHARGING
    assert site.bench.is_powered()


async def test_session_continues_after_controller_was_lost(site: Site) -> None:
    site.charge()
    site.bench.port.pull_out()
    site.wait(15)
    assert FaultState.OTHER in site.faults
    site.bench.port.is_missing = False
    site.wait(15)
    assert site.faults == ()
    assert site.state is State.PLUGGED_IN_CHARGING
    assert site.bench.is_powered()


async def test_disable_while_controller_is_lost_holds(site: Site) -> None:
    site.charge()
    site.bench.port.pull_out()
    site.charger.handle(Disable(), site.bench.now)
    site.wait(15)
    assert site.bench.is_powered()
    site.bench.port.is_missing = False
    site.wait(2)
    assert not site.bench.is_powered()
    site.wait(20)
    assert site.faults == ()
    assert not site.bench.is_powered()


# In real time, over a pseudo-terminal


async def until(condition: Callable[[], bool], limit_s: float = 5.0) -> None:
    async with asyncio.timeout(limit_s):
        while not condition():
            await asyncio.sleep(0.005)


async def test_charging_session_over_pseudo_terminal() -> None:
    model = OpenEvseModel(time.monotonic, debounce_s=0.02)
    settings = OpenEvseSettings(heartbeat_s=1)
    with PtyPeer(model) as peer:
        backend = ExternalController(
            OpenEvseLink(SerialPort(peer.device, 115_200), settings),
            settings.ratings,
            timings=PollTimings(poll_s=0.05, lost_s=0.5, reopen_s=0.05),
        )
        charger = Charger(backend, MemoryStore(), now=time.monotonic(), settings=SETTINGS)
        assert charger.state.faults == ()
        assert charger.state.meter.imported_mwh == 1_000_000
        await backend.start(lambda event: charger.receive(event, time.monotonic()))
        try:
            model.car = B
            await until(lambda: model.is_pwm)
            model.car = C
            await until(lambda: charger.state.state is State.PLUGGED_IN_CHARGING)
            await until(lambda: charger.meter_values(time.monotonic()).power_mw > 0)  # type: ignore[union-attr]
            model.car = B
            await until(lambda: charger.state.pilot is PilotState.B)
            assert not model.is_powered
            # The power supply of the controller fails for a while.
            model.is_mute = True
            await until(lambda: FaultState.OTHER in charger.state.faults)
            model.is_mute = False
            await until(lambda: charger.state.faults == ())
            model.car = A
            await until(lambda: charger.state.pilot is PilotState.A)
            charger.on_timer(time.monotonic() + SETTINGS.evse.unplugged_after_s)
            assert charger.state.state is State.NOT_PLUGGED_IN
        finally:
            await backend.stop()
        assert model.state == SLEEPING
        assert "SY" in model.log


async def test_closed_pseudo_terminal_loses_controller() -> None:
    settings = OpenEvseSettings(heartbeat_s=0)
    events: list[object] = []
    with PtyPeer() as peer:
        backend = ExternalController(
            OpenEvseLink(SerialPort(peer.device, 115_200), settings),
            settings.ratings,
            timings=PollTimings(poll_s=0.02, lost_s=0.1, reopen_s=0.02, stop_s=0.5),
        )
        await backend.start(events.append)
        events.clear()
    await until(lambda: bool(events))
    await backend.stop()


async def test_dtr_stays_up_when_port_is_closed() -> None:
    with PtyPeer() as peer:
        port = SerialPort(peer.device, 115_200)
        before = termios.tcgetattr(peer.slave)
        before[2] |= termios.HUPCL
        termios.tcsetattr(peer.slave, termios.TCSANOW, before)
        await port.open(lambda data: None, lambda reason: None)
        assert not termios.tcgetattr(peer.slave)[2] & termios.HUPCL
        port.close()


async def test_port_cannot_be_opened_twice() -> None:
    with PtyPeer() as peer:
        first, second = (SerialPort(peer.device, 115_200) for _ in range(2))
        await first.open(lambda data: None, lambda reason: None)
        with pytest.raises(Exception, match="cannot be opened"):
            await second.open(lambda data: None, lambda reason: None)
        first.close()
        await second.open(lambda data: None, lambda reason: None)
        second.close()
