from __future__ import annotations

from collections.abc import Callable

import pytest

from evse_node.errors import HalError
from evse_node.hal.gpio.contactor import ContactorDriver


class Coil:
    def __init__(self) -> None:
        self.is_on = False
        self.is_broken = False
        self.on_set: Callable[[bool], None] = lambda _: None

    def set(self, is_active: bool) -> None:
        self.on_set(is_active)
        if self.is_broken:
            raise OSError(5, "broken")
        self.is_on = is_active

    def close(self) -> None:
        self.is_on = False


@pytest.fixture
def coils() -> list[Coil]:
    return [Coil(), Coil()]


def test_closes_all_and_opens_all(coils: list[Coil]) -> None:
    gate = ContactorDriver(coils)
    assert not gate.is_ordered_closed
    gate.close(gate.openings)
    assert [coil.is_on for coil in coils] == [True, True]
    assert gate.is_ordered_closed
    gate.open()
    assert [coil.is_on for coil in coils] == [False, False]
    assert not gate.is_ordered_closed


def test_an_opening_since_the_decision_wins(coils: list[Coil]) -> None:
    gate = ContactorDriver(coils)
    openings = gate.openings
    gate.open()
    with pytest.raises(HalError, match="while it was to close"):
        gate.close(openings)
    assert not any(coil.is_on for coil in coils)


@pytest.mark.parametrize("number", [0, 1])
def test_an_opening_in_the_midst_of_closing_wins(coils: list[Coil], number: int) -> None:
    gate = ContactorDriver(coils)

    def open_once(is_active: bool) -> None:
        coils[number].on_set = lambda _: None
        gate.open()

    coils[number].on_set = open_once
    with pytest.raises(HalError):
        gate.close(gate.openings)
    assert not any(coil.is_on for coil in coils)
    assert not gate.is_ordered_closed


def test_a_broken_coil_keeps_no_other_from_opening(coils: list[Coil]) -> None:
    gate = ContactorDriver(coils)
    gate.close(gate.openings)
    coils[0].is_broken = True
    with pytest.raises(HalError, match="cannot be driven"):
        gate.open()
    assert not any(coil.is_on for coil in coils)
    assert gate.try_open() is False
    coils[0].is_broken = False
    with pytest.raises(HalError, match="earlier failure"):
        gate.close(gate.openings)
    assert gate.try_open() is True


def test_half_a_closing_is_undone(coils: list[Coil]) -> None:
    gate = ContactorDriver(coils)
    coils[1].is_broken = True
    with pytest.raises(HalError, match=r"cannot be driven: .*broken"):
        gate.close(gate.openings)
    assert not any(coil.is_on for coil in coils)
