"""Sessions: the state that two nodes share beyond a datagram.

Spec: Matter Core 1.3 "Secure Channel", "Unsecured Session Context", "Secure Session Context"
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol, TypeAlias

from msgspec import Struct

from evse_node.errors import CryptoError, DecodeError, SessionError
from evse_node.matter.crypto import NOT_AUTHENTIC, AeadKey
from evse_node.matter.data_model import AuthMode, Subject
from evse_node.matter.messaging.counter import (
    MAX_COUNTER,
    GlobalCounter,
    ReceiveWindow,
    initial_counter,
)
from evse_node.matter.messaging.message import (
    SECURED_HEADER,
    Message,
    MessageHeader,
    encode_nonce,
)
from evse_node.matter.tlv import TagKey, TlvValue, Writer
from evse_node.matter.tlv_fields import expect_unsigned

Address: TypeAlias = tuple[str, int, int, int]
"""A UDP peer: IPv6 address (IPv4 as ::ffff:a.b.c.d), port, flow label 0, scope id."""

UNSECURED_PARTY: Final = -1
"""The party of all peers without a secure session."""

MAX_INTERVAL_MS = 3_600_000
_MAX_THRESHOLD_MS = 0xFFFF


class SessionParameters(Struct, frozen=True):
    """Timing and versions that a node declares; the defaults are those of the specification.

    Spec: Matter Core 1.3 "Session Parameters"
    """

    idle_interval_ms: int = 500
    active_interval_ms: int = 300
    active_threshold_ms: int = 4000
    data_model_revision: int = 16
    interaction_model_revision: int = 10
    specification_version: int = 0
    max_paths_per_invoke: int = 1

    def encode(self, writer: Writer, tag: TagKey | None) -> None:
        """Append the session-parameter-struct with all its members."""
        writer.start_structure(tag)
        writer.uint(1, self.idle_interval_ms)
        writer.uint(2, self.active_interval_ms)
        writer.uint(3, self.active_threshold_ms)
        writer.uint(4, self.data_model_revision)
        writer.uint(5, self.interaction_model_revision)
        writer.uint(6, self.specification_version)
        writer.uint(7, self.max_paths_per_invoke)
        writer.end()

    @classmethod
    def decode(cls, value: TlvValue) -> SessionParameters:
        """Decode the parameters from a structure; absent members have their defaults.

        Intervals are clamped to the specification's limits; unknown members are ignored.
        Raises DecodeError when `value` is not a structure of integers.
        """
        if not isinstance(value, dict):
            raise DecodeError("session parameters are not a structure")
        default = _DEFAULT_PARAMETERS
        return cls(
            _member(value, 1, default.idle_interval_ms, 1, MAX_INTERVAL_MS),
            _member(value, 2, default.active_interval_ms, 1, MAX_INTERVAL_MS),
            _member(value, 3, default.active_threshold_ms, 0, _MAX_THRESHOLD_MS),
            _member(value, 4, default.data_model_revision, 0, 0xFFFF),
            _member(value, 5, default.interaction_model_revision, 0, 0xFFFF),
            _member(value, 6, default.specification_version, 0, 0xFFFFFFFF),
            _member(value, 7, default.max_paths_per_invoke, 1, 0xFFFF),
        )


def decode_session_id(value: TlvValue) -> int:
    """Return the id of a secure session, 1 to 65535. Raises DecodeError for 0 as well."""
    session_id = expect_unsigned(value, 0xFFFF)
    if session_id == 0:
        raise DecodeError("session id 0")
    return session_id


def _member(
    members: dict[TagKey, TlvValue], tag: int, default: int, least: int, greatest: int
) -> int:
    value = members.get(tag, default)
    if not isinstance(value, int) or isinstance(value, bool):
        raise DecodeError(f"session parameter {tag} is not an integer")
    return min(max(value, least), greatest)


_DEFAULT_PARAMETERS = SessionParameters()


class SessionExchange(Protocol):
    """An exchange, as its session refers to it."""

    is_open: bool

    def receive(self, message: Message, is_duplicate: bool, now: float) -> None:
        """Process a message that matches the exchange."""

    def end(self, now: float, *, failed: bool) -> None:
        """End the exchange and notify its owner."""


class Session:
    """Base class of all sessions. ExchangeManager maintains `exchanges`.

    `active_at` is when the peer was last heard, `used_at` when a message was last sent or
    received. With `is_closing` it accepts no new exchanges and is removed with its last
    one. With `is_defunct` the peer has not acknowledged a message.
    """

    __slots__ = (
        "active_at",
        "address",
        "exchanges",
        "is_closing",
        "is_defunct",
        "parameters",
        "used_at",
        "window",
    )

    def __init__(
        self, address: Address, parameters: SessionParameters, window: ReceiveWindow, now: float
    ) -> None:
        self.address = address
        self.parameters = parameters
        self.window = window
        self.active_at = now
        self.used_at = now
        self.exchanges: dict[int, SessionExchange] = {}
        self.is_closing = False
        self.is_defunct = False

    @property
    def party(self) -> int:
        """The party whose exchange limit applies: a fabric index, or UNSECURED_PARTY."""
        return UNSECURED_PARTY

    def seal(self, plaintext: bytes) -> tuple[int, bytes]:
        """Return a new message counter, and the datagram with that counter and `plaintext`.

        Raises SessionError when the session cannot send.
        """
        raise NotImplementedError

    def retry_interval_ms(self, now: float) -> int:
        """Return the peer's active or idle interval, depending on when it was last heard."""
        parameters = self.parameters
        if (now - self.active_at) * 1000.0 < parameters.active_threshold_ms:
            return parameters.active_interval_ms
        return parameters.idle_interval_ms


