"""Operational Credentials: device attestation, and the certificates of each fabric.

Spec: Matter Core 1.3 "Node Operational Credentials Cluster"
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from evse_node.cluster.definitions.definition import ClusterDefinition, Value
from evse_node.cluster.server import (
    Attribute,
    ClusterServer,
    cached_reader,
    command,
    reader,
    serves,
)
from evse_node.errors import CryptoError, DecodeError, StatusError
from evse_node.matter.certificates.attestation import (
    ATTESTATION_NONCE_SIZE,
    Attestation,
    encode_nocsr_elements,
)
from evse_node.matter.certificates.certificate import (
    MAX_CERTIFICATE_SIZE,
    decode_certificate,
    verify_root,
)
from evse_node.matter.crypto import SYMMETRIC_KEY_SIZE, KeyPair
from evse_node.matter.data_model import InteractionContext, Subject
from evse_node.matter.fabrics.access_control import is_valid_case_subject
from evse_node.matter.fabrics.administration import Administration
from evse_node.matter.fabrics.fabric_identity import FabricError
from evse_node.matter.fabrics.fabric_identity import NodeOperationalCertStatus as CertStatus
from evse_node.matter.interaction.status import Status
from evse_node.matter.messaging.session import SecureSession

_LOGGER: Final = logging.getLogger(__name__)

_MAX_VENDOR_ID = 0xFFF4
_MAX_DEBUG_TEXT = 128
_DAC = 1
_PAI = 2

# Called with the commissioner, the new fabric's index and its administrator.
GrantAdministration = Callable[[Subject, int, int], None]


@serves("Operational Credentials")
class OperationalCredentialsServer(ClusterServer):
    """Device attestation, and adding, updating and removing of fabrics.

    What AddNOC and UpdateNOC change stays pending until the fail-safe is disarmed by
    CommissioningComplete. `grant_administration` sets up access control of a new fabric.
    """

    supported_fabrics: Attribute[int]

    def __init__(
        self,
        definition: ClusterDefinition,
        administration: Administration,
        attestation: Attestation,
        grant_administration: GrantAdministration,
    ) -> None:
        super().__init__(definition)
        self.supported_fabrics = administration.fabrics.supported
        self._administration = administration
        self._fabrics = administration.fabrics
        self._fail_safe = administration.fail_safe
        self._attestation = attestation
        self._grant_administration = grant_administration
        fabrics = self._fabrics
        fabrics.on_added.append(self._on_fabrics_changed)
        fabrics.on_updated.append(self._on_fabrics_changed)
        fabrics.on_removed.append(self._on_fabrics_changed)
        self._fail_safe.on_rollback.append(self._on_rollback)

    def _on_fabrics_changed(self, index: int) -> None:
        self.report("nocs", "fabrics", "commissioned_fabrics", "trusted_root_certificates")

    def _on_rollback(self, now: float) -> None:
        if self._fail_safe.root_certificate is not None:
            self.report("trusted_root_certificates")

    # Attributes

    @cached_reader
    def nocs(self, context: InteractionContext) -> Sequence[Mapping[str, Value]]:
        """Return the node's own certificates, one entry for each fabric."""
        return [
            {"noc": fabric.noc, "icac": fabric.icac, "fabric_index": fabric.index}
            for fabric in self._fabrics
        ]

    @cached_reader
    def fabrics(self, context: InteractionContext) -> Sequence[Mapping[str, Value]]:
        """Return the fabrics, pending ones included."""
        return [
            {
                "root_public_key": fabric.root_public_key,
                "vendor_id": fabric.vendor_id,
                "fabric_id": fabric.fabric_id,
                "node_id": fabric.node_id,
                "label": fabric.label,
                "fabric_index": fabric.index,
            }
            for fabric in self._fabrics
        ]

    @cached_reader
    def commissioned_fabrics(self, context: InteractionContext) -> int:
        return len(self._fabrics)

    @reader
    def trusted_root_certificates(self, context: InteractionContext) -> Sequence[bytes]:
        """Return the roots of all fabrics, and a pending one."""
        roots = [fabric.root_certificate for fabric in self._fabrics]
        pending = self._fail_safe.root_certificate
        if pending is not None and pending not in roots:
            roots.append(pending)
        return roots

    @reader
    def current_fabric_index(self, context: InteractionContext) -> int:
        return context.subject.fabric_index

    # Attestation

    @command
    def attestation_request(
        self, context: InteractionContext, *, attestation_nonce: bytes
    ) -> Mapping[str, Value]:
        _check_nonce(attestation_nonce)
        elements = self._attestation.elements(attestation_nonce)
        return {
            "attestation_elements": elements,
            "attestation_signature": self._sign(context, elements),
        }

    @command
    def certificate_chain_request(
        self, context: InteractionContext, *, certificate_type: int
    ) -> Mapping[str, Value]:
        """Return the device attestation certificate (DAC) or its issuer's (PAI)."""
        if certificate_type == _DAC:
            return {"certificate": self._attestation.dac_der}
        if certificate_type == _PAI:
            return {"certificate": self._attestation.pai_der}
        raise StatusError(Status.INVALID_COMMAND, reason=f"certificate type {certificate_type}")

    def _sign(self, context: InteractionContext, elements: bytes) -> bytes:
        session = context.session
        if not isinstance(session, SecureSession):
            raise StatusError(Status.FAILURE, reason="no secure session")
        return self._attestation.sign(elements, session.attestation_challenge)

    # Certificates

    @command
    def csr_request(
        self,
        context: InteractionContext,
        *,
        csr_nonce: bytes,
        is_for_update_noc: bool = False,
    ) -> Mapping[str, Value]:
        """Generate an operational key and return its certificate signing request."""
        _check_nonce(csr_nonce)
        fail_safe = self._fail_safe
        if is_for_update_noc and context.subject.fabric_index not in self._fabrics:
            raise StatusError(Status.INVALID_COMMAND, reason="nothing to update")
        self._require_fail_safe(context)
        key = KeyPair.generate()
        elements = encode_nocsr_elements(key.csr(), csr_nonce)
        signature = self._sign(context, elements)
        fail_safe.csr_key = key
        fail_safe.is_csr_for_update = is_for_update_noc
        return {"nocsr_elements": elements, "attestation_signature": signature}

    @command
    def add_trusted_root_certificate(
        self, context: InteractionContext, *, root_ca_certificate: bytes
    ) -> None:
        """Set the root that the next AddNOC trusts."""
        _check_certificate(root_ca_certificate)
        self._require_fail_safe(context)
        fail_safe = self._fail_safe
        pending = fail_safe.root_certificate
        if pending is not None:
            if pending == root_ca_certificate:
                return
            raise StatusError(Status.CONSTRAINT_ERROR, reason="another root is pending")
        try:
            verify_root(decode_certificate(root_ca_certificate))
        except (DecodeError, CryptoError) as error:
            raise StatusError(Status.INVALID_COMMAND, reason=f"root: {error}") from None
        fail_safe.root_certificate = root_ca_certificate
        self.report("trusted_root_certificates")

    @command
    def add_noc(
        self,
        context: InteractionContext,
        *,
        noc_value: bytes,
        icac_value: bytes | None = None,
        ipk_value: bytes,
        case_admin_subject: int,
        admin_vendor_id: int,
    ) -> Mapping[str, Value]:
        """Join a new fabric."""
        _check_certificate(noc_value, icac_value)
        if len(ipk_value) != SYMMETRIC_KEY_SIZE:
            raise StatusError(Status.INVALID_COMMAND, reason="IPK is not 16 bytes")
        if not 0 < admin_vendor_id <= _MAX_VENDOR_ID:
            raise StatusError(Status.INVALID_COMMAND, reason="vendor id")
        self._require_fail_safe(context)
        fail_safe = self._fail_safe
        key, root = fail_safe.csr_key, fail_safe.root_certificate
        if key is None:
            return _refusal(CertStatus.MISSING_CSR, "no CSR request before")
        if fail_safe.is_csr_for_update:
            raise StatusError(Status.CONSTRAINT_ERROR, reason="CSR was for UpdateNOC")
        if root is None:
            return _refusal(CertStatus.INVALID_NOC, "no trusted root")
        if not is_valid_case_subject(case_admin_subject):
            return _refusal(CertStatus.INVALID_ADMIN_SUBJECT, "neither a node id nor a CAT")
        try:
            # Some commissioners send an empty ICAC to omit it.
            fabric = self._fabrics.add_pending(
                root, noc_value, icac_value or None, key, ipk_value, admin_vendor_id
            )
        except FabricError as error:
            return _refusal(error.status, str(error))
        fail_safe.set_noc_added(fabric.index)
        session = context.session
        if isinstance(session, SecureSession) and not session.is_case:
            # From now on this PASE session acts for the new fabric.
            session.fabric_index = fabric.index
        self._grant_administration(context.subject, fabric.index, case_admin_subject)
        _LOGGER.info("fabric %d added: %016x", fabric.index, fabric.fabric_id)
        return _success(fabric.index)

    @command
    def update_noc(
        self, context: InteractionContext, *, noc_value: bytes, icac_value: bytes | None = None
    ) -> Mapping[str, Value]:
        """Replace the certificate of the accessing fabric."""
        _check_certificate(noc_value, icac_value)
        self._require_fail_safe(context)
        fail_safe = self._fail_safe
        key = fail_safe.csr_key
        # A pending root means that the commissioner is adding a fabric.
        if key is None or fail_safe.root_certificate is not None:
            return _refusal(CertStatus.MISSING_CSR, "no CSR request for an update before")
        if not fail_safe.is_csr_for_update:
            raise StatusError(Status.CONSTRAINT_ERROR, reason="CSR was for AddNOC")
        index = context.subject.fabric_index
        try:
            self._fabrics.update_pending(index, noc_value, icac_value or None, key)
        except FabricError as error:
            return _refusal(error.status, str(error))
        fail_safe.is_noc_updated = True
        self._administration.sessions.remove_fabric(index, context.now, _session_of(context))
        return _success(index)

    @command
    def update_fabric_label(
        self, context: InteractionContext, *, label: str
    ) -> Mapping[str, Value]:
        try:
            self._fabrics.set_label(context.subject.fabric_index, label)
        except FabricError as error:
            return _refusal(error.status, str(error))
        return _success(context.subject.fabric_index)

    @command
    def remove_fabric(
        self, context: InteractionContext, *, fabric_index: int
    ) -> Mapping[str, Value]:
        try:
            self._administration.remove_fabric(fabric_index, context.now, _session_of(context))
        except FabricError as error:
            return _refusal(error.status, str(error))
        _LOGGER.info("fabric %d removed", fabric_index)
        return _success(fabric_index)

    def _require_fail_safe(self, context: InteractionContext) -> None:
        """Raise StatusError unless the accessing fabric can change credentials now."""
        if not self._fail_safe.is_armed_by(context.subject.fabric_index):
            raise StatusError(Status.FAILSAFE_REQUIRED)
        if self._fail_safe.has_noc_command:
            raise StatusError(Status.CONSTRAINT_ERROR, reason="one NOC command per fail-safe")


def _session_of(context: InteractionContext) -> SecureSession | None:
    return context.session if isinstance(context.session, SecureSession) else None


def _check_nonce(nonce: bytes) -> None:
    if len(nonce) != ATTESTATION_NONCE_SIZE:
        raise StatusError(Status.INVALID_COMMAND, reason=f"nonce of {len(nonce)} bytes")


def _check_certificate(*certificates: bytes | None) -> None:
    for certificate in certificates:
        if certificate is not None and len(certificate) > MAX_CERTIFICATE_SIZE:
            raise StatusError(
                Status.INVALID_COMMAND, reason=f"certificate of {len(certificate)} bytes"
            )


def _success(fabric_index: int) -> dict[str, Value]:
    return {"status_code": CertStatus.OK, "fabric_index": fabric_index}


def _refusal(status: CertStatus, reason: str) -> dict[str, Value]:
    _LOGGER.info("credentials refused: %s", reason)
    return {"status_code": status, "debug_text": reason[:_MAX_DEBUG_TEXT]}
