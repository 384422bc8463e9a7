"""Node Operational Credentials: updates, labels and removal of fabrics."""

import random
from collections.abc import Mapping

import pytest

from evse_node.cluster.definitions.definition import Value
from evse_node.errors import StatusError
from evse_node.matter import tlv
from evse_node.matter.data_model import InteractionContext
from evse_node.matter.interaction.status import Status
from evse_node.matter.messaging.session import SecureSession
from tests.support.matter.fake_ca import CertificateAuthority
from tests.support.matter.root_node import RootNode
from tests.support.matter.values import as_structs
from tests.unit.cluster.servers.root.credentials import (
    NODE_ID,
    Cert,
    add_root,
    commission,
    csr,
    refused,
    update,
)


@pytest.fixture
def root() -> RootNode:
    return RootNode()


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


def test_update_noc_replaces_certificate(root: RootNode) -> None:
    case = Update(root)
    other = root.case(1, node_id=5)
    stranger = root.case(2)
    reply = case.run(case.issue(), case.authority.icac)
    assert reply == {"status_code": Cert.OK, "fabric_index": 1}
    [fabric] = as_structs(root.read(root.credentials, "fabrics"))
    assert fabric["node_id"] == NODE_ID
    mine, others, strangers = (context.session for context in (case.context, other, stranger))
    assert isinstance(mine, SecureSession)
    assert mine.is_closing
    assert mine in root.sessions
    assert others not in list(root.sessions)
    assert strangers in list(root.sessions)
    root.invoke(root.commissioning, "commissioning_complete", root.case(1))
    root.store.commit()
    (kept,) = root.restart().fabrics
    assert kept.node_id == NODE_ID


def test_incomplete_update_is_rolled_back(root: RootNode) -> None:
    case = Update(root)
    case.run(case.issue(), case.authority.icac)
    root.store.commit()
    (after_power_cut,) = root.restart().fabrics
    assert after_power_cut.noc == case.fabric.noc
    root.invoke(
        root.commissioning, "arm_fail_safe", root.case(1), expiry_length_seconds=0, breadcrumb=0
    )
    [noc] = as_structs(root.read(root.credentials, "nocs"))
    assert noc["noc"] == case.fabric.noc
    assert noc["icac"] == case.fabric.icac


def test_update_noc_without_prerequisites_is_refused(root: RootNode) -> None:
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


def test_update_noc_over_pase_is_refused(root: RootNode) -> None:
    with pytest.raises(StatusError) as error:
        csr(root, root.pase(), update=True)
    assert error.value.status == Status.INVALID_COMMAND


# Labels and removal


def label(root: RootNode, index: int, text: str) -> Mapping[str, Value]:
    return root.invoke(root.credentials, "update_fabric_label", root.case(index), label=text)


def test_fabric_label_is_unique(root: RootNode) -> None:
    root.add_fabric(1)
    root.add_fabric(2)
    assert label(root, 1, "Label 1") == {"status_code": Cert.OK, "fabric_index": 1}
    assert "fabrics" in root.reported()
    assert label(root, 2, "Label 2")["status_code"] == Cert.OK
    assert refused(label(root, 2, "Label 1"), Cert.LABEL_CONFLICT)
    labels = [
        fabric["label"]
        for fabric in as_structs(root.read(root.credentials, "fabrics", fabric_filtered=False))
    ]
    assert labels == ["Label 1", "Label 2"]
    with pytest.raises(StatusError) as error:
        label(root, 1, "x" * 33)
    assert error.value.status == Status.CONSTRAINT_ERROR


def remove(root: RootNode, context: InteractionContext, index: int) -> Mapping[str, Value]:
    return root.invoke(root.credentials, "remove_fabric", context, fabric_index=index)


def test_remove_fabric_removes_fabric_data(root: RootNode) -> None:
    root.add_fabric(1)
    root.add_fabric(2)
    one, two, two_again = root.case(1), root.case(2), root.case(2)
    assert refused(remove(root, one, 9), Cert.INVALID_FABRIC_INDEX)
    assert root.events.take() == []
    assert remove(root, one, 2) == {"status_code": Cert.OK, "fabric_index": 2}
    assert root.events.take() == [("Leave", {"fabric_index": 2}, 0)]
    assert one.session in list(root.sessions)
    assert not {two.session, two_again.session} & set(root.sessions)
    assert root.access_control.entries(2) == ()
    assert not root.window.is_open
    assert remove(root, one, 1)["status_code"] == Cert.OK
    # The session stays until the response is sent.
    session = one.session
    assert isinstance(session, SecureSession)
    assert session in root.sessions
    assert session.is_closing
    # No commissioning is possible until the restart.
    assert root.administration.is_decommissioned
    assert root.window.commissioning_mode == 0
    root.store.commit()
    assert not root.restart().fabrics


def test_nocs_are_fabric_scoped(root: RootNode) -> None:
    first, _ = root.add_fabric(1), root.add_fabric(2)
    [own] = as_structs(root.read(root.credentials, "nocs", root.case(1)))
    assert own["noc"] == first.noc
    definition = root.credentials.definition.attribute("nocs")
    context = root.refreshed(root.case(1))
    context.fabric_filtered = False
    items = root.credentials.encode_list_items(definition.id, context)
    decoded = [tlv.decode_struct(item) for item in items]
    assert [item[254] for item in decoded] == [1, 2]
    assert [1 in item for item in decoded] == [True, False]


def test_random_commands_leave_consistent_table() -> None:
    """After any order of commands, a restart finds the same table."""
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
