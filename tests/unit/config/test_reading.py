from __future__ import annotations

import math
import subprocess
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import pytest
from msgspec import Meta

from evse_node.config.reading import (
    FieldError,
    TomlStruct,
    convert,
    explain,
    load_toml,
    missing,
    unusable,
)
from evse_node.errors import ConfigError

Word = Annotated[int, Meta(ge=0, le=0xFFFF)]


class Colour(Enum):
    RED = "red"
    GREEN = "green"


class Spi(TomlStruct, frozen=True, tag_field="kind", tag="spi"):
    chip_select: Annotated[int, Meta(ge=0, le=9)] = 0


class I2c(TomlStruct, frozen=True, tag_field="kind", tag="i2c"):
    address: Word


class Limits(TomlStruct, frozen=True):
    low: Annotated[float, Meta(ge=0.5)] = 1
    high: Annotated[float, Meta(gt=0)] = 2

    def __post_init__(self) -> None:
        if self.high < self.low:
            raise unusable("high", self.high, f"{self.low} or more")
        if self.high == 13:
            raise ValueError("give one of low and high")
        if self.low == 15:
            raise missing("high", "16")
        if self.high == 14:
            raise FieldError("high", "only on Fridays")


class Span(TomlStruct, frozen=True, array_like=True):
    low: float
    high: float

    def __post_init__(self) -> None:
        if self.low >= self.high:
            raise ValueError


class Board(TomlStruct, frozen=True):
    name: Annotated[str, Meta(min_length=1)]
    maximum_current_a: Annotated[float, Meta(ge=6, le=80)] = 32
    phases: Annotated[int, Meta(ge=1, le=3)] = 1
    is_lit: bool = False
    colour: Colour = Colour.RED
    parity: Literal["N", "E"] = "N"
    port: Annotated[str, Meta(description="a serial port like /dev/ttyUSB0")] | None = None
    line: Annotated[str | int, Meta(description="the name of a line, or its number")] = 0
    bus: Spi | I2c | None = None
    words: Annotated[tuple[Word, ...], Meta(min_length=1, max_length=3)] = (1,)
    points: Annotated[
        tuple[tuple[float, float], ...], Meta(description="pairs of numbers like [[0, 1]]")
    ] = ()
    pair: tuple[int, int] = (0, 0)
    span: Annotated[Span, Meta(description="two numbers, the lower first")] = Span(0, 1)
    limits: list[Limits] = []
    states: dict[str, Word] = {}


ERRORS: list[tuple[dict[str, object], str]] = [
    ({"name": 5}, "name: 5 cannot be used: give a string that is not empty"),
    ({"name": ""}, "name: '' cannot be used: give a string that is not empty"),
    ({"name": "a\nb", "phases": "a\nb"}, "phases: 'a\\nb' cannot be used: give 1 to 3"),
    ({"maximum_current_a": 7}, "maximum_current_a: no such key; known keys are bus, colour, is-"),
    ({"maximum-current-a": 100}, "maximum-current-a: 100 cannot be used: give 6 to 80"),
    ({"maximum-current-a": math.nan}, "maximum-current-a: nan cannot be used: give 6 to 80"),
    ({"maximum-current-a": True}, "maximum-current-a: True cannot be used: give 6 to 80"),
    ({"phases": 1.5}, "phases: 1.5 cannot be used: give a whole number, 1 to 3"),
    ({"is-lit": 1}, "is-lit: 1 cannot be used: give true or false"),
    ({"colour": "blue"}, "colour: 'blue' cannot be used: give one of red, green"),
    ({"parity": "O"}, "parity: 'O' cannot be used: give one of E, N"),
    ({"port": 3}, "port: 3 cannot be used: give a serial port like /dev/ttyUSB0"),
    ({"line": True}, "line: True cannot be used: give the name of a line, or its number"),
    ({"bus": 3}, "bus: 3 cannot be used: give a table"),
    ({"bus": {}}, "bus.kind is missing: give one of spi, i2c"),
    ({"bus": {"kind": "usb"}}, "bus.kind: 'usb' cannot be used: give one of spi, i2c"),
    ({"bus": {"kind": "i2c"}}, "bus.address is missing: give 0 to 65535"),
    (
        {"bus": {"kind": "spi", "address": 3}},
        "bus.address: no such key; known keys are chip-select, kind",
    ),
    ({"words": []}, "words: [] cannot be used: give a list of 1 to 3"),
    ({"words": [1, 70_000]}, "words[2]: 70000 cannot be used: give 0 to 65535"),
    ({"points": [[1, "x"]]}, "points: [[1, 'x']] cannot be used: give pairs of numbers like"),
    ({"span": [1]}, "span: [1] cannot be used: give two numbers, the lower first"),
    ({"span": [1, 2, 3]}, "span: [1, 2, 3] cannot be used: give two numbers, the lower first"),
    ({"span": ["a", 2]}, "span: ['a', 2] cannot be used: give two numbers, the lower first"),
    ({"span": [2, 1]}, "span: [2, 1] cannot be used: give two numbers, the lower first"),
    ({"pair": [1]}, "pair: [1] cannot be used: give a list of 2"),
    ({"limits": [{}, {"low": 0}]}, "limits[2].low: 0 cannot be used: give 0.5 or more"),
    ({"limits": [{"high": 0}]}, "limits[1].high: 0 cannot be used: give more than 0"),
    ({"limits": [{"low": 3}]}, "limits[1].high: 2 cannot be used: give 3.0 or more"),
    ({"limits": [{"low": 15, "high": 20}]}, "limits[1].high is missing: give 16"),
    ({"limits": [{"high": 13}]}, "limits[1]: give one of low and high"),
    ({"limits": [{"high": 14}]}, "limits[1].high: only on Fridays"),
    ({"states": {"A": -1}}, "states: {'A': -1} cannot be used: give a table"),
]


