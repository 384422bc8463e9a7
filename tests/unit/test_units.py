from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from evse_node.units import epoch_s_from_utc_ms, power_mw, utc_ms_from_epoch_s


def test_the_matter_epoch() -> None:
    start = int(datetime(2000, 1, 1, tzinfo=UTC).timestamp()) * 1000
    assert epoch_s_from_utc_ms(start) == 0
    assert utc_ms_from_epoch_s(0) == start
    assert epoch_s_from_utc_ms(start + 1_999) == 1


@given(st.integers(0, 0xFFFF_FFFF))
def test_there_and_back(epoch_s: int) -> None:
    assert epoch_s_from_utc_ms(utc_ms_from_epoch_s(epoch_s)) == epoch_s


def test_power() -> None:
    assert power_mw(230_000, 16_000) == 3_680_000
    assert power_mw(230_000, 16_000, 3) == 11_040_000
