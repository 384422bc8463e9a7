"""A node with sample clusters, and a controller with a session to it."""

from __future__ import annotations

import pytest

from tests.fakes import Network
from tests.interaction_client import InteractionClient
from tests.interaction_host import Client, InteractionHost


@pytest.fixture
def host() -> InteractionHost:
    return InteractionHost(Network())


@pytest.fixture
def controller(host: InteractionHost) -> Client:
    return Client(host)


@pytest.fixture
def client(controller: Client) -> InteractionClient:
    return InteractionClient(controller)
