import random
from collections.abc import Mapping

import pytest

from evse_node.cluster.definition import Value
from evse_node.errors import StatusError
from evse_node.matter import tlv
from evse_node.matter.crypto import KeyPair, verify_signature
from evse_node.matter.data_model import InteractionContext
from evse_node.matter.fabric_identity import NodeOperationalCertStatus
from evse_node.matter.interaction.status import Status
from evse_node.matter.session import SecureSession
from tests.fake_ca import CertificateAuthority, public_key_of_csr
from tests.fake_fabric import IPK_EPOCH_KEY
from tests.root_node import ADMIN, RootNode, attestation

Cert = NodeOperationalCertStatus
NONCE = bytes(range(32))
NODE_ID = 0x99


@pytest.fixture
def root() -> RootNode:
    return RootNode()


def csr(
    root: RootNode, context: InteractionContext, *, update: bool | None = None, nonce: bytes = NONCE
) -> bytes:
    """Ask for a CSR and return the public key in it."""
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
    _check_signature(root, context, elements, reply["attestation_signature"])
    return public_key_of_csr(request)


def _check_signature(
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


# Attestation


def test_attestation(root: RootNode) -> None:
    context = root.pase()
    reply = root.invoke(root.credentials, "attestation_request", context, attestation_nonce=NONCE)
    elements = reply["attestation_elements"]
    assert isinstance(elements, bytes)
    members = tlv.decode_struct(elements)
    assert members[1] == attestation().cd_der
    assert members[2] == NONCE
    assert 3 in members
    _check_signature(root, context, elements, reply["attestation_signature"])


@pytest.mark.parametrize("length", [0, 31, 33])
def test_nonces_have_32_bytes(root: RootNode, length: int) -> None:
    context = root.pase()
    for name, fields in (
        ("attestation_request", {"attestation_nonce": bytes(length)}),
        ("csr_request", {"csr_nonce": bytes(length)}),
    ):
        with pytest.raises(StatusError) as error:
            root.invoke(root.credentials, name, context, **fields)
        assert error.value.status == Status.INVALID_COMMAND


def test_certificate_chain(root: RootNode) -> None:
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


def test_a_new_fabric(root: RootNode) -> None:
    context = root.pase()
    authority = CertificateAuthority(7)
    assert commission(root, context, authority) == {"status_code": Cert.OK, "fabric_index": 1}
    session = context.session
    assert isinstance(session, SecureSession)
    assert session.fabric_index == 1
    assert root.fail_safe.is_armed_by(1)
    again = root.again(context)
    assert root.read(root.credentials, "current_fabric_index", again) == 1
    assert root.read(root.credentials, "commissioned_fabrics") == 1
    ((fabric,), (noc,)) = (root.read(root.credentials, name, again) for name in ("fabrics", "nocs"))
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
    # The commissioner's word counts from now on.
    ((name, fields, index),) = root.events.take()
    assert (name, index, fields["admin_passcode_id"]) == ("AccessControlEntryChanged", 1, 0)
    (entry,) = root.access_control.entries(1)
    assert entry.subjects == (ADMIN,)
    reported = root.reported()
    assert {"fabrics", "commissioned_fabrics", "acl"} <= reported
    # Certificates are not worth a report.
    assert not {"nocs", "trusted_root_certificates"} & reported


def test_nothing_lasts_before_completion(root: RootNode) -> None:
    commission(root, root.pase(), CertificateAuthority())
    root.store.commit()
    assert not root.restart().fabrics
    root.invoke(root.commissioning, "commissioning_complete", root.case(1))
    root.store.commit()
    again = root.restart()
    assert len(again.fabrics) == 1
    assert again.access_control.entries(1) == root.access_control.entries(1)


def test_expiry_leaves_nothing(root: RootNode) -> None:
    commission(root, root.pase(), CertificateAuthority())
    root.timers.run(root.now + 60.0)
    assert not root.fabrics
    assert root.access_control.entries(1) == ()
    for name in ("fabrics", "nocs", "trusted_root_certificates"):
        assert size(root, name) == 0


def test_a_fabric_by_case(root: RootNode) -> None:
    root.add_fabric(1)
    context = root.case(1)
    root.fail_safe.arm(1, 60, root.now)
    assert commission(root, context, CertificateAuthority(2))["fabric_index"] == 2
    # The session stays with its fabric.
    assert root.again(context).subject.fabric_index == 1
    ((_, fields, index),) = root.events.take()
    assert (index, fields["admin_node_id"]) == (2, ADMIN)
    reply = root.invoke(root.commissioning, "commissioning_complete", root.case(2))
    assert reply["error_code"] == 0


def test_a_fail_safe_is_required(root: RootNode) -> None:
    root.add_fabric(1)
    context = root.case(1)
    authority = CertificateAuthority(2)
    noc = authority.issue_noc(KeyPair.generate().public_key, 1)
    attempts = [
        lambda: csr(root, context),
        lambda: add_root(root, context, authority.rcac),
        lambda: add_noc(root, context, noc, authority.icac),
        lambda: update(root, context, noc, authority.icac),
    ]
    for attempt in attempts:
        with pytest.raises(StatusError) as error:
            attempt()
        assert error.value.status == Status.FAILSAFE_REQUIRED
    # That of another fabric is none.
    root.fail_safe.arm(2, 60, root.now)
    for attempt in attempts:
        with pytest.raises(StatusError) as error:
            attempt()
        assert error.value.status == Status.FAILSAFE_REQUIRED


def test_roots(root: RootNode) -> None:
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


def test_a_root_that_is_gone_again_makes_a_new_data_version(root: RootNode) -> None:
    """Or who reads with the version before would not be told."""
    add_root(root, root.pase(), CertificateAuthority().rcac)
    version = root.credentials.data_version
    root.fail_safe.expire(root.now)
    assert size(root, "trusted_root_certificates") == 0
    assert root.credentials.data_version != version


def test_refusals(root: RootNode) -> None:
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
    [{"ipk": bytes(15)}, {"ipk": bytes(17)}, {"vendor_id": 0}, {"vendor_id": 0xFFF5}],
)
def test_malformed_add_noc(root: RootNode, changes: dict[str, object]) -> None:
    context = root.pase()
    for noc, icac in ((b"", b""), (bytes(401), None), (b"", bytes(401))):
        with pytest.raises(StatusError) as error:
            add_noc(root, context, noc, icac, **changes)  # type: ignore[arg-type]
        assert error.value.status == Status.INVALID_COMMAND


