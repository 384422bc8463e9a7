"""Fabrics: the credentials under which this node belongs to each administrator's network.

Spec: Matter Core 1.3 "Fabric", "Node Operational Credentials"
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import field, replace
from enum import IntEnum
from typing import Final

from evse_node.errors import ConfigError, CryptoError, DecodeError, EvseNodeError
from evse_node.matter import stored
from evse_node.matter.certificate import (
    CertificateError,
    Fault,
    decode_certificate,
    verify_chain,
)
from evse_node.matter.crypto import KeyPair, constant_time_equal, hkdf_sha256, hmac_sha256
from evse_node.matter.group_key import (
    IPK_KEY_SET_ID,
    TRUST_FIRST,
    EpochKey,
    GroupKeySet,
    derive_operational_key,
)
from evse_node.matter.store import Store
from evse_node.matter.tlv import Writer, decode_struct
from evse_node.records import dataclass

MAX_FABRIC_INDEX: Final = 254
_PREFIX: Final = "fabric/"
# Index that was given away last, so that a new fabric does not follow in old footsteps.
_LAST_INDEX_KEY: Final = "counter/fabric_index"


class NodeOperationalCertStatus(IntEnum):
    """Spec: Matter Core 1.3 "NodeOperationalCertStatusEnum"."""

    OK = 0
    INVALID_PUBLIC_KEY = 1
    INVALID_NODE_OP_ID = 2
    INVALID_NOC = 3
    MISSING_CSR = 4
    TABLE_FULL = 5
    INVALID_ADMIN_SUBJECT = 6
    FABRIC_CONFLICT = 9
    LABEL_CONFLICT = 10
    INVALID_FABRIC_INDEX = 11


class FabricError(EvseNodeError):
    """A change of the fabric table is refused, for the reason that `status` names."""

    def __init__(self, status: NodeOperationalCertStatus, reason: str) -> None:
        self.status = status
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class Fabric:
    """One fabric of this node.

    Certificates are Matter TLV, `root_public_key` has 65 bytes, `node_id` is this node's
    id on the fabric. Derived once: `compressed_fabric_id` (8 bytes) and
    `operational_ipks`, the operational form (16 bytes) of each epoch key of `ipk`.
    """

    index: int
    root_certificate: bytes = field(repr=False)
    noc: bytes = field(repr=False)
    icac: bytes | None = field(repr=False)
    operational_key: KeyPair
    fabric_id: int
    node_id: int
    root_public_key: bytes = field(repr=False)
    vendor_id: int
    ipk: GroupKeySet = field(repr=False)
    label: str = ""
    compressed_fabric_id: bytes = field(init=False)
    operational_ipks: tuple[bytes, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        compressed = derive_compressed_fabric_id(self.root_public_key, self.fabric_id)
        object.__setattr__(self, "compressed_fabric_id", compressed)
        ipks = tuple(derive_operational_key(item.key, compressed) for item in self.ipk.epoch_keys)
        object.__setattr__(self, "operational_ipks", ipks)

    @property
    def operational_ipk(self) -> bytes:
        """The identity protection key by which this node calls others, 16 bytes.

        It is the second newest, if there are several: every member has it while keys change.
        Spec: Matter Core 1.3 "Destination Identifier"
        """
        return self.operational_ipks[max(0, len(self.operational_ipks) - 2)]

    def destination_id(self, initiator_random: bytes, ipk: bytes | None = None) -> bytes:
        """Return the 32 bytes by which an initiator names this node on this fabric.

        Spec: Matter Core 1.3 "Destination Identifier"
        """
        return hmac_sha256(
            self.operational_ipk if ipk is None else ipk,
            initiator_random
            + self.root_public_key
            + self.fabric_id.to_bytes(8, "little")
            + self.node_id.to_bytes(8, "little"),
        )


def derive_compressed_fabric_id(root_public_key: bytes, fabric_id: int) -> bytes:
    """Return the 8 bytes by which DNS-SD names a fabric.

    Spec: Matter Core 1.3 "Compressed Fabric Identifier"
    """
    return hkdf_sha256(root_public_key[1:], fabric_id.to_bytes(8, "big"), b"CompressedFabric", 8)


class FabricTable:
    """All fabrics, and at most one change that waits for the commissioner's word.

    A pending fabric or pending update is in use at once, but reaches the store only with
    `commit_pending`; `revert_pending`, or a power cut, brings the old state back.
    Iteration is in order of index. Observers are called with the index: `on_added` and
    `on_updated` also for pending changes, `on_removed` also when a pending fabric is
    reverted, `on_committed` when a pending change has become lasting.

    Raises ConfigError when what the store holds cannot be read.
    """

    def __init__(self, store: Store, supported: int = 16) -> None:
        self._store = store
        self.supported = supported
        self._fabrics: dict[int, Fabric] = {}
        self._pending_index = 0
        # The fabric as it was before a pending update; None while a new one is pending.
        self._replaced: Fabric | None = None
        self.on_added: list[Callable[[int], None]] = []
        self.on_updated: list[Callable[[int], None]] = []
        self.on_removed: list[Callable[[int], None]] = []
        self.on_committed: list[Callable[[int], None]] = []
        for key, value in store.items(_PREFIX):
            try:
                fabric = _decode(int(key.removeprefix(_PREFIX)), value)
            except (DecodeError, CryptoError, ValueError) as error:
                raise ConfigError(f"storage: {key} cannot be read ({error})") from None
            self._fabrics[fabric.index] = fabric
        self._fabrics = dict(sorted(self._fabrics.items()))

    def __len__(self) -> int:
        return len(self._fabrics)

    def __iter__(self) -> Iterator[Fabric]:
        return iter(list(self._fabrics.values()))

    def __contains__(self, index: object) -> bool:
        return index in self._fabrics

    def get(self, index: int) -> Fabric | None:
        """Return the fabric with this index, pending or not."""
        return self._fabrics.get(index)

    def is_pending(self, index: int) -> bool:
        """Whether this fabric is new and not committed: nothing of it may be stored yet."""
        return index == self._pending_index and self._replaced is None

    def has_pending_change(self, index: int) -> bool:
        """Whether this fabric is new or has new credentials, and that is not committed."""
        return index == self._pending_index

    def find(self, root_public_key: bytes, fabric_id: int) -> Fabric | None:
        """Return the fabric with this identity."""
        for fabric in self._fabrics.values():
            if fabric.fabric_id == fabric_id and fabric.root_public_key == root_public_key:
                return fabric
        return None

    def find_by_destination_id(
        self, destination_id: bytes, initiator_random: bytes
    ) -> tuple[Fabric, bytes] | None:
        """Return the fabric that Sigma1 means, and the operational IPK by which it says so."""
        for fabric in self._fabrics.values():
            for ipk in fabric.operational_ipks:
                expected = fabric.destination_id(initiator_random, ipk)
                if constant_time_equal(expected, destination_id):
                    return fabric, ipk
        return None

    def add_pending(
        self,
        root_certificate: bytes,
        noc: bytes,
        icac: bytes | None,
        operational_key: KeyPair,
        ipk_epoch_key: bytes,
        vendor_id: int,
        epoch_s: int | None = None,
    ) -> Fabric:
        """Take up a new fabric until it is committed or reverted.

        `epoch_s` is the time at which the certificates have to be valid, None for any.
        Raises FabricError when the certificates are not good, the fabric exists already,
        or no place is left.
        """
        if len(self._fabrics) >= self.supported:
            raise FabricError(NodeOperationalCertStatus.TABLE_FULL, "no room for another fabric")
        ipk = GroupKeySet(IPK_KEY_SET_ID, TRUST_FIRST, (EpochKey(ipk_epoch_key, 0),))
        fabric = _make_fabric(
            self._next_index(),
            root_certificate,
            noc,
            icac,
            operational_key,
            vendor_id,
            ipk,
            epoch_s,
        )
        if self.find(fabric.root_public_key, fabric.fabric_id) is not None:
            raise FabricError(NodeOperationalCertStatus.FABRIC_CONFLICT, "fabric exists already")
        self._pending_index = fabric.index
        self._replaced = None
        self._put(fabric)
        _notify(self.on_added, fabric.index)
        return fabric

    def update_pending(
        self,
        index: int,
        noc: bytes,
        icac: bytes | None,
        operational_key: KeyPair,
        epoch_s: int | None = None,
    ) -> Fabric:
        """Give a fabric new credentials until they are committed or reverted.

        Raises FabricError when the certificates are not good or not of this fabric.
        """
        old = self._fabrics.get(index)
        if old is None:
            raise FabricError(NodeOperationalCertStatus.INVALID_FABRIC_INDEX, "no such fabric")
        new = _make_fabric(
            index, old.root_certificate, noc, icac, operational_key, old.vendor_id, old.ipk, epoch_s
        )
        if new.fabric_id != old.fabric_id:
            raise FabricError(NodeOperationalCertStatus.INVALID_NOC, "another fabric id")
        self._pending_index = index
        self._replaced = old
        self._put(replace(new, label=old.label))
        _notify(self.on_updated, index)
        return self._fabrics[index]

    def commit_pending(self) -> None:
        """Make the pending change, if there is one, last."""
        index = self._pending_index
        if not index:
            return
        is_new = self._replaced is None
        self._forget_pending()
        self._store.set(f"{_PREFIX}{index}", _encode(self._fabrics[index]))
        if is_new:
            self._store.set(_LAST_INDEX_KEY, bytes((index,)))
        _notify(self.on_committed, index)

    def revert_pending(self) -> None:
        """Undo the pending change, if there is one."""
        index, old = self._pending_index, self._replaced
        if not index:
            return
        if old is None:
            self.remove(index)
            return
        label = self._fabrics[index].label
        ipk = self._fabrics[index].ipk
        self._forget_pending()
        self._put(replace(old, label=label, ipk=ipk))
        _notify(self.on_updated, index)

    def remove(self, index: int) -> None:
        """Forget a fabric, and a pending change of it with it.

        Raises FabricError when there is no such fabric.
        """
        if index not in self._fabrics:
            raise FabricError(NodeOperationalCertStatus.INVALID_FABRIC_INDEX, "no such fabric")
        if index == self._pending_index:
            self._forget_pending()
        del self._fabrics[index]
        self._store.delete(f"{_PREFIX}{index}")
        _notify(self.on_removed, index)

    def set_label(self, index: int, label: str) -> None:
        """Name a fabric. Raises FabricError when another one has this name."""
        fabric = self._fabrics.get(index)
        if fabric is None:
            raise FabricError(NodeOperationalCertStatus.INVALID_FABRIC_INDEX, "no such fabric")
        for other in self._fabrics.values():
            if label and other.label == label and other.index != index:
                raise FabricError(NodeOperationalCertStatus.LABEL_CONFLICT, "label is taken")
        self._change(replace(fabric, label=label))

    def set_ipk(self, index: int, key_set: GroupKeySet) -> None:
        """Replace the identity protection key set of a fabric."""
        self._change(replace(self._fabrics[index], ipk=key_set))

    def _change(self, fabric: Fabric) -> None:
        """Put a change that does not wait for the fail-safe."""
        index = fabric.index
        self._put(fabric)
        if index != self._pending_index:
            self._store.set(f"{_PREFIX}{index}", _encode(fabric))
        elif self._replaced is not None:
            lasting = replace(self._replaced, label=fabric.label, ipk=fabric.ipk)
            self._store.set(f"{_PREFIX}{index}", _encode(lasting))
        _notify(self.on_updated, index)

    def _put(self, fabric: Fabric) -> None:
        self._fabrics[fabric.index] = fabric
        self._fabrics = dict(sorted(self._fabrics.items()))

    def _forget_pending(self) -> None:
        self._pending_index = 0
        self._replaced = None

    def _next_index(self) -> int:
        record = self._store.get(_LAST_INDEX_KEY)
        last = record[0] if record else 0
        for step in range(MAX_FABRIC_INDEX):
            index = (last + step) % MAX_FABRIC_INDEX + 1
            if index not in self._fabrics:
                return index
        raise FabricError(NodeOperationalCertStatus.TABLE_FULL, "no index is free")


def _notify(observers: list[Callable[[int], None]], index: int) -> None:
    for observer in list(observers):
        observer(index)


def _make_fabric(
    index: int,
    root_certificate: bytes,
    noc: bytes,
    icac: bytes | None,
    operational_key: KeyPair,
    vendor_id: int,
    ipk: GroupKeySet,
    epoch_s: int | None,
) -> Fabric:
    """Verify a chain and the key that it is for. Raises FabricError."""
    try:
        root = decode_certificate(root_certificate)
        leaf = decode_certificate(noc)
        intermediate = None if icac is None else decode_certificate(icac)
        verify_chain(leaf, intermediate, root, epoch_s)
    except (DecodeError, CryptoError) as error:
        raise FabricError(_status_of(error), str(error)) from None
    if leaf.public_key != operational_key.public_key:
        raise FabricError(
            NodeOperationalCertStatus.INVALID_PUBLIC_KEY, "the NOC is not for the key of the CSR"
        )
    node_id, fabric_id = leaf.subject.node_id, leaf.subject.fabric_id
    # verify_chain has made sure that there are both.
    assert node_id is not None
    assert fabric_id is not None
    return Fabric(
        index=index,
        root_certificate=root_certificate,
        noc=noc,
        icac=icac,
        operational_key=operational_key,
        fabric_id=fabric_id,
        node_id=node_id,
        root_public_key=root.public_key,
        vendor_id=vendor_id,
        ipk=ipk,
    )


def _status_of(error: Exception) -> NodeOperationalCertStatus:
    """Return why a chain is refused."""
    if isinstance(error, CertificateError) and error.fault is Fault.NODE_ID:
        return NodeOperationalCertStatus.INVALID_NODE_OP_ID
    return NodeOperationalCertStatus.INVALID_NOC


def _encode(fabric: Fabric) -> bytes:
    writer = Writer()
    writer.start_structure()
    writer.octets(0, fabric.root_certificate)
    writer.octets(1, fabric.noc)
    if fabric.icac is not None:
        writer.octets(2, fabric.icac)
    writer.octets(3, fabric.operational_key.private_bytes)
    writer.uint(4, fabric.vendor_id)
    writer.utf8(5, fabric.label)
    fabric.ipk.encode(writer, 6)
    writer.end()
    return writer.getvalue()


def _decode(index: int, data: bytes) -> Fabric:
    members = decode_struct(data)
    root = stored.octets(members.get(0))
    noc = stored.octets(members.get(1))
    subject = decode_certificate(noc).subject
    if subject.fabric_id is None or subject.node_id is None:
        raise DecodeError("not a node's certificate")
    return Fabric(
        index=index,
        root_certificate=root,
        noc=noc,
        icac=stored.octets(members[2]) if 2 in members else None,
        operational_key=KeyPair.from_private(stored.octets(members.get(3))),
        fabric_id=subject.fabric_id,
        node_id=subject.node_id,
        root_public_key=decode_certificate(root).public_key,
        vendor_id=stored.number(members.get(4)),
        ipk=GroupKeySet.from_tlv(members.get(6)),
        label=stored.text(members.get(5)),
    )
