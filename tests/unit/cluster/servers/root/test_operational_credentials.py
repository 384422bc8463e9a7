"""Node Operational Credentials: attestation, and new fabrics."""

from collections.abc import Callable, Mapping

import pytest

from evse_node.cluster.definitions.definition import Value
from evse_node.errors import StatusError
from evse_node.matter import tlv
from evse_node.matter.crypto import KeyPair
from evse_node.matter.interaction.status import Status
from evse_node.matter.messaging.session import SecureSession
from tests.support.matter.fake_ca import CertificateAuthority
from tests.support.matter.root_node import ADMIN, RootNode, attestation
from tests.support.matter.values import as_structs
from tests.unit.cluster.servers.root.credentials import (
    NODE_ID,
    NONCE,
    Cert,
    add_noc,
    add_root,
    check_signature,
    commission,
    csr,
    refused,
    size,
    update,
)


@pytest.fixture
def root() -> RootNode:
    return RootNode()


# Attestation


def test_attestation_response_is_signed(root: RootNode) -> None:
    context = root.pase()
    reply = root.invoke(root.credentials, "attestation_request", context, attestation_nonce=NONCE)
    elements = reply["attestation_elements"]
    assert isinstance(elements, bytes)
    members = tlv.decode_struct(elements)
    assert members[1] == attestation().cd_der
    assert members[2] == NONCE
    assert 3 in members
    check_signature(root, context, elements, reply["attestation_signature"])


@pytest.mark.parametrize("length", [0, 31, 33])
def test_nonce_of_other_length_is_refused(root: RootNode, length: int) -> None:
    context = root.pase()
    for name, fields in (
        ("attestation_request", {"attestation_nonce": bytes(length)}),
        ("csr_request", {"csr_nonce": bytes(length)}),
    ):
        with pytest.raises(StatusError) as error:
            root.invoke(root.credentials, name, context, **fields)
        assert error.value.status == Status.INVALID_COMMAND


def test_certificate_chain_request_returns_dac_and_pai(root: RootNode) -> None:
    context = root.pase()

    def chain(number: int) -> Value:
        return root.invoke(
            root.credentials, "certificate_chain_request", context, certificate_type=number
        )["certificate"]

    assert chain(1) == attestation().dac_der
    assert chain(2) == attestation().pai_der
    for number in (0, 3):
        with pytest.raises(StatusError) as error:
            chain(number)
        assert error.value.status == Status.INVALID_COMMAND


# A new fabric


def test_add_noc_adds_fabric(root: RootNode) -> None:
    context = root.pase()
    authority = CertificateAuthority(7)
    assert commission(root, context, authority) == {"status_code": Cert.OK, "fabric_index": 1}
    session = context.session
    assert isinstance(session, SecureSession)
    assert session.fabric_index == 1
    assert root.fail_safe.is_armed_by(1)
    again = root.refreshed(context)
    assert root.read(root.credentials, "current_fabric_index", again) == 1
    assert root.read(root.credentials, "commissioned_fabrics") == 1
    [fabric] = as_structs(root.read(root.credentials, "fabrics", again))
    [noc] = as_structs(root.read(root.credentials, "nocs", again))
    assert fabric == {
        "root_public_key": authority.root_public_key,
        "vendor_id": 0xFFF2,
        "fabric_id": 7,
        "node_id": NODE_ID,
        "label": "",
    }
    assert isinstance(noc, Mapping)
    assert noc["icac"] == authority.icac
    assert root.read(root.credentials, "trusted_root_certificates") == [authority.rcac]
    # The commissioner is the administrator from now on.
    ((name, fields, index),) = root.events.take()
    assert (name, index, fields["admin_passcode_id"]) == ("AccessControlEntryChanged", 1, 0)
    (entry,) = root.access_control.entries(1)
    assert entry.subjects == (ADMIN,)
    reported = root.reported()
    assert {"fabrics", "commissioned_fabrics", "acl"} <= reported
    # Certificates are not reported.
    assert not {"nocs", "trusted_root_certificates"} & reported