def test_a_tagged_administrator(root: RootNode) -> None:
    context = root.pase()
    authority = CertificateAuthority()
    noc = authority.issue_noc(csr(root, context), NODE_ID)
    add_root(root, context, authority.rcac)
    subject = 0xFFFFFFFD00010001
    add_noc(root, context, noc, authority.icac, subject=subject)
    assert root.access_control.entries(1)[0].subjects == (subject,)


def test_the_same_fabric_twice(root: RootNode) -> None:
    authority = CertificateAuthority(1)
    root.add_fabric(1, authority)
    assert refused(commission(root, root.pase(), authority), Cert.FABRIC_CONFLICT)


def test_a_full_table() -> None:
    root = RootNode(supported=5)
    for number in range(5):
        root.add_fabric(number + 1)
    reply = commission(root, root.pase(), CertificateAuthority(9))
    assert refused(reply, Cert.TABLE_FULL)
    assert root.read(root.credentials, "supported_fabrics") == 5
    assert root.read(root.credentials, "commissioned_fabrics") == 5


def test_a_csr_for_an_update_is_not_for_a_fabric(root: RootNode) -> None:
    authority = CertificateAuthority(1)
    root.add_fabric(1, authority)
    context = root.case(1)
    root.fail_safe.arm(1, 60, root.now)
    noc = authority.issue_noc(csr(root, context, update=True), NODE_ID)
    with pytest.raises(StatusError) as error:
        add_noc(root, context, noc, authority.icac)
    assert error.value.status == Status.CONSTRAINT_ERROR


