"""Hardware that raises, hangs or misreports: the contactor opens, and the fault is reported."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from evse_node.charger import Charger
from evse_node.errors import HalError
from evse_node.hal.gpio.sampler import Finding, PilotSettled, PilotVoltages
from evse_node.hal.interface import HalEvent
from evse_node.state_machine.control_pilot import PilotState
from evse_node.state_machine.events import EnableCharging, FaultCleared, FaultRaised, PilotChanged
from evse_node.state_machine.faults import FaultState
from evse_node.state_machine.state import ContactorState
from evse_node.testing.memory_store import MemoryStore
from evse_node.units import Milliamps
from tests.contract.gpio_bench import GpioBench
from tests.support.hal.gpio_electronics import SimulatedElectronics

OTHER = FaultState.OTHER


class Charging(GpioBench):
    """A charger on the bench, with a car that is being charged."""

    def __init__(self) -> None:
        super().__init__()
        self.backend.poll_meter()
        self.charger = Charger(self.backend, MemoryStore(), now=self.now)
        self.backend.attach(self.receive)
        self.wait(0.5)
        self.charger.handle(EnableCharging(None, Milliamps(6_000), Milliamps(16_000)), now=self.now)
        self.plug_in()
        self.demand()
        self.wait(1)
        assert self.is_powered()
        assert self.charger.state.outputs.contactor is ContactorState.CLOSED
        assert not self.charger.state.faults
        self.events.clear()

    def receive(self, event: HalEvent) -> None:
        self.events.append(event)
        self.charger.receive(event, self.now)

    def wait(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            super().wait(min(0.05, end - self.now))
            if hasattr(self, "charger"):
                self.charger.on_timer(self.now)


@pytest.fixture
def bench() -> Charging:
    return Charging()


def break_mirror(electronics: SimulatedElectronics) -> None:
    electronics.failing.add("inputs")


def test_bench_charges_without_fault(bench: Charging) -> None:
    bench.wait(3)
    assert bench.is_powered()
    assert bench.charger.state.meter.imported_mwh > 0


@pytest.mark.parametrize(
    ("broken", "limit_s", "fault"),
    [
        ("adc", 0.1, OTHER),
        ("inputs", 0.1, OTHER),
        ("meter", 6.0, FaultState.METER_FAILURE),
    ],
)
def test_failing_part_opens_contactor_and_raises_fault(
    bench: Charging, broken: str, limit_s: float, fault: FaultState
) -> None:
    bench.electronics.failing.add(broken)
    bench.wait(limit_s)
    assert not bench.is_powered()
    bench.wait(1)
    assert FaultRaised(fault) in bench.events
    assert fault in bench.charger.state.faults
    bench.electronics.failing.clear()
    bench.wait(3)
    assert not bench.is_powered() or fault not in bench.charger.state.faults


@pytest.mark.parametrize(
    ("name", "fault"),
    [("RCD trip", FaultState.GROUND_FAULT), ("emergency stop", FaultState.EMERGENCY_STOP)],
)
def test_safety_input_opens_at_once_and_latches(
    bench: Charging, name: str, fault: FaultState
) -> None:
    bench.electronics.inputs[name] = True
    bench.wait(0.01)
    assert not bench.is_powered()
    assert bench.charger.state.fault is fault
    bench.electronics.inputs[name] = False
    bench.wait(5)
    assert bench.charger.state.fault is fault
    assert not bench.is_powered()
    bench.unplug()
    assert FaultCleared(fault) in bench.events
    assert not bench.charger.state.faults


def test_stuck_sampler_opens_contactor(bench: Charging) -> None:
    bench.runs_sampler = False
    bench.wait(0.6)
    assert not bench.is_powered()
    assert bench.charger.state.fault is OTHER


def test_sampler_opens_contactor_when_loop_is_stuck(bench: Charging) -> None:
    bench.runs_loop = False
    GpioBench.wait(bench, 2.1)
    assert not bench.is_powered()
    bench.runs_loop = True
    bench.wait(0.1)
    assert FaultRaised(OTHER) in bench.events
    assert FaultCleared(OTHER) in bench.events


@pytest.mark.parametrize("stuck_mv", [6_000, 0, 14_000, -12_000])
def test_wrong_pilot_voltage_opens_contactor(bench: Charging, stuck_mv: int) -> None:
    bench.electronics.stuck_mv = stuck_mv
    bench.wait(0.1)
    assert not bench.is_powered()
    bench.wait(1)
    if stuck_mv == 14_000:
        # Seen as a vehicle that has left.
        assert bench.charger.state.pilot is PilotState.A
    else:
        assert bench.charger.state.faults


def test_vehicle_without_diode_raises_fault(bench: Charging) -> None:
    bench.electronics.has_diode = False
    bench.wait(0.1)
    assert not bench.is_powered()
    assert bench.charger.state.fault is OTHER
    bench.wait(20)  # retried, and still missing
    assert not bench.is_powered()
    assert bench.charger.state.fault is OTHER
    assert bench.charger.state.retry_count == 2


def test_diode_unseen_for_a_moment_is_retried_after_10_s(bench: Charging) -> None:
    bench.electronics.has_diode = False
    bench.wait(0.3)
    assert not bench.is_powered()
    bench.electronics.has_diode = True
    bench.wait(9)
    assert bench.charger.state.fault is OTHER
    assert not bench.is_powered()
    bench.wait(6)
    assert bench.charger.state.faults == ()
    assert bench.is_powered()


def test_pilot_short_circuit_of_100_ms_is_retried_after_10_s(bench: Charging) -> None:
    bench.electronics.vehicle = PilotState.E
    bench.wait(0.1)
    bench.electronics.vehicle = PilotState.C
    bench.wait(9)
    assert bench.charger.state.fault is FaultState.PILOT_SHORT_CIRCUIT
    assert not bench.is_powered()
    bench.wait(6)
    assert bench.charger.state.faults == ()
    assert bench.is_powered()


def test_pilot_short_circuit_opens_contactor(bench: Charging) -> None:
    bench.electronics.vehicle = PilotState.E
    bench.wait(0.02)
    assert not bench.is_powered()
    bench.wait(1)
    assert bench.charger.state.fault is FaultState.PILOT_SHORT_CIRCUIT


def test_welded_contactor_raises_fault(bench: Charging) -> None:
    bench.electronics.is_welded = True
    bench.unplug()
    bench.wait(3)
    assert not any(bench.electronics.coils.values())
    assert bench.charger.state.fault is FaultState.CONTACT_WET_FAILURE
    with pytest.raises(HalError, match="stays locked"):
        bench.backend.order_locked(False)


def test_contactor_that_does_not_close_raises_fault(bench: Charging) -> None:
    bench.no_demand()
    bench.electronics.is_stuck_open = True
    bench.demand()
    bench.wait(4)
    assert bench.charger.state.fault is FaultState.CONTACT_DRY_FAILURE
    assert not any(bench.electronics.coils.values())


def test_vehicle_that_leaves_during_closing_is_no_contactor_fault(bench: Charging) -> None:
    bench.no_demand()
    bench.wait(1)
    bench.backend._reported_pilot = PilotState.C
    assert bench.electronics.vehicle is PilotState.B
    bench.backend.contactor.close()
    assert not bench.is_powered()
    bench.backend._reported_pilot = PilotState.B
    with pytest.raises(HalError, match="the pilot is in state B"):
        bench.backend.contactor.close()
    bench.demand()
    bench.wait(2)
    assert bench.is_powered()
    assert not bench.charger.state.faults


def test_failing_coil_line_is_released(bench: Charging) -> None:
    bench.electronics.failing.add("contactor 1")
    bench.no_demand()
    bench.wait(1)
    assert not bench.is_powered()
    bench.electronics.failing.clear()
    bench.demand()
    bench.wait(5)
    assert not bench.is_powered()
    assert bench.charger.state.faults


@pytest.mark.parametrize("order", ["offer", "withdraw", "signal_unavailable"])
def test_failing_pwm_opens_contactor(bench: Charging, order: str) -> None:
    bench.electronics.failing.add("pwm")
    orders: dict[str, Callable[[], None]] = {
        "offer": lambda: bench.backend.offer(Milliamps(10_000)),
        "withdraw": bench.backend.withdraw,
        "signal_unavailable": bench.backend.signal_unavailable,
    }
    with pytest.raises(HalError, match="PWM failed"):
        orders[order]()
    assert not bench.is_powered()


def test_slow_pwm_is_no_missing_diode(bench: Charging, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.backend.withdraw()
    bench.wait(0.1)
    pwm = bench.backend._open_parts.pwm
    drive = pwm.drive

    def slow(duty_permille: int) -> None:
        """The sampler's thread goes on, and sees constant +12 V for a while."""
        for _ in range(30):
            bench.now += 0.004
            bench.backend.sample()
        drive(duty_permille)

    monkeypatch.setattr(pwm, "drive", slow)
    bench.backend.offer(Milliamps(10_000))
    assert not bench.backend.causes.all
    bench.wait(0.5)
    assert not bench.backend.causes.all


