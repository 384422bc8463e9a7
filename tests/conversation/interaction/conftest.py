"""A node with sample clusters, and a controller with a session to it."""

from __future__ import annotations

import pytest

from tests.support.fakes import Network
from tests.support.matter.interaction_client import InteractionClient
from tests.support.matter.interaction_host import Client, InteractionHost


@pytest.fixture
def host() -> InteractionHost:
    return InteractionHost(Network())


@pytest.fixture
def controller(host: InteractionHost) -> Client:
    return Client(host)


@pytest.fixture
def client(controller: Client) -> InteractionClient:
    return InteractionClient(controller)
