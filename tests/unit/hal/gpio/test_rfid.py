from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from evse_node.errors import HalError
from evse_node.hal.card_presence import CardPresence
from evse_node.hal.gpio.readers.card_reader import CARD_POLL_S, CardPoller
from evse_node.hal.gpio.readers.mfrc522 import Mfrc522, crc_a
from evse_node.hal.gpio.readers.pn532 import (
    ACK,
    I2cLink,
    Pn532,
    UartLink,
    decode_frame,
    encode_frame,
)

UID_4 = bytes.fromhex("04112233")
UID_7 = bytes.fromhex("04112233445566")


def answer_frame(data: bytes) -> bytes:
    body = b"\xd5" + data
    return b"\x00\x00\xff" + bytes((len(body), -len(body) & 0xFF)) + body + bytes((-sum(body) & 0xFF, 0))  # fmt: skip  # noqa: E501


class Chip:
    """A PN532: commands in, frames out."""

    def __init__(self) -> None:
        self.uid: bytes | None = None
        self.out: list[bytes] = []
        self.commands: list[int] = []

    def take(self, frame: bytes) -> None:
        start = frame.find(b"\x00\x00\xff")
        if start < 0:
            return
        length = frame[start + 3]
        body = frame[start + 5 : start + 5 + length]
        assert (sum(body) + frame[start + 5 + length]) & 0xFF == 0
        assert body[0] == 0xD4
        self.commands.append(body[1])
        data = bytes((body[1] + 1,))
        if body[1] == 0x4A:
            data += self.card()
        elif body[1] == 0x52:
            data += b"\x00"
        self.out += [ACK, answer_frame(data)]

    def card(self) -> bytes:
        if self.uid is None:
            return b"\x00"
        return b"\x01\x01\x00\x04\x08" + bytes((len(self.uid),)) + self.uid


@dataclass
class Serial:
    chip: Chip
    timeout: float | None = None
    waiting: bytes = b""

    def write(self, data: bytes) -> int:
        self.chip.take(data)
        self.waiting += b"".join(self.chip.out)
        self.chip.out.clear()
        return len(data)

    def read(self, size: int) -> bytes:
        found, self.waiting = self.waiting[:size], self.waiting[size:]
        return found

    def reset_input_buffer(self) -> None:
        self.waiting = b""

    def close(self) -> None:
        pass


@dataclass
class I2c:
    chip: Chip
    busy: int = 1

    def write(self, data: bytes) -> None:
        self.chip.take(data)

    def read(self, length: int) -> bytes:
        if not self.chip.out:
            raise OSError(121, "no answer")
        if self.busy:
            self.busy -= 1
            return bytes(length)
        self.busy = 1
        return (b"\x01" + self.chip.out.pop(0)).ljust(length, b"\0")

    def close(self) -> None:
        pass


@pytest.mark.parametrize("bus", ["uart", "i2c"])
class TestPn532:
    def make(self, bus: str) -> tuple[Pn532, Chip]:
        chip = Chip()
        link = I2cLink(I2c(chip)) if bus == "i2c" else UartLink(Serial(chip), lambda: Serial(chip))
        return Pn532(link), chip

    @pytest.mark.parametrize("uid", [UID_4, UID_7])
    def test_reads_a_card(self, bus: str, uid: bytes) -> None:
        reader, chip = self.make(bus)
        assert reader.poll() is None
        chip.uid = uid
        assert reader.poll() == uid
        assert chip.commands == [0x14, 0x32, 0x4A, 0x4A, 0x52]

    def test_is_set_up_again_after_failure(self, bus: str) -> None:
        reader, chip = self.make(bus)
        reader.poll()
        take, chip.take = chip.take, lambda frame: None  # type: ignore[method-assign]
        with pytest.raises((HalError, OSError)):
            reader.poll()
        chip.take = take  # type: ignore[method-assign]
        chip.commands.clear()
        assert reader.poll() is None
        assert chip.commands == [0x14, 0x32, 0x4A]


def test_serial_port_is_reopened_after_failure() -> None:
    """An adapter on USB: the old descriptor is dead, the new device may take its time."""

    class Pulled(Serial):
        is_closed = False

        def write(self, data: bytes) -> int:
            raise OSError(5, "gone")

        def close(self) -> None:
            self.is_closed = True

    chip, tries = Chip(), list[int]()
    chip.uid = UID_4

    def reopen() -> Serial:
        tries.append(1)
        if len(tries) == 1:
            raise HalError("/dev/ttyUSB0 is not there")
        return Serial(chip)

    port = Serial(chip)
    reader = Pn532(UartLink(port, reopen))
    assert reader.poll() == UID_4
    port.__class__ = Pulled
    for _ in range(2):
        with pytest.raises(OSError, match="gone"):
            reader.poll()
    assert not tries
    with pytest.raises(HalError, match="is not there"):
        reader.poll()
    assert port.is_closed  # type: ignore[attr-defined]
    assert [reader.poll(), reader.poll()] == [UID_4] * 2
    assert len(tries) == 2


