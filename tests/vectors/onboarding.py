"""Onboarding payloads. Source: the test vectors of the Matter SDK."""

# (vendor id, product id, discriminator, passcode, flow, discovery, QR code, manual code)
PAYLOADS: list[tuple[int, int, int, int, int, int, str, str | None]] = [
    (0, 0, 3840, 20202021, 0, 4, "MT:00000CQM00KA0648G00", "34970112332"),
    (1, 1, 3781, 12349876, 1, 4, "MT:A3L90ARR15G6N57Y900", "745492075300001000013"),
    (65523, 32920, 2310, 23005908, 2, 4, "MT:MZWA6G6026O2XP0II00", "619156140465523329207"),
    (4387, 18, 3091, 43338551, 2, 2, "MT:KSNK4M5113-JPR4UY00", "702871264504387000187"),
    (9029, 4131, 80, 54757432, 2, 6, "MT:0A.T0P--00Y0OJ0.510", "402104334209029041311"),
    (69, 16, 174, 81235604, 1, 7, "MT:EPX0482F26DAVY09R10", "403732495800069000166"),
    (4891, 2, 3431, 49910688, 0, 2, "MT:U9VJ0OMV172PX813210", None),
    (12, 1, 128, 2048, 0, 1, "MT:M5L90MP500K64J00000", None),
    (0xFFF1, 0x8001, 3840, 20202021, 0, 4, "MT:-24J0AFN00KA0648G00", "34970112332"),
]

# Manual codes without the check digit, and their content.
MANUAL_PARTS: list[tuple[str, int, int, int | None, int | None]] = [
    ("2412950753", 12345679, 0xA, None, None),
    ("64129507530000100001", 12345679, 0xA, 1, 1),
    ("64129507534536714526", 12345679, 0xA, 45367, 14526),
    ("52927623630456200032", 38728284, 0x5, 4562, 32),
    ("40000100000000100001", 1, 0, 1, 1),
]
