"""Commands of Node Operational Credentials sent by an administrator."""

from __future__ import annotations

from collections.abc import Mapping

from evse_node.cluster.definitions.definition import Value
from evse_node.matter import tlv
from evse_node.matter.crypto import verify_signature
from evse_node.matter.data_model import InteractionContext
from evse_node.matter.fabrics.fabric_identity import NodeOperationalCertStatus
from evse_node.matter.messaging.session import SecureSession
from tests.support.matter.fake_ca import CertificateAuthority, public_key_of_csr
from tests.support.matter.fake_fabric import IPK_EPOCH_KEY
from tests.support.matter.root_node import ADMIN, RootNode, attestation

Cert = NodeOperationalCertStatus
NONCE = bytes(range(32))
NODE_ID = 0x99


def csr(
    root: RootNode, context: InteractionContext, *, update: bool | None = None, nonce: bytes = NONCE
) -> bytes:
    """Request a CSR and return its public key."""
    fields: dict[str, Value] = {"csr_nonce": nonce}
    if update is not None:
        fields["is_for_update_noc"] = update
    reply = root.invoke(root.credentials, "csr_request", context, **fields)
    elements = reply["nocsr_elements"]
    assert isinstance(elements, bytes)
    members = tlv.decode_struct(elements)
    assert members[2] == nonce
    request = members[1]
    assert isinstance(request, bytes)
    check_signature(root, context, elements, reply["attestation_signature"])
    return public_key_of_csr(request)


def check_signature(
    root: RootNode, context: InteractionContext, elements: bytes, signature: Value
) -> None:
    session = context.session
    assert isinstance(session, SecureSession)
    assert isinstance(signature, bytes)
    public_key = attestation().dac_key.public_key
    verify_signature(public_key, elements + session.attestation_challenge, signature)


def add_root(root: RootNode, context: InteractionContext, certificate: bytes) -> None:
    root.invoke(
        root.credentials,
        "add_trusted_root_certificate",
        context,
        root_ca_certificate=certificate,
    )


def add_noc(
    root: RootNode,
    context: InteractionContext,
    noc: bytes,
    icac: bytes | None,
    *,
    subject: int = ADMIN,
    vendor_id: int = 0xFFF2,
    ipk: bytes = IPK_EPOCH_KEY,
) -> Mapping[str, Value]:
    fields: dict[str, Value] = {
        "noc_value": noc,
        "ipk_value": ipk,
        "case_admin_subject": subject,
        "admin_vendor_id": vendor_id,
    }
    if icac is not None:
        fields["icac_value"] = icac
    return root.invoke(root.credentials, "add_noc", context, **fields)


def commission(
    root: RootNode, context: InteractionContext, authority: CertificateAuthority
) -> Mapping[str, Value]:
    noc = authority.issue_noc(csr(root, context), NODE_ID)
    add_root(root, context, authority.rcac)
    return add_noc(root, context, noc, authority.icac)


def refused(reply: Mapping[str, Value], status: NodeOperationalCertStatus) -> bool:
    return reply["status_code"] == status and "fabric_index" not in reply


def size(root: RootNode, name: str) -> int:
    value = root.read(root.credentials, name, fabric_filtered=False)
    assert isinstance(value, list)
    return len(value)


# An update


def update(
    root: RootNode, context: InteractionContext, noc: bytes, icac: bytes | None
) -> Mapping[str, Value]:
    fields: dict[str, Value] = {"noc_value": noc}
    if icac is not None:
        fields["icac_value"] = icac
    return root.invoke(root.credentials, "update_noc", context, **fields)
