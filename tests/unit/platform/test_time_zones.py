"""Daylight saving offsets, against known changes of some zones."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from evse_node.matter.wall_clock import DstOffset
from evse_node.platform.time_zones import dst_offsets, has_database
from evse_node.units import MATTER_EPOCH_UNIX_S


def us(year: int, month: int, day: int, hour: int = 0) -> int:
    moment = datetime(year, month, day, hour, tzinfo=UTC).timestamp()
    return (int(moment) - MATTER_EPOCH_UNIX_S) * 1_000_000


SUMMER_25, WINTER_25 = us(2025, 3, 30, 1), us(2025, 10, 26, 1)
SUMMER_26, WINTER_26 = us(2026, 3, 29, 1), us(2026, 10, 25, 1)
SUMMER_27 = us(2027, 3, 28, 1)


@pytest.mark.parametrize("now", [us(2025, 7, 1), SUMMER_25, WINTER_25 - 1])
def test_zone_with_daylight_saving_has_periods(now: int) -> None:
    assert dst_offsets("Europe/Berlin", 3600, now) == (
        DstOffset(3600, SUMMER_25, WINTER_25),
        DstOffset(0, WINTER_25, SUMMER_26),
        DstOffset(3600, SUMMER_26, WINTER_26),
        DstOffset(0, WINTER_26, SUMMER_27),
    )


def test_offset_is_relative_to_the_given_one() -> None:
    found = dst_offsets("Europe/Dublin", 3600, WINTER_25)
    assert found is not None
    assert [each.offset_s for each in found] == [-3600, 0, -3600, 0]


def test_zone_without_daylight_saving_has_one_period() -> None:
    assert dst_offsets("Asia/Tokyo", 32_400, us(2025, 7, 1)) == (DstOffset(0, 0, None),)


def test_short_period_is_found() -> None:
    found = dst_offsets("Africa/Casablanca", 3600, us(2025, 1, 1))
    assert found is not None
    assert [each.offset_s for each in found] == [0, -3600, 0, -3600]


@pytest.mark.parametrize("now", [0, 0xFFFF_FFFF * 1_000_000])
def test_offsets_exist_at_first_and_last_matter_time(now: int) -> None:
    found = dst_offsets("Europe/Berlin", 3600, now)
    assert found is not None
    assert found[0].valid_starting <= now < (found[0].valid_until or now + 1)
    assert found[0].offset_s == 0


@pytest.mark.parametrize(
    "name", ["", "Not/Real", "Europe", "../zoneinfo/UTC", "/etc/hosts", "a\0b", "tzdata.zi", "é"]
)
def test_unknown_zone_returns_none(name: str) -> None:
    assert dst_offsets(name, 0, 0) is None


def test_has_database_looks_for_utc(tmp_path: Path) -> None:
    assert not has_database([str(tmp_path)])
    (tmp_path / "Etc").mkdir()
    (tmp_path / "Etc/UTC").touch()
    assert has_database(["/nowhere", str(tmp_path)])
