import pytest
from hypothesis import given
from hypothesis import strategies as st

from evse_node.state_machine.limits import Limit, Limits, LimitSource
from evse_node.units import Milliamps


def test_limits_without_claims_have_no_source() -> None:
    assert Limits().lowest == Limit(Milliamps(0), None)


def test_lowest_claim_has_source() -> None:
    limits = Limits().with_claim(LimitSource.CIRCUIT, 32_000).with_claim(LimitSource.USER, 10_000)
    assert limits.lowest == Limit(Milliamps(10_000), LimitSource.USER)
    assert limits.claim(LimitSource.CIRCUIT) == 32_000


def test_tie_has_first_source() -> None:
    limits = Limits().with_claim(LimitSource.USER, 16_000).with_claim(LimitSource.CABLE, 16_000)
    assert limits.lowest.source is LimitSource.CABLE


def test_withdrawn_claim_does_not_limit() -> None:
    limits = Limits().with_claim(LimitSource.CIRCUIT, 32_000).with_claim(LimitSource.CABLE, 13_000)
    assert limits.with_claim(LimitSource.CABLE, None).current_ma == 32_000
    assert limits.current_ma == 13_000  # the original stays


def test_unchanged_claim_returns_same_limits() -> None:
    limits = Limits().with_claim(LimitSource.CIRCUIT, 32_000)
    assert limits.with_claim(LimitSource.CIRCUIT, 32_000) is limits
    assert limits.with_claim(LimitSource.CABLE, None) is limits
    assert limits.with_claim(LimitSource.CABLE, 0) is not limits


def test_current_without_sources_ignores_their_claims() -> None:
    limits = Limits().with_claim(LimitSource.CIRCUIT, 32_000).with_claim(LimitSource.GRID, 8_000)
    assert limits.current_without(LimitSource.GRID) == 32_000
    assert limits.current_without(LimitSource.CIRCUIT, LimitSource.SOLAR) == 8_000
    assert limits.current_without(LimitSource.CIRCUIT, LimitSource.GRID) == 0
    assert limits.current_without() == limits.current_ma == 8_000


def test_negative_claim_raises() -> None:
    with pytest.raises(ValueError, match="circuit"):
        Limits().with_claim(LimitSource.CIRCUIT, -1)


@given(st.dictionaries(st.sampled_from(LimitSource), st.integers(0, 80_000), min_size=1))
def test_current_is_minimum_of_claims(claims: dict[LimitSource, int]) -> None:
    limits = Limits()
    for source, current in claims.items():
        limits = limits.with_claim(source, current)
    assert limits.current_ma == min(claims.values())
    assert limits.lowest.source is not None
    assert claims[limits.lowest.source] == limits.current_ma
