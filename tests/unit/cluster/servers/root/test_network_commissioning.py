import pytest
from msgspec.structs import replace

from evse_node.errors import StatusError
from evse_node.matter.interaction.status import Status
from tests.support.matter.root_node import ETHERNET, RootNode


@pytest.fixture
def root() -> RootNode:
    return RootNode()


def state(root: RootNode) -> tuple[object, ...]:
    names = ("networks", "last_networking_status", "last_network_id", "last_connect_error_value")
    return tuple(root.read(root.network, name) for name in names)


def test_network_is_connected(root: RootNode) -> None:
    assert root.read(root.network, "feature_map") == 4
    assert root.read(root.network, "max_networks") == 1
    assert root.read(root.network, "accepted_command_list") == []
    assert state(root) == ([{"network_id": b"eth0", "connected": True}], 0, b"eth0", None)


def test_network_is_disconnected_without_cable(root: RootNode) -> None:
    root.interfaces[0] = replace(ETHERNET, is_operational=False)
    assert state(root) == ([{"network_id": b"eth0", "connected": False}], None, None, None)


def test_pulled_cable_is_reported(root: RootNode) -> None:
    version = root.network.data_version
    root.interfaces[0] = replace(ETHERNET, is_operational=False)
    root.network.interfaces_changed()
    assert root.reported() == {"networks", "last_networking_status", "last_network_id"}
    assert root.network.data_version != version


def test_networks_are_empty_without_interface(root: RootNode) -> None:
    root.interfaces.clear()
    assert state(root) == ([], None, None, None)


def test_only_first_interface_is_listed(root: RootNode) -> None:
    root.interfaces.append(replace(ETHERNET, name="eth1"))
    networks = root.read(root.network, "networks")
    assert isinstance(networks, list)
    assert len(networks) == 1


def test_interface_cannot_be_disabled(root: RootNode) -> None:
    root.write(root.network, "interface_enabled", True, root.case())
    with pytest.raises(StatusError) as error:
        root.write(root.network, "interface_enabled", False, root.case())
    assert error.value.status == Status.INVALID_ACTION
    assert root.read(root.network, "interface_enabled") is True
