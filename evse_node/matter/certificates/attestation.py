"""Device attestation: credentials that prove the origin of a device.

Spec: Matter Core 1.3 "Device Attestation"
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from msgspec import Struct

from evse_node.errors import ConfigError, CryptoError, DecodeError
from evse_node.matter import der, tlv
from evse_node.matter.certificates import x509
from evse_node.matter.certificates.certification_declaration import (
    CertificationDeclaration,
    decode_declaration,
    encode_declaration,
    parse_signed_declaration,
    sign_declaration,
)
from evse_node.matter.certificates.x509 import Attribute, X509Certificate
from evse_node.matter.crypto import KeyPair, sha1, verify_signature

MAX_CERTIFICATE_SIZE: Final = 600
ATTESTATION_NONCE_SIZE: Final = 32
TEST_VENDOR_ID: Final = 0xFFF1
ENERGY_EVSE_DEVICE_TYPE: Final = 0x050C

_OID_COMMON_NAME = "2.5.4.3"
_OID_VENDOR_ID = "1.3.6.1.4.1.37244.2.1"
_OID_PRODUCT_ID = "1.3.6.1.4.1.37244.2.2"
_DIGITAL_SIGNATURE = 0x0001
_SIGNS_CERTIFICATES = 0x0060
_PEM_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----(.*?)-----END \1-----", re.DOTALL)

# Published with the Matter SDK for development. The keys are public, so only commissioners
# set up for development trust what they sign.
_PAA_PRIVATE_KEY = "6512caecaecfc543d60623161597162f014684c565a129b62fd28c27ab1ccc50"
_PAA_KEY_ID = bytes.fromhex("6afd22771f511fecbf1641976710dcdc31a1717e")
_PAA_SERIAL = bytes.fromhex("4ea8e83182d41c1c")
_PAA_SIGNATURE = bytes.fromhex(
    "50aa8002f4d932a9a00538f65368ad0fffc8efbbc9beb7da569835cf9aa7510e"
    "23bac8fe0f23e75445b65339081a47994929c72aaf0a1548d40d034d514b25de"
)
_CD_SIGNER_PRIVATE_KEY = "aef3484116e9481ec57be0472df41bf499064e5024ad869eca5e889802d48075"
_CD_SIGNER_KEY_ID = bytes.fromhex("62fa823359acfaa9963e1cfa140addf504f37160")
# 2021-06-28 14:23:43 UTC, when the validity of the development authority begins. Being
# a constant, it does not depend on a clock that may be wrong when credentials are made.
_NOT_BEFORE = 678_205_423
_DEVELOPMENT_CERTIFICATE_ID = "CSA00000SWC00000-00"


class Attestation(Struct, frozen=True):
    """The credentials of one device, certificates and declaration in DER."""

    dac_der: bytes
    pai_der: bytes
    cd_der: bytes
    dac_key: KeyPair

    def elements(self, nonce: bytes, timestamp_s: int = 0) -> bytes:
        """Return the attestation elements in TLV.

        `timestamp_s` is seconds since 2000, 0 when the time is not known.
        Spec: Matter Core 1.3 "Attestation Information"
        """
        return tlv.encode({1: self.cd_der, 2: nonce, 3: timestamp_s})

    def sign(self, elements: bytes, attestation_challenge: bytes) -> bytes:
        """Sign attestation or NOCSR elements for the session of the challenge (16 bytes)."""
        return self.dac_key.sign(elements + attestation_challenge)

    def to_bytes(self) -> bytes:
        """Return everything, private key included, for storage."""
        return tlv.encode(
            {1: self.dac_der, 2: self.pai_der, 3: self.cd_der, 4: self.dac_key.private_bytes}
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Attestation:
        """Restore the output of `to_bytes`; raises DecodeError or CryptoError."""
        members = tlv.decode_struct(data)
        parts = [members.get(tag) for tag in (1, 2, 3, 4)]
        dac, pai, declaration, key = (part if isinstance(part, bytes) else b"" for part in parts)
        if not (dac and pai and declaration and key):
            raise DecodeError("stored attestation is incomplete")
        return cls(dac, pai, declaration, KeyPair.from_private(key))

    @property
    def vendor_id(self) -> int:
        """The vendor that the device attestation certificate names."""
        return _identity(x509.decode_x509(self.dac_der))[0] or 0

    @property
    def product_id(self) -> int:
        """The product that the device attestation certificate names."""
        return _identity(x509.decode_x509(self.dac_der))[1] or 0


def encode_nocsr_elements(csr: bytes, nonce: bytes) -> bytes:
    """Return the elements that carry a certificate signing request, in TLV.

    Spec: Matter Core 1.3 "NOCSR Information"
    """
    return tlv.encode({1: csr, 2: nonce})


# --- development credentials


def make_development_attestation(
    vendor_id: int = TEST_VENDOR_ID,
    product_id: int = 0x8001,
    *,
    device_type_id: int = ENERGY_EVSE_DEVICE_TYPE,
    random_bytes: Callable[[int], bytes] = os.urandom,
) -> Attestation:
    """Issue credentials for one device under the development authority.

    Raises ConfigError for a vendor that this authority cannot vouch for and for a
    product id out of range.
    """
    if vendor_id != TEST_VENDOR_ID:
        raise ConfigError(
            f"vendor id 0x{vendor_id:04X} needs attestation credentials of its own; "
            f"development credentials are for 0x{TEST_VENDOR_ID:04X}"
        )
    if not 0 < product_id <= 0xFFFF:
        raise ConfigError(f"product id {product_id} is not between 1 and 65535")
    authority = KeyPair.from_private(bytes.fromhex(_PAA_PRIVATE_KEY))
    intermediate, device = KeyPair.generate(), KeyPair.generate()
    intermediate_name = _name(f"EVSE Node PAI {vendor_id:04X}", vendor_id)
    device_name = _name(f"EVSE Node DAC {vendor_id:04X}/{product_id:04X}", vendor_id, product_id)
    pai = _issue(
        _serial(random_bytes),
        _paa_name(),
        intermediate_name,
        intermediate.public_key,
        _extensions(0, _key_id(intermediate.public_key), _PAA_KEY_ID),
        authority,
    )
    dac = _issue(
        _serial(random_bytes),
        intermediate_name,
        device_name,
        device.public_key,
        _extensions(None, _key_id(device.public_key), _key_id(intermediate.public_key)),
        intermediate,
    )
    declaration = CertificationDeclaration(
        vendor_id=vendor_id,
        product_ids=(product_id,),
        device_type_id=device_type_id,
        certificate_id=_DEVELOPMENT_CERTIFICATE_ID,
    )
    signed = sign_declaration(
        encode_declaration(declaration),
        KeyPair.from_private(bytes.fromhex(_CD_SIGNER_PRIVATE_KEY)),
        _CD_SIGNER_KEY_ID,
    )
    return Attestation(dac, pai, signed, device)


def paa_certificate_der() -> bytes:
    """Return the certificate of the development authority, for a controller to trust."""
    tbs = x509.encode_tbs(
        serial=_PAA_SERIAL,
        issuer=_paa_name(),
        not_before=_NOT_BEFORE,
        not_after=x509.NO_EXPIRY,
        subject=_paa_name(),
        public_key=KeyPair.from_private(bytes.fromhex(_PAA_PRIVATE_KEY)).public_key,
        extensions=_extensions(1, _PAA_KEY_ID, _PAA_KEY_ID),
    )
    return x509.encode_x509(tbs, _PAA_SIGNATURE)


def paa_certificate_pem() -> str:
    """Return the certificate of the development authority as PEM."""
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509 import load_der_x509_certificate

    return load_der_x509_certificate(paa_certificate_der()).public_bytes(Encoding.PEM).decode()


def _name(common_name: str, vendor_id: int, product_id: int | None = None) -> list[Attribute]:
    name = [
        Attribute(_OID_COMMON_NAME, der.UTF8_STRING, common_name.encode()),
        Attribute(_OID_VENDOR_ID, der.UTF8_STRING, b"%04X" % vendor_id),
    ]
    if product_id is not None:
        name.append(Attribute(_OID_PRODUCT_ID, der.UTF8_STRING, b"%04X" % product_id))
    return name


def _paa_name() -> list[Attribute]:
    return _name("Matter Test PAA", TEST_VENDOR_ID)


def _key_id(public_key: bytes) -> bytes:
    # RFC 5280 4.2.1.2 (1).
    return sha1(public_key)


def _serial(random_bytes: Callable[[int], bytes]) -> bytes:
    raw = random_bytes(8)
    # Positive and not zero.
    return bytes((raw[0] & 0x3F | 0x40,)) + raw[1:]


def _extensions(path_length: int | None, key_id: bytes, issuer_key_id: bytes) -> list[bytes]:
    is_ca = path_length is not None
    return [
        x509.basic_constraints(is_ca, path_length),
        x509.key_usage(_SIGNS_CERTIFICATES if is_ca else _DIGITAL_SIGNATURE),
        x509.subject_key_id(key_id),
        x509.authority_key_id(issuer_key_id),
    ]


def _issue(
    serial: bytes,
    issuer: list[Attribute],
    subject: list[Attribute],
    public_key: bytes,
    extensions: list[bytes],
    signer: KeyPair,
) -> bytes:
    tbs = x509.encode_tbs(
        serial=serial,
        issuer=issuer,
        not_before=_NOT_BEFORE,
        not_after=x509.NO_EXPIRY,
        subject=subject,
        public_key=public_key,
        extensions=extensions,
    )
    return x509.encode_x509(tbs, signer.sign(tbs))


# --- credentials of the user's own


def load_attestation(dac: Path, pai: Path, declaration: Path, key: Path) -> Attestation:
    """Read a device's credentials from files in DER or PEM, and check that they fit.

    The key may be SEC 1 or PKCS#8. Raises ConfigError with the name of the file that
    cannot be read or does not fit the others.
    """
    with _naming(dac):
        device = _decode_certificate(dac.read_bytes())
        vendor_id, product_id = _identity(device)
        if vendor_id is None or product_id is None:
            raise DecodeError("subject lacks a Matter vendor id or product id")
        _check_role(device, is_ca=False)
    with _naming(pai):
        intermediate = _decode_certificate(pai.read_bytes())
        _check_role(intermediate, is_ca=True)
        pai_vendor_id, pai_product_id = _identity(intermediate)
        if pai_vendor_id != vendor_id or pai_product_id not in (None, product_id):
            raise DecodeError(f"is for another vendor or product than {dac}")
    with _naming(dac):
        if device.issuer != intermediate.subject:
            raise DecodeError(f"was not issued by {pai}: names differ")
        if device.authority_key_id != intermediate.subject_key_id:
            raise DecodeError(f"was not issued by {pai}: key identifiers differ")
        verify_signature(intermediate.public_key, device.tbs, device.signature)
    with _naming(key):
        key_pair = decode_private_key(key.read_bytes())
        if key_pair.public_key != device.public_key:
            raise CryptoError(f"is not the private key of the certificate in {dac}")
    with _naming(declaration):
        cd_der = decode_pem(declaration.read_bytes(), ("CMS", "PKCS7"))
        _check_declaration(cd_der, vendor_id, product_id)
    return Attestation(device.raw, intermediate.raw, cd_der, key_pair)


@contextmanager
def _naming(file: Path) -> Iterator[None]:
    """Turn errors into a ConfigError that begins with the name of the file."""
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from None
    except (DecodeError, CryptoError) as error:
        raise ConfigError(f"{file}: {error}") from None


def decode_pem(data: bytes, labels: Collection[str]) -> bytes:
    """Return the DER of the first PEM block with one of `labels`; return DER unchanged.

    Raises DecodeError for PEM without such a block, or with a broken one.
    """
    if b"-----BEGIN " not in data:
        return data
    found: list[str] = []
    for match in _PEM_BLOCK.finditer(data):
        label = match[1].decode()
        found.append(label)
        if label in labels:
            try:
                return base64.b64decode(b"".join(match[2].split()), validate=True)
            except ValueError:
                raise DecodeError(f"{label} block is not base64") from None
    raise DecodeError(f"has {', '.join(found) or 'broken PEM'}; expected {' or '.join(labels)}")


def decode_private_key(data: bytes) -> KeyPair:
    """Read an unencrypted P-256 private key: SEC 1 or PKCS#8, in DER or PEM.

    Raises DecodeError or CryptoError.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey

    encoded = decode_pem(data, ("PRIVATE KEY", "EC PRIVATE KEY"))
    try:
        key = serialization.load_der_private_key(encoded, None)
    except (TypeError, ValueError, UnsupportedAlgorithm):
        raise DecodeError(
            "is not a private key; expected SEC 1 or PKCS#8, in DER or PEM, without a passphrase"
        ) from None
    if not isinstance(key, EllipticCurvePrivateKey) or not isinstance(key.curve, SECP256R1):
        raise DecodeError("is not a P-256 private key")
    return KeyPair.from_private(key.private_numbers().private_value.to_bytes(32, "big"))


