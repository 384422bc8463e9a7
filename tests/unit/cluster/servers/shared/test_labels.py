"""Fixed Label and User Label."""

from __future__ import annotations

import pytest

from evse_node.cluster.definitions.definition import Value
from evse_node.cluster.servers.shared.labels import (
    MAX_LABELS,
    FixedLabelServer,
    UserLabelServer,
)
from evse_node.errors import StatusError
from evse_node.matter.interaction.status import Status
from tests.support.matter.root_node import RootNode
from tests.unit.cluster.servers.optional_clusters import add, restart, shipped, write


def label(name: str, value: str) -> Value:
    return {"label": name, "value": value}


def user_label(root: RootNode) -> UserLabelServer:
    return add(root, UserLabelServer(shipped("User Label")), 1)


def test_fixed_labels_are_listed_in_order() -> None:
    root = RootNode()
    labels = {"cable": "left", "room": "garage"}
    server = add(root, FixedLabelServer(shipped("Fixed Label"), labels), 1)
    assert root.read(server, "label_list") == [label("cable", "left"), label("room", "garage")]
    assert server.attributes[0].write_privilege is None


def test_user_labels_survive_restart() -> None:
    root = RootNode()
    server = user_label(root)
    assert root.read(server, "label_list") == []
    labels: Value = [label("roomName", "master bedroom 1"), label("floor", "2"), label("", "")]
    assert write(root, server, "label_list", labels) == Status.SUCCESS
    assert root.read(server, "label_list") == labels
    again = restart(root)
    assert again.read(user_label(again), "label_list") == labels


@pytest.mark.parametrize("bad", [label("room", "x" * 17), label("x" * 17, "room")])
def test_user_label_that_is_too_long_is_refused(bad: Value) -> None:
    root = RootNode()
    server = user_label(root)
    assert write(root, server, "label_list", [label("a", "b"), bad]) == Status.CONSTRAINT_ERROR
    assert root.read(server, "label_list") == []


def test_user_labels_beyond_maximum_are_refused() -> None:
    root = RootNode()
    server = user_label(root)
    labels: list[Value] = [label(str(number), "") for number in range(MAX_LABELS + 1)]
    assert write(root, server, "label_list", labels) == Status.RESOURCE_EXHAUSTED
    for item in labels[:-1]:
        root.append(server, "label_list", item, root.case())
    with pytest.raises(StatusError) as caught:
        root.append(server, "label_list", labels[-1], root.case())
    assert caught.value.status == Status.RESOURCE_EXHAUSTED
    assert root.read(server, "label_list") == labels[:-1]
