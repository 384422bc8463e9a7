"""QR codes of onboarding payloads, and how a terminal shows them.

Alphanumeric text with error correction M in versions 1 to 3: up to 61 characters, and
an onboarding payload has 22. Row 0 is at the top, column 0 at the left.

Spec: ISO/IEC 18004:2015; Matter Core 1.3 "QR Code"
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby, pairwise
from typing import Final

_CHARACTERS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"
# Version: codewords of data, codewords of error correction (one block).
_CODEWORDS: Final = {1: (16, 10), 2: (28, 16), 3: (44, 26)}
_HEADER_BITS: Final = 4 + 9
_PADDING: Final = (0xEC, 0x11)

_MASKS: Final[tuple[Callable[[int, int], bool], ...]] = (
    lambda row, column: (row + column) % 2 == 0,
    lambda row, column: row % 2 == 0,
    lambda row, column: column % 3 == 0,
    lambda row, column: (row + column) % 3 == 0,
    lambda row, column: (row // 2 + column // 3) % 2 == 0,
    lambda row, column: row * column % 2 + row * column % 3 == 0,
    lambda row, column: (row * column % 2 + row * column % 3) % 2 == 0,
    lambda row, column: ((row + column) % 2 + row * column % 3) % 2 == 0,
)
_FINDER_LIKE: Final = ("10111010000", "00001011101")


def encode_qr_code(text: str) -> tuple[str, ...]:
    """Return the modules as rows of "1" (dark) and "0" (light), without a quiet zone.

    Raises ValueError for a text that is too long or holds other characters.
    """
    codewords = [*_data_codewords(text)]
    version = next(key for key, (data, _) in _CODEWORDS.items() if data == len(codewords))
    codewords += _error_correction(codewords, _CODEWORDS[version][1])
    fixed = _fixed_patterns(version)
    bits = "".join(f"{each:08b}" for each in codewords)
    cells = list(zip(_data_cells(len(fixed), fixed), _padded(bits), strict=False))
    return min((_masked(fixed, cells, mask) for mask in range(len(_MASKS))), key=_penalty)


def render_for_terminal(rows: tuple[str, ...], border: int = 2) -> str:
    """Return lines of half blocks, two rows of modules each, light ones drawn.

    That suits terminals with a dark background; readers know the inverse, too.
    """
    edge = "0" * border
    empty = "0" * (len(rows) + 2 * border)
    framed = [empty] * border + [edge + row + edge for row in rows] + [empty] * border
    if len(framed) % 2:
        framed.append("1" * len(empty))
    glyphs = {"00": "█", "01": "▀", "10": "▄", "11": " "}
    return "\n".join(
        "".join(glyphs[upper + lower] for upper, lower in zip(*pair, strict=True))
        for pair in zip(framed[::2], framed[1::2], strict=True)
    )


def _data_codewords(text: str) -> bytes:
    try:
        values = [_CHARACTERS.index(character) for character in text]
    except ValueError:
        raise ValueError(f"{text!r} is not alphanumeric in the sense of QR codes") from None
    pairs = [values[i : i + 2] for i in range(0, len(values), 2)]
    bits = "".join(f"{45 * p[0] + p[1]:011b}" if p[1:] else f"{p[0]:06b}" for p in pairs)
    for data, _ in _CODEWORDS.values():
        room = 8 * data - _HEADER_BITS - len(bits)
        if room >= 0:
            bits = f"0010{len(text):09b}{bits}" + "0" * min(4, room)
            bits += "0" * (-len(bits) % 8)
            used = bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))
            return used + bytes(_PADDING[i % 2] for i in range(data - len(used)))
    raise ValueError(f"{len(text)} characters are too many for a QR code of version 3")


def _error_correction(data: list[int], count: int) -> list[int]:
    """Return the Reed-Solomon codewords: the remainder of division in GF(256)."""
    generator = [1]
    root = 1
    for _ in range(count):
        shifted = [*generator, 0]
        for i, coefficient in enumerate(generator):
            shifted[i + 1] ^= _multiply(coefficient, root)
        generator = shifted
        root = _multiply(root, 2)
    remainder = [0] * count
    for each in data:
        factor = each ^ remainder[0]
        remainder = [
            old ^ _multiply(coefficient, factor)
            for old, coefficient in zip([*remainder[1:], 0], generator[1:], strict=True)
        ]
    return remainder


def _multiply(one: int, other: int) -> int:
    product = 0
    while other:
        if other & 1:
            product ^= one
        one <<= 1
        if one & 0x100:
            one ^= 0x11D
        other >>= 1
    return product


def _fixed_patterns(version: int) -> list[list[str]]:
    """Return the modules that do not depend on the text; "" where data goes."""
    size = 17 + 4 * version
    cells = [[""] * size for _ in range(size)]
    for i in range(size):
        cells[6][i] = cells[i][6] = "01"[i % 2 == 0]
    if version > 1:
        _draw_square(cells, size - 7, size - 7, 2)
    for row, column in ((3, 3), (3, size - 4), (size - 4, 3)):
        _draw_square(cells, row, column, 4)
    # The places of the format information, which are filled for each mask.
    for row, column, _ in _format_cells(size, 0):
        cells[row][column] = "0"
    cells[size - 8][8] = "1"
    return cells


def _draw_square(cells: list[list[str]], row: int, column: int, reach: int) -> None:
    """Draw rings around a module, dark and light as in a finder (4) or alignment pattern (2)."""
    size = len(cells)
    for i in range(max(0, row - reach), min(size, row + reach + 1)):
        for j in range(max(0, column - reach), min(size, column + reach + 1)):
            distance = max(abs(i - row), abs(j - column))
            is_light = distance in (2, 4) if reach == 4 else distance == 1
            cells[i][j] = "0" if is_light else "1"


def _format_cells(size: int, mask: int) -> Iterator[tuple[int, int, str]]:
    """Return row, column and module of both copies of the format information."""
    remainder = mask  # error correction M is 00
    for _ in range(10):
        remainder = remainder << 1 ^ (0x537 if remainder & 0x200 else 0)
    bits = f"{(mask << 10 | remainder) ^ 0x5412:015b}"[::-1]
    rows = (0, 1, 2, 3, 4, 5, 7, 8)
    for i, bit in enumerate(bits):
        if i < 8:
            yield rows[i], 8, bit
            yield 8, size - 1 - i, bit
        else:
            yield 8, rows[14 - i] if i > 8 else 7, bit
            yield size - 15 + i, 8, bit


def _data_cells(size: int, fixed: list[list[str]]) -> Iterator[tuple[int, int]]:
    """Return the places of data: two columns at a time from the right, up and down in turn."""
    columns = [*range(size - 1, 6, -2), *range(5, 0, -2)]
    for turn, right in enumerate(columns):
        for row in range(size) if turn % 2 else reversed(range(size)):
            for column in (right, right - 1):
                if not fixed[row][column]:
                    yield row, column


def _padded(bits: str) -> Iterator[str]:
    yield from bits
    while True:
        yield "0"


def _masked(
    fixed: list[list[str]], cells: list[tuple[tuple[int, int], str]], mask: int
) -> tuple[str, ...]:
    modules = [list(row) for row in fixed]
    is_flipped = _MASKS[mask]
    for (row, column), bit in cells:
        modules[row][column] = "10"[int(bit)] if is_flipped(row, column) else bit
    for row, column, bit in _format_cells(len(fixed), mask):
        modules[row][column] = bit
    return tuple("".join(row) for row in modules)


def _penalty(rows: tuple[str, ...]) -> int:
    """Return how hard the code is to read, by the standard's four rules."""
    columns = ["".join(column) for column in zip(*rows, strict=True)]
    penalty = 0
    for line in (*rows, *columns):
        runs = (len(list(run)) for _, run in groupby(line))
        penalty += sum(length - 2 for length in runs if length >= 5)
        for pattern in _FINDER_LIKE:
            penalty += 40 * sum(line.startswith(pattern, i) for i in range(len(line) - 10))
    for upper, lower in pairwise(rows):
        for i in range(len(upper) - 1):
            penalty += 3 * (upper[i] == upper[i + 1] == lower[i] == lower[i + 1])
    dark = sum(row.count("1") for row in rows)
    return penalty + 10 * (abs(dark * 20 - len(rows) ** 2 * 10) // len(rows) ** 2)
