from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from evse_node.hal.gpio.sampler import (
    ADC_LOST,
    DIODE_MISSING,
    FAST_S,
    LOOP_STUCK,
    CableSeen,
    Finding,
    PilotSampler,
    PilotSeen,
    PilotVoltages,
    TroubleSeen,
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
        self.sampler.era = 0
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
    assert made.log == [PilotSeen(A, False)]
    return made


@pytest.mark.parametrize(
    ("high_mv", "state"), [(9_000, B), (6_000, C), (3_000, D), (0, E), (8_360, B), (5_480, C)]
)
def test_each_state_is_told_once(rig: Rig, high_mv: int, state: PilotState) -> None:
    assert rig.show(high_mv) == [PilotSeen(state, False)]


@pytest.mark.parametrize(("high_mv", "state"), [(9_000, B), (12_000, A), (0, E)])
def test_loss_of_a_ready_vehicle_opens_first_and_is_told_after(
    rig: Rig, high_mv: int, state: PilotState
) -> None:
    rig.show(6_000)
    began = rig.now
    rig.log.clear()
    rig.probe.high_mv = high_mv
    while "open" not in rig.log:
        rig.run(FAST_S)
    assert rig.now - began <= 3 * FAST_S
    assert rig.log == ["open", PilotSeen(state, True)]


def test_from_c_to_d_nothing_opens(rig: Rig) -> None:
    rig.show(6_000)
    assert rig.show(3_000) == [PilotSeen(D, False)]


def test_one_bad_look_is_none(rig: Rig) -> None:
    rig.show(6_000)
    assert rig.show(9_000, FAST_S) == []
    assert rig.show(6_000) == []


def test_a_blink_of_c_is_not_told(rig: Rig) -> None:
    rig.show(9_000)
    assert rig.show(6_000, 0.02) == []
    assert rig.show(9_000) == []


def test_after_a_loss_c_must_settle_again(rig: Rig) -> None:
    rig.show(6_000)
    rig.show(9_000, 2 * FAST_S)
    assert rig.show(6_000, 0.03) == []
    assert rig.show(6_000, 0.1) == [PilotSeen(C, False)]


def test_a_burst_that_missed_the_high_part_says_nothing(rig: Rig) -> None:
    rig.show(6_000)
    assert rig.show(-12_000, 3 * FAST_S) == []
    assert rig.show(6_000) == []
    assert rig.show(-12_000, 10 * FAST_S)[:2] == ["open", PilotSeen(F, True)]


def test_bursts_that_missed_are_borne_now_and_then_and_not_for_long(rig: Rig) -> None:
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
    # Two more than are borne: a loss is confirmed.
    assert looks(-12_000, 5) == []
    assert looks(-12_000, 1) == ["open", PilotSeen(F, True)]


def test_a_converter_that_fails(rig: Rig) -> None:
    rig.show(6_000)
    rig.log.clear()
    rig.probe.failure = OSError(5, "gone")
    rig.run(3 * FAST_S)
    assert rig.log == ["open"]
    rig.run(0.1)
    assert rig.log == ["open", "open", TroubleSeen(ADC_LOST, True)]
    rig.log.clear()
    rig.probe.failure = None
    rig.run(0.2)
    assert rig.log == [TroubleSeen(ADC_LOST, False), PilotSeen(C, False)]


def test_failures_now_and_then_are_borne(rig: Rig) -> None:
    rig.show(6_000)
    rig.log.clear()
    for failure in (OSError(), None) * 20:
        rig.probe.failure = failure
        rig.now += FAST_S
        rig.sampler.sample(rig.now)
    assert rig.log == []


def test_a_missing_diode(rig: Rig) -> None:
    rig.show(6_000)
    rig.log.clear()
    rig.probe.low_mv = -5_000
    rig.run(0.1)
    assert rig.log == ["open", TroubleSeen(DIODE_MISSING, True)]
    assert rig.show(12_000) == [TroubleSeen(DIODE_MISSING, False), "open", PilotSeen(A, True)]


def test_a_diode_that_is_not_seen_now_and_then_is_there(rig: Rig) -> None:
    rig.show(6_000)
    rig.log.clear()
    for _ in range(5):
        rig.probe.low_mv = -5_000
        rig.run(9 * FAST_S)
        rig.probe.low_mv = -12_000
        rig.run(FAST_S)
    assert rig.log == []


def test_without_pwm_the_diode_cannot_be_seen(rig: Rig) -> None:
    rig.sampler.expect(PilotOutput.X1)
    rig.probe.low_mv = 6_000
    assert rig.show(6_000) == [PilotSeen(C, False)]


def test_an_alarm_opens_with_the_next_look(rig: Rig) -> None:
    rig.show(6_000)
    rig.log.clear()
    rig.is_alarmed = True
    rig.run(FAST_S)
    assert rig.log == ["open", TroubleSeen("alarm", True)]
    rig.is_alarmed = False
    rig.run(FAST_S)
    assert rig.log[2:] == [TroubleSeen("alarm", False)]


def test_a_safety_input_that_cannot_be_read_is_an_alarm(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> bool:
        raise OSError(5, "gone")

    rig.show(6_000)
    rig.log.clear()
    rig.sampler._alarms = {"alarm": fail}
    rig.run(0.1)
    assert rig.log == ["open", TroubleSeen("alarm", True)]
    assert rig.sampler.troubles == {"alarm"}
    assert caplog.text.count("the input 'alarm' cannot be read") == 1


def test_it_is_watched_while_looks_and_loop_go_on(rig: Rig) -> None:
    assert rig.sampler.is_watched(rig.now + 0.4)
    assert not rig.sampler.is_watched(rig.now + 0.6)
    rig.is_loop_alive = False
    rig.run(1.9)
    assert rig.sampler.is_watched(rig.now)
    rig.run(0.2)
    assert not rig.sampler.is_watched(rig.now)


def test_a_loop_that_does_not_beat(rig: Rig) -> None:
    rig.is_loop_alive = False
    rig.log.clear()
    rig.run(1.9)
    assert rig.log == []
    rig.run(0.2)
    assert rig.log == ["open", TroubleSeen(LOOP_STUCK, True)]


def test_the_cable_is_told_before_the_vehicle(rig: Rig) -> None:
    rig.probe.plug_ma = Milliamps(20_000)
    assert rig.show(9_000, 0.1) == [CableSeen(Milliamps(20_000)), PilotSeen(B, False)]
    rig.log.clear()
    rig.probe.plug_ma = None
    rig.run(0.3)
    assert rig.log == [CableSeen(None)]


def test_a_loss_is_noted_before_it_opens(rig: Rig) -> None:
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


def test_what_was_seen_at_minus_12_v_is_not_told_after_it(rig: Rig) -> None:
    rig.sampler.expect(PilotOutput.F)
    rig.show(-12_000)
    assert rig.sampler.pilot is F
    rig.sampler.expect(PilotOutput.X1)
    assert rig.sampler.pilot is None
    # It is still there: told anew, now that nobody has ordered it.
    assert rig.show(-12_000, 0.03) == []
    assert rig.show(-12_000, 0.1) == [PilotSeen(F, False, era=1)]


def test_a_look_that_was_under_way_belongs_to_its_own_time(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle = rig.sampler._settle

    def interrupted(state: PilotState, *, was_opened: bool) -> None:
        if not rig.sampler.era:
            rig.sampler.forget()
        settle(state, was_opened=was_opened)

    monkeypatch.setattr(rig.sampler, "_settle", interrupted)
    assert rig.show(9_000) == [PilotSeen(B, False, era=0), PilotSeen(B, False, era=1)]
