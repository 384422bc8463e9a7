"""Encrypted messages. Source: vectors of the Matter SDK's session manager tests."""

PASE_KEY = "5eded244e5532b3cdc23409dbad052d2"
PASE_SESSION_ID = 3000

# (name, clear header, protocol header and payload, datagram)
PASE_MESSAGES = [
    (
        "no payload",
        "00b80b0039300000",
        "0564ee0e207d",
        "00b80b00393000005a989ae42e8d847f535c3007e6150cd65867f2b817db",
    ),
    (
        "short payload",
        "00b80b0039300000",
        "0564ee0e207d1122334455",
        "00b80b00393000005a989ae42e8d0f7f885dfb2faa8949cf730a5728e0354610a0c4a7",
    ),
]

PASE_MESSAGE_WITH_PRIVACY = "00b80b8087beef06aa26a0f901efce9f9a67c8137917d15b81d15d313308319758ea3f"

# (name, clear header, protocol header, encrypted message, the same with privacy applied); the
# key is ca92d7a0942d1a511a0e26ad074f4c2f.
GROUP_MESSAGES = [
    (
        "no privacy",
        "067ddb017856341201000000000000000200",
        "0164ee0e207d",
        "067ddb01785634120100000000000000020065c767bc6cda0106c9801323900e9b3ce6d4bb0327d6",
        None,
    ),
    (
        "privacy",
        "067ddb817956341201000000000000000200",
        "0164ee0e207d",
        "067ddb8179563412010000000000000002002b2f915a66c9596290ebe4408217b3c0c921a2fca4e1",
        "067ddb81d926afce24c8a0981bdd44f4e7302b2f915a66c9596290ebe4408217b3c0c921a2fca4e1",
    ),
]
