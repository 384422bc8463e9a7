import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evse_node.errors import CryptoError, DecodeError, SessionError
from evse_node.matter import tlv
from evse_node.matter.crypto import AeadKey
from evse_node.matter.data_model import AuthMode, Subject
from evse_node.matter.messaging.message import Message, MessageHeader, decode_header
from evse_node.matter.messaging.session import SecureSession, SessionParameters
from evse_node.matter.messaging.session_table import SessionTable
from evse_node.matter.tlv import SignedInt, Writer
from tests.support.fakes import address, seeded_bytes
from tests.vectors import messages


class OpenExchange:
    """Exchange of a busy session."""

    is_open = True

    def receive(self, message: Message, is_duplicate: bool, now: float) -> None:
        raise AssertionError

    def end(self, now: float, *, failed: bool) -> None:
        raise AssertionError


def make_session(
    local_id: int,
    *,
    fabric_index: int = 1,
    peer_node_id: int = 0x22,
    auth_mode: AuthMode = AuthMode.CASE,
    now: float = 0.0,
) -> SecureSession:
    key = AeadKey(bytes.fromhex(messages.PASE_KEY))
    return SecureSession(
        local_id=local_id,
        peer_id=99,
        subject=Subject(auth_mode, fabric_index, peer_node_id),
        encrypt_key=key,
        decrypt_key=key,
        attestation_challenge=bytes(16),
        address=address(2),
        parameters=SessionParameters(),
        random_bytes=seeded_bytes(1),
        now=now,
        local_node_id=0x11,
        peer_node_id=peer_node_id,
    )


def table(capacity: int = 4, unsecured_capacity: int = 4) -> SessionTable:
    return SessionTable(seeded_bytes(2), capacity=capacity, unsecured_capacity=unsecured_capacity)


def encode(parameters: SessionParameters) -> tlv.TlvValue:
    writer = Writer()
    parameters.encode(writer, None)
    return tlv.decode(writer.getvalue())


def test_session_parameters_round_trip_with_defaults() -> None:
    parameters = SessionParameters(600, 400, 5000, 17, 11, 0x01030000, 10)
    value = encode(parameters)
    assert value == {1: 600, 2: 400, 3: 5000, 4: 17, 5: 11, 6: 0x01030000, 7: 10}
    assert SessionParameters.decode(value) == parameters
    assert SessionParameters.decode({}) == SessionParameters(500, 300, 4000, 16, 10, 0, 1)
    assert SessionParameters.decode({2: 100, 99: "new"}).active_interval_ms == 100


def test_session_parameters_are_clamped() -> None:
    least = SessionParameters(1, 1, 0, 0, 0, 0, 1)
    assert SessionParameters.decode({tag: SignedInt(-1) for tag in range(1, 8)}) == least
    greatest = SessionParameters(
        3_600_000, 3_600_000, 65535, 0xFFFF, 0xFFFF, 0xFFFF_FFFF, max_paths_per_invoke=0xFFFF
    )
    assert SessionParameters.decode(dict.fromkeys(range(1, 8), 2**60)) == greatest


@pytest.mark.parametrize("value", [5, [], None, {1: "500"}, {2: True}, {3: None}])
def test_session_parameters_reject_wrong_types(value: tlv.TlvValue) -> None:
    with pytest.raises(DecodeError):
        SessionParameters.decode(value)


@given(st.binary(max_size=40))
def test_session_parameters_raise_only_decode_error(raw: bytes) -> None:
    with contextlib.suppress(DecodeError):
        SessionParameters.decode(tlv.decode(raw))


@pytest.mark.parametrize(("name", "header", "plain", "datagram"), messages.PASE_MESSAGES)
def test_session_opens_vectors(name: str, header: str, plain: str, datagram: str) -> None:
    session = make_session(messages.PASE_SESSION_ID, auth_mode=AuthMode.PASE, peer_node_id=0)
    raw = bytes.fromhex(datagram)
    assert session.open(raw, 12345).hex() == plain
    with pytest.raises(CryptoError):
        session.open(raw[:-1] + bytes((raw[-1] ^ 6,)), 12345)
    with pytest.raises(CryptoError):
        session.open(raw[:10], 12345)


def test_seal_counts_up_and_uses_the_nonce_of_the_sender() -> None:
    sender = make_session(7)
    receiver = make_session(99, peer_node_id=0x11)
    first, datagram = sender.seal(b"hello!")
    second, _ = sender.seal(b"hello!")
    assert second == first + 1
    header = decode_header(datagram)
    assert header == MessageHeader(99, 0, first)
    assert receiver.open(datagram, first) == b"hello!"
    with pytest.raises(CryptoError):
        make_session(99, peer_node_id=0x12).open(datagram, first)


