"""Session resumption records, for handshakes without certificates.

Spec: Matter Core 1.3 "Session Resumption"
"""

from __future__ import annotations

from collections.abc import Container

from msgspec import Struct

from evse_node.errors import DecodeError
from evse_node.matter.secure_channel.case_messages import RESUMPTION_ID_SIZE
from evse_node.matter.store import Store
from evse_node.matter.tlv import Writer, decode_struct
from evse_node.matter.tlv_fields import expect_array, expect_integer, expect_octets

RECORDS_PER_FABRIC = 4
SECRET_SIZE = 32
_PREFIX = "resumption/"


class ResumptionRecord(Struct, frozen=True):
    """Data of an earlier session for its resumption.

    `shared_secret` are the 32 bytes of the ECDH exchange, `case_authenticated_tags`
    those of the peer's certificate at that time.
    """

    resumption_id: bytes
    shared_secret: bytes
    fabric_index: int
    peer_node_id: int
    case_authenticated_tags: tuple[int, ...] = ()

    def __repr__(self) -> str:
        return f"ResumptionRecord({self.fabric_index}, 0x{self.peer_node_id:016X})"


class ResumptionStore:
    """Persistent store of the latest records: one per peer, at most four per fabric.

    Records of a fabric that is not among `fabric_indices` are deleted when they are loaded:
    its index may be reused.
    """

    def __init__(
        self,
        store: Store,
        fabric_indices: Container[int],
        records_per_fabric: int = RECORDS_PER_FABRIC,
    ) -> None:
        self._store = store
        self._limit = records_per_fabric
        # By fabric, then by peer; the one used longest ago first.
        self._by_peer: dict[int, dict[int, ResumptionRecord]] = {}
        self._by_id: dict[bytes, ResumptionRecord] = {}
        self._sequence = 0
        self._load(fabric_indices)

    def _load(self, fabric_indices: Container[int]) -> None:
        loaded: list[tuple[int, ResumptionRecord]] = []
        for key, value in self._store.items(_PREFIX):
            try:
                sequence, record = _decode(key, value)
            except (DecodeError, ValueError):
                self._store.delete(key)
                continue
            if record.fabric_index not in fabric_indices:
                self._store.delete(key)
                continue
            loaded.append((sequence, record))
        for sequence, record in sorted(loaded, key=lambda pair: pair[0]):
            self._insert(record)
            self._sequence = sequence

    def find_by_id(self, resumption_id: bytes) -> ResumptionRecord | None:
        """Return the record with an id, or None."""
        return self._by_id.get(resumption_id)

    def find_by_peer(self, fabric_index: int, peer_node_id: int) -> ResumptionRecord | None:
        """Return the record for a session to this peer, or None."""
        return self._by_peer.get(fabric_index, {}).get(peer_node_id)

    def save(self, record: ResumptionRecord, *, is_lasting: bool = True) -> None:
        """Keep a record in place of an older one for the same peer.

        One that is not lasting does not outlive a restart unless `make_lasting` is called.
        An id that is taken already, since the peer has chosen it, is not kept.
        """
        holder = self._by_id.get(record.resumption_id)
        if holder is not None and _key(holder) != _key(record):
            return
        self._insert(record)
        if is_lasting:
            self._persist(record)

    def make_lasting(self, fabric_index: int) -> None:
        """Persist the records of a fabric whose identity was committed."""
        for record in self._by_peer.get(fabric_index, {}).values():
            self._persist(record)

    def _persist(self, record: ResumptionRecord) -> None:
        self._sequence += 1
        self._store.set(_key(record), _encode(record, self._sequence))

    def _insert(self, record: ResumptionRecord) -> None:
        peers = self._by_peer.setdefault(record.fabric_index, {})
        old = peers.pop(record.peer_node_id, None)
        if old is not None:
            self._by_id.pop(old.resumption_id, None)
        elif len(peers) >= self._limit:
            self.remove(next(iter(peers.values())))
        peers[record.peer_node_id] = record
        self._by_id[record.resumption_id] = record

    def remove(self, record: ResumptionRecord) -> None:
        """Remove a record if it still exists."""
        peers = self._by_peer.get(record.fabric_index, {})
        if peers.get(record.peer_node_id) is record:
            del peers[record.peer_node_id]
            del self._by_id[record.resumption_id]
            self._store.delete(_key(record))

    def remove_fabric(self, fabric_index: int) -> None:
        """Remove the records of a fabric that was removed or has a new identity."""
        for record in tuple(self._by_peer.get(fabric_index, {}).values()):
            self.remove(record)
        self._by_peer.pop(fabric_index, None)

    def __len__(self) -> int:
        return len(self._by_id)


def _key(record: ResumptionRecord) -> str:
    return f"{_PREFIX}{record.fabric_index}/{record.peer_node_id:016x}"


def _encode(record: ResumptionRecord, sequence: int) -> bytes:
    writer = Writer()
    writer.start_structure()
    writer.octets(1, record.resumption_id)
    writer.octets(2, record.shared_secret)
    writer.start_array(3)
    for tag in record.case_authenticated_tags:
        writer.uint(None, tag)
    writer.end()
    writer.uint(4, sequence)
    writer.end()
    return writer.getvalue()


def _decode(key: str, value: bytes) -> tuple[int, ResumptionRecord]:
    _, fabric_index, peer_node_id = key.split("/")
    members = decode_struct(value)
    record = ResumptionRecord(
        expect_octets(members.get(1), RESUMPTION_ID_SIZE),
        expect_octets(members.get(2), SECRET_SIZE),
        int(fabric_index),
        int(peer_node_id, 16),
        tuple(expect_integer(tag) for tag in expect_array(members.get(3))),
    )
    return expect_integer(members.get(4)), record