# An update


def update(
    root: RootNode, context: InteractionContext, noc: bytes, icac: bytes | None
) -> Mapping[str, Value]:
    fields: dict[str, Value] = {"noc_value": noc}
    if icac is not None:
        fields["icac_value"] = icac
    return root.invoke(root.credentials, "update_noc", context, **fields)


class Update:
    """A fabric whose administrator has armed the fail-safe."""

    def __init__(self, root: RootNode) -> None:
        self.root = root
        self.authority = CertificateAuthority(1)
        self.fabric = root.add_fabric(1, self.authority)
        self.context = root.case(1)
        root.fail_safe.arm(1, 60, root.now)

    def issue(self) -> bytes:
        key = csr(self.root, self.context, update=True)
        return self.authority.issue_noc(key, NODE_ID)

    def run(self, noc: bytes, icac: bytes | None) -> Mapping[str, Value]:
        return update(self.root, self.context, noc, icac)


def test_an_update(root: RootNode) -> None:
    case = Update(root)
    other = root.case(1, node_id=5)
    stranger = root.case(2)
    reply = case.run(case.issue(), case.authority.icac)
    assert reply == {"status_code": Cert.OK, "fabric_index": 1}
    ((fabric),) = root.read(root.credentials, "fabrics")  # type: ignore[misc]
    assert fabric["node_id"] == NODE_ID
    mine, others, strangers = (context.session for context in (case.context, other, stranger))
    assert isinstance(mine, SecureSession)
    assert mine.is_closing
    assert mine in root.sessions
    assert others not in root.sessions
    assert strangers in root.sessions
    root.invoke(root.commissioning, "commissioning_complete", root.case(1))
    root.store.commit()
    (kept,) = root.restart().fabrics
    assert kept.node_id == NODE_ID


def test_an_update_that_is_not_completed(root: RootNode) -> None:
    case = Update(root)
    case.run(case.issue(), case.authority.icac)
    root.store.commit()
    (after_power_cut,) = root.restart().fabrics
    assert after_power_cut.noc == case.fabric.noc
    root.invoke(
        root.commissioning, "arm_fail_safe", root.case(1), expiry_length_seconds=0, breadcrumb=0
    )
    ((noc),) = root.read(root.credentials, "nocs")  # type: ignore[misc]
    assert noc["noc"] == case.fabric.noc
    assert noc["icac"] == case.fabric.icac


def test_refused_updates(root: RootNode) -> None:
    case = Update(root)
    other = CertificateAuthority(1)
    assert refused(case.run(case.fabric.noc, case.fabric.icac), Cert.MISSING_CSR)
    csr(root, case.context)
    with pytest.raises(StatusError) as error:
        case.run(case.fabric.noc, case.fabric.icac)
    assert error.value.status == Status.CONSTRAINT_ERROR
    noc = case.issue()
    assert refused(case.run(case.fabric.noc, case.fabric.icac), Cert.INVALID_PUBLIC_KEY)
    key = csr(root, case.context, update=True)
    assert refused(case.run(other.issue_noc(key, 5), other.icac), Cert.INVALID_NOC)
    elsewhere = case.authority.issue_noc(key, 5, fabric_id=2)
    assert refused(case.run(elsewhere, case.authority.icac), Cert.INVALID_NOC)
    with pytest.raises(StatusError) as error:
        case.run(bytes(401), None)
    assert error.value.status == Status.INVALID_COMMAND
    add_root(root, case.context, other.rcac)
    assert refused(case.run(noc, case.authority.icac), Cert.MISSING_CSR)
    assert list(root.fabrics) == [case.fabric]


def test_pase_has_nothing_to_update(root: RootNode) -> None:
    with pytest.raises(StatusError) as error:
        csr(root, root.pase(), update=True)
    assert error.value.status == Status.INVALID_COMMAND


# Labels and removal


def label(root: RootNode, index: int, text: str) -> Mapping[str, Value]:
    return root.invoke(root.credentials, "update_fabric_label", root.case(index), label=text)


