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


def test_contactor_closes_and_opens_all_coils(coils: list[Coil]) -> None:
    contactor = ContactorDriver(coils)
    assert not contactor.is_ordered_closed
    contactor.close(contactor.openings)
    assert [coil.is_on for coil in coils] == [True, True]
    assert contactor.is_ordered_closed
    contactor.open()
    assert [coil.is_on for coil in coils] == [False, False]
    assert not contactor.is_ordered_closed


def test_opening_since_decision_prevents_closing(coils: list[Coil]) -> None:
    contactor = ContactorDriver(coils)
    openings = contactor.openings
    contactor.open()
    with pytest.raises(HalError, match="during closing"):
        contactor.close(openings)
    assert not any(coil.is_on for coil in coils)


@pytest.mark.parametrize("number", [0, 1])
def test_opening_during_closing_wins(coils: list[Coil], number: int) -> None:
    contactor = ContactorDriver(coils)

    def open_once(is_active: bool) -> None:
        coils[number].on_set = lambda _: None
        contactor.open()

    coils[number].on_set = open_once
    with pytest.raises(HalError):
        contactor.close(contactor.openings)
    assert not any(coil.is_on for coil in coils)
    assert not contactor.is_ordered_closed


def test_broken_coil_does_not_prevent_opening_others(coils: list[Coil]) -> None:
    contactor = ContactorDriver(coils)
    contactor.close(contactor.openings)
    coils[0].is_broken = True
    with pytest.raises(HalError, match="cannot be driven"):
        contactor.open()
    assert not any(coil.is_on for coil in coils)
    assert contactor.try_open() is False
    coils[0].is_broken = False
    with pytest.raises(HalError, match="earlier failure"):
        contactor.close(contactor.openings)
    assert contactor.try_open() is True


def test_failed_closing_opens_all_coils(coils: list[Coil]) -> None:
    contactor = ContactorDriver(coils)
    coils[1].is_broken = True
    with pytest.raises(HalError, match=r"cannot be driven: .*broken"):
        contactor.close(contactor.openings)
    assert not any(coil.is_on for coil in coils)
