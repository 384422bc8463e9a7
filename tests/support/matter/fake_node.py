"""A whole stack on the network of `tests.support.fakes`, its node without endpoints at first."""

from __future__ import annotations

from evse_node.matter.data_model import Node
from evse_node.matter.fabrics.commissioning import PasscodeVerifier
from evse_node.matter.fabrics.discovery import CommissionableIdentity
from evse_node.matter.messaging.session import Address, SessionParameters
from evse_node.matter.secure_channel.spake2p import compute_verifier
from evse_node.matter.stack import MatterStack, StackEvent, StackSettings
from evse_node.testing.memory_store import MemoryStore
from tests.support.fakes import Network, seeded_bytes

PASSCODE = 20202021
DISCRIMINATOR = 840
_SALT = b"SPAKE2P Key Salt"
_ITERATIONS = 1000
VERIFIER = PasscodeVerifier(*compute_verifier(PASSCODE, _SALT, _ITERATIONS), _SALT, _ITERATIONS)


def settings(supported_fabrics: int = 5) -> StackSettings:
    return StackSettings(
        CommissionableIdentity(0xFFF1, 0x8001, 0x050C, "Charger"),
        VERIFIER,
        DISCRIMINATOR,
        SessionParameters(500, 300, 4000, 17, 11, 0x01030000, 1),
        5540,
        supported_fabrics,
    )


def make_stack(
    network: Network,
    where: Address,
    *,
    seed: int = 5,
    store: MemoryStore | None = None,
    supported_fabrics: int = 5,
) -> MatterStack:
    """Return a stack that is attached to the network, and not started."""
    stack = MatterStack(
        settings(supported_fabrics),
        Node(),
        store or MemoryStore(),
        random_bytes=seeded_bytes(seed),
        clock=lambda: network.now,
        utc_ms=lambda: None,
    )
    network.attach(where, stack)
    return stack


def events(stack: MatterStack) -> list[StackEvent]:
    """Return all queued events."""
    found = []
    while (event := stack.next_event()) is not None:
        found.append(event)
    return found
