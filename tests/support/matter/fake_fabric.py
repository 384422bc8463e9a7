"""Fabrics and sessions for tests, with credentials as issued by a commissioner."""

from __future__ import annotations

from evse_node.matter.crypto import AeadKey, KeyPair
from evse_node.matter.data_model import Subject
from evse_node.matter.fabrics.fabric import FabricTable
from evse_node.matter.fabrics.fabric_identity import Fabric
from evse_node.matter.messaging.session import SecureSession, SessionParameters
from tests.support.fakes import address, seeded_bytes
from tests.support.matter.fake_ca import CertificateAuthority

IPK_EPOCH_KEY = bytes.fromhex("4a71cdd7b2a3ca90247f9e1b4c0a2d11")
NODE_ID = 0x1122


def add_pending(
    table: FabricTable,
    fabric_id: int = 1,
    *,
    authority: CertificateAuthority | None = None,
    node_id: int = NODE_ID,
    vendor_id: int = 0xFFF1,
) -> Fabric:
    """Add a fabric as AddNOC does; it stays pending."""
    authority = authority or CertificateAuthority(fabric_id)
    key = KeyPair.generate()
    noc = authority.issue_noc(key.public_key, node_id)
    return table.add_pending(authority.rcac, noc, authority.icac, key, IPK_EPOCH_KEY, vendor_id)


def add_fabric(
    table: FabricTable,
    fabric_id: int = 1,
    *,
    authority: CertificateAuthority | None = None,
    node_id: int = NODE_ID,
    vendor_id: int = 0xFFF1,
) -> Fabric:
    """Add a fabric and commit it."""
    fabric = add_pending(
        table, fabric_id, authority=authority, node_id=node_id, vendor_id=vendor_id
    )
    table.commit_pending()
    return fabric


def make_session(subject: Subject, local_id: int = 1, now: float = 0.0) -> SecureSession:
    """Return a secure session with this peer, with dummy keys."""
    key = AeadKey(bytes(16))
    return SecureSession(
        local_id=local_id,
        peer_id=local_id,
        subject=subject,
        encrypt_key=key,
        decrypt_key=key,
        attestation_challenge=bytes(range(16)),
        address=address(local_id),
        parameters=SessionParameters(),
        random_bytes=seeded_bytes(local_id),
        now=now,
        peer_node_id=subject.node_id,
    )
