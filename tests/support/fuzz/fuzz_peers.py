"""Peers of a fuzzer's stack, with and without privileges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from evse_node.matter.crypto import AeadKey
from evse_node.matter.data_model import Subject
from evse_node.matter.interaction import messages as im
from evse_node.matter.messaging.message import (
    EXCHANGE_INITIATOR,
    EXCHANGE_RELIABLE,
    FLAG_SOURCE,
    PROTOCOL_INTERACTION_MODEL,
    PROTOCOL_SECURE_CHANNEL,
    SECURED_HEADER,
    Message,
    MessageHeader,
    decode_header,
    decode_message,
    encode_message,
)
from evse_node.matter.messaging.session import Address, SecureSession, SessionParameters
from evse_node.matter.messaging.status_report import CLOSE_SESSION, INVALID_PARAMETER, Opcode
from tests.support.fuzz.request_maker import Request
from tests.support.matter.interaction_client import OK

if TYPE_CHECKING:
    from tests.support.fuzz.fuzzing import Fuzzer

_PROTOCOLS = (0, 0, 1, 1, 1, 1, 1, 1, 2, 3, 4, 0xFFFF, 0xFFF1_0001)
# Messages of the stack that expect a response.
_EXPECTING = frozenset({im.Opcode.STATUS_RESPONSE, im.Opcode.REPORT_DATA})
# TimedRequestMessage: 5 s.
_TIMED = bytes.fromhex("15 25 00 88 13 24 ff 0b 18")

SECURE_CHANNEL_CORPUS: list[tuple[int, bytes]] = [
    (Opcode.STATUS_REPORT, INVALID_PARAMETER),
    (Opcode.STATUS_REPORT, CLOSE_SESSION),
    (Opcode.STANDALONE_ACK, b""),
    (Opcode.MSG_COUNTER_SYNC_REQ, bytes(8)),
    *[
        (opcode, bytes.fromhex("15 30 01 20") + bytes(32) + bytes.fromhex("24 02 01 18"))
        for opcode in Opcode
    ],
]


@dataclass
class Peer:
    """A sender of datagrams; `may_change` is whether it has privileges to change the node."""

    fuzzer: Fuzzer
    address: Address
    may_change: bool

    def datagram(self) -> bytes:
        """Return the next hostile datagram."""
        raise NotImplementedError

    def on_datagram(self, data: bytes) -> None:
        """Handle a datagram from the stack."""


class Outsider(Peer):
    """A peer that sends noise, and unsecured messages that almost establish a session."""

    def datagram(self) -> bytes:
        source, mutator = self.fuzzer.random, self.fuzzer.mutator
        kind = source.random()
        if kind < 0.1:
            return mutator.noise(80)
        if kind < 0.3:
            return mutator.change(
                source.choice(self.fuzzer.seen) if self.fuzzer.seen else b"\0" * 20
            )
        header = MessageHeader(
            0 if source.random() < 0.9 else source.randrange(0x10000),
            0 if source.random() < 0.9 else source.randrange(0x100),
            source.randrange(2**32),
            source_node=source.randrange(1, 40) if source.random() < 0.95 else None,
            destination_node=None if source.random() < 0.95 else 5,
        )
        opcode, payload = source.choice(SECURE_CHANNEL_CORPUS + self.fuzzer.openings)
        message = encode_message(
            EXCHANGE_INITIATOR | source.choice((0, EXCHANGE_RELIABLE)),
            opcode,
            source.randrange(8),
            0 if source.random() < 0.9 else source.choice(_PROTOCOLS),
            mutator.payload(payload),
            None if source.random() < 0.7 else source.randrange(2**32),
        )
        data = header.encode() + message
        return data if source.random() < 0.8 else mutator.change(data)


class SessionPeer(Peer):
    """A peer with a secure session, which is replaced when the stack has removed it."""

    def __init__(
        self, fuzzer: Fuzzer, where: Address, may_change: bool, subject: Subject, local_node: int
    ) -> None:
        super().__init__(fuzzer, where, may_change)
        self._subject = subject
        self._local_node = local_node
        self._connect()
        self._received: list[Message] = []
        # Requests to send after a timed request, by exchange.
        self._timed: dict[int, Request] = {}

    def _connect(self) -> None:
        stack, now = self.fuzzer.stack, self.fuzzer.now
        keys = AeadKey(self.fuzzer.random.randbytes(16)), AeadKey(self.fuzzer.random.randbytes(16))
        local_id = stack.sessions.reserve_id()
        ends = []
        for is_ours in (True, False):
            ends.append(
                SecureSession(
                    local_id=local_id if is_ours else 1,
                    peer_id=1 if is_ours else local_id,
                    subject=self._subject,
                    encrypt_key=keys[not is_ours],
                    decrypt_key=keys[is_ours],
                    attestation_challenge=bytes(16),
                    address=self.address,
                    parameters=SessionParameters(),
                    random_bytes=self.fuzzer.random.randbytes,
                    now=now,
                    local_node_id=self._local_node if is_ours else self._subject.node_id,
                    peer_node_id=self._subject.node_id if is_ours else self._local_node,
                )
            )
        self._stack_end, self._end = ends
        stack.sessions.add(self._stack_end, now)

    def datagram(self) -> bytes:
        source, fuzzer = self.fuzzer.random, self.fuzzer
        if fuzzer.stack.sessions.get(self._stack_end.local_id) is not self._stack_end:
            self._connect()
        flags, exchange_id, acknowledged, opcode, payload = self._content()
        protocol_id = PROTOCOL_INTERACTION_MODEL
        if opcode == Opcode.STANDALONE_ACK:
            protocol_id = PROTOCOL_SECURE_CHANNEL
        elif source.random() < 0.05:
            protocol_id = source.choice(_PROTOCOLS)
            if protocol_id == PROTOCOL_SECURE_CHANNEL:
                opcode, payload = source.choice(SECURE_CHANNEL_CORPUS)
        if source.random() < 0.03:
            opcode = source.randrange(0x100)
        payload = fuzzer.mutator.payload(payload)
        plain = encode_message(flags, opcode, exchange_id, protocol_id, payload, acknowledged)
        if source.random() < 0.03:
            plain = fuzzer.mutator.change(plain)
        _, data = self._end.seal(plain)
        # Corrupt some datagrams.
        return data if source.random() < 0.97 else fuzzer.mutator.change(data)

    def _content(self) -> tuple[int, int, int | None, int, bytes]:
        """Continue an exchange that the stack has opened or answered, or open one."""
        source = self.fuzzer.random
        if self._received and source.random() < 0.7:
            return self._answer(self._received.pop())
        request = self.fuzzer.maker.make()
        exchange_id = source.randrange(0x10000)
        flags = EXCHANGE_INITIATOR | (EXCHANGE_RELIABLE if source.random() < 0.8 else 0)
        if source.random() < 0.01:
            flags = source.randrange(0x100) & ~0x08
        if request.is_timed and source.random() < 0.9:
            if len(self._timed) < 16:
                self._timed[exchange_id] = request
            return flags, exchange_id, None, im.Opcode.TIMED_REQUEST, _TIMED
        return flags, exchange_id, None, request.opcode, request.payload

    def _answer(self, message: Message) -> tuple[int, int, int | None, int, bytes]:
        source = self.fuzzer.random
        opcode, payload = int(im.Opcode.STATUS_RESPONSE), OK
        request = self._timed.pop(message.exchange_id, None)
        if request is None and source.random() < 0.2:
            request = self.fuzzer.maker.make()
        if request is not None:
            opcode, payload = request.opcode, request.payload
        elif message.opcode not in _EXPECTING and source.random() < 0.9:
            # Only an acknowledgement is left to send.
            opcode, payload = Opcode.STANDALONE_ACK, b""
        flags = 0 if message.flags & EXCHANGE_INITIATOR else EXCHANGE_INITIATOR
        if opcode != Opcode.STANDALONE_ACK and source.random() < 0.8:
            flags |= EXCHANGE_RELIABLE
        acknowledged = message.counter if message.flags & EXCHANGE_RELIABLE else None
        return flags, message.exchange_id, acknowledged, opcode, payload

    def on_datagram(self, data: bytes) -> None:
        header = decode_header(data)
        if header.session_id != self._end.local_id:
            return
        plain = self._stack_end_opens(data, header)
        if plain is None or len(self._received) >= 16:
            return
        message = decode_message(plain, header.counter)
        if message.protocol_id or message.opcode != Opcode.STANDALONE_ACK:
            self._received.append(message)

    def _stack_end_opens(self, data: bytes, header: MessageHeader) -> bytes | None:
        # Datagrams of a removed session cannot be decrypted.
        try:
            return self._end.open(data, header.counter, header.security_flags, header.size)
        except Exception:
            return None


class GroupPeer(Peer):
    """A sender of group messages, which the stack drops."""

    def datagram(self) -> bytes:
        source, mutator = self.fuzzer.random, self.fuzzer.mutator
        flags = FLAG_SOURCE | 0x02  # source node and destination group
        security = 0x01 | (0x80 if source.random() < 0.3 else 0)
        header = SECURED_HEADER.pack(
            flags, source.randrange(0x10000), security, source.randrange(2**32)
        )
        data = header + source.randbytes(10) + mutator.noise(80)
        return data if source.random() < 0.95 else mutator.change(data)
