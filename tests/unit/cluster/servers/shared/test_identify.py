"""Identify: countdown, and reports of IdentifyTime (TC_I_2_4)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from evse_node.cluster.server import Value
from evse_node.cluster.servers.shared.identify import Effect, Identify, IdentifyType
from evse_node.errors import StatusError
from evse_node.matter.interaction.status import Status
from tests.support.matter.cluster_host import ClusterHost


class Setup:
    def __init__(self, *, has_effects: bool = True) -> None:
        self.host = ClusterHost()
        # A time at which adding and subtracting seconds is not exact.
        self.host.now = 1234567.891
        self.shown: list[bool] = []
        self.effects: list[Effect] = []
        self.cluster = Identify(
            self.host.definition("Identify"),
            self.host.timers,
            identify_type=IdentifyType.DISPLAY,
            on_identify=self.shown.append,
            on_effect=self.effects.append if has_effects else None,
        )
        self.host.attach(self.cluster)
        self.reported: list[object] = []
        self.host.node.attribute_observers.append(
            lambda path: self.reported.append(self.identify_time)
        )

    @property
    def identify_time(self) -> Value:
        return self.host.read(self.cluster, "identify_time")

    def write(self, seconds: int) -> None:
        self.host.write(self.cluster, "identify_time", seconds)

    def command(self, seconds: int) -> None:
        self.host.invoke(self.cluster, "Identify", identify_time=seconds)


def test_attributes_before_identification() -> None:
    setup = Setup()
    assert setup.identify_time == 0
    assert setup.host.read(setup.cluster, "identify_type") == 4
    assert not setup.cluster.is_identifying


@pytest.mark.parametrize("identify", [Setup.write, Setup.command])
def test_identify_time_is_reported_on_request_and_at_end(
    identify: Callable[[Setup, int], None],
) -> None:
    setup = Setup()
    identify(setup, 5)
    identify(setup, 10)
    setup.host.advance(12.0)
    assert setup.reported == [5, 10, 0]
    setup.reported.clear()
    identify(setup, 5)
    identify(setup, 0)
    setup.host.advance(10.0)
    assert setup.reported == [5, 0]


def test_identify_time_counts_down_in_whole_seconds() -> None:
    setup = Setup()
    setup.write(3)
    seen = []
    for _ in range(8):
        seen.append(setup.identify_time)
        setup.host.advance(0.5)
    assert seen == [3, 3, 2, 2, 1, 1, 0, 0]


def test_observer_is_called_at_start_and_end_only() -> None:
    setup = Setup()
    setup.write(5)
    setup.host.advance(4.0)
    setup.write(5)
    assert setup.shown == [True]
    setup.host.advance(4.9)
    assert setup.shown == [True]
    setup.host.advance(0.2)
    assert setup.shown == [True, False]
    assert setup.host.timers.deadline() is None


def test_ending_without_identification_reports_nothing() -> None:
    setup = Setup()
    setup.write(0)
    assert setup.reported == []
    assert setup.shown == []


def test_effect_is_passed_to_observer() -> None:
    setup = Setup()
    setup.host.invoke(setup.cluster, "TriggerEffect", effect_identifier=0x0B, effect_variant=0)
    assert setup.effects == [Effect.CHANNEL_CHANGE]
    assert not setup.cluster.is_identifying


def test_stop_effect_ends_at_once_and_finish_effect_after_one_second() -> None:
    setup = Setup()
    setup.write(60)
    setup.host.invoke(setup.cluster, "TriggerEffect", effect_identifier=0xFE, effect_variant=0)
    assert setup.identify_time == 1
    setup.host.advance(1.0)
    assert setup.shown == [True, False]
    setup.write(60)
    setup.host.invoke(setup.cluster, "TriggerEffect", effect_identifier=0xFF, effect_variant=0)
    assert setup.identify_time == 0
    assert setup.shown == [True, False] * 2
    assert setup.effects == [Effect.FINISH_EFFECT, Effect.STOP_EFFECT]


def test_finish_effect_does_not_extend_identification() -> None:
    setup = Setup()
    setup.host.invoke(setup.cluster, "TriggerEffect", effect_identifier=0xFE, effect_variant=0)
    assert setup.identify_time == 0
    setup.write(5)
    setup.host.advance(4.5)
    setup.host.invoke(setup.cluster, "TriggerEffect", effect_identifier=0xFE, effect_variant=0)
    setup.host.advance(0.5)
    assert not setup.cluster.is_identifying


def test_unknown_effect_is_refused() -> None:
    setup = Setup()
    with pytest.raises(StatusError) as caught:
        setup.cluster.invoke(0x40, {0: 0x77, 1: 0}, setup.host.context)
    assert caught.value.status is Status.CONSTRAINT_ERROR
    assert setup.effects == []


def test_unknown_variant_plays_default() -> None:
    setup = Setup()
    setup.cluster.invoke(0x40, {0: 0, 1: 0x42}, setup.host.context)
    assert setup.effects == [Effect.BLINK]


def test_trigger_effect_is_absent_without_observer() -> None:
    assert list(Setup(has_effects=False).cluster.commands) == [0]
    assert list(Setup().cluster.commands) == [0, 0x40]
