"""TLV: every type and tag both ways, and bytes that are none."""

from __future__ import annotations

import math
import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from evse_node.errors import DecodeError
from evse_node.matter.tlv import (
    MAX_DEPTH,
    MAX_SIZE,
    Float32,
    SignedInt,
    Tag,
    TlvList,
    TlvValue,
    Writer,
    decode,
    decode_element,
    decode_struct,
    encode,
)
from tests.vectors.tlv import ELEMENTS, MALFORMED, TAGS, WIDE


def same_types(one: object, other: object) -> bool:
    """Return whether two values are equal and of the same types, recursively."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(same_types(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same_types, one, other))
    return one == other or (isinstance(one, float) and math.isnan(one))


@pytest.mark.parametrize(("value", "encoded"), ELEMENTS, ids=[text for _, text in ELEMENTS])
def test_tlv_elements_encode_and_decode(value: TlvValue, encoded: str) -> None:
    data = bytes.fromhex(encoded)
    assert encode(value) == data
    assert same_types(decode(data), value)
    assert same_types(decode(memoryview(data)), value)


@pytest.mark.parametrize(("tag", "encoded"), TAGS, ids=[text for _, text in TAGS])
def test_tlv_tags_encode_and_decode(tag: int | Tag | None, encoded: str) -> None:
    data = bytes.fromhex(encoded)
    assert encode(42, tag) == data
    assert decode_element(data, 0) == (tag, 42, len(data))
    if tag is not None:
        assert decode_struct(b"\x15" + data + b"\x18") == {tag: 42}


@pytest.mark.parametrize(("value", "encoded"), WIDE, ids=[text for _, text in WIDE])
def test_tlv_non_minimal_encodings_decode(value: TlvValue, encoded: str) -> None:
    assert same_types(decode(bytes.fromhex(encoded)), value)


@pytest.mark.parametrize(("what", "encoded"), MALFORMED, ids=[what for what, _ in MALFORMED])
def test_tlv_malformed_input_is_rejected(what: str, encoded: str) -> None:
    with pytest.raises(DecodeError):
        decode(bytes.fromhex(encoded))


@pytest.mark.parametrize(("value", "encoded"), ELEMENTS, ids=[text for _, text in ELEMENTS])
def test_tlv_truncated_input_is_rejected(value: TlvValue, encoded: str) -> None:
    data = bytes.fromhex(encoded)
    for length in range(len(data)):
        with pytest.raises(DecodeError):
            decode(data[:length])


def test_tlv_float32_keeps_its_precision() -> None:
    (third,) = struct.unpack("<f", struct.pack("<f", 1 / 3))
    assert encode(Float32(1 / 3)).hex() == "0aabaaaa3e"
    assert same_types(decode(bytes.fromhex("0aabaaaa3e")), Float32(third))


def test_tlv_long_strings_have_longer_length_fields() -> None:
    for length, head in ((0xFF, "10ff"), (0x100, "110001"), (0xFFFF, "11ffff")):
        data = encode(bytes(length))
        assert data == bytes.fromhex(head) + bytes(length)
    writer = Writer()
    writer.octets(None, bytes(0x10000))
    assert writer.getvalue()[:5].hex() == "1200000100"


def test_tlv_decoder_limits_depth_and_size() -> None:
    deepest = b"\x16" * MAX_DEPTH + b"\x18" * MAX_DEPTH
    assert decode(deepest) is not None
    with pytest.raises(DecodeError, match="deeply"):
        decode(b"\x16" + deepest + b"\x18")
    with pytest.raises(DecodeError, match="deeply"):
        decode(b"\x16\x16\x18\x18", max_depth=1)
    with pytest.raises(DecodeError, match="exceed"):
        decode(b"\x16" + b"\x08" * MAX_SIZE)


def test_tlv_decode_struct_rejects_other_types() -> None:
    with pytest.raises(DecodeError, match="structure"):
        decode_struct(b"\x16\x18")


def test_tlv_list_returns_first_member_with_tag() -> None:
    members = TlvList([(1, "one"), (None, "none"), (1, "again")])
    assert members.first(1) == "one"
    assert members.first(2) is None


def test_tlv_writer_matches_encode() -> None:
    writer = Writer()
    writer.start_structure()
    writer.uint(0, 7)
    writer.start_array(1)
    writer.raw(encode(None))
    writer.end()
    writer.start_list(2)
    writer.boolean(Tag(3), True)
    writer.end()
    writer.end()
    assert writer.getvalue() == encode({0: 7, 1: [None], 2: TlvList([(Tag(3), True)])})


TAG_KEYS = st.integers(0, 255) | st.builds(
    Tag, st.integers(0, 2**32 - 1), st.integers(1, 0xFFFF), st.integers(1, 0xFFFF)
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(0, 2**64 - 1)
    | st.integers(-(2**63), 2**63 - 1).map(SignedInt)
    | st.floats(allow_nan=False)
    | st.floats(allow_nan=False, width=32).map(Float32)
    | st.text()
    | st.binary()
)
VALUES: st.SearchStrategy[TlvValue] = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(TAG_KEYS, inner, max_size=4)
        | st.lists(st.tuples(st.none() | TAG_KEYS, inner), max_size=4).map(TlvList)
    ),
    max_leaves=12,
)


@given(VALUES)
def test_tlv_values_round_trip(value: TlvValue) -> None:
    assert same_types(decode(encode(value)), value)


@given(st.binary(max_size=200))
@example(b"\x15" * 100)
def test_tlv_arbitrary_bytes_decode_or_raise_decode_error(data: bytes) -> None:
    try:
        value = decode(data)
    except DecodeError:
        return
    # Another encoding of the same value may be shorter, but never another value.
    again = encode(value)
    assert len(again) <= len(data)
    assert same_types(decode(again), value)
