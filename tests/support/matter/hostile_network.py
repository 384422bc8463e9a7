"""Handshakes whose messages are changed on the way, some by a stranger to the fabric."""

from __future__ import annotations

import random
from collections.abc import Callable

from evse_node.matter.messaging.message import decode_header, decode_message, encode_message
from evse_node.matter.messaging.session import Address
from evse_node.matter.stack import MatterStack
from tests.support.fakes import Network, address
from tests.support.fuzz.mutations import Mutator
from tests.support.matter.fake_controller import FakeController, RefusedError
from tests.support.matter.fake_fabric import IPK_EPOCH_KEY, NODE_ID, add_fabric
from tests.support.matter.fake_node import PASSCODE, make_stack

NODE, MEMBER, STRANGER = address(1), address(2), address(3)


class HostileNetwork(Network):
    """Network that changes the payload of some unsecured messages to the node."""

    def __init__(self, seed: int, share: float) -> None:
        super().__init__(seed, drop=0.05, repeat=0.05, reorder=0.05)
        self.changed = 0
        self._share = share
        self._mutator = Mutator(random.Random(seed))

    def send(self, data: bytes, source: Address, destination: Address) -> None:
        if destination == NODE and self._mutator.random.random() < self._share:
            data = self._change(data)
        super().send(data, source, destination)
        self.log.clear()

    def _change(self, data: bytes) -> bytes:
        header = decode_header(data)
        if header.session_id:
            return data
        self.changed += 1
        message = decode_message(data[header.size :])
        payload = message.payload
        mutator = self._mutator
        payload = mutator.change_tlv(payload) if payload[:1] == b"\x15" else mutator.change(payload)
        return data[: header.size] + encode_message(
            message.flags,
            message.opcode,
            message.exchange_id,
            message.protocol_id,
            payload,
            message.acknowledged,
        )


class Handshakes:
    """Node whose commissioning window is opened again and again, and two controllers.

    The member has the passcode and belongs to the node's fabric; the stranger has neither,
    but receives every message.
    """

    def __init__(self, seed: int, share: float = 0.2) -> None:
        self.random = random.Random(seed)
        self.network = HostileNetwork(seed, share)
        self.stack: MatterStack = make_stack(self.network, NODE, seed=seed)
        self.stack.start(self.network.now)
        self.member = FakeController(
            self.network, MEMBER, NODE, seed=seed + 1, ipk_epoch_key=IPK_EPOCH_KEY
        )
        self.stranger = FakeController(
            self.network, STRANGER, NODE, seed=seed + 2, ipk_epoch_key=IPK_EPOCH_KEY
        )
        add_fabric(self.stack.fabrics, authority=self.member.authority)
        self.established = 0
        self.refused = 0

    def run(self, count: int) -> None:
        """Perform `count` handshakes. Raises AssertionError when one ends wrongly."""
        for _ in range(count):
            self._settle()
            if self.random.random() < 0.4:
                self._pase()
            else:
                self._case()
            assert "internal error" not in self.stack.dropped

    def _settle(self) -> None:
        """Let the timers of the last handshake expire; remove its sessions."""
        stack, network = self.stack, self.network
        for session in stack.sessions:
            stack.sessions.remove(session, network.now)
        network.run(70.0)
        stack.window.close(network.now)
        assert len(stack.exchanges) == 0
        assert len(stack.sessions._reserved) == 0
        assert len(stack.secure_channel.case) == 0
        assert not stack.secure_channel.pase.is_busy

    def _pase(self) -> None:
        stack = self.stack
        stack.window.open_basic(900.0, self.network.now)
        if self.random.random() < 0.5:
            self._attempt(lambda: self.member.pase(PASSCODE))
            return
        before = len(self.stack.sessions)
        self._attempt(lambda: self.stranger.pase(self.random.randrange(1, PASSCODE)))
        assert len(self.stack.sessions) == before, "a session without the passcode"

    def _case(self) -> None:
        if self.random.random() < 0.5:
            if self.random.random() < 0.5:
                self.member.clear_resumption()
            self._attempt(lambda: self.member.case(NODE_ID))
            return
        before = len(self.stack.sessions)
        self._attempt(lambda: self.stranger.case(NODE_ID))
        assert len(self.stack.sessions) == before, "a session without a certificate of the fabric"

    def _attempt(self, handshake: Callable[[], object]) -> None:
        try:
            handshake()
        except RefusedError:
            self.refused += 1
        else:
            self.established += 1