def _decode_certificate(data: bytes) -> X509Certificate:
    encoded = decode_pem(data, ("CERTIFICATE",))
    if len(encoded) > MAX_CERTIFICATE_SIZE:
        raise DecodeError(f"certificate has {len(encoded)} bytes, more than {MAX_CERTIFICATE_SIZE}")
    return x509.decode_x509(encoded)


def _check_role(certificate: X509Certificate, *, is_ca: bool) -> None:
    """Check the extensions that Matter demands of a DAC or of a PAI (`is_ca`)."""
    constraints = certificate.extension(x509.OID_BASIC_CONSTRAINTS)
    expected = (True, 0) if is_ca else (False, None)
    if constraints is None or x509.decode_basic_constraints(constraints.value) != expected:
        raise DecodeError(f"basic constraints do not say CA {str(is_ca).lower()}")
    usage = certificate.extension(x509.OID_KEY_USAGE)
    bits = 0 if usage is None else x509.decode_key_usage(usage.value)
    if (bits & _SIGNS_CERTIFICATES != _SIGNS_CERTIFICATES) if is_ca else bits != _DIGITAL_SIGNATURE:
        raise DecodeError("key usage does not fit the certificate's role")
    if certificate.subject_key_id is None or certificate.authority_key_id is None:
        raise DecodeError("key identifier is missing")


