"""Commissioning of a node, step by step, and removal of its fabrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from evse_node.cluster.definitions.definition import ClusterDefinition
from evse_node.cluster.definitions.zap import load_definitions
from evse_node.cluster.environment import ClusterEnvironment
from evse_node.matter import tlv
from evse_node.matter.interaction.status import Status
from evse_node.matter.secure_channel.spake2p import compute_verifier
from evse_node.matter.stack import Decommissioned, MatterStack
from evse_node.matter.tlv import TagKey, TlvValue
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
        """Invoke a command; `fields` are its fields in order, None for an absent commissioner."""
        definition = self._definition(cluster)
        command = definition.command(name)
        members: dict[TagKey, TlvValue] = {
            number: value for number, value in enumerate(fields) if value is not None
        }
        response: Mapping[int, TlvValue] | int | tuple[int, int] = self.client.invoke(
            (0, definition.id, command.id), members, timed_ms=timed_ms
        )
        return response

    def code(self, cluster: str, name: str, *fields: TlvValue) -> TlvValue:
        """Invoke a command and return the first field of its response."""
        response = self.invoke(cluster, name, *fields)
        assert isinstance(response, Mapping), response
        return response[0]

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
def commissioner(network: Network) -> Commissioner:
    return Commissioner(network)


def test_commissioner_adds_node_to_its_fabric(
    network: Network, stack: MatterStack, commissioner: Commissioner
) -> None:
    commissioner.commission()
    assert not stack.window.is_open
    assert not stack.fail_safe.is_armed
    assert all(session.is_case for session in stack.sessions)
    assert commissioner.read(CREDENTIALS, "CurrentFabricIndex") == 1
    assert commissioner.read(COMMISSIONING, "Breadcrumb") == 0
    (entry,) = stack.access_control.entries(1)
    assert entry.subjects == (commissioner.controller.node_id,)
    with pytest.raises(RefusedError):
        commissioner.controller.pase(PASSCODE)


def test_fail_safe_expiry_after_any_step_reverts_commissioning(
    network: Network, stack: MatterStack, commissioner: Commissioner
) -> None:
    steps: list[Callable[[], object]] = [
        lambda: commissioner.arm(60),
        commissioner.request_noc,
        commissioner.add_noc,
        lambda: commissioner.controller.case(NODE_ID),
    ]
    for count in range(1, len(steps) + 1):
        commissioner.controller.pase(PASSCODE)
        *before, last = steps[:count]
        for step in before:
            if step != commissioner.request_noc:  # the commissioner requests it again
                step()
        last()
        assert commissioner.arm(0) == 0
        network.run(1.0)
        assert not stack.fabrics
        assert not stack.sessions
        assert stack.access_control.entries(1) == ()
        assert stack.window.commissioning_mode == 1
    commissioner.commission()


def test_fail_safe_expiry_ends_commissioning_of_silent_peer(
    network: Network, stack: MatterStack, commissioner: Commissioner
) -> None:
    commissioner.controller.pase(PASSCODE)
    commissioner.add_noc()
    network.run(61.0)
    assert not stack.fabrics
    assert not stack.sessions
    commissioner.controller.session = None
    commissioner.commission()


def test_closed_pase_session_reverts_commissioning(
    network: Network, stack: MatterStack, commissioner: Commissioner
) -> None:
    commissioner.controller.pase(PASSCODE)
    commissioner.arm(60)
    commissioner.controller.close_session()
    assert not stack.fail_safe.is_armed
    commissioner.commission()


def test_power_cut_before_completion_reverts_commissioning(
    network: Network, stack: MatterStack, commissioner: Commissioner
) -> None:
    store = stack.store
    assert isinstance(store, MemoryStore)
    commissioner.controller.pase(PASSCODE)
    commissioner.add_noc()
    store.commit()
    stack = start(network, store.after_power_cut())
    assert not stack.fabrics
    commissioner.commission()
    store = stack.store
    assert isinstance(store, MemoryStore)
    store.commit()
    stack = start(network, store.after_power_cut())
    assert len(stack.fabrics) == 1
    assert not stack.window.is_open
    commissioner.controller.case(NODE_ID)
    assert commissioner.read(CREDENTIALS, "CommissionedFabrics") == 1


def test_commissioning_complete_requires_case(
    stack: MatterStack, commissioner: Commissioner
) -> None:
    commissioner.controller.pase(PASSCODE)
    response = commissioner.invoke(COMMISSIONING, "CommissioningComplete")
    assert response == Status.UNSUPPORTED_ACCESS
    commissioner.add_noc()
    assert commissioner.code(COMMISSIONING, "CommissioningComplete") == 2


def test_second_administrator_commissions_over_enhanced_window(
    network: Network, stack: MatterStack, commissioner: Commissioner
) -> None:
    commissioner.commission()
    assert commissioner.open_window(34567890) == 0
    assert commissioner.open_window(34567890) == (Status.FAILURE, 2)
    assert commissioner.arm(60) == 4
    second = Commissioner(network, 3)
    with pytest.raises(RefusedError):
        second.controller.pase(PASSCODE)
    second.commission(34567890)
    assert second.read(CREDENTIALS, "CurrentFabricIndex") == 2
    # Each administrator reads only its own certificates and access control entries.
    for administrator in (commissioner, second):
        nocs = administrator.read(CREDENTIALS, "NOCs")
        assert isinstance(nocs, list)
        assert len(nocs) == 1
    assert commissioner.read(ACCESS, "ACL") != second.read(ACCESS, "ACL")
    assert commissioner.code(CREDENTIALS, "RemoveFabric", 2) == 0
    assert [fabric.index for fabric in stack.fabrics] == [1]
    second.controller.clear_resumption()
    with pytest.raises(RefusedError):
        second.controller.case(NODE_ID)


def test_removal_of_last_fabric_decommissions_after_response(
    network: Network, stack: MatterStack, commissioner: Commissioner
) -> None:
    commissioner.commission()
    assert Decommissioned() not in events(stack)
    assert commissioner.open_window(34567890) == 0
    # The administrator has the response; the node accepts no session until its reset.
    assert commissioner.code(CREDENTIALS, "RemoveFabric", 1) == 0
    network.run(1.0)
    assert events(stack).count(Decommissioned()) == 1
    assert not stack.sessions
    assert not stack.fabrics
    assert not stack.window.is_open
    commissioner.controller.session = None
    commissioner.controller.clear_resumption()
    for passcode in (PASSCODE, 34567890):
        with pytest.raises(RefusedError):
            commissioner.controller.pase(passcode)
    start(network)
    commissioner.commission()


def test_second_commissioning_completes_after_removal_of_last_fabric(
    network: Network, stack: MatterStack, commissioner: Commissioner
) -> None:
    commissioner.commission()
    assert commissioner.open_window(34567890) == 0
    second = Commissioner(network, 3)
    second.controller.pase(34567890)
    assert second.arm(60) == 0
    assert second.add_noc() == 0
    assert commissioner.code(CREDENTIALS, "RemoveFabric", 1) == 0
    network.run(10.0)
    assert Decommissioned() not in events(stack)
    second.controller.case(NODE_ID)
    assert second.code(COMMISSIONING, "CommissioningComplete") == 0
    network.run(10.0)
    assert Decommissioned() not in events(stack)
    assert second.read(CREDENTIALS, "CommissionedFabrics") == 1


def test_decommissioning_does_not_wait_for_silent_administrator(
    network: Network, stack: MatterStack, commissioner: Commissioner
) -> None:
    commissioner.commission()
    network.lost = lambda data, source, to: source == NODE
    with pytest.raises(RefusedError):
        commissioner.code(CREDENTIALS, "RemoveFabric", 1)
    assert events(stack).count(Decommissioned()) == 1
    assert not stack.window.is_open


def test_leave_event_is_reported_to_removed_fabric(
    network: Network, stack: MatterStack, commissioner: Commissioner
) -> None:
    commissioner.commission()
    assert commissioner.open_window(34567890) == 0
    second = Commissioner(network, 3)
    second.commission(34567890)
    leave = (0, _DEFINITIONS["Basic Information"].id, 2)
    second.client.subscribe(events=[leave], maximum=600)
    assert commissioner.code(CREDENTIALS, "RemoveFabric", 2) == 0
    network.run(1.0)
    (report,) = reports_of(second.controller.reports)
    assert [event.fields for event in report.events] == [{0: 2}]


def test_update_noc_ends_sessions_of_old_identity(
    network: Network, stack: MatterStack, commissioner: Commissioner
) -> None:
    commissioner.commission()
    for is_completed in (False, True):
        assert commissioner.arm(60) == 0
        noc = commissioner.request_noc(update=True, node_id=NODE_ID + 1)
        assert commissioner.code(CREDENTIALS, "UpdateNOC", noc, commissioner.authority.icac) == 0
        network.run(10.0)
        # The old identity and its sessions no longer exist.
        assert not stack.sessions
        commissioner.controller.clear_resumption()
        commissioner.controller.case(NODE_ID + 1)
        if is_completed:
            assert commissioner.code(COMMISSIONING, "CommissioningComplete") == 0
        else:
            assert commissioner.arm(0) == 0
            network.run(10.0)
            commissioner.controller.clear_resumption()
            commissioner.controller.case(NODE_ID)
    commissioner.controller.case(NODE_ID + 1)
    assert commissioner.read(CREDENTIALS, "CommissionedFabrics") == 1


def test_window_closes_after_twenty_wrong_passcodes(
    network: Network, stack: MatterStack, commissioner: Commissioner
) -> None:
    commissioner.commission()
    assert commissioner.open_window(34567890) == 0
    second = Commissioner(network, 3)
    for _ in range(20):
        assert stack.window.is_open
        with pytest.raises(RefusedError):
            second.controller.pase(PASSCODE)
    assert not stack.window.is_open
    with pytest.raises(RefusedError):
        second.controller.pase(34567890)