def test_exhausted_counter_closes_session() -> None:
    session = make_session(7)
    session._next_counter = 0xFFFFFFFF
    assert session.seal(b"last")[0] == 0xFFFFFFFF
    for _ in range(2):
        with pytest.raises(SessionError):
            session.seal(b"one too many")
    assert session.is_closing


def test_retry_interval_depends_on_peer_activity() -> None:
    session = make_session(1)
    session.active_at = 10.0
    assert session.retry_interval_ms(13.9) == 300
    assert session.retry_interval_ms(14.1) == 500


def test_fabric_index_of_a_pase_session_can_change() -> None:
    session = make_session(1, auth_mode=AuthMode.PASE, fabric_index=0, peer_node_id=0)
    session.interaction_cache = object()
    session.fabric_index = 4
    assert session.subject == Subject(AuthMode.PASE, 4)
    assert session.interaction_cache is None


def test_session_ids_are_unique_and_nonzero() -> None:
    sessions = SessionTable(lambda size: b"\xff" * size)
    first = sessions.reserve_id()
    second = sessions.reserve_id()
    assert (first, second) == (0xFFFF, 1)
    sessions.add(make_session(first), 0.0)
    sessions.release_id(second)
    sessions._next_id = 0xFFFF
    assert sessions.reserve_id() == 1


def test_reserving_id_fails_when_all_are_in_use() -> None:
    sessions = table()
    ids = {sessions.reserve_id() for _ in range(0xFFFF)}
    assert len(ids) == 0xFFFF
    assert 0 not in ids
    with pytest.raises(SessionError):
        sessions.reserve_id()


def test_find_case_prefers_most_recently_active_session() -> None:
    older, newer, closing, defunct, other = (
        make_session(n, now=float(n), fabric_index=2 if n == 5 else 1) for n in range(1, 6)
    )
    sessions = table(capacity=5)
    for session in (newer, older, closing, defunct, other):
        sessions.add(session, 0.0)
    closing.is_closing = True
    defunct.is_defunct = True
    assert sessions.find_case(1, 0x22) is newer
    assert sessions.find_case(2, 0x22) is other
    assert sessions.find_case(3, 0x22) is None


def test_eviction_takes_least_recently_used_session_of_largest_fabric() -> None:
    sessions = table(capacity=4)
    announced: list[int] = []
    removed: list[int] = []
    sessions.announce_close = lambda session, now: announced.append(session.local_id)
    sessions.on_removed.append(lambda session, now: removed.append(session.local_id))
    sessions.add(make_session(1, fabric_index=2, now=1.0), 0.0)
    for local_id, used_at in ((2, 9.0), (3, 4.0), (4, 5.0)):
        sessions.add(make_session(local_id, peer_node_id=local_id, now=used_at), 0.0)
    sessions.add(make_session(5, fabric_index=3, now=10.0), 10.0)
    assert removed == announced == [3]
    assert sessions.get(3) is None
    assert len(sessions) == 4
    # Fabric 1 has two, the others one each.
    sessions.add(make_session(6, fabric_index=4, now=10.0), 10.0)
    assert removed == [3, 4]
    # One each: the newcomer's own fabric gives way.
    sessions.add(make_session(7, fabric_index=4, now=10.0), 10.0)
    assert removed == [3, 4, 6]


@pytest.mark.parametrize(
    ("changes", "victim"),
    [
        # The peer with most sessions gives way, although others were used longer ago.
        ({2: {"peer_node_id": 7, "now": 9.0}, 3: {"peer_node_id": 7, "now": 8.0}}, 3),
        # Among equals the newcomer's own peer.
        ({2: {"peer_node_id": 0x99, "now": 9.0}}, 2),
        # Else the one used longest ago.
        ({}, 1),
    ],
)
def test_eviction_within_fabric_ranks_sessions(
    changes: dict[int, dict[str, float]], victim: int
) -> None:
    sessions = table(capacity=3)
    for local_id in (1, 2, 3):
        options = {"peer_node_id": local_id, "now": float(local_id)} | changes.get(local_id, {})
        sessions.add(make_session(local_id, **options), 0.0)  # type: ignore[arg-type]
    sessions.add(make_session(4, peer_node_id=0x99, now=10.0), 10.0)
    assert sessions.get(victim) is None
    assert len(sessions) == 3


