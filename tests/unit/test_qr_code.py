"""QR codes: a published example, reading back what was drawn, another library's codes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evse_node.qr_code import (
    _CHARACTERS,
    _CODEWORDS,
    _MASKS,
    _data_cells,
    _data_codewords,
    _error_correction,
    _fixed_patterns,
    _multiply,
    encode_qr_code,
    render_for_terminal,
)

PAYLOAD = "MT:-24J0AFN00KA0648G00"


def read(rows: tuple[str, ...]) -> str:
    """Read a code that is not damaged: the text, after checking the error correction."""
    # Format information beside the upper left finder: 2 bits of level, 3 of the mask.
    mask = int(rows[8][0:5], 2) ^ 0b10101
    assert mask < 8, "not error correction M"
    fixed = _fixed_patterns((len(rows) - 17) // 4)
    bits = "".join(
        str(int(rows[row][column]) ^ _MASKS[mask](row, column))
        for row, column in _data_cells(len(rows), fixed)
    )
    words = [int(bits[i : i + 8], 2) for i in range(0, len(bits) - 7, 8)]
    for power in range(_CODEWORDS[(len(rows) - 17) // 4][1]):
        root, value = 1, 0
        for _ in range(power):
            root = _multiply(root, 2)
        for word in words:
            value = _multiply(value, root) ^ word
        assert value == 0, "a syndrome is not zero"
    assert bits[:4] == "0010"
    length, text, at = int(bits[4:13], 2), "", 13
    while len(text) < length:
        if length - len(text) > 1:
            first, second = divmod(int(bits[at : at + 11], 2), 45)
            text, at = text + _CHARACTERS[first] + _CHARACTERS[second], at + 11
        else:
            text += _CHARACTERS[int(bits[at : at + 6], 2)]
    return text


def test_published_codewords() -> None:
    data = [32, 91, 11, 120, 209, 114, 220, 77, 67, 64, 236, 17, 236, 17, 236, 17]
    assert list(_data_codewords("HELLO WORLD")) == data
    assert _error_correction(data, 10) == [196, 35, 39, 119, 235, 215, 231, 226, 93, 23]


@settings(max_examples=25, deadline=None)
@given(st.text(_CHARACTERS, min_size=1, max_size=61))
def test_what_is_drawn_can_be_read(text: str) -> None:
    assert read(encode_qr_code(text)) == text


@pytest.mark.parametrize(("length", "size"), [(20, 21), (21, 25), (38, 25), (39, 29), (61, 29)])
def test_smallest_version_that_holds_the_text(length: int, size: int) -> None:
    rows = encode_qr_code("7" * length)
    assert {len(rows), *map(len, rows)} == {size}


@pytest.mark.parametrize("text", ["7" * 62, "mt:", "MT:Ä"])
def test_what_does_not_fit_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"alphanumeric|too many"):
        encode_qr_code(text)


@pytest.mark.parametrize("text", [PAYLOAD, "A", "7" * 20, "HELLO WORLD", "Q7" * 30])
def test_another_library_draws_the_same(text: str) -> None:
    segno = pytest.importorskip("segno")
    # Which mask is the best is a matter of taste at the edges.
    theirs = [
        segno.make(
            text, error="m", boost_error=False, micro=False, mode="alphanumeric", mask=mask
        ).matrix
        for mask in range(len(_MASKS))
    ]
    drawn = ["\n".join("".join(map(str, row)) for row in matrix) for matrix in theirs]
    assert "\n".join(encode_qr_code(text)) in drawn


def test_terminal_shows_two_rows_in_a_line() -> None:
    assert render_for_terminal(("10", "01"), border=0) == "▄▀"
    assert render_for_terminal(("1",), border=1) == "█▀█\n▀▀▀"
    lines = render_for_terminal(encode_qr_code(PAYLOAD)).splitlines()
    assert (len(lines), {len(line) for line in lines}) == (15, {29})
    assert set(lines[0]) == {"█"}