def test_pending_fabric_is_lost_on_restart(root: RootNode) -> None:
    commission(root, root.pase(), CertificateAuthority())
    root.store.commit()
    assert not root.restart().fabrics
    root.invoke(root.commissioning, "commissioning_complete", root.case(1))
    root.store.commit()
    again = root.restart()
    assert len(again.fabrics) == 1
    assert again.access_control.entries(1) == root.access_control.entries(1)


def test_fail_safe_expiry_removes_pending_fabric(root: RootNode) -> None:
    commission(root, root.pase(), CertificateAuthority())
    root.timers.run(root.now + 60.0)
    assert not root.fabrics
    assert root.access_control.entries(1) == ()
    for name in ("fabrics", "nocs", "trusted_root_certificates"):
        assert size(root, name) == 0


def test_fabric_can_be_added_over_case(root: RootNode) -> None:
    root.add_fabric(1)
    context = root.case(1)
    root.fail_safe.arm(1, 60, root.now)
    assert commission(root, context, CertificateAuthority(2))["fabric_index"] == 2
    # The session stays with its fabric.
    assert root.refreshed(context).subject.fabric_index == 1
    ((_, fields, index),) = root.events.take()
    assert (index, fields["admin_node_id"]) == (2, ADMIN)
    reply = root.invoke(root.commissioning, "commissioning_complete", root.case(2))
    assert reply["error_code"] == 0


def test_commands_require_fail_safe(root: RootNode) -> None:
    root.add_fabric(1)
    context = root.case(1)
    authority = CertificateAuthority(2)
    noc = authority.issue_noc(KeyPair.generate().public_key, 1)
    attempts: list[Callable[[], object]] = [
        lambda: csr(root, context),
        lambda: add_root(root, context, authority.rcac),
        lambda: add_noc(root, context, noc, authority.icac),
        lambda: update(root, context, noc, authority.icac),
    ]
    for attempt in attempts:
        with pytest.raises(StatusError) as error:
            attempt()
        assert error.value.status == Status.FAILSAFE_REQUIRED
    # The fail-safe of another fabric does not count.
    root.fail_safe.arm(2, 60, root.now)
    for attempt in attempts:
        with pytest.raises(StatusError) as error:
            attempt()
        assert error.value.status == Status.FAILSAFE_REQUIRED


def test_pending_root_is_listed(root: RootNode) -> None:
    context = root.pase()
    authority, other = CertificateAuthority(), CertificateAuthority()
    broken = bytearray(authority.rcac)
    broken[-5] ^= 1
    for bad in (bytes(broken), b"", b"\x15\x18", bytes(401), authority.icac or b""):
        with pytest.raises(StatusError) as error:
            add_root(root, context, bad)
        assert error.value.status == Status.INVALID_COMMAND
    assert size(root, "trusted_root_certificates") == 0
    add_root(root, context, authority.rcac)
    add_root(root, context, authority.rcac)
    with pytest.raises(StatusError) as error:
        add_root(root, context, other.rcac)
    assert error.value.status == Status.CONSTRAINT_ERROR
    assert root.read(root.credentials, "trusted_root_certificates") == [authority.rcac]


def test_removal_of_pending_root_steps_data_version(root: RootNode) -> None:
    """Otherwise a read filtered by the previous version would miss the removal."""
    add_root(root, root.pase(), CertificateAuthority().rcac)
    version = root.credentials.data_version
    root.fail_safe.expire(root.now)
    assert size(root, "trusted_root_certificates") == 0
    assert root.credentials.data_version != version


