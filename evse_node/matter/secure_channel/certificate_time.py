"""The time for validity checks of certificates, also when the clock is not set.

Spec: Matter Core 1.3 "Last Known Good UTC Time"
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from msgspec import Struct

from evse_node.matter.certificates.certificate import Certificate, decode_certificate
from evse_node.matter.fabrics.fabric import FabricTable
from evse_node.matter.fabrics.fabric_identity import Fabric
from evse_node.matter.store import Store
from evse_node.units import epoch_s_from_utc_ms

# 2025-11-01, in seconds since 2000: a lower bound of the current time.
RELEASE_EPOCH_S: Final = 815_270_400
_KEY = "counter/last_known_good_epoch_s"


class CertificateTime(Struct, frozen=True):
    """The time for validity periods, in seconds since 2000.

    When the clock is not set it is the Last Known Good UTC Time (`is_lower_bound`), by
    which a certificate can be expired, but not be not yet valid.
    """

    epoch_s: int
    is_lower_bound: bool = False

    def for_chain(self, certificates: Iterable[Certificate]) -> int:
        """Return the time for the validity check of these certificates."""
        if not self.is_lower_bound:
            return self.epoch_s
        return max(self.epoch_s, *(certificate.not_before for certificate in certificates))


class LastKnownGoodTime:
    """Persistent Last Known Good UTC Time.

    `utc_ms` is Unix time in milliseconds, or None while the clock is not set. The time
    advances to the notBefore of the certificates of each committed fabric, never to the
    clock: a wrong clock, once stored, would expire all certificates for good, including
    those of the administrators that could correct it.
    """

    def __init__(
        self, store: Store, fabrics: FabricTable, utc_ms: Callable[[], int | None]
    ) -> None:
        self._store = store
        self._fabrics = fabrics
        self._utc_ms = utc_ms
        stored = store.get(_KEY)
        self._epoch_s = max(RELEASE_EPOCH_S, int.from_bytes(stored or b"", "little"))
        fabrics.on_committed.append(self._on_committed)

    def now(self) -> CertificateTime:
        """Return the current time, or its lower bound."""
        utc_ms = self._utc_ms()
        if utc_ms is None:
            return CertificateTime(self._epoch_s, is_lower_bound=True)
        return CertificateTime(max(0, epoch_s_from_utc_ms(utc_ms)))

    def _on_committed(self, index: int) -> None:
        fabric = self._fabrics.get(index)
        epoch_s = 0 if fabric is None else _latest_start(fabric)
        if epoch_s > self._epoch_s:
            self._epoch_s = epoch_s
            self._store.set(_KEY, epoch_s.to_bytes(8, "little"))


def _latest_start(fabric: Fabric) -> int:
    chain = (fabric.root_certificate, fabric.icac, fabric.noc)
    return max(decode_certificate(item).not_before for item in chain if item is not None)
