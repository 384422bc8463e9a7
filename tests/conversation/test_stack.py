"""The whole stack: announcements, sessions, and removal of data."""

from __future__ import annotations

import pytest

from evse_node.matter.data_model import EventPath, EventPriority
from evse_node.matter.fabrics.commissioning import Opener
from evse_node.matter.fabrics.fabric_identity import Fabric
from evse_node.matter.interaction.messages import Opcode
from evse_node.matter.messaging.message import (
    PROTOCOL_INTERACTION_MODEL,
)
from evse_node.matter.messaging.session import SecureSession
from evse_node.matter.stack import (
    MatterStack,
    ServicesChanged,
)
from evse_node.testing.memory_store import MemoryStore
from tests.support.fakes import Network, address
from tests.support.matter.fake_controller import FakeController, RefusedError
from tests.support.matter.fake_fabric import IPK_EPOCH_KEY, NODE_ID, add_fabric, add_pending
from tests.support.matter.fake_node import DISCRIMINATOR, PASSCODE, VERIFIER, events, make_stack

NODE, CONTROLLER, OTHER = address(1), address(2), address(3)


@pytest.fixture
def network() -> Network:
    return Network()


@pytest.fixture
def stack(network: Network) -> MatterStack:
    stack = make_stack(network, NODE)
    stack.start(network.now)
    return stack


@pytest.fixture
def controller(network: Network) -> FakeController:
    return FakeController(network, CONTROLLER, NODE, ipk_epoch_key=IPK_EPOCH_KEY)


def join(stack: MatterStack, controller: FakeController) -> Fabric:
    """Put the node onto the controller's fabric, as commissioning would."""
    return add_fabric(stack.fabrics, authority=controller.authority)


def node_ends(stack: MatterStack) -> list[SecureSession]:
    return list(stack.sessions)


def read_nothing(controller: FakeController) -> int:
    # A read without paths, with interaction model revision 11.
    opcode, _ = controller.request(
        PROTOCOL_INTERACTION_MODEL, Opcode.READ_REQUEST, bytes.fromhex("152803 24ff0b 18")
    )
    return opcode


def test_new_node_announces_commissionable_service(stack: MatterStack) -> None:
    (event,) = events(stack)
    assert isinstance(event, ServicesChanged)
    (service,) = event.services
    assert service.type == "_matterc._udp"
    assert service.txt["D"] == str(DISCRIMINATOR)
    assert service.txt["CM"] == "1"
    assert events(stack) == []


def test_commissioned_node_announces_only_operational_services(network: Network) -> None:
    stack = make_stack(network, NODE)
    fabric = add_fabric(stack.fabrics)
    events(stack)
    store = stack.store
    assert isinstance(store, MemoryStore)
    store.commit()
    again = make_stack(network, OTHER, store=store.after_power_cut())
    again.start(network.now)
    (event,) = events(again)
    assert isinstance(event, ServicesChanged)
    (service,) = event.services
    assert service.type == "_matter._tcp"
    assert service.instance == f"{fabric.compressed_fabric_id.hex().upper()}-{NODE_ID:016X}"


def test_services_follow_window_and_fabrics(network: Network, stack: MatterStack) -> None:
    (first,) = events(stack)
    stack.window.close(network.now)
    (closed,) = events(stack)
    assert closed == ServicesChanged(())
    fabric = add_pending(stack.fabrics)
    (pending,) = events(stack)
    assert isinstance(pending, ServicesChanged)
    assert [service.type for service in pending.services] == ["_matter._tcp"]
    stack.fabrics.commit_pending()
    assert events(stack) == []
    stack.window.open_enhanced(
        300.0, network.now, Opener(fabric.index, 0xFFF1), VERIFIER, discriminator=1234
    )
    (opened,) = events(stack)
    assert isinstance(opened, ServicesChanged)
    commissionable = opened.services[0]
    assert commissionable.txt["CM"] == "2"
    assert "_L1234" in commissionable.subtypes
    assert isinstance(first, ServicesChanged)
    assert commissionable.instance != first.services[0].instance
    # Many changes in one turn are one event.
    for discriminator in (1, 2, 3):
        stack.window.close(network.now)
        stack.window.open_enhanced(
            300.0, network.now, Opener(fabric.index, 0xFFF1), VERIFIER, discriminator=discriminator
        )
    assert len(events(stack)) == 1
    network.run(301.0)
    assert len(events(stack)) == 1


def test_commissionable_service_is_withdrawn_during_pase(
    network: Network, stack: MatterStack, controller: FakeController
) -> None:
    events(stack)
    controller.pase(PASSCODE)
    assert events(stack) == [ServicesChanged(())]
    with pytest.raises(RefusedError):
        FakeController(network, OTHER, NODE).pase(PASSCODE)
    # The fail-safe expires: another commissioner may try.
    network.run(61.0)
    assert node_ends(stack) == []
    assert len(events(stack)) == 1


