"""Hostile bytes: mutations of valid messages, and random TLV."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from evse_node.errors import DecodeError
from evse_node.matter.tlv import (
    Float32,
    SignedInt,
    Tag,
    TagKey,
    TlvList,
    TlvValue,
    decode,
    encode,
)

_BYTES = (0x00, 0x01, 0x15, 0x16, 0x17, 0x18, 0x24, 0x30, 0x7F, 0x80, 0xFE, 0xFF)
_NUMBERS = (0, 1, 2, 13, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0xFFFE, 0xFFFF, 0x10000)
_LARGE = (0x7FFFFFFF, 0xFFFFFFFF, 0x100000000, 2**63 - 1, 2**63, 2**64 - 1)
_TEXTS = ("", "x", "a" * 33, "Zürich", "\0", "🔌" * 8)


class Mutator:
    """Generator of hostile bytes from a seeded random source."""

    def __init__(self, source: random.Random, corpus: Sequence[bytes] = (b"",)) -> None:
        self.random = source
        self.corpus = corpus
        self._changes: tuple[Callable[[bytearray], None], ...] = (
            self._flip,
            self._flip,
            self._set,
            self._set,
            self._delete,
            self._insert,
            self._repeat,
            self._truncate,
            self._splice,
        )

    def payload(self, good: bytes) -> bytes:
        """Return a valid payload unchanged or mutated, or an unrelated one."""
        kind = self.random.random()
        if kind < 0.45:
            return good
        if kind < 0.65:
            return self.change(good)
        if kind < 0.95:
            return self.change_tlv(good)
        if kind < 0.98:
            return self.tlv()
        return self.noise(200)

    def noise(self, limit: int) -> bytes:
        """Return random bytes, up to `limit` of them."""
        return self.random.randbytes(self.random.randrange(limit + 1))

    def change(self, data: bytes) -> bytes:
        """Return `data` with one to four changes of arbitrary bytes."""
        changed = bytearray(data)
        for _ in range(self.random.choice((1, 1, 1, 2, 4))):
            self.random.choice(self._changes)(changed)
        return bytes(changed[:2000])

    def _position(self, data: bytearray) -> int:
        return self.random.randrange(len(data)) if data else 0

    def _flip(self, data: bytearray) -> None:
        if data:
            data[self._position(data)] ^= 1 << self.random.randrange(8)

    def _set(self, data: bytearray) -> None:
        if data:
            data[self._position(data)] = self.random.choice(_BYTES)

    def _delete(self, data: bytearray) -> None:
        start = self._position(data)
        del data[start : start + self.random.randrange(1, 9)]

    def _insert(self, data: bytearray) -> None:
        start = self._position(data)
        data[start:start] = self.random.randbytes(self.random.randrange(1, 9))

    def _repeat(self, data: bytearray) -> None:
        start = self._position(data)
        part = data[start : start + self.random.randrange(1, 40)]
        data[start:start] = part * self.random.choice((1, 1, 2, 20))

    def _truncate(self, data: bytearray) -> None:
        del data[self._position(data) :]

    def _splice(self, data: bytearray) -> None:
        other = self.random.choice(self.corpus)
        start = self.random.randrange(len(other) + 1)
        data[self._position(data) :] = other[start:]

    # TLV.

    def tlv(self) -> bytes:
        """Return a random structure."""
        members = {self._tag(): self.value(3) for _ in range(self.random.randrange(6))}
        return encode(members)

    def _tag(self) -> TagKey:
        kind = self.random.random()
        if kind < 0.85:
            return self.random.randrange(8)
        if kind < 0.95:
            return self.random.choice((0xFE, 0xFF, 0x80))
        return Tag(self.random.randrange(0x20000), self.random.choice((None, 0, 0xFFF1)), 1)

    def value(self, depth: int = 0) -> TlvValue:
        """Return a random value, with containers up to `depth` deep."""
        choice = self.random.choice
        kind = self.random.randrange(13 if depth else 9)
        if kind < 3:
            return choice(_NUMBERS)
        if kind == 3:
            return choice(_LARGE)
        if kind == 4:
            return SignedInt(choice((-1, 0, 1, -128, 127, -(2**63), 2**63 - 1)))
        if kind == 5:
            return choice((True, False, None))
        if kind == 6:
            return choice((0.0, float("nan"), float("inf"), 1e300, Float32(1.5)))
        if kind == 7:
            return choice(_TEXTS)
        if kind == 8:
            return self.noise(40)
        items = [self.value(depth - 1) for _ in range(self.random.randrange(4))]
        if kind == 9:
            return items
        if kind == 10:
            return TlvList((choice((None, self._tag())), item) for item in items)
        return {self._tag(): item for item in items}

    def change_tlv(self, data: bytes) -> bytes:
        """Return `data` with one element, somewhere in the tree, replaced, added or dropped."""
        try:
            value = decode(data)
            return encode(self._change_value(value))
        except DecodeError:
            return self.change(data)

    def _change_value(self, value: TlvValue) -> TlvValue:
        if not isinstance(value, (dict, list)) or not value or self.random.random() < 0.15:
            return self._other(value)
        if isinstance(value, dict):
            members = dict(value)
            key = self.random.choice(list(members))
            fate = self.random.random()
            if fate < 0.1:
                del members[key]
            elif fate < 0.2:
                members[self._tag()] = self.value(2)
            else:
                members[key] = self._change_value(members[key])
            return members
        if isinstance(value, TlvList):
            pairs = TlvList(value)
            index = self.random.randrange(len(pairs))
            tag, item = pairs[index]
            fate = self.random.random()
            if fate < 0.15:
                del pairs[index]
            elif fate < 0.3:
                pairs.insert(index, (tag, item))
            else:
                pairs[index] = (tag, self._change_value(item))
            return pairs
        items = list(value)
        index = self.random.randrange(len(items))
        fate = self.random.random()
        if fate < 0.1:
            del items[index]
        elif fate < 0.2:
            items.extend([items[index]] * self.random.choice((1, 3, 40)))
        else:
            items[index] = self._change_value(items[index])
        return items

    def _other(self, value: TlvValue) -> TlvValue:
        """Return a replacement of one element, mostly of the same type."""
        if isinstance(value, int) and not isinstance(value, bool) and self.random.random() < 0.7:
            near = int(value) + self.random.choice((-1, 1, 0x100, -0x100))
            number = self.random.choice((*_NUMBERS, *_LARGE, max(0, min(near, 2**64 - 1))))
            return SignedInt(min(number, 2**63 - 1)) if isinstance(value, SignedInt) else number
        if isinstance(value, bytes) and self.random.random() < 0.7:
            return self.change(value)
        return self.value(2)