def test_pn532_frames_are_encoded_and_decoded() -> None:
    assert encode_frame(b"\x02").hex() == "0000ff02fed4022a00"
    assert decode_frame(bytes.fromhex("0000ff06fad50332010607e800")).hex() == "0332010607"


@pytest.mark.parametrize(
    "frame",
    [
        "",
        "0000ff",
        "0000ff06fad503320106",
        "0000ff06f9d50332010607e800",
        "0000ff06fad50332010607e900",
        "0000ff06fad40332010607e900",
        "ffffffffffffffff",
    ],
)
def test_invalid_pn532_frame_raises_error(frame: str) -> None:
    with pytest.raises(HalError):
        decode_frame(bytes.fromhex(frame))


@dataclass
class Mfrc522Chip:
    """The registers of an MFRC522, and a card in its field."""

    uid: bytes | None = None
    version: int = 0x92
    registers: dict[int, int] = field(default_factory=dict)
    fifo: bytearray = field(default_factory=bytearray)

    def xfer2(self, values: list[int]) -> list[int]:
        register, value = values[0] >> 1 & 0x3F, values[1]
        if values[0] & 0x80:
            return [0, self.read(register)]
        self.registers[register] = value
        if register == 0x09:
            self.fifo.append(value)
        elif register == 0x0A:
            self.fifo.clear()
        elif register == 0x0D and value & 0x80:
            answer = self.answer(bytes(self.fifo))
            self.fifo[:] = answer
            self.registers[0x04] = 0x20 if answer else 0x01
        return [0, 0]

    def read(self, register: int) -> int:
        if register == 0x37:
            return self.version
        if register == 0x0A:
            return len(self.fifo)
        if register == 0x09:
            return self.fifo.pop(0)
        return self.registers.get(register, 0)

    def answer(self, sent: bytes) -> bytes:
        if self.uid is None:
            return b""
        if sent == b"\x26":
            return b"\x04\x00"
        level = (0x93, 0x95, 0x97).index(sent[0])
        if sent[1] == 0x70:
            assert crc_a(sent[:7]) == sent[7:]
            return b"\x04\xda\x17"
        rest = self.uid[3 * level :]
        part = rest if len(rest) == 4 else b"\x88" + rest[:3]
        return part + bytes((part[0] ^ part[1] ^ part[2] ^ part[3],))

    def close(self) -> None:
        pass


class TestMfrc522:
    @pytest.mark.parametrize("uid", [UID_4, UID_7, bytes(range(1, 11))])
    def test_reads_a_card(self, uid: bytes) -> None:
        chip = Mfrc522Chip()
        reader = Mfrc522(chip)
        assert reader.poll() is None
        chip.uid = uid
        assert reader.poll() == uid

    @pytest.mark.parametrize("version", [0x00, 0xFF])
    def test_empty_bus_raises_error(self, version: int) -> None:
        with pytest.raises(HalError, match="no MFRC522 answers"):
            Mfrc522(Mfrc522Chip(version=version)).poll()

    @pytest.mark.parametrize("gone", [0x00, 0xFF])
    def test_is_set_up_again_after_chip_reset(self, gone: int) -> None:
        chip = Mfrc522Chip(uid=UID_4)
        reader = Mfrc522(chip)
        assert reader.poll() == UID_4
        xfer2, chip.xfer2 = chip.xfer2, lambda values: [gone, gone]  # type: ignore[method-assign]
        with pytest.raises(HalError, match="was removed or reset"):
            reader.poll()
        chip.xfer2 = xfer2  # type: ignore[method-assign]
        chip.registers.clear()
        assert reader.poll() == UID_4

    def test_crc_a_matches_standard(self) -> None:
        # ISO/IEC 14443-3 Annex B: 00 00 gives A0 1E; HALT is 50 00 57 CD.
        assert crc_a(b"\x00\x00") == b"\xa0\x1e"
        assert crc_a(b"\x50\x00") == b"\x57\xcd"


def test_card_is_reported_once_until_removed() -> None:
    class Source:
        uid: bytes | None = UID_4

        def poll(self) -> bytes | None:
            if self.uid == b"broken":
                raise OSError("gone")
            return self.uid

        def close(self) -> None:
            pass

    source, reported = Source(), list[bytes]()
    now = 100.0
    poller = CardPoller(source, reported.append, lambda: now)
    away = [None] * 10
    for uid in (UID_4, UID_4, None, UID_4, b"broken", UID_4, UID_7, *away, UID_7):
        source.uid = uid
        poller.poll()
        now += CARD_POLL_S
    assert reported == [UID_4, UID_7, UID_7]


def test_card_that_is_away_for_600_ms_is_one_tap() -> None:
    presence = CardPresence()
    assert presence.update(UID_4, 0.0) == UID_4
    for now in (0.2, 0.4, 0.6):
        assert presence.update(None, now) is None
    assert presence.update(UID_4, 0.8) is None
    assert presence.update(UID_4, 2.7) is None  # it was there all the time
    assert presence.update(UID_7, 2.8) == UID_7
    assert presence.update(None, 4.0) is None
    assert presence.update(UID_7, 4.9) == UID_7
