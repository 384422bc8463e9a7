"""A node and a controller of the same fabric, without a session yet."""

from __future__ import annotations

import pytest

from tests.support.fakes import Network
from tests.support.matter.case_node import Node, make_controller, make_node
from tests.support.matter.fake_controller import FakeController


@pytest.fixture
def network() -> Network:
    return Network()


@pytest.fixture
def node(network: Network) -> Node:
    return make_node(network)


@pytest.fixture
def controller(network: Network, node: Node) -> FakeController:
    return make_controller(network)
