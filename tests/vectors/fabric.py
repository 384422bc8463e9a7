"""Examples of the specification for fabrics and group keys."""

from __future__ import annotations

# Spec: Matter Core 1.3 "Compressed Fabric Identifier", "Destination Identifier"
ROOT_PUBLIC_KEY = bytes.fromhex(
    "044a9f42b1ca4840d37292bbc7f6a7e11e22200c976fc900dbc98a7a383a641cb8"
    "254a2e56d4e295a847943b4e3897c4a773e930277b4d9fbede8a052686bfacfa"
)
FABRIC_ID = 0x2906C908D115D362
COMPRESSED_FABRIC_ID = bytes.fromhex("87e1b004e235a130")
NODE_ID = 0xCD5544AA7B13EF14
OPERATIONAL_IPK = bytes.fromhex("9bc61cd9c62a2df6d64dfcaa9dc472d4")
INITIATOR_RANDOM = bytes.fromhex("7e171231568dfa17206b3accf8faec2f4d21b580113196f47c7c4deb810a73dc")
DESTINATION_ID = bytes.fromhex("dc35dd5fc9134cc5544538c9c3fc4297c1ec3370c839136a80e10796451d4c53")

# Epoch key, compressed fabric id, operational key.
OPERATIONAL_KEYS = [
    (
        "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf",
        "2906c908d115d362",
        "1f19ed3cef8a211baf306faeeee7aac6",
    ),
    (
        "b0b1b2b3b4b5b6b7b8b9babbbcbdbebf",
        "2906c908d115d362",
        "aa979a48bd8cdf293a0709b9c1eb1930",
    ),
    (
        "235bf7e62823d358dca4ba50b1535f4b",
        "87e1b004e235a130",
        "a6f5306baf6d050af23ba4bd6b9dd960",
    ),
]
