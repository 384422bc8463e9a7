"""CASE handshakes that must not succeed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import force_setattr, replace

from evse_node.matter import crypto
from evse_node.matter.messaging.exchange import Exchange
from evse_node.matter.messaging.exchange_manager import MAX_EXCHANGES_PER_PARTY
from evse_node.matter.messaging.message import (
    EXCHANGE_INITIATOR,
    EXCHANGE_RELIABLE,
    PROTOCOL_INTERACTION_MODEL,
    PROTOCOL_SECURE_CHANNEL,
    MessageHeader,
    encode_message,
)
from evse_node.matter.messaging.session import SecureSession, SessionParameters
from evse_node.matter.messaging.status_report import (
    Opcode,
    ProtocolCode,
    decode_status_report,
)
from evse_node.matter.secure_channel import case_messages
from evse_node.matter.secure_channel.case import CaseCredentials
from evse_node.matter.secure_channel.case_messages import Identity, Sigma1
from tests.support.fakes import Network, address
from tests.support.matter.case_node import (
    AUTHORITY,
    CONTROLLER,
    INITIATOR,
    INVALID_PARAMETER,
    IPK,
    NO_SHARED_TRUST_ROOTS,
    NODE,
    NODE_ID,
    OTHER,
    UTC_MS,
    Node,
    assert_nothing_left,
    flip,
    opcodes_sent,
    refusal,
    send_sigma1,
)
from tests.support.matter.fake_ca import NOT_BEFORE, CertificateAuthority
from tests.support.matter.fake_controller import FakeController, RefusedError


@pytest.mark.parametrize("wrong", ["node id", "ipk", "root"])
def test_sigma1_for_unknown_destination_is_rejected(
    network: Network, node: Node, wrong: str
) -> None:
    controller = FakeController(
        network,
        CONTROLLER,
        NODE,
        authority=CertificateAuthority(0x1234) if wrong == "root" else AUTHORITY,
        ipk_epoch_key=bytes(16) if wrong == "ipk" else IPK,
    )
    node_id = NODE_ID + 1 if wrong == "node id" else NODE_ID
    assert refusal(controller, node_id) == NO_SHARED_TRUST_ROOTS
    assert_nothing_left(node)


def test_rejected_initiator_cannot_set_intervals(
    network: Network, node: Node, controller: FakeController
) -> None:
    """A stranger that names an hour as its interval would have the refusal sent all day."""
    slow = SessionParameters(idle_interval_ms=3_600_000, active_interval_ms=3_600_000)
    send_sigma1(
        network,
        controller,
        lambda sigma1: replace(sigma1, destination_id=bytes(32), parameters=slow),
    )
    network.lost = lambda data, source, to: to == controller.address
    network.run(30.0)
    assert opcodes_sent(network, NODE).count(Opcode.STATUS_REPORT) > 1
    assert_nothing_left(node)


def test_peer_outside_fabric_is_rejected(network: Network, node: Node) -> None:
    """Attacker with all ids and the key of the fabric, but without a certificate."""
    controller = FakeController(
        network,
        CONTROLLER,
        NODE,
        authority=CertificateAuthority(0x1234),
        ipk_epoch_key=IPK,
    )
    ours = node.fabrics.get(1)
    assert ours is not None
    forged = replace(controller.fabric, root_public_key=AUTHORITY.root_public_key)
    force_setattr(forged, "operational_ipks", ours.operational_ipks)
    controller.fabrics._fabrics[1] = replace(forged, root_certificate=AUTHORITY.rcac)
    assert refusal(controller) == INVALID_PARAMETER
    assert_nothing_left(node)


def test_peer_on_another_fabric_of_same_root_is_rejected(
    node: Node, controller: FakeController
) -> None:
    noc = AUTHORITY.issue_noc(
        controller.fabric.operational_key.public_key,
        controller.node_id,
        fabric_id=AUTHORITY.fabric_id + 1,
    )
    controller.fabrics._fabrics[1] = replace(controller.fabric, noc=noc)
    assert refusal(controller) == INVALID_PARAMETER
    assert_nothing_left(node)


def tamper_with(monkeypatch: pytest.MonkeyPatch, change: Callable[[Identity], Identity]) -> None:
    original = CaseCredentials.sign

    def sign(self: CaseCredentials, *arguments: object, **keywords: object) -> Identity:
        identity = original(self, *arguments, **keywords)  # type: ignore[arg-type]
        # The responder's identity stays as it is.
        return identity if identity.resumption_id is not None else change(identity)

    monkeypatch.setattr(CaseCredentials, "sign", sign)


@pytest.mark.parametrize(
    "change",
    [
        lambda identity: replace(identity, noc=flip(identity.noc)),
        lambda identity: replace(identity, noc=flip(identity.noc, 60)),
        lambda identity: replace(identity, icac=flip(identity.icac)),
        lambda identity: replace(identity, icac=None),
        lambda identity: replace(identity, noc=identity.icac),
        lambda identity: replace(identity, icac=AUTHORITY.rcac),
        lambda identity: replace(identity, signature=flip(identity.signature)),
        lambda identity: replace(identity, signature=bytes(64)),
        lambda identity: replace(identity, signature=identity.signature[:-1]),
        lambda identity: replace(identity, noc=bytes(401)),
    ],
)
def test_invalid_sigma3_identity_is_rejected(
    node: Node,
    controller: FakeController,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Identity], Identity],
) -> None:
    tamper_with(monkeypatch, change)
    assert refusal(controller) == INVALID_PARAMETER
    assert_nothing_left(node)


@pytest.mark.parametrize("function", ["encode_sigma3", "sha256"])
def test_invalid_sigma3_encryption_is_rejected(
    node: Node, controller: FakeController, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    if function == "sha256":
        # Another transcript gives another key for Sigma3.
        calls = []

        def sha256(data: bytes) -> bytes:
            calls.append(data)
            return bytes(32) if len(calls) == 2 else original_sha256(data)

        original_sha256 = crypto.sha256
        monkeypatch.setattr(f"{INITIATOR}.sha256", sha256)
    else:
        original = case_messages.encode_sigma3
        monkeypatch.setattr(
            f"{INITIATOR}.encode_sigma3", lambda encrypted: original(flip(encrypted))
        )
    assert refusal(controller) == INVALID_PARAMETER
    assert_nothing_left(node)


def test_sigma3_with_wrong_opcode_is_rejected(
    node: Node, controller: FakeController, monkeypatch: pytest.MonkeyPatch
) -> None:
    def send(exchange: Exchange, opcode: Opcode, payload: bytes, now: float) -> None:
        opcode = Opcode.CASE_SIGMA2 if opcode is Opcode.CASE_SIGMA3 else opcode
        exchange.send(PROTOCOL_SECURE_CHANNEL, opcode, payload, now=now)

    monkeypatch.setattr(f"{INITIATOR}.send", send)
    assert refusal(controller) == INVALID_PARAMETER
    assert_nothing_left(node)


@pytest.mark.parametrize("side", ["initiator", "responder"])
def test_signature_over_other_keys_is_rejected(
    node: Node, controller: FakeController, monkeypatch: pytest.MonkeyPatch, side: str
) -> None:
    original = CaseCredentials.sign

    def sign(
        self: CaseCredentials,
        fabric: object,
        own: bytes,
        peer: bytes,
        resumption_id: bytes | None = None,
    ) -> Identity:
        if resumption_id is None:
            own, peer = (flip(own), peer) if side == "initiator" else (own, flip(peer))
        return original(self, fabric, own, peer, resumption_id)  # type: ignore[arg-type]

    monkeypatch.setattr(CaseCredentials, "sign", sign)
    assert refusal(controller) == INVALID_PARAMETER
    assert_nothing_left(node)


@pytest.mark.parametrize(
    "change",
    [
        lambda sigma1: replace(sigma1, initiator_random=bytes(31)),
        lambda sigma1: replace(sigma1, initiator_session_id=0),
        lambda sigma1: replace(sigma1, initiator_session_id=0x10000),
        lambda sigma1: replace(sigma1, destination_id=bytes(33)),
        lambda sigma1: replace(sigma1, initiator_public_key=b"\4" + bytes(64)),
        lambda sigma1: replace(sigma1, initiator_public_key=b"\4" + b"\1" * 64),
        lambda sigma1: replace(sigma1, initiator_public_key=b"\4" + bytes(63)),
        lambda sigma1: replace(sigma1, resumption_id=bytes(16)),
        lambda sigma1: replace(sigma1, resume_mic=bytes(16)),
        lambda sigma1: replace(sigma1, resumption_id=bytes(15), resume_mic=bytes(16)),
        lambda sigma1: replace(sigma1, resumption_id=bytes(16), resume_mic=bytes(17)),
    ],
)
def test_malformed_sigma1_is_rejected(
    network: Network,
    node: Node,
    controller: FakeController,
    change: Callable[[Sigma1], Sigma1],
) -> None:
    conversation = send_sigma1(network, controller, change)
    message = conversation.receive()
    assert message.opcode == Opcode.STATUS_REPORT
    report = decode_status_report(message.payload)
    assert (report.general_code, report.protocol_code) == INVALID_PARAMETER
    network.run(1.0)
    assert_nothing_left(node)


@pytest.mark.parametrize("opcode", [Opcode.CASE_SIGMA1, Opcode.CASE_SIGMA2, Opcode.STATUS_REPORT])
def test_unexpected_message_instead_of_sigma3_is_rejected(
    network: Network, node: Node, controller: FakeController, opcode: Opcode
) -> None:
    conversation = send_sigma1(network, controller, lambda sigma1: sigma1)
    assert conversation.receive().opcode == Opcode.CASE_SIGMA2
    assert len(node.secure_channel.case) == 1
    conversation.send(opcode, bytes(8), PROTOCOL_SECURE_CHANNEL)
    network.run()
    assert len(node.secure_channel.case) == 0
    if opcode is not Opcode.STATUS_REPORT:
        report = decode_status_report(conversation.receive().payload)
        assert report.protocol_code == ProtocolCode.INVALID_PARAMETER
    network.run(10.0)
    assert_nothing_left(node)


def test_handshake_ends_when_initiator_vanishes(
    network: Network, node: Node, controller: FakeController
) -> None:
    conversation = send_sigma1(network, controller, lambda sigma1: sigma1)
    assert conversation.receive().opcode == Opcode.CASE_SIGMA2
    network.lost = lambda data, source, to: True
    network.run(10.0)
    assert_nothing_left(node)


def test_handshake_times_out_when_initiator_only_acknowledges(
    network: Network, node: Node, controller: FakeController
) -> None:
    conversation = send_sigma1(network, controller, lambda sigma1: sigma1)
    assert conversation.receive().opcode == Opcode.CASE_SIGMA2
    network.run(20.0)
    assert len(node.secure_channel.case) == 1
    network.run(15.0)
    assert_nothing_left(node)


def test_ninth_handshake_is_rejected_as_busy(
    network: Network, node: Node, controller: FakeController
) -> None:
    for _ in range(8):
        conversation = send_sigma1(network, controller, lambda sigma1: sigma1)
        assert conversation.receive().opcode == Opcode.CASE_SIGMA2
    assert len(node.secure_channel.case) == 8
    other = FakeController(network, OTHER, NODE, authority=AUTHORITY, ipk_epoch_key=IPK)
    with pytest.raises(RefusedError) as refused:
        other.case(NODE_ID)
    assert refused.value.busy_wait_ms == 2000
    network.run(40.0)
    other.case(NODE_ID)
    network.run(60.0)
    assert_nothing_left(node, sessions=1)


def test_replayed_sigma1_is_ignored(
    network: Network, node: Node, controller: FakeController
) -> None:
    """Or a few of them, played again and again, would keep the node busy."""
    recorded: list[Sigma1] = []

    def record(sigma1: Sigma1) -> Sigma1:
        recorded.append(sigma1)
        return sigma1

    conversation = send_sigma1(network, controller, record)
    assert conversation.receive().opcode == Opcode.CASE_SIGMA2
    for _ in range(8):
        again = send_sigma1(network, controller, lambda sigma1: recorded[0])
        with pytest.raises(RefusedError):
            again.receive(5.0)
    assert len(node.secure_channel.case) == 0
    # What it remembers has an end.
    for _ in range(64):
        controller.case(NODE_ID)
    conversation = send_sigma1(network, controller, lambda sigma1: recorded[0])
    assert conversation.receive().opcode == Opcode.CASE_SIGMA2


def test_unacknowledging_initiators_do_not_lock_out_others(
    network: Network, node: Node, controller: FakeController
) -> None:
    controller.case(NODE_ID)
    request = Sigma1(
        *(bytes(32), 5, bytes(32), crypto.KeyPair.generate().public_key),
        SessionParameters(idle_interval_ms=3_600_000, active_interval_ms=3_600_000),
    )
    payload = request.encode()
    flags = EXCHANGE_INITIATOR | EXCHANGE_RELIABLE
    for number in range(12 * 32):
        peer, exchange_id = 1 + number // 32, number % 32
        header = MessageHeader(0, 0, 1000 + number, source_node=peer)
        datagram = header.encode() + encode_message(
            flags, Opcode.CASE_SIGMA1, exchange_id, PROTOCOL_SECURE_CHANNEL, payload
        )
        node.layer.receive_datagram(datagram, address(9), network.now)
    assert len(node.exchanges) <= MAX_EXCHANGES_PER_PARTY
    # Neither those who have a session already nor strangers who mean it.
    assert controller.request(PROTOCOL_INTERACTION_MODEL, 2, b"x") == (3, b"x")
    stranger = FakeController(
        *(network, address(100), NODE),
        seed=1,
        node_id=100,
        authority=AUTHORITY,
        ipk_epoch_key=IPK,
    )
    stranger.case(NODE_ID)


def test_handshake_fails_when_fabric_is_removed(
    network: Network, node: Node, controller: FakeController
) -> None:
    results: list[SecureSession | None] = []
    controller.secure_channel.connect(
        1, NODE_ID, NODE, lambda session, now: results.append(session), network.now
    )
    network.run(until=lambda: len(node.secure_channel.case) == 1)
    node.fabrics.remove(1)
    network.run(1.0)
    assert results == [None]
    assert_nothing_left(node)


# Validity of certificates.


def expired(node: Node, utc_ms: int | None, not_before: int, not_after: int) -> bool:
    """Return whether a controller with such a certificate is refused."""
    node.utc_ms = utc_ms
    network = Network()
    network.attach(NODE, node)
    controller = FakeController(
        network,
        CONTROLLER,
        NODE,
        seed=not_before ^ not_after,
        authority=AUTHORITY,
        ipk_epoch_key=IPK,
    )
    key = controller.fabric.operational_key
    noc = AUTHORITY.issue_noc(
        key.public_key,
        controller.node_id,
        change=lambda noc: replace(noc, not_before=not_before, not_after=not_after),
    )
    controller.fabrics._fabrics[1] = replace(controller.fabric, noc=noc)
    try:
        controller.case(NODE_ID)
    except RefusedError:
        return True
    return False


def test_certificate_validity_is_checked_with_clock(network: Network, node: Node) -> None:
    now = NOT_BEFORE + 1000
    assert not expired(node, UTC_MS, NOT_BEFORE, 0)
    assert not expired(node, UTC_MS, NOT_BEFORE, now + 1)
    assert expired(node, UTC_MS, NOT_BEFORE, now - 1)
    assert expired(node, UTC_MS, now + 1, 0)


def test_certificate_validity_is_checked_without_clock(network: Network, node: Node) -> None:
    known = node.secure_channel.certificate_time.now()
    assert known.is_lower_bound
    assert not expired(node, None, NOT_BEFORE, 0)
    # It may be later than the last known good time, but not earlier.
    assert not expired(node, None, known.epoch_s + 1000, known.epoch_s + 2000)
    assert expired(node, None, NOT_BEFORE, known.epoch_s - 1)
