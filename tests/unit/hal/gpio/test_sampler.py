from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from evse_node.hal.gpio.sampler import (
    ADC_LOST,
    DIODE_MISSING,
    FAST_S,
    LOOP_STUCK,
    CableSettled,
    CauseChanged,
    Finding,
    PilotSampler,
    PilotSettled,
    PilotVoltages,
)
from evse_node.state_machine.control_pilot import PilotOutput, PilotState
from evse_node.units import Milliamps

A, B, C, D, E, F = PilotState


@dataclass
class Probe:
    high_mv: int = 12_000
    low_mv: int = -12_000
    plug_ma: Milliamps | None = None
    failure: Exception | None = None

    def pilot(self) -> PilotVoltages:
        if self.failure is not None:
            raise self.failure
        return PilotVoltages(self.high_mv, self.low_mv)

    def cable_ma(self) -> Milliamps | None:
        return self.plug_ma


@dataclass
class Rig:
    probe: Probe = field(default_factory=Probe)
    log: list[Finding | str] = field(default_factory=list)
    is_alarmed: bool = False
    now: float = 0.0

    def __post_init__(self) -> None:
        self.sampler = PilotSampler(
            self.probe,
            self.open,
            self.log.append,
            alarms={"alarm": lambda: self.is_alarmed},
            has_cable=True,
            now=0.0,
        )
        self.sampler.expect(PilotOutput.X2)
        self.sampler.epoch = 0
        self.is_loop_alive = True

    def open(self) -> bool:
        self.log.append("open")
        return True

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now + self.sampler.interval_s <= end:
            self.now += self.sampler.interval_s
            if self.is_loop_alive:
                self.sampler.loop_beat_at = self.now
            self.sampler.sample(self.now)
        self.now = end

    def show(self, high_mv: int, seconds: float = 0.2) -> list[Finding | str]:
        self.log.clear()
        self.probe.high_mv = high_mv
        self.run(seconds)
        return self.log


@pytest.fixture
def rig() -> Rig:
    made = Rig()
    made.run(0.2)
    assert made.log == [PilotSettled(A, False)]
    return made


@pytest.mark.parametrize(
    ("high_mv", "state"), [(9_000, B), (6_000, C), (3_000, D), (0, E), (8_360, B), (5_480, C)]
)
def test_each_pilot_state_is_reported_once(rig: Rig, high_mv: int, state: PilotState) -> None:
    assert rig.show(high_mv) == [PilotSettled(state, False)]


@pytest.mark.parametrize(("high_mv", "state"), [(9_000, B), (12_000, A), (0, E)])
def test_lost_ready_vehicle_opens_contactor_before_report(
    rig: Rig, high_mv: int, state: PilotState
) -> None:
    rig.show(6_000)
    began = rig.now
    rig.log.clear()
    rig.probe.high_mv = high_mv
    while "open" not in rig.log:
        rig.run(FAST_S)
    assert rig.now - began <= 3 * FAST_S
    assert rig.log == ["open", PilotSettled(state, True)]


def test_change_from_c_to_d_keeps_contactor_closed(rig: Rig) -> None:
    rig.show(6_000)
    assert rig.show(3_000) == [PilotSettled(D, False)]


def test_single_bad_sample_is_ignored(rig: Rig) -> None:
    rig.show(6_000)
    assert rig.show(9_000, FAST_S) == []
    assert rig.show(6_000) == []


def test_short_state_c_is_not_reported(rig: Rig) -> None:
    rig.show(9_000)
    assert rig.show(6_000, 0.02) == []
    assert rig.show(9_000) == []


def test_state_c_must_settle_again_after_loss(rig: Rig) -> None:
    rig.show(6_000)
    rig.show(9_000, 2 * FAST_S)
    assert rig.show(6_000, 0.03) == []
    assert rig.show(6_000, 0.1) == [PilotSettled(C, False)]


def test_burst_without_high_level_is_ignored(rig: Rig) -> None:
    rig.show(6_000)
    assert rig.show(-12_000, 3 * FAST_S) == []
    assert rig.show(6_000) == []
    assert rig.show(-12_000, 10 * FAST_S)[:2] == ["open", PilotSettled(F, True)]


def test_only_few_bursts_without_high_level_are_ignored(rig: Rig) -> None:
    def looks(high_mv: int, count: int) -> list[Finding | str]:
        rig.log.clear()
        rig.probe.high_mv = high_mv
        for _ in range(count):
            rig.now += FAST_S
            rig.sampler.sample(rig.now)
        return rig.log

    rig.show(6_000)
    for _ in range(5):
        assert looks(-12_000, 4) == []
        assert looks(6_000, 1) == []
    # Two more than are ignored: a loss is confirmed.
    assert looks(-12_000, 5) == []
    assert looks(-12_000, 1) == ["open", PilotSettled(F, True)]