def test_labels(root: RootNode) -> None:
    root.add_fabric(1)
    root.add_fabric(2)
    assert label(root, 1, "Label 1") == {"status_code": Cert.OK, "fabric_index": 1}
    assert "fabrics" in root.reported()
    assert label(root, 2, "Label 2")["status_code"] == Cert.OK
    assert refused(label(root, 2, "Label 1"), Cert.LABEL_CONFLICT)
    labels = [
        fabric["label"]
        for fabric in root.read(root.credentials, "fabrics", fabric_filtered=False)  # type: ignore[union-attr]
    ]
    assert labels == ["Label 1", "Label 2"]
    with pytest.raises(StatusError) as error:
        label(root, 1, "x" * 33)
    assert error.value.status == Status.CONSTRAINT_ERROR


def remove(root: RootNode, context: InteractionContext, index: int) -> Mapping[str, Value]:
    return root.invoke(root.credentials, "remove_fabric", context, fabric_index=index)


def test_removal(root: RootNode) -> None:
    root.add_fabric(1)
    root.add_fabric(2)
    one, two, two_again = root.case(1), root.case(2), root.case(2)
    assert refused(remove(root, one, 9), Cert.INVALID_FABRIC_INDEX)
    assert root.events.take() == []
    assert remove(root, one, 2) == {"status_code": Cert.OK, "fabric_index": 2}
    assert root.events.take() == [("Leave", {"fabric_index": 2}, 0)]
    assert one.session in root.sessions
    assert not {two.session, two_again.session} & set(root.sessions)
    assert root.access_control.entries(2) == ()
    assert not root.window.is_open
    assert remove(root, one, 1)["status_code"] == Cert.OK
    # It has yet to send its answer.
    session = one.session
    assert isinstance(session, SecureSession)
    assert session in root.sessions
    assert session.is_closing
    assert root.window.commissioning_mode == 1
    root.store.commit()
    assert not root.restart().fabrics


def test_fabrics_see_only_their_own_certificates(root: RootNode) -> None:
    first, _ = root.add_fabric(1), root.add_fabric(2)
    (own,) = root.read(root.credentials, "nocs", root.case(1))  # type: ignore[misc]
    assert own["noc"] == first.noc
    definition = root.credentials.definition.attribute("nocs")
    context = root.again(root.case(1))
    context.fabric_filtered = False
    items = root.credentials.encode_list_items(definition.id, context)
    decoded = [tlv.decode_struct(item) for item in items]
    assert [item[254] for item in decoded] == [1, 2]
    assert [1 in item for item in decoded] == [True, False]


def test_random_orders_of_commands_leave_a_consistent_table() -> None:
    """Whatever administrators do, what is stored is what a restart finds."""
    generator = random.Random(7)
    root = RootNode(supported=5)
    authorities = [CertificateAuthority(number + 1) for number in range(3)]
    for _ in range(60):
        root.now += generator.random() * 40
        root.timers.run(root.now)
        action = generator.randrange(5)
        indices = [
            fabric.index for fabric in root.fabrics if not root.fabrics.is_pending(fabric.index)
        ]
        if action <= 1 and not root.fail_safe.is_armed:
            root.window.close(root.now)
            commission(root, root.pase(), generator.choice(authorities))
        elif action == 2 and root.fail_safe.is_noc_added:
            context = root.case(root.fail_safe.fabric_index)
            root.invoke(root.commissioning, "commissioning_complete", context)
        elif action == 3 and indices:
            remove(root, root.case(indices[0]), generator.choice(indices))
        elif action == 4:
            root.fail_safe.expire(root.now)
        root.store.commit()
        after = root.restart()
        lasting = {
            fabric.index: (fabric.fabric_id, root.access_control.entries(fabric.index))
            for fabric in root.fabrics
            if not root.fabrics.is_pending(fabric.index)
        }
        assert lasting == {
            fabric.index: (fabric.fabric_id, after.access_control.entries(fabric.index))
            for fabric in after.fabrics
        }
