"""Operational credentials of this node on a fabric, and the values derived from them.

Spec: Matter Core 1.3 "Fabric", "Node Operational Credentials"
"""

from __future__ import annotations

from enum import IntEnum

from msgspec import Struct
from msgspec.structs import force_setattr

from evse_node.errors import CryptoError, DecodeError, EvseNodeError
from evse_node.matter.certificates.certificate import (
    CertificateError,
    Fault,
    decode_certificate,
    verify_chain,
)
from evse_node.matter.crypto import KeyPair, hkdf_sha256, hmac_sha256, repr_without
from evse_node.matter.fabrics.group_key import GroupKeySet, derive_operational_key
from evse_node.matter.tlv import TagKey, TlvValue, decode_struct, encode
from evse_node.matter.tlv_fields import expect_integer, expect_octets, expect_text


class NodeOperationalCertStatus(IntEnum):
    """Spec: Matter Core 1.3 "NodeOperationalCertStatusEnum"."""

    OK = 0
    INVALID_PUBLIC_KEY = 1
    INVALID_NODE_OP_ID = 2
    INVALID_NOC = 3
    MISSING_CSR = 4
    TABLE_FULL = 5
    INVALID_ADMIN_SUBJECT = 6
    FABRIC_CONFLICT = 9
    LABEL_CONFLICT = 10
    INVALID_FABRIC_INDEX = 11


class FabricError(EvseNodeError):
    """A refused change of the fabric table; `status` gives the reason."""

    def __init__(self, status: NodeOperationalCertStatus, reason: str) -> None:
        self.status = status
        super().__init__(reason)


class Fabric(Struct, frozen=True):
    """One fabric of this node.

    Certificates are Matter TLV, `root_public_key` has 65 bytes, `node_id` is this node's
    id on the fabric. Derived once: `compressed_fabric_id` (8 bytes) and
    `operational_ipks`, the operational key (16 bytes) of each epoch key of `ipk`.
    """

    index: int
    root_certificate: bytes
    noc: bytes
    icac: bytes | None
    operational_key: KeyPair
    fabric_id: int
    node_id: int
    root_public_key: bytes
    vendor_id: int
    ipk: GroupKeySet
    label: str = ""
    compressed_fabric_id: bytes = b""
    operational_ipks: tuple[bytes, ...] = ()

    def __repr__(self) -> str:
        return repr_without(
            self,
            "root_certificate",
            "noc",
            "icac",
            "operational_key",
            "root_public_key",
            "ipk",
            "operational_ipks",
        )

    def __post_init__(self) -> None:
        compressed = derive_compressed_fabric_id(self.root_public_key, self.fabric_id)
        force_setattr(self, "compressed_fabric_id", compressed)
        ipks = tuple(derive_operational_key(item.key, compressed) for item in self.ipk.epoch_keys)
        force_setattr(self, "operational_ipks", ipks)

    @property
    def operational_ipk(self) -> bytes:
        """The identity protection key for sessions that this node initiates, 16 bytes.

        It is the second newest, if there are several: during a key rollover all members
        have it.
        Spec: Matter Core 1.3 "Destination Identifier"
        """
        return self.operational_ipks[max(0, len(self.operational_ipks) - 2)]

    def destination_id(self, initiator_random: bytes, ipk: bytes | None = None) -> bytes:
        """Return the destination id (32 bytes) of this node for an initiator's random."""
        return compute_destination_id(
            self.operational_ipk if ipk is None else ipk,
            initiator_random,
            self.root_public_key,
            self.fabric_id,
            self.node_id,
        )


def derive_compressed_fabric_id(root_public_key: bytes, fabric_id: int) -> bytes:
    """Return the compressed fabric id (8 bytes), which DNS-SD uses.

    Spec: Matter Core 1.3 "Compressed Fabric Identifier"
    """
    return hkdf_sha256(root_public_key[1:], fabric_id.to_bytes(8, "big"), b"CompressedFabric", 8)


def compute_destination_id(
    ipk: bytes, initiator_random: bytes, root_public_key: bytes, fabric_id: int, node_id: int
) -> bytes:
    """Return the destination id (32 bytes), which only the addressed node recognizes.

    `ipk` is the 16-byte operational identity protection key.
    Spec: Matter Core 1.3 "Destination Identifier"
    """
    ids = fabric_id.to_bytes(8, "little") + node_id.to_bytes(8, "little")
    return hmac_sha256(ipk, initiator_random + root_public_key + ids)


def make_fabric(
    index: int,
    root_certificate: bytes,
    noc: bytes,
    icac: bytes | None,
    operational_key: KeyPair,
    vendor_id: int,
    ipk: GroupKeySet,
    epoch_s: int | None,
) -> Fabric:
    """Verify the certificate chain for the operational key, and return the fabric.

    `epoch_s` is the time at which the certificates have to be valid, None for any. Raises
    FabricError.
    """
    try:
        root = decode_certificate(root_certificate)
        leaf = decode_certificate(noc)
        intermediate = None if icac is None else decode_certificate(icac)
        verify_chain(leaf, intermediate, root, epoch_s)
    except (DecodeError, CryptoError) as error:
        raise FabricError(_status_of(error), str(error)) from None
    if leaf.public_key != operational_key.public_key:
        raise FabricError(
            NodeOperationalCertStatus.INVALID_PUBLIC_KEY,
            "NOC does not match the key of the CSR",
        )
    node_id, fabric_id = leaf.subject.node_id, leaf.subject.fabric_id
    # verify_chain requires both.
    assert node_id is not None
    assert fabric_id is not None
    return Fabric(
        index=index,
        root_certificate=root_certificate,
        noc=noc,
        icac=icac,
        operational_key=operational_key,
        fabric_id=fabric_id,
        node_id=node_id,
        root_public_key=root.public_key,
        vendor_id=vendor_id,
        ipk=ipk,
    )


def _status_of(error: Exception) -> NodeOperationalCertStatus:
    """Return the status for a chain that is refused."""
    if isinstance(error, CertificateError) and error.fault is Fault.NODE_ID:
        return NodeOperationalCertStatus.INVALID_NODE_OP_ID
    return NodeOperationalCertStatus.INVALID_NOC


def encode_fabric(fabric: Fabric) -> bytes:
    """Encode a fabric for the store, including its private key."""
    icac: dict[TagKey, TlvValue] = {} if fabric.icac is None else {2: fabric.icac}
    return encode(
        {
            0: fabric.root_certificate,
            1: fabric.noc,
            **icac,
            3: fabric.operational_key.private_bytes,
            4: fabric.vendor_id,
            5: fabric.label,
            6: fabric.ipk.to_tlv(),
        }
    )


def decode_fabric(index: int, data: bytes) -> Fabric:
    """Decode a stored fabric. Raises DecodeError or CryptoError."""
    members = decode_struct(data)
    root = expect_octets(members.get(0))
    noc = expect_octets(members.get(1))
    subject = decode_certificate(noc).subject
    if subject.fabric_id is None or subject.node_id is None:
        raise DecodeError("not a node operational certificate")
    return Fabric(
        index=index,
        root_certificate=root,
        noc=noc,
        icac=expect_octets(members[2]) if 2 in members else None,
        operational_key=KeyPair.from_private(expect_octets(members.get(3))),
        fabric_id=subject.fabric_id,
        node_id=subject.node_id,
        root_public_key=decode_certificate(root).public_key,
        vendor_id=expect_integer(members.get(4)),
        ipk=GroupKeySet.from_tlv(members.get(6)),
        label=expect_text(members.get(5)),
    )
