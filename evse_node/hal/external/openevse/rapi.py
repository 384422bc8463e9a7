"""RAPI, the text protocol of OpenEVSE controllers: frames to and from bytes.

A frame is `$`, words between spaces, optionally ` :` and a sequence id of two hexadecimal
digits, `^` and the XOR of all before it as two hexadecimal digits, and CR. An answer repeats
the id of its command. Between answers the controller sends notifications.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from msgspec import Struct

from evse_node.errors import DecodeError

LARGEST_COMMAND: Final = 31
"""Size of the controller's buffer, CR included."""
LARGEST_FRAME: Final = 128
LAST_SEQUENCE: Final = 0xFF

_START: Final = 0x24
_END: Final = 0x0D
_NOTIFICATIONS: Final = frozenset({"AB", "AN", "AT", "ST", "WF"})
_DIGITS: Final = frozenset("0123456789ABCDEFabcdef")


class Answer(Struct, frozen=True):
    """The answer to a command. `sequence` None: the controller could not read the command."""

    is_ok: bool
    words: tuple[str, ...] = ()
    sequence: int | None = None


class Notification(Struct, frozen=True):
    """A notification: AT state change, AB boot, AN button, WF WiFi mode."""

    name: str
    words: tuple[str, ...] = ()


class Damaged(Struct, frozen=True):
    """A frame that cannot be decoded."""

    reason: str


Frame: TypeAlias = Answer | Notification | Damaged


def checksum(text: bytes) -> int:
    """Return the XOR of all bytes."""
    found = 0
    for byte in text:
        found ^= byte
    return found


def encode(text: str, sequence: int | None = None) -> bytes:
    """Return the frame of a text like "SC 16 V". Raises ValueError for one that does not fit."""
    if sequence is not None:
        if not 1 <= sequence <= LAST_SEQUENCE:
            raise ValueError(f"invalid sequence id: {sequence}")
        text = f"{text} :{sequence:02X}"
    if any(not " " <= character <= "~" or character in "$^*" for character in text):
        raise ValueError(f"invalid RAPI text: {text!r}")
    body = b"$" + text.encode("ascii")
    frame = body + b"^%02X\r" % checksum(body)
    if len(frame) > LARGEST_COMMAND:
        raise ValueError(f"{len(frame)} bytes are too long for the controller: {text!r}")
    return frame


def decode(frame: bytes) -> Answer | Notification:
    """Decode one frame, from `$` up to, not including, CR. Raises DecodeError."""
    body, mark, digits = frame.rpartition(b"^")
    if not body.startswith(b"$") or not mark:
        raise DecodeError(f"{frame!r} has no checksum")
    try:
        text, given = body[1:].decode("ascii"), digits.decode("ascii")
    except UnicodeDecodeError:
        raise DecodeError(f"{frame!r} is not text") from None
    if len(given) != 2 or not _DIGITS.issuperset(given):
        raise DecodeError(f"{frame!r} has no checksum")
    if int(given, 16) != checksum(body):
        raise DecodeError(f"{frame!r} has a wrong checksum, not {checksum(body):02X}")
    if not text.isprintable():
        raise DecodeError(f"{frame!r} is not text")
    name, *words = text.split(" ")
    words = [word for word in words if word]
    if name in _NOTIFICATIONS:
        return Notification(name, tuple(words))
    if name not in ("OK", "NK"):
        raise DecodeError(f"{frame!r} is neither an answer nor a notification")
    sequence = None
    if words and words[-1].startswith(":"):
        sequence = _sequence(words.pop()[1:], frame)
    return Answer(name == "OK", tuple(words), sequence)


def _sequence(digits: str, frame: bytes) -> int:
    if len(digits) != 2 or not _DIGITS.issuperset(digits) or digits == "00":
        raise DecodeError(f"{frame!r} has no sequence id")
    return int(digits, 16)


class FrameReader:
    """Decoder of a stream of bytes into frames.

    Bytes between frames are ignored: other firmware may write there. Each `$` starts a new
    frame, so that a truncated frame does not damage the next one.
    """

    def __init__(self) -> None:
        self._frame = bytearray()

    def reset(self) -> None:
        """Discard an incomplete frame."""
        self._frame.clear()

    def feed(self, data: bytes) -> list[Frame]:
        """Process bytes, and return the frames that they complete."""
        frames: list[Frame] = []
        for byte in data:
            if byte == _START:
                if self._frame:
                    frames.append(Damaged(f"{bytes(self._frame)!r} is incomplete"))
                self._frame[:] = b"$"
            elif not self._frame:
                continue
            elif byte == _END:
                frames.append(self._read(bytes(self._frame)))
                self._frame.clear()
            elif len(self._frame) >= LARGEST_FRAME:
                frames.append(Damaged(f"no end within {LARGEST_FRAME} bytes"))
                self._frame.clear()
            else:
                self._frame.append(byte)
        return frames

    def _read(self, frame: bytes) -> Frame:
        try:
            return decode(frame)
        except DecodeError as error:
            return Damaged(str(error))