@pytest.mark.parametrize(("wrong", "line"), ERRORS)
def test_error_names_source_key_value_and_what_is_right(
    wrong: dict[str, object], line: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        convert({"name": "x", **wrong}, Board, "configuration", prefix="hal.")
    assert str(caught.value).startswith(f"configuration: hal.{line}")
    assert "\n" not in str(caught.value)


def test_error_of_whole_document_names_source_alone() -> None:
    with pytest.raises(ConfigError, match=r"^board: 5 cannot be used: give a table$"):
        convert(5, Board, "board")


def test_long_value_is_cut_in_error() -> None:
    with pytest.raises(ConfigError) as caught:
        convert({"name": "x", "phases": "y" * 5_000}, Board, "board")
    assert len(str(caught.value)) < 200


def test_valid_data_becomes_struct() -> None:
    board = convert({"name": "x", "bus": {"kind": "spi"}, "phases": 3}, Board, "board")
    assert board == Board("x", phases=3, bus=Spi())


class TestLoadToml:
    def test_reads_file(self, tmp_path: Path) -> None:
        file = tmp_path / "board.toml"
        file.write_text('name = "x"\n[bus]\nkind = "i2c"\naddress = 0x48\n')
        assert load_toml(file, Board).bus == I2c(0x48)

    @pytest.mark.parametrize(
        ("content", "line"),
        [
            (b"[", "not TOML: "),
            (b"\xff", "is not UTF-8 text"),
            (b"phases = 1", "name is missing: give a string that is not empty"),
        ],
    )
    def test_error_names_file(self, tmp_path: Path, content: bytes, line: str) -> None:
        file = tmp_path / "board.toml"
        file.write_bytes(content)
        with pytest.raises(ConfigError) as caught:
            load_toml(file, Board)
        assert str(caught.value).startswith(f"{file}: {line}")

    def test_missing_file_is_reported(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="cannot be read"):
            load_toml(tmp_path / "none.toml", Board)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (b'{"name": "x", "is-lit": "true"}', 'is-lit: "true" cannot be used: give true or false'),
        (b'{"name": "x", "phases": true}', "phases: true cannot be used: give 1 to 3"),
        (b'{"name": "x", "bus": 3}', "bus: 3 cannot be used: give an object"),
    ],
)
def test_json_error_shows_value_as_json(text: bytes, line: str) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.json.decode(text, type=Board)
    assert explain(caught.value, msgspec.json.decode(text), Board, is_json=True) == line


def test_import_loads_no_other_package_of_node() -> None:
    code = "import sys, evse_node.config.reading; print([*sys.modules])"
    output = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout
    assert "evse_node.config.reading" in output
    for name in ("bridge", "charger", "cli", "cluster", "hal", "matter", "node", "platform"):
        assert f"'evse_node.{name}" not in output
