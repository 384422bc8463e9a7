from __future__ import annotations

import pytest

from evse_node.cluster.servers.shared.groups import GroupsServer
from evse_node.matter.fabrics.group import GroupKeyMapping
from evse_node.matter.fabrics.group_key import make_key_set
from evse_node.matter.interaction.status import Status
from tests.support.matter.root_node import RootNode
from tests.unit.cluster.servers.optional_clusters import add, invoke, refusal, restart, shipped

KEYS = (bytes(range(16)), None, None)


class Host:
    def __init__(self, root: RootNode | None = None) -> None:
        self.root = root or RootNode()
        self.is_identifying = False
        if root is None:
            self.root.add_fabric(1)
            self.root.add_fabric(2)
            for fabric in (1, 2):
                key_set = make_key_set(3, 0, KEYS, (1, None, None))
                self.root.group_keys.set_key_set(fabric, key_set)
                mappings = [GroupKeyMapping(number, 3) for number in (1, 2, 3)]
                self.root.group_keys.set_key_map(fabric, [*mappings, GroupKeyMapping(9, 5)])
        self.server = add(
            self.root,
            GroupsServer(shipped("Groups"), self.root.group_keys, lambda: self.is_identifying),
            1,
        )

    def add(self, group_id: int, name: str = "") -> object:
        reply = invoke(self.root, self.server, "AddGroup", group_id=group_id, group_name=name)
        assert reply["group_id"] == group_id
        return reply["status"]

    def view(self, group_id: int, fabric: int = 1) -> tuple[object, object]:
        context = self.root.case(fabric)
        reply = self.root.invoke(self.server, "ViewGroup", context, group_id=group_id)
        return reply["status"], reply["group_name"]

    def members(self, *asked: int) -> object:
        reply = invoke(self.root, self.server, "GetGroupMembership", group_list=list(asked))
        return reply["group_list"]

    def remove(self, group_id: int) -> object:
        return invoke(self.root, self.server, "RemoveGroup", group_id=group_id)["status"]


@pytest.fixture
def host() -> Host:
    return Host()


def test_names_are_supported(host: Host) -> None:
    assert host.root.read(host.server, "name_support") == 0x80
    assert host.root.read(host.server, "feature_map") == 1


def test_add_view_remove(host: Host) -> None:
    assert host.view(1) == (Status.NOT_FOUND, "")
    assert host.add(1, "garage") == Status.SUCCESS
    assert host.view(1) == (Status.SUCCESS, "garage")
    assert host.view(1, fabric=2) == (Status.NOT_FOUND, "")
    assert host.root.group_keys.endpoints(1, 1) == (1,)
    assert host.remove(1) == Status.SUCCESS
    assert host.remove(1) == Status.NOT_FOUND
    assert host.view(1) == (Status.NOT_FOUND, "")


@pytest.mark.parametrize(
    ("group_id", "name", "status"),
    [
        (1, "x" * 17, Status.CONSTRAINT_ERROR),
        (4, "no mapping", Status.UNSUPPORTED_ACCESS),
        (9, "no key set", Status.UNSUPPORTED_ACCESS),
    ],
)
def test_groups_that_cannot_be_joined(host: Host, group_id: int, name: str, status: Status) -> None:
    assert host.add(group_id, name) == status
    host.is_identifying = True
    fields = {"group_id": group_id, "group_name": name}
    assert refusal(host.root, host.server, "AddGroupIfIdentifying", **fields) == status
    assert host.members() == []


def test_group_0_is_none(host: Host) -> None:
    # Called directly: the answer repeats the group, which no strict decoder takes.
    context, server = host.root.case(), host.server
    for reply in (
        server.add_group(context, group_id=0, group_name=""),
        server.view_group(context, group_id=0),
        server.remove_group(context, group_id=0),
    ):
        assert reply["status"] == Status.CONSTRAINT_ERROR
        assert reply["group_id"] == 0
    assert host.members() == []


def test_membership(host: Host) -> None:
    host.add(1)
    host.add(3)
    host.root.group_keys.add_endpoint(1, 2, 7)
    assert host.members() == [1, 3]
    assert host.members(3, 2, 8) == [3]
    reply = invoke(host.root, host.server, "GetGroupMembership", group_list=[])
    assert reply["capacity"] == host.root.group_keys.groups_per_fabric - 3


def test_remove_all_leaves_others_alone(host: Host) -> None:
    host.add(1)
    host.add(2)
    host.root.group_keys.add_endpoint(1, 2, 7)
    host.root.group_keys.add_endpoint(2, 1, 1)
    invoke(host.root, host.server, "RemoveAllGroups")
    assert host.members() == []
    assert host.root.group_keys.endpoints(1, 2) == (7,)
    assert host.root.group_keys.endpoints(2, 1) == (1,)


def test_only_an_identifying_endpoint_joins(host: Host) -> None:
    fields = {"group_id": 1, "group_name": "g"}
    invoke(host.root, host.server, "AddGroupIfIdentifying", **fields)
    assert host.members() == []
    host.is_identifying = True
    invoke(host.root, host.server, "AddGroupIfIdentifying", **fields)
    assert host.members() == [1]


def test_membership_survives_a_restart(host: Host) -> None:
    host.add(1, "garage")
    assert Host(restart(host.root)).view(1) == (Status.SUCCESS, "garage")