def test_add_noc_without_prerequisites_is_refused(root: RootNode) -> None:
    context = root.pase()
    authority, other = CertificateAuthority(2), CertificateAuthority(2)
    stale = KeyPair.generate().public_key
    assert refused(
        add_noc(root, context, authority.issue_noc(stale, NODE_ID), authority.icac),
        Cert.MISSING_CSR,
    )
    key = csr(root, context)
    noc = authority.issue_noc(key, NODE_ID)
    assert refused(add_noc(root, context, noc, authority.icac), Cert.INVALID_NOC)
    add_root(root, context, authority.rcac)
    assert refused(add_noc(root, context, b"", authority.icac), Cert.INVALID_NOC)
    foreign = other.issue_noc(key, NODE_ID)
    assert refused(add_noc(root, context, foreign, other.icac), Cert.INVALID_NOC)
    for node_id in (0, 0xFFFF_FFF0_0000_0000, 0xFFFF_FFFD_0001_0001):
        nowhere = authority.issue_noc(key, node_id)
        assert refused(add_noc(root, context, nowhere, authority.icac), Cert.INVALID_NODE_OP_ID)
    for subject in (0, 0xFFFFFFFFFFFFFFFF, 0xFFFFFFFD00010000):
        reply = add_noc(root, context, noc, authority.icac, subject=subject)
        assert refused(reply, Cert.INVALID_ADMIN_SUBJECT)
    old = authority.issue_noc(stale, NODE_ID)
    assert refused(add_noc(root, context, old, authority.icac), Cert.INVALID_PUBLIC_KEY)
    assert not root.fabrics
    assert root.events.take() == []
    assert add_noc(root, context, noc, authority.icac)["status_code"] == Cert.OK
    for attempt in (
        lambda: add_noc(root, context, noc, authority.icac),
        lambda: csr(root, context),
        lambda: add_root(root, context, other.rcac),
    ):
        with pytest.raises(StatusError) as error:
            attempt()
        assert error.value.status == Status.CONSTRAINT_ERROR


@pytest.mark.parametrize(
    "changes",
    [
        {"noc": bytes(401)},
        {"icac": bytes(401)},
        {"ipk": bytes(15)},
        {"ipk": bytes(17)},
        {"vendor_id": 0},
        {"vendor_id": 0xFFF5},
    ],
)
def test_malformed_add_noc_is_refused(root: RootNode, changes: dict[str, object]) -> None:
    context = root.pase()
    authority = CertificateAuthority()
    noc = authority.issue_noc(csr(root, context), NODE_ID)
    add_root(root, context, authority.rcac)
    good: dict[str, object] = {"noc": noc, "icac": authority.icac}
    with pytest.raises(StatusError) as error:
        add_noc(root, context, **(good | changes))  # type: ignore[arg-type]
    assert error.value.status == Status.INVALID_COMMAND
    assert not root.fabrics
    assert add_noc(root, context, **good)["status_code"] == Cert.OK  # type: ignore[arg-type]


def test_highest_vendor_id_is_accepted(root: RootNode) -> None:
    context = root.pase()
    authority = CertificateAuthority()
    noc = authority.issue_noc(csr(root, context), NODE_ID)
    add_root(root, context, authority.rcac)
    reply = add_noc(root, context, noc, authority.icac, vendor_id=0xFFF4)
    assert reply["status_code"] == Cert.OK


def test_administrator_may_be_tag(root: RootNode) -> None:
    context = root.pase()
    authority = CertificateAuthority()
    noc = authority.issue_noc(csr(root, context), NODE_ID)
    add_root(root, context, authority.rcac)
    subject = 0xFFFFFFFD00010001
    add_noc(root, context, noc, authority.icac, subject=subject)
    assert root.access_control.entries(1)[0].subjects == (subject,)


def test_same_fabric_twice_is_refused(root: RootNode) -> None:
    authority = CertificateAuthority(1)
    root.add_fabric(1, authority)
    assert refused(commission(root, root.pase(), authority), Cert.FABRIC_CONFLICT)


def test_fabric_beyond_maximum_is_refused() -> None:
    root = RootNode(supported=5)
    for number in range(5):
        root.add_fabric(number + 1)
    reply = commission(root, root.pase(), CertificateAuthority(9))
    assert refused(reply, Cert.TABLE_FULL)
    assert root.read(root.credentials, "supported_fabrics") == 5
    assert root.read(root.credentials, "commissioned_fabrics") == 5


def test_csr_for_update_cannot_add_fabric(root: RootNode) -> None:
    authority = CertificateAuthority(1)
    root.add_fabric(1, authority)
    context = root.case(1)
    root.fail_safe.arm(1, 60, root.now)
    noc = authority.issue_noc(csr(root, context, update=True), NODE_ID)
    with pytest.raises(StatusError) as error:
        add_noc(root, context, noc, authority.icac)
    assert error.value.status == Status.CONSTRAINT_ERROR