def test_eviction_prefers_defunct_sessions_and_spares_busy_ones() -> None:
    sessions = table(capacity=3)
    first, second, third = (
        make_session(local_id, peer_node_id=local_id, now=float(local_id)) for local_id in (1, 2, 3)
    )
    for session in (first, second, third):
        sessions.add(session, 0.0)
    third.is_defunct = True
    first.exchanges[0] = OpenExchange()
    sessions.add(make_session(4, peer_node_id=4, now=10.0), 10.0)
    assert sessions.get(3) is None
    sessions.add(make_session(5, peer_node_id=5, now=10.0), 10.0)
    assert sessions.get(2) is None


def test_sixteen_case_sessions_live_at_once() -> None:
    sessions = SessionTable(seeded_bytes(3))
    for number in range(16):
        local_id = sessions.reserve_id()
        sessions.add(make_session(local_id, peer_node_id=number, fabric_index=number % 5), 0.0)
    assert len(sessions) == 16


def test_remove_fabric_lets_current_session_respond() -> None:
    sessions = table()
    keep, other, stranger = make_session(1), make_session(2), make_session(3, fabric_index=2)
    for session in (keep, other, stranger):
        sessions.add(session, 0.0)
    keep.exchanges[2] = OpenExchange()
    sessions.remove_fabric(1, 0.0, keep=keep)
    assert list(sessions) == [keep, stranger]
    assert keep.is_closing
    keep.exchanges.clear()
    sessions.expire(keep, 0.0)
    assert list(sessions) == [stranger]


def test_removal_of_absent_session_has_no_effect() -> None:
    sessions = table()
    announced: list[SecureSession] = []
    sessions.announce_close = lambda session, now: announced.append(session)
    gone, kept = make_session(1), make_session(2)
    sessions.add(gone, 0.0)
    sessions.add(kept, 0.0)
    sessions.remove(gone, 0.0)
    assert list(sessions) == [kept]
    sessions.remove(gone, 0.0)
    sessions.remove(make_session(2), 0.0)
    assert list(sessions) == [kept]
    # No CloseSession report was requested.
    assert announced == []


def test_unsecured_sessions_are_bounded_and_busy_ones_stay() -> None:
    sessions = table(unsecured_capacity=2)
    busy = sessions.accept_unsecured(1, address(1), 0.0)
    busy.exchanges[0] = OpenExchange()
    sessions.accept_unsecured(2, address(1), 5.0)
    sessions.accept_unsecured(3, address(1), 6.0)
    assert sessions.find_unsecured(1, address(1)) is busy
    assert sessions.find_unsecured(2, address(1)) is None
    own = sessions.open_unsecured(address(4), SessionParameters(), 7.0)
    assert sessions.find_unsecured(3, address(1)) is None
    assert sessions.find_own_unsecured(own.ephemeral_node_id) is own
    assert sessions.find_unsecured(1, address(2)) is None
    own.exchanges[1] = OpenExchange()
    with pytest.raises(SessionError):
        sessions.accept_unsecured(9, address(1), 8.0)
    own.exchanges.clear()
    sessions.accept_unsecured(9, address(1), 8.0)
    assert sessions.find_own_unsecured(own.ephemeral_node_id) is None


def test_own_ephemeral_node_ids_are_operational() -> None:
    drawn = iter([bytes(8), b"\xff" * 8, b"\x05" + bytes(7)])
    sessions = SessionTable(lambda size: next(drawn) if size == 8 else bytes(size))
    assert sessions.open_unsecured(address(4), SessionParameters(), 7.0).ephemeral_node_id == 5


def test_unsecured_peer_counts_as_idle_until_heard() -> None:
    own = table().open_unsecured(address(4), SessionParameters(), 7.0)
    assert own.retry_interval_ms(7.0) == 500
    own.active_at = 7.1
    assert own.retry_interval_ms(7.2) == 300


def test_unsecured_frames_name_the_initiator() -> None:
    sessions = table()
    answer = sessions.accept_unsecured(0x1234, address(1), 0.0).seal(b"abc")[1]
    header = decode_header(answer)
    assert (header.source_node, header.destination_node) == (None, 0x1234)
    assert answer[header.size :] == b"abc"
    own = sessions.open_unsecured(address(1), SessionParameters(), 0.0)
    counter, question = own.seal(b"abc")
    header = decode_header(question)
    assert (header.source_node, header.destination_node) == (own.ephemeral_node_id, None)
    # One counter for all unsecured messages of the node, which has no end.
    assert counter == decode_header(answer).counter + 1
    sessions._unencrypted_counter._value = 0xFFFF_FFFF
    assert [own.seal(b"")[0], own.seal(b"")[0]] == [0xFFFF_FFFF, 0]
