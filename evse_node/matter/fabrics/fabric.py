"""The fabric table, including changes that commissioning has not completed.

Spec: Matter Core 1.3 "Fabric", "Fail Safe Context"
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from msgspec.structs import replace

from evse_node.errors import ConfigError, CryptoError, DecodeError
from evse_node.matter.crypto import KeyPair, constant_time_equal
from evse_node.matter.fabrics.fabric_identity import (
    Fabric,
    FabricError,
    NodeOperationalCertStatus,
    decode_fabric,
    encode_fabric,
    make_fabric,
)
from evse_node.matter.fabrics.group_key import IPK_KEY_SET_ID, TRUST_FIRST, EpochKey, GroupKeySet
from evse_node.matter.store import Store

MAX_FABRIC_INDEX: Final = 254
_PREFIX: Final = "fabric/"
# The index assigned last: indices of removed fabrics are not reused soon.
_LAST_INDEX_KEY: Final = "counter/fabric_index"


class FabricTable:
    """All fabrics of the node, with at most one pending change.

    A pending fabric or update takes effect at once, but is stored only by `commit_pending`;
    `revert_pending`, or a power cut, restores the previous state. Iteration is in order of
    index. Observers are called with the index: `on_added` and `on_updated` also for pending
    changes, `on_removed` also when a pending fabric is reverted, `on_committed` when a
    pending change is stored.

    Raises ConfigError for a stored fabric that cannot be read.
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
                fabric = decode_fabric(int(key.removeprefix(_PREFIX)), value)
            except (DecodeError, CryptoError, ValueError) as error:
                raise ConfigError(f"storage: {key} cannot be read ({error})") from None
            self._fabrics[fabric.index] = fabric
        self._fabrics = dict(sorted(self._fabrics.items()))

    @property
    def is_decommissioned(self) -> bool:
        """Whether there is no fabric, but one was committed since the last factory reset."""
        return not self._fabrics and self._store.get(_LAST_INDEX_KEY) is not None

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
        """Return whether this fabric is new and not committed, so that none of it is stored."""
        return index == self._pending_index and self._replaced is None

    def has_pending_change(self, index: int) -> bool:
        """Return whether this fabric is new or has new credentials, and is not committed."""
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
        """Return the fabric that a Sigma1 message addresses, and the operational IPK it used."""
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
        """Add a fabric, to be committed or reverted.

        `epoch_s` is the time at which the certificates have to be valid, None for any.
        Raises FabricError for invalid certificates, an existing fabric, or a full table.
        """
        if len(self._fabrics) >= self.supported:
            raise FabricError(NodeOperationalCertStatus.TABLE_FULL, "no room for another fabric")
        ipk = GroupKeySet(IPK_KEY_SET_ID, TRUST_FIRST, (EpochKey(ipk_epoch_key, 0),))
        fabric = make_fabric(
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
        """Set new credentials of a fabric, to be committed or reverted.

        Raises FabricError for certificates that are invalid or of another fabric.
        """
        old = self._fabrics.get(index)
        if old is None:
            raise FabricError(NodeOperationalCertStatus.INVALID_FABRIC_INDEX, "no such fabric")
        new = make_fabric(
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
        """Store the pending change, if there is one."""
        index = self._pending_index
        if not index:
            return
        is_new = self._replaced is None
        self._clear_pending()
        self._store.set(f"{_PREFIX}{index}", encode_fabric(self._fabrics[index]))
        if is_new:
            self._store.set(_LAST_INDEX_KEY, bytes((index,)))
        _notify(self.on_committed, index)

    def revert_pending(self) -> None:
        """Revert the pending change, if there is one."""
        index, old = self._pending_index, self._replaced
        if not index:
            return
        if old is None:
            self.remove(index)
            return
        label = self._fabrics[index].label
        ipk = self._fabrics[index].ipk
        self._clear_pending()
        self._put(replace(old, label=label, ipk=ipk))
        _notify(self.on_updated, index)

    def remove(self, index: int) -> None:
        """Remove a fabric, including a pending change of it.

        Raises FabricError for an unknown fabric.
        """
        if index not in self._fabrics:
            raise FabricError(NodeOperationalCertStatus.INVALID_FABRIC_INDEX, "no such fabric")
        if index == self._pending_index:
            self._clear_pending()
        del self._fabrics[index]
        self._store.delete(f"{_PREFIX}{index}")
        _notify(self.on_removed, index)

    def set_label(self, index: int, label: str) -> None:
        """Set a fabric's label. Raises FabricError when another fabric has this label."""
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
        """Store a change that the fail-safe does not cover."""
        index = fabric.index
        self._put(fabric)
        if index != self._pending_index:
            self._store.set(f"{_PREFIX}{index}", encode_fabric(fabric))
        elif self._replaced is not None:
            committed = replace(self._replaced, label=fabric.label, ipk=fabric.ipk)
            self._store.set(f"{_PREFIX}{index}", encode_fabric(committed))
        _notify(self.on_updated, index)

    def _put(self, fabric: Fabric) -> None:
        self._fabrics[fabric.index] = fabric
        self._fabrics = dict(sorted(self._fabrics.items()))

    def _clear_pending(self) -> None:
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


def is_decommissioned(store: Store) -> bool:
    """Return whether the last fabric in `store` was removed and no factory reset followed."""
    return store.get(_LAST_INDEX_KEY) is not None and not store.items(_PREFIX)


def _notify(observers: list[Callable[[int], None]], index: int) -> None:
    for observer in list(observers):
        observer(index)