def test_failing_converter_opens_and_is_reported(rig: Rig) -> None:
    rig.show(6_000)
    rig.log.clear()
    rig.probe.failure = OSError(5, "gone")
    rig.run(3 * FAST_S)
    assert rig.log == ["open"]
    rig.run(0.1)
    assert rig.log == ["open", "open", CauseChanged(ADC_LOST, True)]
    rig.log.clear()
    rig.probe.failure = None
    rig.run(0.2)
    assert rig.log == [CauseChanged(ADC_LOST, False), PilotSettled(C, False)]


def test_occasional_converter_failures_are_ignored(rig: Rig) -> None:
    rig.show(6_000)
    rig.log.clear()
    for failure in (OSError(), None) * 20:
        rig.probe.failure = failure
        rig.now += FAST_S
        rig.sampler.sample(rig.now)
    assert rig.log == []


def test_missing_diode_is_reported(rig: Rig) -> None:
    rig.show(6_000)
    rig.log.clear()
    rig.probe.low_mv = -5_000
    rig.run(0.1)
    assert rig.log == ["open", CauseChanged(DIODE_MISSING, True)]
    assert rig.show(12_000) == [CauseChanged(DIODE_MISSING, False), "open", PilotSettled(A, True)]


def test_occasional_diode_misses_are_ignored(rig: Rig) -> None:
    rig.show(6_000)
    rig.log.clear()
    for _ in range(5):
        rig.probe.low_mv = -5_000
        rig.run(9 * FAST_S)
        rig.probe.low_mv = -12_000
        rig.run(FAST_S)
    assert rig.log == []


def test_diode_is_not_checked_without_pwm(rig: Rig) -> None:
    rig.sampler.expect(PilotOutput.X1)
    rig.probe.low_mv = 6_000
    assert rig.show(6_000) == [PilotSettled(C, False)]


def test_alarm_opens_contactor_with_next_sample(rig: Rig) -> None:
    rig.show(6_000)
    rig.log.clear()
    rig.is_alarmed = True
    rig.run(FAST_S)
    assert rig.log == ["open", CauseChanged("alarm", True)]
    rig.is_alarmed = False
    rig.run(FAST_S)
    assert rig.log[2:] == [CauseChanged("alarm", False)]


def test_unreadable_safety_input_is_alarm(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> bool:
        raise OSError(5, "gone")

    rig.show(6_000)
    rig.log.clear()
    rig.sampler._alarms = {"alarm": fail}
    rig.run(0.1)
    assert rig.log == ["open", CauseChanged("alarm", True)]
    assert rig.sampler.causes == {"alarm"}
    assert caplog.text.count("the input 'alarm' cannot be read") == 1


def test_is_watched_while_sampler_and_loop_run(rig: Rig) -> None:
    assert rig.sampler.is_watched(rig.now + 0.4)
    assert not rig.sampler.is_watched(rig.now + 0.6)
    rig.is_loop_alive = False
    rig.run(1.9)
    assert rig.sampler.is_watched(rig.now)
    rig.run(0.2)
    assert not rig.sampler.is_watched(rig.now)


def test_stuck_loop_opens_contactor(rig: Rig) -> None:
    rig.is_loop_alive = False
    rig.log.clear()
    rig.run(1.9)
    assert rig.log == []
    rig.run(0.2)
    assert rig.log == ["open", CauseChanged(LOOP_STUCK, True)]


def test_cable_is_reported_before_vehicle(rig: Rig) -> None:
    rig.probe.plug_ma = Milliamps(20_000)
    assert rig.show(9_000, 0.1) == [CableSettled(Milliamps(20_000)), PilotSettled(B, False)]
    rig.log.clear()
    rig.probe.plug_ma = None
    rig.run(0.3)
    assert rig.log == [CableSettled(None)]


def test_loss_is_stored_before_contactor_opens(rig: Rig) -> None:
    """So that a closing which comes after the opening sees the reason."""
    seen: list[PilotState | None] = []
    rig.show(6_000)
    open_contactor = rig.sampler._open_contactor

    def look() -> bool:
        seen.append(rig.sampler.pilot)
        return open_contactor()

    rig.sampler._open_contactor = look
    rig.show(9_000)
    rig.show(6_000)
    rig.probe.failure = OSError()
    rig.run(3 * FAST_S)
    assert seen == [B, None]


def test_state_seen_at_minus_12_v_is_not_reported_afterwards(rig: Rig) -> None:
    rig.sampler.expect(PilotOutput.F)
    rig.show(-12_000)
    assert rig.sampler.pilot is F
    rig.sampler.expect(PilotOutput.X1)
    assert rig.sampler.pilot is None
    # It is still present: reported again, now that it is not ordered.
    assert rig.show(-12_000, 0.03) == []
    assert rig.show(-12_000, 0.1) == [PilotSettled(F, False, epoch=1)]


def test_finding_of_running_sample_keeps_its_epoch(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle = rig.sampler._settle

    def interrupted(state: PilotState, *, was_opened: bool) -> None:
        if not rig.sampler.epoch:
            rig.sampler.invalidate()
        settle(state, was_opened=was_opened)

    monkeypatch.setattr(rig.sampler, "_settle", interrupted)
    assert rig.show(9_000) == [PilotSettled(B, False, epoch=0), PilotSettled(B, False, epoch=1)]
