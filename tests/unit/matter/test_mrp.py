import pytest

from evse_node.matter.mrp import MAX_TRANSMISSIONS, backoff_s, give_up_s


@pytest.mark.parametrize(
    ("transmission", "least", "greatest"),
    # Table of the specification for an active interval of 300 ms.
    [
        (0, 0.330, 0.4125),
        (1, 0.330, 0.4125),
        (2, 0.528, 0.660),
        (3, 0.8448, 1.056),
        (4, 1.35168, 1.6896),
    ],
)
def test_backoff(transmission: int, least: float, greatest: float) -> None:
    assert backoff_s(300, transmission, 0.0) == pytest.approx(least)
    assert backoff_s(300, transmission, 1.0) == pytest.approx(greatest)


def test_give_up_is_the_sum_of_the_longest_waits() -> None:
    total = sum(backoff_s(500, n, 1.0) for n in range(MAX_TRANSMISSIONS))
    assert give_up_s(500) == pytest.approx(total)
