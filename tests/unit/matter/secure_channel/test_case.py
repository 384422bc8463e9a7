"""Messages, keys and records of CASE, against handshakes of other implementations."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Final, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from evse_node.errors import CryptoError, DecodeError
from evse_node.matter.certificates.certificate import decode_certificate
from evse_node.matter.crypto import KeyPair, sha256, verify_signature
from evse_node.matter.fabrics.fabric import FabricTable
from evse_node.matter.fabrics.fabric_identity import compute_destination_id
from evse_node.matter.messaging.session import SessionParameters
from evse_node.matter.messaging.session_keys import INFO_RESUMPTION_KEYS, derive_session_keys
from evse_node.matter.secure_channel.case_messages import (
    NONCE_SIGMA2,
    NONCE_SIGMA3,
    Identity,
    Sigma1,
    Sigma2,
    Sigma2Resume,
    compute_resume1_mic,
    compute_resume2_mic,
    decode_identity,
    decode_sigma1,
    decode_sigma2,
    decode_sigma2_resume,
    decode_sigma3,
    derive_sigma2_key,
    derive_sigma3_key,
    encode_sigma3,
    encode_signed,
)
from evse_node.matter.secure_channel.certificate_time import (
    RELEASE_EPOCH_S,
    CertificateTime,
    LastKnownGoodTime,
)
from evse_node.matter.secure_channel.session_resumption import ResumptionRecord, ResumptionStore
from evse_node.matter.tlv import TagKey, TlvValue, encode
from evse_node.testing.memory_store import MemoryStore
from evse_node.units import utc_ms_from_epoch_s
from tests.support.matter.fake_ca import NOT_BEFORE, CertificateAuthority
from tests.vectors import session_establishment as vectors

RANDOM = bytes(range(32))
KEY = b"\4" + bytes(64)


def decode_identity_of_initiator(data: bytes) -> Identity:
    return decode_identity(data, is_responder=False)


DECODERS: list[Callable[[bytes], object]] = [
    decode_sigma1,
    decode_sigma2,
    decode_sigma2_resume,
    decode_sigma3,
    decode_identity_of_initiator,
]


# Vectors.


def test_destination_id_vector() -> None:
    arguments = (
        vectors.DESTINATION_IPK,
        vectors.DESTINATION_RANDOM,
        vectors.DESTINATION_ROOT_KEY,
        vectors.DESTINATION_FABRIC_ID,
    )
    node_id = vectors.DESTINATION_NODE_ID
    assert compute_destination_id(*arguments, node_id) == vectors.DESTINATION_ID
    assert compute_destination_id(*arguments, node_id + 1) != vectors.DESTINATION_ID


def test_sigma1_vector() -> None:
    sigma1 = decode_sigma1(vectors.SIGMA2_SIGMA1)
    assert sigma1.initiator_public_key == vectors.SIGMA2_INITIATOR_KEY
    assert sigma1.initiator_session_id == 0x3088
    assert sigma1.parameters is not None
    assert sigma1.parameters.idle_interval_ms == 5000
    assert sigma1.parameters.active_interval_ms == 300
    assert sigma1.resumption_id is None


def test_sigma2_vector() -> None:
    identity = Identity(
        vectors.SIGMA2_NOC, None, vectors.SIGMA2_SIGNATURE, vectors.SIGMA2_RESUMPTION_ID
    )
    assert identity.encode() == vectors.SIGMA2_PLAIN
    assert decode_identity(vectors.SIGMA2_PLAIN, is_responder=True) == identity
    key = derive_sigma2_key(
        vectors.SIGMA2_SECRET,
        vectors.SIGMA2_IPK,
        vectors.SIGMA2_RANDOM,
        vectors.SIGMA2_RESPONDER_KEY,
        sha256(vectors.SIGMA2_SIGMA1),
    )
    assert key.encrypt(NONCE_SIGMA2, vectors.SIGMA2_PLAIN, None) == vectors.SIGMA2_ENCRYPTED
    signed = encode_signed(
        vectors.SIGMA2_NOC, None, vectors.SIGMA2_RESPONDER_KEY, vectors.SIGMA2_INITIATOR_KEY
    )
    assert signed == vectors.SIGMA2_SIGNED
    verify_signature(vectors.SIGMA2_SIGNER_KEY, signed, vectors.SIGMA2_SIGNATURE)


def test_sigma3_vector() -> None:
    sigma2 = decode_sigma2(vectors.SIGMA3_SIGMA2)
    assert sigma2.responder_public_key == vectors.SIGMA3_RESPONDER_KEY
    assert sigma2.responder_session_id == 0xE9EC
    assert decode_sigma3(vectors.SIGMA3_SIGMA3) == vectors.SIGMA3_ENCRYPTED
    assert encode_sigma3(vectors.SIGMA3_ENCRYPTED) == vectors.SIGMA3_SIGMA3
    transcript = vectors.SIGMA3_SIGMA1 + vectors.SIGMA3_SIGMA2
    key = derive_sigma3_key(vectors.SIGMA3_SECRET, vectors.SIGMA3_IPK, sha256(transcript))
    plain = key.decrypt(NONCE_SIGMA3, vectors.SIGMA3_ENCRYPTED, None)
    assert plain == vectors.SIGMA3_PLAIN
    identity = decode_identity(plain, is_responder=False)
    signed = encode_signed(
        identity.noc, identity.icac, vectors.SIGMA3_INITIATOR_KEY, vectors.SIGMA3_RESPONDER_KEY
    )
    assert signed == vectors.SIGMA3_SIGNED
    verify_signature(decode_certificate(identity.noc).public_key, signed, identity.signature)
    keys = derive_session_keys(
        vectors.SIGMA3_SECRET,
        vectors.SIGMA3_IPK + sha256(transcript + vectors.SIGMA3_SIGMA3),
    )
    assert keys.i2r == vectors.SIGMA3_I2R_KEY
    assert len({keys.i2r, keys.r2i, keys.attestation_challenge}) == 3


def test_resumption_keys_differ_from_others() -> None:
    keys = derive_session_keys(RANDOM, RANDOM)
    resumed = derive_session_keys(RANDOM, RANDOM, INFO_RESUMPTION_KEYS)
    assert keys != resumed
    assert keys.i2r.hex() not in repr(keys)


def test_resume_mics_depend_on_all_inputs() -> None:
    first = compute_resume1_mic(RANDOM, RANDOM, bytes(16))
    assert len(first) == 16
    others = {
        compute_resume1_mic(bytes(32), RANDOM, bytes(16)),
        compute_resume1_mic(RANDOM, bytes(32), bytes(16)),
        compute_resume1_mic(RANDOM, RANDOM, b"\1" * 16),
        compute_resume2_mic(RANDOM, RANDOM, bytes(16)),
    }
    assert len(others | {first}) == 5


# Codecs.

CaseMessage: TypeAlias = Sigma1 | Sigma2 | Sigma2Resume | Identity
MESSAGES: Final[list[CaseMessage]] = [
    Sigma1(RANDOM, 1, RANDOM, KEY),
    Sigma1(RANDOM, 0xFFFF, RANDOM, KEY, SessionParameters(1, 2, 3), bytes(16), b"\1" * 16),
    Sigma2(RANDOM, 7, KEY, bytes(200)),
    Sigma2(RANDOM, 7, KEY, bytes(200), SessionParameters(9)),
    Sigma2Resume(bytes(16), b"\1" * 16, 7),
    Sigma2Resume(bytes(16), b"\1" * 16, 7, SessionParameters(9)),
    Identity(bytes(400), bytes(400), bytes(64)),
    Identity(bytes(300), None, bytes(64)),
]


def decoder_of(message: CaseMessage) -> Callable[[bytes], object]:
    decoders: dict[type, Callable[[bytes], object]] = {
        Sigma1: decode_sigma1,
        Sigma2: decode_sigma2,
        Sigma2Resume: decode_sigma2_resume,
        Identity: decode_identity_of_initiator,
    }
    return decoders[type(message)]


@pytest.mark.parametrize("message", MESSAGES)
def test_case_messages_encode_and_decode(
    message: CaseMessage,
) -> None:
    assert decoder_of(message)(message.encode()) == message


@pytest.mark.parametrize("message", MESSAGES)
@pytest.mark.parametrize("decoder", DECODERS)
def test_truncated_case_messages_are_rejected(
    message: CaseMessage, decoder: Callable[[bytes], object]
) -> None:
    data = message.encode()
    for length in range(len(data)):
        with pytest.raises(DecodeError):
            decoder(data[:length])


@pytest.mark.parametrize(
    "sigma1",
    [
        replace(MESSAGES[0], resumption_id=bytes(16)),
        replace(MESSAGES[0], resume_mic=bytes(16)),
        replace(MESSAGES[1], resume_mic=bytes(15)),
        replace(MESSAGES[1], initiator_session_id=0),
        replace(MESSAGES[1], initiator_public_key=bytes(64)),
        replace(MESSAGES[1], destination_id=bytes(31)),
    ],
)
def test_malformed_sigma1_is_rejected(sigma1: Sigma1) -> None:
    with pytest.raises(DecodeError):
        decode_sigma1(sigma1.encode())


@pytest.mark.parametrize("length", [0, 16, 1137, 2000])
def test_encrypted_part_of_invalid_size_is_rejected(length: int) -> None:
    with pytest.raises(DecodeError):
        decode_sigma3(encode_sigma3(bytes(length)))
    with pytest.raises(DecodeError):
        decode_sigma2(Sigma2(RANDOM, 7, KEY, bytes(length)).encode())


def test_responder_identity_requires_resumption_id() -> None:
    identity = Identity(bytes(300), None, bytes(64))
    with pytest.raises(DecodeError):
        decode_identity(identity.encode(), is_responder=True)
    with_id = replace(identity, resumption_id=bytes(16))
    assert decode_identity(with_id.encode(), is_responder=True) == with_id


def test_case_messages_ignore_unknown_members() -> None:
    members: dict[TagKey, TlvValue] = {1: RANDOM, 2: 1, 3: RANDOM, 4: KEY, 8: True, 200: [1]}
    assert decode_sigma1(encode(members)) == MESSAGES[0]


@given(st.sampled_from(DECODERS), st.binary(max_size=200))
def test_case_decoders_raise_only_decode_error(
    decoder: Callable[[bytes], object], data: bytes
) -> None:
    for candidate in (data, b"\x15" + data + b"\x18"):
        with contextlib.suppress(DecodeError):
            decoder(candidate)


@given(
    st.sampled_from(DECODERS),
    st.sampled_from([message.encode() for message in MESSAGES]),
    st.integers(0, 1000),
    st.integers(0, 255),
)
def test_case_decoders_survive_changed_messages(
    decoder: Callable[[bytes], object], message: bytes, position: int, value: int
) -> None:
    changed = bytearray(message)
    changed[position % len(changed)] = value
    with contextlib.suppress(DecodeError):
        decoder(bytes(changed))


# Resumption records.


def record(fabric_index: int, node_id: int, number: int) -> ResumptionRecord:
    return ResumptionRecord(bytes((number,)) * 16, bytes(32), fabric_index, node_id, (number,))


def test_resumption_records_survive_restart() -> None:
    store = MemoryStore()
    records = ResumptionStore(store, {1, 2})
    kept = [record(1, 0xFFFF_FFEF_FFFF_FFFF, 1), record(2, 7, 2), record(2, 8, 3)]
    for item in kept:
        records.save(item)
    again = ResumptionStore(store, {1, 2})
    assert len(again) == 3
    for item in kept:
        assert again.find_by_id(item.resumption_id) == item
        assert again.find_by_peer(item.fabric_index, item.peer_node_id) == item


def test_newer_resumption_record_replaces_older_of_same_peer() -> None:
    store = MemoryStore()
    records = ResumptionStore(store, {1})
    records.save(record(1, 7, 1))
    records.save(record(1, 7, 2))
    assert records.find_by_id(bytes((1,)) * 16) is None
    assert records.find_by_peer(1, 7) == record(1, 7, 2)
    assert len(records) == 1
    assert len(store.items("resumption/")) == 1


def test_resumption_record_with_taken_id_is_not_stored() -> None:
    """The peer that is called chooses the id, and may choose one that it has seen."""
    store = MemoryStore()
    records = ResumptionStore(store, {1, 2})
    records.save(record(1, 7, 1))
    records.save(record(1, 8, 1))
    records.save(record(2, 7, 1))
    assert records.find_by_id(bytes((1,)) * 16) == record(1, 7, 1)
    assert records.find_by_peer(1, 8) is None
    assert len(store.items("resumption/")) == 1
    records.remove_fabric(2)
    records.remove_fabric(1)
    assert len(records) == 0
    assert store.items("resumption/") == []


def test_resumption_records_of_pending_fabric_are_not_persisted() -> None:
    store = MemoryStore()
    records = ResumptionStore(store, {1, 2})
    records.save(record(2, 7, 9))
    records.save(record(1, 7, 1), is_lasting=False)
    records.save(record(1, 8, 2), is_lasting=False)
    assert records.find_by_peer(1, 7) == record(1, 7, 1)
    assert len(ResumptionStore(store, {1, 2})) == 1
    records.make_lasting(1)
    records.make_lasting(3)
    again = ResumptionStore(store, {1, 2})
    assert [again.find_by_peer(1, node) for node in (7, 8)] == [record(1, 7, 1), record(1, 8, 2)]


def test_resumption_records_are_limited_per_fabric() -> None:
    store = MemoryStore()
    records = ResumptionStore(store, {1, 2})
    records.save(record(2, 99, 200))
    for number in range(10):
        records.save(record(1, number, number))
    # The one used longest ago goes, also after a restart in between.
    records.save(record(1, 6, 100))
    records = ResumptionStore(store, {1, 2})
    records.save(record(1, 50, 50))
    nodes = [number for number in range(100) if records.find_by_peer(1, number)]
    assert nodes == [6, 8, 9, 50]
    assert records.find_by_peer(2, 99) is not None
    assert len(records) == 5
    assert len(store.items("resumption/")) == 5


def test_resumption_records_are_removed_with_fabric() -> None:
    store = MemoryStore()
    records = ResumptionStore(store, {1, 2})
    records.save(record(1, 7, 1))
    records.save(record(2, 7, 2))
    records.remove_fabric(1)
    assert records.find_by_id(bytes((1,)) * 16) is None
    assert [key for key, _ in store.items("resumption/")] == ["resumption/2/0000000000000007"]
    # A fabric that was never committed leaves none behind either.
    assert len(ResumptionStore(store, {1})) == 0
    assert store.items("resumption/") == []


def test_damaged_resumption_records_are_deleted() -> None:
    store = MemoryStore()
    ResumptionStore(store, {1}).save(record(1, 7, 1))
    store.set("resumption/1/zz", store.get("resumption/1/0000000000000007") or b"")
    store.set("resumption/1/0000000000000008", b"\x15\x18")
    store.set("resumption/1", b"")
    records = ResumptionStore(store, {1})
    assert len(records) == 1
    assert len(store.items("resumption/")) == 1


def test_resumption_record_repr_omits_secret() -> None:
    secret = bytes(range(32))
    item = ResumptionRecord(bytes(16), secret, 1, 7)
    assert secret.hex() not in repr(item)
    assert repr(secret) not in repr(item)


# Last known good time.


def committed_fabric(not_before: int) -> tuple[MemoryStore, FabricTable]:
    authority = CertificateAuthority()
    store = MemoryStore()
    fabrics = FabricTable(store)
    key = KeyPair.generate()
    noc = authority.issue_noc(
        key.public_key, 5, change=lambda noc: replace(noc, not_before=not_before)
    )
    fabrics.add_pending(authority.rcac, noc, authority.icac, key, bytes(16), 0xFFF1)
    return store, fabrics


def test_certificate_time_without_clock_is_last_known_good_time() -> None:
    later = RELEASE_EPOCH_S + 5000
    store, fabrics = committed_fabric(later)
    time = LastKnownGoodTime(store, fabrics, lambda: None)
    assert time.now() == CertificateTime(RELEASE_EPOCH_S, is_lower_bound=True)
    fabrics.commit_pending()
    assert time.now() == CertificateTime(later, is_lower_bound=True)
    # It survives a restart, and does not go back.
    again = LastKnownGoodTime(store, FabricTable(store), lambda: None)
    assert again.now().epoch_s == later


def test_reverted_fabric_does_not_advance_last_known_good_time() -> None:
    store, fabrics = committed_fabric(RELEASE_EPOCH_S + 5000)
    time = LastKnownGoodTime(store, fabrics, lambda: None)
    fabrics.revert_pending()
    assert time.now().epoch_s == RELEASE_EPOCH_S


def test_certificate_time_with_clock_is_current_time() -> None:
    store = MemoryStore()
    epoch_s = RELEASE_EPOCH_S + 365 * 24 * 3600
    utc_ms: int | None = utc_ms_from_epoch_s(epoch_s) + 999
    time = LastKnownGoodTime(store, FabricTable(store), lambda: utc_ms)
    assert time.now() == CertificateTime(epoch_s)
    # It may have been wrong.
    utc_ms = None
    assert time.now() == CertificateTime(RELEASE_EPOCH_S, is_lower_bound=True)
    assert store.items("") == []


def test_lower_bound_time_is_at_least_latest_not_before() -> None:
    certificate = decode_certificate(CertificateAuthority().rcac)
    assert certificate.not_before == NOT_BEFORE
    assert CertificateTime(1).for_chain([certificate]) == 1
    assert CertificateTime(1, is_lower_bound=True).for_chain([certificate]) == NOT_BEFORE
    late = CertificateTime(NOT_BEFORE + 1, is_lower_bound=True)
    assert late.for_chain([certificate]) == NOT_BEFORE + 1


def test_sigma_signature_verifies_for_its_keys_only() -> None:
    signed = encode_signed(
        vectors.SIGMA2_NOC, None, vectors.SIGMA2_INITIATOR_KEY, vectors.SIGMA2_RESPONDER_KEY
    )
    with pytest.raises(CryptoError):
        verify_signature(vectors.SIGMA2_SIGNER_KEY, signed, vectors.SIGMA2_SIGNATURE)
