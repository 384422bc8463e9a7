"""TLV elements. Source: Matter Core 1.3, Appendix A, "TLV Encoding Examples"."""

from evse_node.matter.tlv import Float32, SignedInt, Tag, TlvList, TlvValue

INFINITY = float("inf")

# (value, hex)
ELEMENTS: list[tuple[TlvValue, str]] = [
    (False, "08"),
    (True, "09"),
    (SignedInt(42), "00 2a"),
    (SignedInt(-17), "00 ef"),
    (42, "04 2a"),
    (SignedInt(-170000), "02 f0 67 fd ff"),
    (SignedInt(40000000000), "03 00 90 2f 50 09 00 00 00"),
    ("Hello!", "0c 06 48 65 6c 6c 6f 21"),
    ("Tschüs", "0c 07 54 73 63 68 c3 bc 73"),
    (bytes(range(5)), "10 05 00 01 02 03 04"),
    (None, "14"),
    (Float32(0.0), "0a 00 00 00 00"),
    (Float32(INFINITY), "0a 00 00 80 7f"),
    (Float32(-INFINITY), "0a 00 00 80 ff"),
    (0.0, "0b 00 00 00 00 00 00 00 00"),
    (1.0 / 3.0, "0b 55 55 55 55 55 55 d5 3f"),
    (17.9, "0b 66 66 66 66 66 e6 31 40"),
    (INFINITY, "0b 00 00 00 00 00 00 f0 7f"),
    (-INFINITY, "0b 00 00 00 00 00 00 f0 ff"),
    ({}, "15 18"),
    ([], "16 18"),
    (TlvList(), "17 18"),
    ({0: SignedInt(42), 1: SignedInt(-17)}, "15 20 00 2a 20 01 ef 18"),
    ([SignedInt(number) for number in range(5)], "16 00 00 00 01 00 02 00 03 00 04 18"),
    (
        TlvList(
            [
                (None, SignedInt(1)),
                (0, SignedInt(42)),
                (None, SignedInt(2)),
                (None, SignedInt(3)),
                (0, SignedInt(-17)),
            ]
        ),
        "17 00 01 20 00 2a 00 02 00 03 20 00 ef 18",
    ),
    (
        [SignedInt(42), SignedInt(-170000), {}, 17.9, "Hello!"],
        "16 00 2a 02 f0 67 fd ff 15 18 0b 66 66 66 66 66 e6 31 40 0c 06 48 65 6c 6c 6f 21 18",
    ),
    # The fewest bytes that hold a number, at both ends of each size.
    (0xFF, "04 ff"),
    (0x100, "05 00 01"),
    (0xFFFF, "05 ff ff"),
    (0x10000, "06 00 00 01 00"),
    (0xFFFFFFFF, "06 ff ff ff ff"),
    (0x100000000, "07 00 00 00 00 01 00 00 00"),
    (0xFFFFFFFFFFFFFFFF, "07 ff ff ff ff ff ff ff ff"),
    (SignedInt(127), "00 7f"),
    (SignedInt(128), "01 80 00"),
    (SignedInt(-128), "00 80"),
    (SignedInt(-129), "01 7f ff"),
    (SignedInt(-0x8000), "01 00 80"),
    (SignedInt(0x8000), "02 00 80 00 00"),
    (SignedInt(-0x80000001), "03 ff ff ff 7f ff ff ff ff"),
]

# (tag, hex of the number 42 with that tag)
TAGS: list[tuple[int | Tag | None, str]] = [
    (None, "04 2a"),
    (1, "24 01 2a"),
    (Tag(1, 0, 0), "44 01 00 2a"),
    (Tag(100000, 0, 0), "64 a0 86 01 00 2a"),
    (Tag(1), "84 01 00 2a"),
    (Tag(100000), "a4 a0 86 01 00 2a"),
    (Tag(1, 0xFFF1, 0xDEED), "c4 f1 ff ed de 01 00 2a"),
    (Tag(0xAA55FEED, 0xFFF1, 0xDEED), "e4 f1 ff ed de ed fe 55 aa 2a"),
]

# Well formed, but not as this node writes it.
WIDE: list[tuple[TlvValue, str]] = [
    (SignedInt(42), "01 2a 00"),
    (42, "07 2a 00 00 00 00 00 00 00"),
    ("Hello!", "0d 06 00 48 65 6c 6c 6f 21"),
    ("Hello!", "0f 06 00 00 00 00 00 00 00 48 65 6c 6c 6f 21"),
    (b"\x01", "12 01 00 00 00 01"),
]

MALFORMED: list[tuple[str, str]] = [
    ("nothing", ""),
    ("an end alone", "18"),
    ("an end with a tag", "15 38 01"),
    ("a reserved type", "19"),
    ("another reserved type", "1f"),
    ("something after the element", "08 08"),
    ("a tag on the outermost element", "24 01 2a"),
    ("a structure that does not end", "15 24 01 2a"),
    ("an array that does not end", "16 04 2a"),
    ("a list that does not end", "17"),
    ("a structure member without a tag", "15 04 2a 18"),
    ("a tag twice in a structure", "15 24 01 2a 24 01 2b 18"),
    ("an array member with a tag", "16 24 01 2a 18"),
    ("half a number", "06 2a 00"),
    ("half a float", "0a 00 00"),
    ("half a tag", "15 e4 f1 ff"),
    ("half a string", "0c 06 48 65"),
    ("a string longer than memory", "0f ff ff ff ff ff ff ff ff 48"),
    ("a length cut off", "0d 06"),
    ("text that is not UTF-8", "0c 02 c3 28"),
]