def test_wrong_passcode_is_refused(stack: MatterStack, controller: FakeController) -> None:
    with pytest.raises(RefusedError):
        controller.pase(PASSCODE + 1)
    assert node_ends(stack) == []
    controller.pase(PASSCODE)
    assert len(node_ends(stack)) == 1


def test_case_reaches_the_interaction_model(stack: MatterStack, controller: FakeController) -> None:
    join(stack, controller)
    controller.case(NODE_ID)
    assert read_nothing(controller) == Opcode.REPORT_DATA
    assert stack.dropped == {}


def test_stack_serves_sixteen_controllers_at_once(network: Network, stack: MatterStack) -> None:
    first = FakeController(network, address(100), NODE, ipk_epoch_key=IPK_EPOCH_KEY)
    join(stack, first)
    controllers = [first]
    for number in range(1, 16):
        controllers.append(
            FakeController(
                network,
                address(100 + number),
                NODE,
                authority=first.authority,
                node_id=1000 + number,
                seed=number,
                ipk_epoch_key=IPK_EPOCH_KEY,
            )
        )
    for controller in controllers:
        controller.case(NODE_ID)
    assert len(node_ends(stack)) == 16
    for controller in controllers:
        assert read_nothing(controller) == Opcode.REPORT_DATA


def test_removing_fabric_ends_its_sessions(
    network: Network, stack: MatterStack, controller: FakeController
) -> None:
    fabric = join(stack, controller)
    controller.case(NODE_ID)
    stack.administration.remove_fabric(fabric.index, network.now)
    assert node_ends(stack) == []
    with pytest.raises(RefusedError):
        read_nothing(controller)
    with pytest.raises(RefusedError):
        controller.case(NODE_ID)


def test_events_of_removed_fabric_are_not_reported_to_successor(
    network: Network, stack: MatterStack, controller: FakeController
) -> None:
    fabric = join(stack, controller)
    path = EventPath(0, 0x1F, 0)
    stack.event_log.record(path, EventPriority.INFO, b"", fabric.index)
    stack.event_log.record(path, EventPriority.INFO, b"")
    stack.administration.remove_fabric(fabric.index, network.now)
    (left,) = stack.event_log.select([path], 0, fabric.index)
    assert left.record.fabric_index == 0


def test_pending_fabric_is_removed_when_fail_safe_expires(
    network: Network, stack: MatterStack, controller: FakeController
) -> None:
    controller.pase(PASSCODE)
    events(stack)
    fabric = add_pending(stack.fabrics, authority=controller.authority)
    stack.fail_safe.set_noc_added(fabric.index)
    controller.case(NODE_ID)
    assert len(node_ends(stack)) == 2
    assert [type(event) for event in events(stack)] == [ServicesChanged]
    network.run(61.0)
    assert node_ends(stack) == []
    assert len(stack.fabrics) == 0
    (services,) = events(stack)
    assert isinstance(services, ServicesChanged)
    assert [service.type for service in services.services] == ["_matterc._udp"]


def test_commissioning_complete_ends_pase(
    network: Network, stack: MatterStack, controller: FakeController
) -> None:
    controller.pase(PASSCODE)
    fabric = add_pending(stack.fabrics, authority=controller.authority)
    stack.fail_safe.set_noc_added(fabric.index)
    controller.case(NODE_ID)
    stack.fail_safe.complete(network.now)
    (session,) = node_ends(stack)
    assert session.is_case
    assert not stack.fabrics.is_pending(fabric.index)
    network.run(120.0)
    assert len(stack.fabrics) == 1


def test_restarted_node_resumes_only_persisted_sessions(
    network: Network, stack: MatterStack, controller: FakeController
) -> None:
    join(stack, controller)
    controller.case(NODE_ID)
    store = stack.store
    assert isinstance(store, MemoryStore)
    store.commit()
    again = make_stack(network, NODE, seed=6, store=store.after_power_cut())
    again.start(network.now)
    with pytest.raises(RefusedError):
        read_nothing(controller)
    assert set(again.dropped) == {"no session"}
    controller.case(NODE_ID)
    assert read_nothing(controller) == Opcode.REPORT_DATA


def test_error_in_timer_does_not_leave_handle_timer(
    network: Network, stack: MatterStack, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[float] = []

    def fail(now: float) -> None:
        raise ZeroDivisionError

    stack.timers.call_at(network.now, fail)
    stack.timers.call_at(network.now, calls.append)
    stack.handle_timer(network.now)
    assert "ZeroDivisionError" in caplog.text
    assert stack.get_timer() == network.now
    stack.handle_timer(network.now)
    assert calls == [network.now]
