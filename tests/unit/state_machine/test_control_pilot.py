from itertools import pairwise

import pytest

from evse_node.state_machine.control_pilot import (
    NOMINAL_MV,
    VOLTAGE_BANDS,
    PilotState,
    duty_permille,
    is_diode_present,
    offer_ma,
    pilot_state,
)


@pytest.mark.parametrize(
    ("low_mv", "high_mv", "state"),
    # Levels by the tolerances of vehicle and charger.
    [
        (11_400, 12_600, PilotState.A),
        (8_360, 9_560, PilotState.B),
        (5_480, 6_490, PilotState.C),
        (2_620, 3_250, PilotState.D),
    ],
)
def test_levels_within_tolerance_are_classified(
    low_mv: int, high_mv: int, state: PilotState
) -> None:
    assert {pilot_state(level) for level in range(low_mv, high_mv + 1, 10)} == {state}


def test_nominal_levels_are_classified() -> None:
    for state, level in NOMINAL_MV.items():
        assert pilot_state(level) is state


def test_voltage_bands_have_no_gap() -> None:
    for upper, lower in pairwise(VOLTAGE_BANDS):
        assert lower.high_mv == upper.low_mv
    for band in VOLTAGE_BANDS:
        assert pilot_state(band.low_mv) is pilot_state(band.high_mv - 1) is band.state


@pytest.mark.parametrize("level", [-30_000, 15_000, 40_000])
def test_impossible_levels_are_state_e(level: int) -> None:
    assert pilot_state(level) is PilotState.E


def test_states_are_ready_and_connected() -> None:
    assert [state for state in PilotState if state.is_connected] == [
        PilotState.B,
        PilotState.C,
        PilotState.D,
    ]
    assert [state for state in PilotState if state.is_ready] == [PilotState.C, PilotState.D]


def test_diode_is_detected() -> None:
    assert is_diode_present(-11_400)
    assert not is_diode_present(-3_000)


@pytest.mark.parametrize(
    ("current_ma", "permille"),
    [
        (6_000, 100),
        (10_000, 166),
        (16_000, 266),
        (32_000, 533),
        (51_000, 850),
        (52_500, 850),
        (60_000, 880),
        (80_000, 960),
    ],
)
def test_current_has_duty(current_ma: int, permille: int) -> None:
    assert duty_permille(current_ma) == permille


@pytest.mark.parametrize("current_ma", [0, 5_999, 51_500, 80_001])
def test_current_without_duty_raises(current_ma: int) -> None:
    with pytest.raises(ValueError, match="no duty cycle"):
        duty_permille(current_ma)


def current_from_duty(permille: int) -> int | None:
    """Return the current that a duty cycle in tenths of a percent allows, 0 for none.

    None: the charger requires digital communication (3 to 7 %).
    Spec: IEC 61851-1:2017 Table A.8
    """
    if 30 <= permille <= 70:
        return None
    if permille < 80 or permille > 970:
        return 0
    if permille <= 100:
        return 6_000
    if permille <= 850:
        return permille * 60
    if permille <= 960:
        return (permille - 640) * 250
    return 80_000


@pytest.mark.parametrize(
    ("permille", "current_ma"),
    [
        (0, 0),
        (29, 0),
        (30, None),
        (50, None),
        (70, None),
        (71, 0),
        (79, 0),
        (80, 6_000),
        (100, 6_000),
        (101, 6_060),
        (533, 31_980),
        (850, 51_000),
        (851, 52_750),
        (960, 80_000),
        (965, 80_000),
        (970, 80_000),
        (971, 0),
        (1000, 0),
    ],
)
def test_duty_has_current(permille: int, current_ma: int | None) -> None:
    assert current_from_duty(permille) == current_ma


def test_vehicle_never_reads_more_than_offered() -> None:
    for limit in range(6_000, 90_000, 50):
        offered = offer_ma(limit)
        assert offered is not None
        assert offered <= limit
        read = current_from_duty(duty_permille(offered))
        assert read is not None
        # At 85 % both halves of the table meet; the vehicle uses the lower current.
        slack = 1_749 if duty_permille(offered) == 850 else 250
        assert offered - slack <= read <= offered


@pytest.mark.parametrize(
    ("limit", "offered"),
    [
        (0, None),
        (5_999, None),
        (6_000, 6_000),
        (51_000, 51_000),
        (51_001, 51_000),
        (52_499, 51_000),
        (52_500, 52_500),
        (80_000, 80_000),
        (99_000, 80_000),
    ],
)
def test_offer_is_largest_current_with_duty(limit: int, offered: int | None) -> None:
    assert offer_ma(limit) == offered
