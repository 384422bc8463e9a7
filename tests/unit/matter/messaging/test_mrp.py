import pytest

from evse_node.matter.messaging.mrp import MAX_TRANSMISSIONS, backoff_s


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
def test_backoff_grows_with_transmissions_and_jitter(
    transmission: int, least: float, greatest: float
) -> None:
    assert backoff_s(300, transmission, 0.0) == pytest.approx(least)
    assert backoff_s(300, transmission, 1.0) == pytest.approx(greatest)


def test_message_is_given_up_after_five_transmissions() -> None:
    backoff_s(300, MAX_TRANSMISSIONS - 1, 0.0)
    with pytest.raises(IndexError):
        backoff_s(300, MAX_TRANSMISSIONS, 0.0)
