"""Certificates and private keys as they lie in files: DER, or PEM around it.

Spec: RFC 7468; RFC 5915 (SEC 1 keys); RFC 5958 (PKCS#8 keys)
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Collection

from evse_node.errors import CryptoError, DecodeError
from evse_node.matter import der
from evse_node.matter.crypto import KeyPair

_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----(.*?)-----END \1-----", re.DOTALL)
_EC_PUBLIC_KEY = "1.2.840.10045.2.1"
_P256 = "1.2.840.10045.3.1.7"


def decode_pem(data: bytes, labels: Collection[str]) -> bytes:
    """Return the DER of the first PEM block with one of `labels`; DER is given back as is.

    Raises DecodeError when there is PEM, but no such block or not base64 in it.
    """
    if b"-----BEGIN " not in data:
        return data
    found: list[str] = []
    for match in _BLOCK.finditer(data):
        label = match[1].decode()
        found.append(label)
        if label in labels:
            try:
                return base64.b64decode(b"".join(match[2].split()), validate=True)
            except (binascii.Error, ValueError):
                raise DecodeError(f"{label} block is not base64") from None
    raise DecodeError(f"has {', '.join(found) or 'broken PEM'} where {labels} belongs")


def encode_pem(data: bytes, label: str) -> str:
    """Return `data` as one PEM block."""
    body = base64.b64encode(data).decode()
    lines = [body[start : start + 64] for start in range(0, len(body), 64)]
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""])


def decode_private_key(data: bytes) -> KeyPair:
    """Read an unencrypted P-256 private key: SEC 1 or PKCS#8, in DER or PEM.

    Raises DecodeError, and CryptoError for a number that is not a key.
    """
    encoded = decode_pem(data, ("PRIVATE KEY", "EC PRIVATE KEY"))
    reader = der.Reader(encoded)
    fields = reader.enter()
    reader.finish()
    version = fields.integer()
    if version == 1:
        return _decode_sec1(fields)
    if version != 0:
        raise DecodeError("private key has an unknown version")
    algorithm = fields.enter()
    if algorithm.object_identifier() != _EC_PUBLIC_KEY or algorithm.object_identifier() != _P256:
        raise DecodeError("private key is not one of P-256")
    inner = der.Reader(fields.content(der.OCTET_STRING))
    key = inner.enter()
    inner.finish()
    if key.integer() != 1:
        raise DecodeError("private key has an unknown version")
    return _decode_sec1(key)


def _decode_sec1(fields: der.Reader) -> KeyPair:
    pair = KeyPair.from_private(fields.content(der.OCTET_STRING))
    parameters = fields.optional(0xA0)
    if parameters is not None and parameters.object_identifier() != _P256:
        raise DecodeError("private key is not one of P-256")
    wrapped = fields.optional(0xA1)
    if wrapped is not None and wrapped.bit_string()[0] != pair.public_key:
        raise CryptoError("public key beside the private key is not its own")
    return pair