def _identity(certificate: X509Certificate) -> tuple[int | None, int | None]:
    """Return the vendor and product id that the subject names."""
    common_name = " ".join(certificate.subject_values(_OID_COMMON_NAME))
    ids: list[int | None] = []
    for oid, prefix in ((_OID_VENDOR_ID, "Mvid:"), (_OID_PRODUCT_ID, "Mpid:")):
        values = certificate.subject_values(oid)
        # Older certificates have the ids within the common name.
        text = values[0] if values else common_name.partition(prefix)[2][:4]
        is_id = len(text) == 4 and all(character in "0123456789ABCDEF" for character in text)
        ids.append(int(text, 16) if is_id else None)
    return ids[0], ids[1]


def _check_declaration(data: bytes, vendor_id: int, product_id: int) -> None:
    declaration = decode_declaration(parse_signed_declaration(data).content)
    vendor = declaration.dac_origin_vendor_id
    product = declaration.dac_origin_product_id
    if vendor is None and product is None:
        fits = vendor_id == declaration.vendor_id and product_id in declaration.product_ids
    else:
        fits = (vendor, product) == (vendor_id, product_id)
    if not fits:
        raise DecodeError(
            f"is not for vendor 0x{vendor_id:04X} and product 0x{product_id:04X}, "
            "which the device attestation certificate names"
        )
