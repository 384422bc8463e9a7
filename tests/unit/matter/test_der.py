"""DER: known encodings in both directions, and what is not distinguished."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evse_node.errors import DecodeError
from evse_node.matter import der
from evse_node.matter.der import Reader

# Source: X.690 and RFC 5280.
OIDS = [
    ("1.2.840.113549.1.7.2", "06092a864886f70d010702"),
    ("2.5.4.3", "0603550403"),
    ("0.9.2342.19200300.100.1.25", "060a0992268993f22c640119"),
    ("1.3.6.1.4.1.37244.1.1", "060a2b0601040182a27c0101"),
    ("2.999.3", "0603883703"),
]


@pytest.mark.parametrize(("dotted", "encoded"), OIDS)
def test_object_identifiers_match_vectors(dotted: str, encoded: str) -> None:
    assert der.object_identifier(dotted).hex() == encoded
    assert Reader(bytes.fromhex(encoded)).object_identifier() == dotted


@pytest.mark.parametrize(
    ("value", "encoded"),
    [(0, "020100"), (127, "02017f"), (128, "02020080"), (256, "02020100"), (65535, "020300ffff")],
)
def test_der_integers_match_vectors(value: int, encoded: str) -> None:
    assert der.integer(value).hex() == encoded
    assert Reader(bytes.fromhex(encoded)).integer() == value


@pytest.mark.parametrize(
    ("size", "head"),
    [(0, "0400"), (127, "047f"), (128, "048180"), (255, "0481ff"), (256, "04820100")],
)
def test_der_lengths_match_vectors(size: int, head: str) -> None:
    encoded = der.octet_string(bytes(size))
    assert encoded[: len(head) // 2].hex() == head
    reader = Reader(encoded)
    assert reader.content(der.OCTET_STRING) == bytes(size)
    reader.finish()


def test_der_other_elements_round_trip() -> None:
    assert der.boolean(True).hex() == "0101ff"
    assert der.bit_string(b"\xa0", 5).hex() == "030205a0"
    assert der.explicit(3, der.boolean(False)).hex() == "a303010100"
    # The members of a SET OF are sorted.
    assert der.set_of(der.integer(2), der.integer(1)).hex() == "3106020101020102"
    reader = Reader(bytes.fromhex("0101ff030205a0a30102"[:14]))
    assert reader.boolean()
    assert reader.bit_string() == (b"\xa0", 5)
    assert reader.at_end
    assert reader.peek() is None
    assert reader.optional(0xA0) is None


@pytest.mark.parametrize(
    ("read", "encoded"),
    [
        (Reader.any, ""),
        (Reader.any, "04"),
        (Reader.any, "0402aa"),
        (Reader.any, "1f8101"),  # tag of several bytes
        (Reader.any, "0480"),  # indefinite length
        (Reader.any, "048101aa"),  # longer than needed
        (Reader.any, "04820001aa"),
        (Reader.any, "0484000000"),
        (Reader.enter, "0400"),
        (Reader.boolean, "010101"),
        (Reader.boolean, "0100"),
        (Reader.integer, "0200"),
        (Reader.integer, "0201ff"),
        (Reader.integer, "02020001"),
        (Reader.bit_string, "0300"),
        (Reader.bit_string, "030108"),
        (Reader.bit_string, "030101"),
        (Reader.bit_string, "030201ff"),  # unused bit is set
        (Reader.object_identifier, "0600"),
        (Reader.object_identifier, "060188"),
        (Reader.object_identifier, "06028001"),
        (Reader.object_identifier, "060c2affffffffffffffffffff7f"),
    ],
)
def test_der_reader_rejects_non_canonical_encoding(
    read: Callable[[Reader], object], encoded: str
) -> None:
    with pytest.raises(DecodeError):
        read(Reader(bytes.fromhex(encoded)))


def test_der_reader_rejects_trailing_bytes() -> None:
    reader = Reader(bytes.fromhex("02010100"))
    reader.integer()
    with pytest.raises(DecodeError):
        reader.finish()


@given(st.integers(0, 1 << 200))
def test_der_integer_round_trips(value: int) -> None:
    assert Reader(der.integer(value)).integer() == value


@given(st.binary(max_size=40))
def test_der_arbitrary_bytes_decode_canonically_or_fail(data: bytes) -> None:
    try:
        tag, content, whole = Reader(data).any()
    except DecodeError:
        return
    assert der.element(tag, content) == whole
    assert data.startswith(whole)


def test_der_reader_does_not_enter_non_canonical_element() -> None:
    for data in ("0000", "020100", "30820001"):
        reader = Reader(bytes.fromhex(data))
        with pytest.raises(DecodeError):
            reader.enter()