def fall_to_minus_12_v(bench: Charging, monkeypatch: pytest.MonkeyPatch) -> None:
    probe = bench.backend._open_parts.sampler._probe
    monkeypatch.setattr(probe, "pilot", lambda: PilotVoltages(-12_000, -12_000))
    bench.wait(1)
    monkeypatch.undo()


def test_unordered_minus_12_v_is_fault_until_absent_for_30_s(
    bench: Charging, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fall_to_minus_12_v(bench, monkeypatch)
    assert not bench.is_powered()
    assert bench.charger.state.faults == (OTHER,)
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == [
        "fault Other: the pilot is at -12 V without an order"
    ]
    bench.wait(25)
    assert bench.charger.state.faults == (OTHER,)
    assert not bench.is_powered()
    bench.wait(10)
    assert bench.charger.state.faults == ()
    assert bench.is_powered()


def test_unplugging_clears_minus_12_v_fault_at_once(
    bench: Charging, monkeypatch: pytest.MonkeyPatch
) -> None:
    fall_to_minus_12_v(bench, monkeypatch)
    bench.wait(1)
    bench.unplug()
    assert bench.charger.state.faults == ()


def test_ordered_minus_12_v_is_no_fault_when_order_ends(
    bench: Charging, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The generator takes its time, and the loop hears late of what was seen before."""
    backend = bench.backend
    late: list[Finding] = []
    backend.signal_unavailable()
    monkeypatch.setattr(backend._open_parts.sampler, "_report", late.append)
    bench.wait(0.1)
    pwm = backend._open_parts.pwm
    drive = pwm.drive

    def slow(duty_permille: int) -> None:
        for _ in range(30):
            bench.now += 0.004
            backend.sample()
        drive(duty_permille)

    monkeypatch.setattr(pwm, "drive", slow)
    backend.withdraw()
    assert [seen.pilot for seen in late if isinstance(seen, PilotSettled)] == [PilotState.F]
    bench.wait(0.2)
    for finding in late:
        backend._on_finding(finding)
    assert not backend.causes.all
    assert PilotChanged(PilotState.F) not in bench.events
    assert OTHER not in bench.charger.state.faults


def test_ignored_pwm_fails_self_test() -> None:
    bench = GpioBench()
    bench.electronics.ignored_pwm = True
    bench.backend.attach(bench.events.append)
    bench.wait(1.5)
    # It stays at -12 V though +12 V was ordered.
    assert FaultRaised(OTHER) in bench.events


def test_failing_tick_opens_contactor(bench: Charging, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise RuntimeError("an error")

    class Loop:
        def call_later(self, delay: float, callback: object) -> None:
            return None

        def call_soon_threadsafe(self, callback: Callable[..., None], *arguments: object) -> None:
            callback(*arguments)

    monkeypatch.setattr(bench.backend, "tick", fail)
    monkeypatch.setattr(bench.backend, "_loop", Loop())
    bench.backend._on_timer()
    assert not bench.is_powered()
    assert bench.charger.state.fault is OTHER


class TestSelfTest:
    def start(self, *failing: str, **wrong: object) -> GpioBench:
        bench = GpioBench()
        bench.electronics.failing.update(failing)
        for name, value in wrong.items():
            setattr(bench.electronics, name, value)
        bench.backend.attach(bench.events.append)
        bench.wait(3)
        return bench

    @pytest.mark.parametrize("wrong", [{"stuck_mv": 6_000}, {"stuck_mv": -12_000}])
    def test_contactor_stays_open_until_passed(self, wrong: dict[str, object]) -> None:
        bench = self.start(**wrong)
        assert FaultRaised(OTHER) in bench.events
        bench.electronics.stuck_mv = None
        bench.plug_in()
        bench.demand()
        bench.backend.offer(Milliamps(16_000))
        bench.wait(1)
        with pytest.raises(HalError, match="self-test has not passed"):
            bench.backend.contactor.close()
        bench.unplug()
        bench.backend.start_self_test()
        bench.wait(1)
        assert FaultCleared(OTHER) in bench.events

    def test_failed_pilot_test_is_repeated_with_vehicle(self) -> None:
        bench = self.start(ignored_pwm=True)
        bench.electronics.vehicle = PilotState.B
        bench.backend.start_self_test()
        bench.wait(3)
        assert FaultCleared(OTHER) not in bench.events

    def test_fails_without_converter(self) -> None:
        bench = self.start("adc")
        assert FaultRaised(OTHER) in bench.events

    @pytest.mark.parametrize("part", ["pwm", "adc"])
    def test_exception_without_text_is_failure(
        self, part: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bench = GpioBench()
        bench.backend.attach(bench.events.append)
        parts = bench.backend._open_parts

        def fail(*arguments: object) -> None:
            raise TimeoutError

        if part == "pwm":
            monkeypatch.setattr(parts.pwm, "drive", fail)
        else:
            monkeypatch.setattr(parts.sampler, "expect", fail)
        bench.wait(0.5)
        assert parts.check.failure == "TimeoutError()"
        assert FaultRaised(OTHER) in bench.events

    def test_fails_when_rcd_does_not_trip(self) -> None:
        bench = GpioBench()
        bench.electronics.failing.add("RCD test")
        with pytest.raises(HalError, match="RCD test is broken"):
            bench.backend.attach(bench.events.append)
        assert bench.electronics.open_count == 0

    def test_findings_during_test_are_not_reported(self) -> None:
        bench = self.start()
        bench.backend._open_parts.sampler.invalidate()
        bench.events.clear()
        bench.backend._on_finding(PilotSettled(PilotState.C, was_opened=False))
        assert bench.events == []
        bench.electronics.vehicle = PilotState.C
        bench.wait(0.2)
        assert PilotChanged(PilotState.C) in bench.events

    def test_trip_during_rcd_test_is_no_fault(self) -> None:
        bench = self.start()
        assert not [event for event in bench.events if isinstance(event, FaultRaised)]
        assert bench.electronics.lines["RCD test"] is False


def test_silent_grid_meter_is_no_fault() -> None:
    bench = GpioBench()
    bench.attach()
    grid_meter = bench.backend.grid_meter
    assert grid_meter is not None
    bench.electronics.house_mw = -3_000_000
    bench.wait(1)
    assert grid_meter.read_grid_power_mw() == -3_000_000
    bench.electronics.failing.add("grid meter")
    bench.wait(6)
    with pytest.raises(HalError, match="grid meter is broken"):
        grid_meter.read_grid_power_mw()
    assert not [event for event in bench.events if isinstance(event, FaultRaised)]


@pytest.mark.parametrize(
    "part", ["contactor 1", "contactor 2", "inputs", "pwm", "adc", "meter", "rfid"]
)
def test_missing_part_fails_start_and_releases_all(part: str) -> None:
    bench = GpioBench()
    bench.electronics.failing.add(f"open {part}")
    with pytest.raises(HalError, match="is broken"):
        bench.backend.attach(bench.events.append)
    assert bench.electronics.open_count == 0
    bench.electronics.failing.clear()
    bench.attach()
    assert bench.electronics.open_count > 0


class Restarted(GpioBench):
    """A new process with stored faults: reported by the old one, their causes gone."""

    def __init__(self, fault: FaultState, vehicle: PilotState = PilotState.A) -> None:
        store = MemoryStore()
        old = GpioBench()
        Charger(old.backend, store, now=old.now).receive(FaultRaised(fault), old.now)
        super().__init__()
        self.electronics.vehicle = vehicle
        self.charger = Charger(self.backend, store, now=self.now)
        assert self.charger.state.faults == (fault,)
        self.backend.attach(lambda event: self.charger.receive(event, self.now))
        self.wait(2)


class TestFaultsOfAnEarlierProcess:
    @pytest.mark.parametrize("vehicle", [PilotState.A, PilotState.C])
    def test_fault_without_cause_is_cleared(self, vehicle: PilotState) -> None:
        assert Restarted(OTHER, vehicle).charger.state.faults == ()

    @pytest.mark.parametrize("fault", [FaultState.GROUND_FAULT, FaultState.EMERGENCY_STOP])
    def test_latched_fault_waits_for_acknowledgement(self, fault: FaultState) -> None:
        bench = Restarted(fault, PilotState.C)
        assert bench.charger.state.faults == (fault,)
        bench.unplug()
        assert bench.charger.state.faults == ()

    def test_contactor_faults_are_not_cleared(self) -> None:
        wet = FaultState.CONTACT_WET_FAILURE
        assert Restarted(wet).charger.state.faults == (wet,)

    def test_fault_with_active_cause_lasts(self) -> None:
        bench = Charging()
        bench.electronics.inputs["emergency stop"] = True
        bench.wait(1)
        bench.backend.start_self_test()
        bench.wait(3)
        bench.unplug()
        assert FaultState.EMERGENCY_STOP in bench.charger.state.faults