class SecureSession(Session):
    """A PASE or CASE session, with one AEAD key object per direction.

    `subject` is the peer for access control. The node ids are 0 for PASE.
    `interaction_cache` belongs to the interaction model; it is dropped with the subject.
    """

    __slots__ = (
        "_decrypt",
        "_encrypt",
        "_next_counter",
        "attestation_challenge",
        "interaction_cache",
        "local_id",
        "local_node_id",
        "peer_id",
        "peer_node_id",
        "subject",
    )

    def __init__(
        self,
        *,
        local_id: int,
        peer_id: int,
        subject: Subject,
        encrypt_key: AeadKey,
        decrypt_key: AeadKey,
        attestation_challenge: bytes,
        address: Address,
        parameters: SessionParameters,
        random_bytes: Callable[[int], bytes],
        now: float,
        local_node_id: int = 0,
        peer_node_id: int = 0,
    ) -> None:
        super().__init__(address, parameters, ReceiveWindow(), now)
        self.local_id = local_id
        self.peer_id = peer_id
        self.subject = subject
        self.attestation_challenge = attestation_challenge
        self.local_node_id = local_node_id
        self.peer_node_id = peer_node_id
        self.interaction_cache: object = None
        self._encrypt = encrypt_key.encrypt
        self._decrypt = decrypt_key.try_decrypt
        self._next_counter = initial_counter(random_bytes)

    @property
    def is_case(self) -> bool:
        """True for a CASE session."""
        return self.subject.auth_mode is AuthMode.CASE

    @property
    def party(self) -> int:
        """The fabric index; 0 for all commissioners before AddNOC."""
        return self.subject.fabric_index

    @property
    def fabric_index(self) -> int:
        """The accessing fabric, 0 for a PASE session before AddNOC."""
        return self.subject.fabric_index

    @fabric_index.setter
    def fabric_index(self, value: int) -> None:
        subject = self.subject
        self.subject = Subject(
            subject.auth_mode, value, subject.node_id, subject.case_authenticated_tags
        )
        self.interaction_cache = None

    def seal(self, plaintext: bytes) -> tuple[int, bytes]:
        """Encrypt a message to the peer; see `Session.seal`."""
        counter = self._next_counter
        if counter > MAX_COUNTER:
            # A rollover would repeat the nonce.
            self.is_closing = self.is_defunct = True
            raise SessionError("message counter is exhausted")
        self._next_counter = counter + 1
        header = SECURED_HEADER.pack(0, self.peer_id, 0, counter)
        nonce = encode_nonce(0, counter, self.local_node_id)
        return counter, header + self._encrypt(nonce, plaintext, header)

    def open(self, data: bytes, counter: int, security_flags: int = 0, size: int = 8) -> bytes:
        """Decrypt a datagram whose header has `size` bytes.

        Raises CryptoError when it does not authenticate.
        """
        nonce = encode_nonce(security_flags, counter, self.peer_node_id)
        try:
            return self._decrypt(nonce, data[size:], data[:size])
        except NOT_AUTHENTIC:
            raise CryptoError("message does not authenticate") from None


class UnsecuredSession(Session):
    """Unencrypted messages with one peer during session establishment.

    `ephemeral_node_id` is that of the initiator, which is this node if `is_initiator`.
    """

    __slots__ = ("_send_counter", "ephemeral_node_id", "is_initiator")

    def __init__(
        self,
        address: Address,
        parameters: SessionParameters,
        now: float,
        *,
        ephemeral_node_id: int,
        is_initiator: bool,
        send_counter: GlobalCounter,
    ) -> None:
        super().__init__(address, parameters, ReceiveWindow(is_synchronized=False), now)
        self.ephemeral_node_id = ephemeral_node_id
        self.is_initiator = is_initiator
        self._send_counter = send_counter

    def seal(self, plaintext: bytes) -> tuple[int, bytes]:
        """Frame an unencrypted message; see `Session.seal`."""
        counter = self._send_counter.next()
        if self.is_initiator:
            header = MessageHeader(0, 0, counter, source_node=self.ephemeral_node_id)
        else:
            header = MessageHeader(0, 0, counter, destination_node=self.ephemeral_node_id)
        return counter, header.encode() + plaintext
