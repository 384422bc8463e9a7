"""A root node to which a test adds clusters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import pytest

from evse_node.cluster.definitions.definition import ClusterDefinition, Value
from evse_node.cluster.definitions.zap import load_definitions
from evse_node.cluster.server import ClusterServer
from evse_node.errors import StatusError
from evse_node.matter.data_model import Endpoint
from evse_node.matter.interaction.status import Status
from tests.support.matter.root_node import RootNode

Server = TypeVar("Server", bound=ClusterServer)


def shipped(name: str) -> ClusterDefinition:
    return load_definitions()[name]


def add(root: RootNode, server: Server, endpoint: int = 0) -> Server:
    root.node.endpoints.setdefault(endpoint, Endpoint(endpoint, ((0x050C, 1),)))
    root.node.endpoints[endpoint].clusters[server.id] = server
    server.attach(endpoint, root.environment)
    return server


def restart(root: RootNode) -> RootNode:
    root.store.commit()
    return root.restart()


def write(root: RootNode, server: ClusterServer, name: str, value: Value) -> Status:
    """Write an attribute as administrator, and return the status."""
    try:
        root.write(server, name, value, root.case())
    except StatusError as error:
        return Status(error.status)
    return Status.SUCCESS


def refusal(root: RootNode, server: ClusterServer, name: str, **fields: Value) -> Status:
    """Return the status with which a command is refused."""
    with pytest.raises(StatusError) as caught:
        root.invoke(server, name, root.case(), **fields)
    return Status(caught.value.status)


def invoke(
    root: RootNode, server: ClusterServer, name: str, **fields: Value
) -> Mapping[str, Value]:
    return root.invoke(server, name, root.case(), **fields)
