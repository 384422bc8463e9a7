"""RAPI frames: vectors of the protocol document in both directions, and invalid frames."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evse_node.errors import DecodeError
from evse_node.hal.external.openevse.rapi import (
    LARGEST_FRAME,
    Answer,
    Damaged,
    FrameReader,
    Notification,
    checksum,
    decode,
    encode,
)

DOCUMENTED = {
    "F0 1": b"$F0 1^43",
    "F0 0": b"$F0 0^42",
    "G0": b"$G0^53",
    "G3": b"$G3^50",
    "G4": b"$G4^57",
    "GA": b"$GA^22",
    "GC": b"$GC^20",
    "GD": b"$GD^27",
    "GE": b"$GE^26",
    "GF": b"$GF^25",
    "GG": b"$GG^24",
    "GH": b"$GH^2B",
    "GM": b"$GM^2E",
    "GO": b"$GO^2C",
    "GP": b"$GP^33",
    "GS": b"$GS^30",
    "GT": b"$GT^37",
    "GU": b"$GU^36",
    "GV": b"$GV^35",
}
TEXTS = st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="$^*"))


def sealed(text: str) -> bytes:
    body = b"$" + text.encode()
    return body + f"^{checksum(body):02X}".encode()


@pytest.mark.parametrize("text", DOCUMENTED)
def test_documented_commands_are_encoded(text: str) -> None:
    assert encode(text) == DOCUMENTED[text] + b"\r"


def test_checksum_includes_sequence_id() -> None:
    assert encode("GS", 0x0A) == sealed("GS :0A") + b"\r"


@pytest.mark.parametrize(
    "text", ["GS$", "GS^30", "F*", "GS\r", "grün", "FP 0 0 much too long for it"]
)
def test_invalid_text_is_not_encoded(text: str) -> None:
    with pytest.raises(ValueError, match=r"RAPI text|too long"):
        encode(text)


@pytest.mark.parametrize("sequence", [0, 256, -1])
def test_invalid_sequence_id_is_not_encoded(sequence: int) -> None:
    with pytest.raises(ValueError, match="sequence"):
        encode("GS", sequence)


@pytest.mark.parametrize(
    ("text", "frame"),
    [
        ("OK", Answer(True)),
        ("NK", Answer(False)),
        ("OK 16", Answer(True, ("16",))),
        ("NK 32 :7F", Answer(False, ("32",), 0x7F)),
        ("OK 03 120 03 0140 :ff", Answer(True, ("03", "120", "03", "0140"), 0xFF)),
        ("OK  1  2", Answer(True, ("1", "2"))),
        ("AT 03 03 16 0140", Notification("AT", ("03", "03", "16", "0140"))),
        ("AB 00 8.2.3", Notification("AB", ("00", "8.2.3"))),
        ("ST 01", Notification("ST", ("01",))),
        ("WF 01", Notification("WF", ("01",))),
        ("AN 1", Notification("AN", ("1",))),
    ],
)
def test_frames_of_controller_are_decoded(text: str, frame: object) -> None:
    assert decode(sealed(text)) == frame


def test_checksum_may_be_lower_case() -> None:
    assert decode(sealed("OK 7").lower().replace(b"ok", b"OK")) == Answer(True, ("7",))


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"$",
        b"$OK",
        b"$OK^",
        b"$OK^2",
        b"$OK^200",
        b"$OK^+2",
        b"$OK^ 2",
        b"$OK^21",
        b"OK^20",
        b"$OK*13",
        sealed("OK :00"),
        sealed("OK :1"),
        sealed("OK :XY"),
        sealed("GS"),
        sealed(""),
        sealed("OK \x07"),
        b"$OK \xff^" + b"%02X" % checksum(b"$OK \xff"),
    ],
)
def test_invalid_frame_raises(frame: bytes) -> None:
    with pytest.raises(DecodeError):
        decode(frame)


@pytest.mark.parametrize("length", range(len(sealed("OK 16000 240000 :2A"))))
def test_truncated_frame_raises(length: int) -> None:
    with pytest.raises(DecodeError):
        decode(sealed("OK 16000 240000 :2A")[:length])


@given(TEXTS.filter(lambda text: len(text) < 20), st.integers(1, 255))
def test_encoded_frame_decodes_to_same_words(text: str, sequence: int) -> None:
    frame = encode(f"OK {text}", sequence)
    assert decode(frame[:-1]) == Answer(
        True, tuple(word for word in text.split(" ") if word), sequence
    )


@given(st.binary())
def test_random_bytes_raise_only_decode_error(data: bytes) -> None:
    with contextlib.suppress(DecodeError):
        decode(data)


@given(st.data())
def test_one_changed_byte_is_detected(data: st.DataObject) -> None:
    frame = bytearray(sealed("OK 03 120 03 0140 :2A"))
    at = data.draw(st.integers(0, len(frame) - 4))
    frame[at] ^= data.draw(st.integers(1, 127))
    with pytest.raises(DecodeError):
        decode(bytes(frame))


class TestReader:
    def test_frames_in_pieces_are_joined(self) -> None:
        reader = FrameReader()
        frames = [
            frame
            for byte in sealed("OK 1") + b"\r" + sealed("AT 01") + b"\r"
            for frame in reader.feed(bytes([byte]))
        ]
        assert frames == [Answer(True, ("1",)), Notification("AT", ("01",))]

    def test_bytes_between_frames_are_ignored(self) -> None:
        data = b"relayCloseMs: 25\r\n" + sealed("OK") + b"\r\n\r" + sealed("NK") + b"\r"
        assert FrameReader().feed(data) == [Answer(True), Answer(False)]

    def test_start_within_frame_begins_new_frame(self) -> None:
        data = b"$OK 1" + sealed("AT 02") + b"\r" + b"6^00\r" + sealed("OK") + b"\r"
        broken, notification, answer = FrameReader().feed(data)
        assert isinstance(broken, Damaged)
        assert notification == Notification("AT", ("02",))
        assert answer == Answer(True)

    def test_wrong_checksum_is_damage(self) -> None:
        (frame,) = FrameReader().feed(b"$OK^21\r")
        assert frame == Damaged("b'$OK^21' has a wrong checksum, not 20")

    def test_endless_garbage_is_bounded(self) -> None:
        reader = FrameReader()
        frames = reader.feed(b"$" + b"x" * 100_000)
        assert frames == [Damaged(f"no end within {LARGEST_FRAME} bytes")]
        assert reader.feed(sealed("OK") + b"\r") == [Answer(True)]

    def test_reset_discards_incomplete_frame(self) -> None:
        reader = FrameReader()
        reader.feed(b"$OK 1")
        reader.reset()
        assert reader.feed(b"6^21\r") == []

    @given(st.lists(st.binary(max_size=40)))
    def test_frame_after_random_bytes_is_found(self, pieces: list[bytes]) -> None:
        reader = FrameReader()
        for piece in pieces:
            reader.feed(piece)
        assert reader.feed(b"\r" + sealed("OK 5 :01") + b"\r")[-1] == Answer(True, ("5",), 1)
