"""Commissioning of a node, step by step, and removal of its fabrics."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from evse_node.cluster.definitions.definition import ClusterDefinition
from evse_node.cluster.definitions.zap import load_definitions
from evse_node.cluster.environment import ClusterEnvironment
from evse_node.matter import tlv
from evse_node.matter.interaction.status import Status
from evse_node.matter.secure_channel.spake2p import compute_verifier
from evse_node.matter.stack import Decommissioned, MatterStack
from evse_node.matter.tlv import TlvValue
from evse_node.testing.memory_store import MemoryStore
from tests.support.fakes import Network, address, seeded_bytes
from tests.support.matter.fake_ca import public_key_of_csr
from tests.support.matter.fake_controller import FakeController, RefusedError
from tests.support.matter.fake_node import DISCRIMINATOR, PASSCODE, events, make_stack
from tests.support.matter.interaction_client import InteractionClient, reports_of
from tests.support.matter.root_node import ETHERNET, RootClusters

NODE = address(1)
NODE_ID = 0x4711
_DEFINITIONS = load_definitions()
_SALT = b"SPAKE2P Key Salt"
CREDENTIALS, COMMISSIONING = "Operational Credentials", "General Commissioning"
ADMINISTRATOR, ACCESS = "Administrator Commissioning", "Access Control"


def start(network: Network, store: MemoryStore | None = None) -> MatterStack:
    stack = make_stack(network, NODE, store=store)
    RootClusters(stack, lambda: [ETHERNET]).attach(
        ClusterEnvironment(
            stack.node,
            stack.store,
            stack.event_log,
            lambda: network.now,
            lambda: None,
            seeded_bytes(8),
        )
    )
    stack.start(network.now)
    return stack


class Commissioner:
    """A controller that invokes commands by name."""

    def __init__(self, network: Network, number: int = 2) -> None:
        self.controller = FakeController(network, address(number), NODE, seed=number)
        self.client = InteractionClient(self.controller)
        self.authority = self.controller.authority

    def _definition(self, cluster: str) -> ClusterDefinition:
        return _DEFINITIONS[cluster]

    def invoke(
        self, cluster: str, name: str, *fields: TlvValue, timed_ms: int | None = None
    ) -> Mapping[int, TlvValue] | int | tuple[int, int]:
        """Invoke a command; `fields` are its fields in order, None for an absent one."""
        definition = self._definition(cluster)
        command = definition.command(name)
        members = {number: value for number, value in enumerate(fields) if value is not None}
        answer: Mapping[int, TlvValue] | int | tuple[int, int] = self.client.invoke(
            (0, definition.id, command.id), members, timed_ms=timed_ms
        )
        return answer

    def code(self, cluster: str, name: str, *fields: TlvValue) -> TlvValue:
        """Invoke a command and return the first field of its response."""
        answer = self.invoke(cluster, name, *fields)
        assert isinstance(answer, dict), answer
        return answer[0]

    def read(self, cluster: str, name: str) -> TlvValue:
        definition = self._definition(cluster)
        attribute = definition.attribute(name)
        value: TlvValue = self.client.read((0, definition.id, attribute.id)).value(
            0, definition.id, attribute.id
        )
        return value

    def arm(self, seconds: int) -> TlvValue:
        return self.code(COMMISSIONING, "ArmFailSafe", seconds, 1)

    def request_noc(self, *, update: bool | None = None, node_id: int = NODE_ID) -> bytes:
        elements = self.code(CREDENTIALS, "CSRRequest", bytes(32), update)
        assert isinstance(elements, bytes)
        csr = tlv.decode_struct(elements)[1]
        assert isinstance(csr, bytes)
        return self.authority.issue_noc(public_key_of_csr(csr), node_id)

    def add_noc(self) -> TlvValue:
        noc = self.request_noc()
        assert self.invoke(CREDENTIALS, "AddTrustedRootCertificate", self.authority.rcac) == 0
        return self.code(
            CREDENTIALS,
            "AddNOC",
            noc,
            self.authority.icac,
            self.controller.ipk_epoch_key,
            self.controller.node_id,
            0xFFF1,
        )

    def commission(self, passcode: int = PASSCODE) -> None:
        self.controller.pase(passcode)
        assert self.arm(60) == 0
        assert self.add_noc() == 0
        self.controller.case(NODE_ID)
        assert self.code(COMMISSIONING, "CommissioningComplete") == 0

    def open_window(self, passcode: int) -> object:
        w0, point = compute_verifier(passcode, _SALT, 1000)
        return self.invoke(
            ADMINISTRATOR,
            "OpenCommissioningWindow",
            *(180, w0 + point, DISCRIMINATOR, 1000, _SALT),
            timed_ms=1000,
        )


@pytest.fixture
def network() -> Network:
    return Network()


@pytest.fixture
def stack(network: Network) -> MatterStack:
    return start(network)


@pytest.fixture
def one(network: Network) -> Commissioner:
    return Commissioner(network)


def test_commissioner_adds_node_to_its_fabric(
    network: Network, stack: MatterStack, one: Commissioner
) -> None:
    one.commission()
    assert not stack.window.is_open
    assert not stack.fail_safe.is_armed
    assert all(session.is_case for session in stack.sessions)
    assert one.read(CREDENTIALS, "CurrentFabricIndex") == 1
    assert one.read(COMMISSIONING, "Breadcrumb") == 0
    (entry,) = stack.access_control.entries(1)
    assert entry.subjects == (one.controller.node_id,)
    with pytest.raises(RefusedError):
        one.controller.pase(PASSCODE)


def test_fail_safe_expiry_after_any_step_reverts_commissioning(
    network: Network, stack: MatterStack, one: Commissioner
) -> None:
    steps = [
        lambda: one.arm(60),
        one.request_noc,
        one.add_noc,
        lambda: one.controller.case(NODE_ID),
    ]
    for count in range(1, len(steps) + 1):
        one.controller.pase(PASSCODE)
        *before, last = steps[:count]
        for step in before:
            if step != one.request_noc:  # the commissioner requests it again
                step()
        last()
        assert one.arm(0) == 0
        network.run(1.0)
        assert not stack.fabrics
        assert not stack.sessions
        assert stack.access_control.entries(1) == ()
        assert stack.window.commissioning_mode == 1
    one.commission()


def test_fail_safe_expiry_ends_commissioning_of_silent_peer(
    network: Network, stack: MatterStack, one: Commissioner
) -> None:
    one.controller.pase(PASSCODE)
    one.add_noc()
    network.run(61.0)
    assert not stack.fabrics
    assert not stack.sessions
    one.controller.session = None
    one.commission()


def test_closed_pase_session_reverts_commissioning(
    network: Network, stack: MatterStack, one: Commissioner
) -> None:
    one.controller.pase(PASSCODE)
    one.arm(60)
    one.controller.close_session()
    assert not stack.fail_safe.is_armed
    one.commission()


def test_power_cut_before_completion_reverts_commissioning(
    network: Network, stack: MatterStack, one: Commissioner
) -> None:
    store = stack.store
    assert isinstance(store, MemoryStore)
    one.controller.pase(PASSCODE)
    one.add_noc()
    store.commit()
    stack = start(network, store.after_power_cut())
    assert not stack.fabrics
    one.commission()
    store = stack.store
    assert isinstance(store, MemoryStore)
    store.commit()
    stack = start(network, store.after_power_cut())
    assert len(stack.fabrics) == 1
    assert not stack.window.is_open
    one.controller.case(NODE_ID)
    assert one.read(CREDENTIALS, "CommissionedFabrics") == 1


def test_commissioning_complete_requires_case(stack: MatterStack, one: Commissioner) -> None:
    one.controller.pase(PASSCODE)
    answer = one.invoke(COMMISSIONING, "CommissioningComplete")
    assert answer == Status.UNSUPPORTED_ACCESS
    one.add_noc()
    assert one.code(COMMISSIONING, "CommissioningComplete") == 2


def test_second_administrator_commissions_over_enhanced_window(
    network: Network, stack: MatterStack, one: Commissioner
) -> None:
    one.commission()
    assert one.open_window(34567890) == 0
    assert one.open_window(34567890) == (Status.FAILURE, 2)
    assert one.arm(60) == 4
    two = Commissioner(network, 3)
    with pytest.raises(RefusedError):
        two.controller.pase(PASSCODE)
    two.commission(34567890)
    assert two.read(CREDENTIALS, "CurrentFabricIndex") == 2
    # Each administrator reads only its own certificates and access control entries.
    for commissioner in (one, two):
        nocs = commissioner.read(CREDENTIALS, "NOCs")
        assert isinstance(nocs, list)
        assert len(nocs) == 1
    assert one.read(ACCESS, "ACL") != two.read(ACCESS, "ACL")
    assert one.code(CREDENTIALS, "RemoveFabric", 2) == 0
    assert [fabric.index for fabric in stack.fabrics] == [1]
    two.controller.clear_resumption()
    with pytest.raises(RefusedError):
        two.controller.case(NODE_ID)


def test_removal_of_last_fabric_decommissions_after_response(
    network: Network, stack: MatterStack, one: Commissioner
) -> None:
    one.commission()
    assert Decommissioned() not in events(stack)
    assert one.open_window(34567890) == 0
    # The administrator has the response; the node accepts no session until its reset.
    assert one.code(CREDENTIALS, "RemoveFabric", 1) == 0
    network.run(1.0)
    assert events(stack).count(Decommissioned()) == 1
    assert not stack.sessions
    assert not stack.fabrics
    assert not stack.window.is_open
    one.controller.session = None
    one.controller.clear_resumption()
    for passcode in (PASSCODE, 34567890):
        with pytest.raises(RefusedError):
            one.controller.pase(passcode)
    start(network)
    one.commission()


def test_second_commissioning_completes_after_removal_of_last_fabric(
    network: Network, stack: MatterStack, one: Commissioner
) -> None:
    one.commission()
    assert one.open_window(34567890) == 0
    two = Commissioner(network, 3)
    two.controller.pase(34567890)
    assert two.arm(60) == 0
    assert two.add_noc() == 0
    assert one.code(CREDENTIALS, "RemoveFabric", 1) == 0
    network.run(10.0)
    assert Decommissioned() not in events(stack)
    two.controller.case(NODE_ID)
    assert two.code(COMMISSIONING, "CommissioningComplete") == 0
    network.run(10.0)
    assert Decommissioned() not in events(stack)
    assert two.read(CREDENTIALS, "CommissionedFabrics") == 1


def test_decommissioning_does_not_wait_for_silent_administrator(
    network: Network, stack: MatterStack, one: Commissioner
) -> None:
    one.commission()
    network.lost = lambda data, source, to: source == NODE
    with pytest.raises(RefusedError):
        one.code(CREDENTIALS, "RemoveFabric", 1)
    assert events(stack).count(Decommissioned()) == 1
    assert not stack.window.is_open


def test_leave_event_is_reported_to_removed_fabric(
    network: Network, stack: MatterStack, one: Commissioner
) -> None:
    one.commission()
    assert one.open_window(34567890) == 0
    two = Commissioner(network, 3)
    two.commission(34567890)
    leave = (0, _DEFINITIONS["Basic Information"].id, 2)
    two.client.subscribe(events=[leave], maximum=600)
    assert one.code(CREDENTIALS, "RemoveFabric", 2) == 0
    network.run(1.0)
    (report,) = reports_of(two.controller.reports)
    assert [event.fields for event in report.events] == [{0: 2}]


def test_update_noc_ends_sessions_of_old_identity(
    network: Network, stack: MatterStack, one: Commissioner
) -> None:
    one.commission()
    for is_completed in (False, True):
        assert one.arm(60) == 0
        noc = one.request_noc(update=True, node_id=NODE_ID + 1)
        assert one.code(CREDENTIALS, "UpdateNOC", noc, one.authority.icac) == 0
        network.run(10.0)
        # The old identity and its sessions no longer exist.
        assert not stack.sessions
        one.controller.clear_resumption()
        one.controller.case(NODE_ID + 1)
        if is_completed:
            assert one.code(COMMISSIONING, "CommissioningComplete") == 0
        else:
            assert one.arm(0) == 0
            network.run(10.0)
            one.controller.clear_resumption()
            one.controller.case(NODE_ID)
    one.controller.case(NODE_ID + 1)
    assert one.read(CREDENTIALS, "CommissionedFabrics") == 1


def test_window_closes_after_twenty_wrong_passcodes(
    network: Network, stack: MatterStack, one: Commissioner
) -> None:
    one.commission()
    assert one.open_window(34567890) == 0
    two = Commissioner(network, 3)
    for _ in range(20):
        assert stack.window.is_open
        with pytest.raises(RefusedError):
            two.controller.pase(PASSCODE)
    assert not stack.window.is_open
    with pytest.raises(RefusedError):
        two.controller.pase(34567890)
