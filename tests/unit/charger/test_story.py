"""Long random sequences through the clusters, with power cuts, compared with a model."""

from __future__ import annotations

import os
import random
from collections import deque
from functools import partial

import pytest

from evse_node.hal.simulated.backend import SimulatedBackend
from evse_node.hal.simulated.electric_vehicle import ElectricCar
from evse_node.matter.interaction.status import Status
from evse_node.state_machine.effects import EvConnected, EvNotDetected
from evse_node.state_machine.state import ContactorState
from evse_node.testing.memory_store import MemoryStore
from evse_node.units import MilliwattHours, epoch_s_from_utc_ms
from tests.support.charger.charger_host import START_UTC_S, ChargerHost
from tests.support.charger.evse_model import CHARGE, DISCHARGE, Model

STEPS = int(os.environ.get("STEPS", "50000")) // 50
SELF_TEST_S = 3.0
CURRENTS = [0, 5_999, 6_000, 10_000, 16_000, 32_000, 60_000]


class Story:
    """Random actions of a controller, a driver and faulty hardware."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now = 1000.0
        self.car = ElectricCar(capacity_mwh=MilliwattHours(10**12))
        self.model = Model(has_enabled_state=False, has_ventilation=False)
        for source in ("hardware", "circuit"):
            self.model.on_limit(source, 32_000, (CHARGE, DISCHARGE))
        self.model.on_limit("user", 80_000, (CHARGE,))
        self.past: deque[str] = deque(maxlen=20)
        self.start_mwh = 0
        self.tested_at: float | None = None
        self.host = self.start_node(MemoryStore())

    def start_node(self, store: MemoryStore) -> ChargerHost:
        backend = SimulatedBackend(clock=lambda: self.now, car=self.car)
        unix_s = START_UTC_S - 1000.0 + self.now
        return ChargerHost(
            store=store,
            backend=backend,
            now=self.now,
            unix_s=unix_s,
            evse={"closings_per_minute": 10_000},
        )

    @property
    def epoch_s(self) -> int:
        return epoch_s_from_utc_ms(self.host.utc_ms() or 0)

    def wait(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            due = [self.host.backend.next_deadline(), self.host.timers.deadline(), end]
            moment = min(each for each in due if each is not None)
            self.now = self.host.now = min(max(self.now, moment), end)
            self.host.backend.advance()
            self.host.timers.run(self.now)
        if self.tested_at is not None and self.now >= self.tested_at:
            self.tested_at, self.model.is_diagnosing = None, False
        self.model.on_clock(self.epoch_s)

    # Actions

    def act(self) -> str:
        kind = self.random.choices(
            ["plug", "demand", "command", "write", "fault", "clear", "cut"],
            [10, 25, 30, 10, 4, 10, 4],
        )[0]
        getattr(self, f"_{kind}")()
        self.model.on_clock(self.epoch_s)
        return kind

    def _plug(self) -> None:
        if self.car.is_plugged_in:
            self.host.backend.unplug()
            self.pilot("A")
            self.model.on_limit("cable", None, (CHARGE, DISCHARGE))
        else:
            self.start_mwh = self.car.charged.total_mwh
            self.host.backend.plug_in()
            self.model.on_limit("cable", 32_000, (CHARGE, DISCHARGE))
            self.pilot("B")

    def _demand(self) -> None:
        is_wanted = self.random.random() < 0.7
        if not self.car.is_plugged_in:
            return
        if is_wanted:
            self.host.backend.demand()
        else:
            self.host.backend.no_demand()
        self.pilot("C" if is_wanted else "B")

    def pilot(self, pilot: str) -> None:
        if pilot != self.model.pilot:
            self.model.on_pilot(pilot)

    def _command(self) -> None:
        draw, host, model = self.random, self.host, self.model
        until = draw.choice([None, None, self.epoch_s + draw.randrange(-5, 60)])
        low, high = sorted((draw.choice(CURRENTS), draw.choice(CURRENTS[2:])))
        kind = draw.choice([*["EnableCharging"] * 4, "EnableDischarging", "Disable", "Start"])
        if kind == "EnableCharging":
            status = host.status(kind, until, low, high)
            is_accepted = model.on_enable(CHARGE, until, low, high)
        elif kind == "EnableDischarging":
            status = host.status(kind, until, high)
            is_accepted = model.on_enable(DISCHARGE, until, 0, high)
        elif kind == "Disable":
            status, is_accepted = host.status(kind), model.on_disable()
        else:
            is_open = host.charger.snapshot().contactor is ContactorState.OPEN
            status, is_accepted = host.status("StartDiagnostics"), model.on_diagnostics(is_open)
            if is_accepted:
                self.tested_at = self.now + SELF_TEST_S
        assert status == (Status.SUCCESS if is_accepted else Status.FAILURE)

    def _write(self) -> None:
        current = self.random.choice(CURRENTS)
        assert self.host.write("UserMaximumChargeCurrent", current) == Status.SUCCESS
        self.model.on_limit("user", current, (CHARGE,))

    def _fault(self) -> None:
        fault = self.random.choice(["GroundFault", "OverVoltage"])
        self.host.backend.fault(fault)
        self.model.on_fault(fault)

    def _clear(self) -> None:
        self.host.backend.clear_fault()
        self.model.on_clear(None, set())

    def _cut(self) -> None:
        """Cut the power for a while; the vehicle stays connected, with its demand."""
        self.host.backend.board.connect(None)
        self.host.backend.board.open()
        self.now += self.random.choice([0.2, 5.0, 100.0])
        was_transfer = self.model.transfer
        self.host = self.start_node(MemoryStore(dict(self.host.store.items(""))))
        assert not self.host.backend.board.is_closed
        self.model.is_diagnosing, self.tested_at = False, None
        self.model.transfer = None if self.model.faults else was_transfer
        self.model.settle()

    # Checks

    def check(self) -> None:
        host, model = self.host, self.model
        enums = host.evse.definition
        assert host.read("State") == enums.enum("StateEnum").values[model.state]
        supply = enums.enum("SupplyStateEnum").values[model.supply_state]
        assert host.read("SupplyState") == supply
        shown = model.faults[-1] if model.faults else "NoError"
        assert host.read("FaultState") == enums.enum("FaultStateEnum").values[shown]
        assert host.read("ChargingEnabledUntil") == model.enabled.get(CHARGE, 0)
        assert host.read("DischargingEnabledUntil") == model.enabled.get(DISCHARGE, 0)
        assert host.read("MinimumChargeCurrent") == model.minimum_ma
        assert host.read("MaximumChargeCurrent") == model.maximum_ma(CHARGE)
        assert host.read("MaximumDischargeCurrent") == model.maximum_ma(DISCHARGE)
        assert host.read("UserMaximumChargeCurrent") == model.limits[CHARGE]["user"]
        assert host.read("SessionID") == model.session_id
        if model.is_session_active:
            energy = self.car.charged.total_mwh - self.start_mwh
            assert host.read("SessionEnergyCharged") == energy
        if model.faults:
            assert not host.backend.board.is_closed


@pytest.mark.parametrize("seed", range(3))
def test_attributes_match_model(seed: int) -> None:
    story = Story(seed)
    for number in range(STEPS // 3):
        try:
            story.past.append(story.act())
            story.check()
            story.wait(story.random.choice([0.2, 1.0, 4.0, 15.0]))
            story.check()
        except AssertionError as error:
            raise AssertionError(f"step {number}: {error}\n{story.model}\n{story.past}") from error
    assert story.car.charged.total_mwh > 0  # else the sequence proves little


class PowerCutError(Exception):
    """Power failure just before a write to the store."""


def run_session(host: ChargerHost) -> None:
    """Run a session that writes every part of the store."""
    host.status("EnableCharging", host.epoch_s + 3600, 6_000, 16_000)
    host.write("UserMaximumChargeCurrent", 10_000)
    host.backend.plug_in()
    host.backend.demand()
    host.run(400)
    host.backend.fault("GroundFault")
    host.run(5)
    host.backend.clear_fault()
    host.run(30)
    host.backend.unplug()
    host.run(1)
    host.status("Disable")


def test_state_is_consistent_after_power_cut_at_any_write() -> None:
    writes: list[str] = []
    whole = ChargerHost()
    whole.store.before_set = lambda key, value: writes.append(key)
    run_session(whole)
    assert {"evse/session", "evse/permissions", "evse/faults", "evse/user-limit"} <= set(writes)
    for number in range(len(writes)):
        host, left = ChargerHost(), iter(range(number, -1, -1))

        def cut(key: str, value: bytes | None, left: object = left) -> None:
            if next(left) == 0:  # type: ignore[call-overload]
                raise PowerCutError

        host.store.before_set = cut
        with pytest.raises(PowerCutError):
            run_session(host)
        car = host.backend.car
        host.backend.board.connect(None)
        ended = [each for each in host.notifications if isinstance(each, EvNotDetected)]
        again = ChargerHost(
            store=MemoryStore(dict(host.store.items(""))),
            backend=SimulatedBackend(clock=partial(float, host.now), car=car),
            now=host.now,
        )
        assert not again.backend.board.is_closed
        session = again.charger.state.session
        is_session_active = session is not None and session.is_active
        assert is_session_active is car.is_plugged_in
        ended += [each for each in again.notifications if isinstance(each, EvNotDetected)]
        booked: int = sum(each.energy_charged_mwh for each in ended)
        if session is not None and session.is_active:
            booked += session.energy_charged_mwh(again.charger.state.meter)
        assert booked == car.charged.total_mwh
        connected = [each for each in again.notifications if isinstance(each, EvConnected)]
        assert len(connected) <= 1
