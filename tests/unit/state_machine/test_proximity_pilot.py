import pytest

from evse_node.state_machine.proximity_pilot import ampacity
from evse_node.units import Ohms


@pytest.mark.parametrize(
    ("resistance", "expected"),
    [
        (1500, 13_000),
        (680, 20_000),
        (220, 32_000),
        (100, 63_000),
        # Edges of the accepted bands.
        (2460, 13_000),
        (1100, 13_000),
        (936, 20_000),
        (400, 20_000),
        (308, 32_000),
        (164, 32_000),
        (140, 63_000),
        (80, 63_000),
        # Between two bands the lower ampacity.
        (937, 13_000),
        (309, 20_000),
        (141, 32_000),
        (1000, 13_000),
        (3000, 13_000),
        (350, 20_000),
        (150, 32_000),
        (60, 63_000),
        # No cable.
        (59, None),
        (4500, 13_000),
        (4501, None),
        (0, None),
    ],
)
def test_resistance_has_ampacity(resistance: int, expected: int | None) -> None:
    assert ampacity(Ohms(resistance)) == expected


def test_single_phase_cable_has_higher_ampacity() -> None:
    assert ampacity(Ohms(100), single_phase=True) == 70_000
    assert ampacity(Ohms(220), single_phase=True) == 32_000
