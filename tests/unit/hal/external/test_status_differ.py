"""Tests of the events between two statuses."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from evse_node.hal.external.desired_state import DesiredState
from evse_node.hal.external.link import ControllerStatus, LinkTraits
from evse_node.hal.external.status_differ import StatusDiffer
from evse_node.hal.interface import CurrentDerated, HalEvent, Ratings
from evse_node.state_machine.control_pilot import PilotState
from evse_node.state_machine.events import (
    ContactorReported,
    FaultCleared,
    FaultRaised,
    PilotChanged,
    RfidTapped,
)
from evse_node.state_machine.faults import FaultState
from evse_node.units import Milliamps

WAITING = ControllerStatus(PilotState.B, is_closed=False)
READY = ControllerStatus(PilotState.C, is_closed=False)
CLOSED = ControllerStatus(PilotState.C, is_closed=True)
UNORDERED_S = 1.0


class Rig:
    """A differ that has processed a status with a waiting vehicle."""

    def __init__(self) -> None:
        self.events: list[HalEvent] = []
        self.desired = DesiredState()
        ratings = Ratings(Milliamps(16_000))
        self.differ = StatusDiffer(
            self.desired, LinkTraits(has_cards=True), ratings, self.events.append, UNORDERED_S
        )
        self.now = 5.0
        self.update(WAITING)
        self.events.clear()

    def update(self, status: ControllerStatus, *, is_overtaken: bool = False) -> bool:
        return self.differ.update(status, self.now, is_overtaken=is_overtaken)

    def take(self) -> list[HalEvent]:
        events, self.events[:] = list(self.events), []
        return events


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_complete_once_pilot_and_contactor_are_reported() -> None:
    events: list[HalEvent] = []
    differ = StatusDiffer(DesiredState(), LinkTraits(), Ratings(), events.append, UNORDERED_S)
    assert not differ.is_complete
    differ.update(ControllerStatus(None, is_closed=False), 0.0)
    assert not differ.is_complete
    differ.update(WAITING, 0.0)
    assert differ.is_complete
    assert PilotChanged(PilotState.B) in events
    assert ContactorReported(False) in events


def test_ordered_closing_is_reported(rig: Rig) -> None:
    rig.update(READY)
    rig.desired.close()
    assert rig.update(CLOSED) is False
    assert rig.take() == [PilotChanged(PilotState.C), ContactorReported(True)]
    assert not rig.desired.is_cut
    assert rig.update(CLOSED) is False
    assert rig.take() == []


def test_closing_without_order_is_cut_at_once_and_reported_later(rig: Rig) -> None:
    rig.update(READY)
    rig.take()
    assert rig.update(CLOSED) is True
    assert rig.desired.is_cut
    rig.now += UNORDERED_S - 0.01
    assert rig.update(CLOSED) is False
    assert rig.take() == []
    rig.now += 0.01
    assert rig.update(CLOSED) is False
    assert rig.take() == [ContactorReported(True)]


def test_brief_closing_without_order_is_not_reported(rig: Rig) -> None:
    rig.update(READY)
    rig.take()
    for _ in range(3):
        assert rig.update(CLOSED) is True
        rig.now += UNORDERED_S / 2
        rig.update(READY)
        rig.now += UNORDERED_S
    assert rig.take() == []


def test_order_to_close_ends_with_demand(rig: Rig) -> None:
    rig.update(READY)
    # Ordered, but demand ended before it closed.
    rig.desired.close()
    rig.update(WAITING)
    assert not rig.desired.is_closed
    rig.update(READY)
    assert rig.update(CLOSED) is True


def test_order_to_close_lasts_while_vehicle_is_ready(rig: Rig) -> None:
    rig.update(READY)
    rig.desired.close()
    rig.update(READY)
    rig.update(replace(READY, pilot=PilotState.D))
    assert rig.desired.is_closed


def test_overtaken_status_does_not_confirm_opening(rig: Rig) -> None:
    rig.desired.open(is_ready=False)
    rig.update(WAITING, is_overtaken=True)
    assert rig.desired.is_opening
    rig.update(CLOSED)
    assert rig.desired.is_opening
    rig.update(WAITING)
    assert not rig.desired.is_opening


@pytest.mark.parametrize(("limit", "expected"), [(15_999, 15_999), (16_000, None), (32_000, None)])
def test_limit_at_or_above_ratings_is_not_reported(
    rig: Rig, limit: int, expected: int | None
) -> None:
    rig.update(replace(WAITING, limit_ma=Milliamps(limit)))
    assert rig.take() == ([] if expected is None else [CurrentDerated(Milliamps(expected))])


@pytest.mark.parametrize("size", [0, 1, 10, 11])
def test_card_uid_has_1_to_10_bytes(rig: Rig, size: int) -> None:
    rig.update(replace(WAITING, card=bytes(size)))
    assert rig.take() == ([RfidTapped(bytes(size))] if size in (1, 10) else [])


def test_contact_wet_failure_is_cleared_once_open_after_loss(rig: Rig) -> None:
    rig.differ.own_faults = frozenset({FaultState.OTHER})
    rig.differ.on_lost()
    assert rig.take() == [FaultRaised(FaultState.OTHER)]
    rig.differ.own_faults = frozenset()
    rig.update(replace(CLOSED, pilot=PilotState.B))
    assert rig.take() == [FaultCleared(FaultState.OTHER)]
    rig.update(WAITING)
    assert rig.take() == [FaultCleared(FaultState.CONTACT_WET_FAILURE)]
    rig.update(WAITING)
    assert rig.take() == []
