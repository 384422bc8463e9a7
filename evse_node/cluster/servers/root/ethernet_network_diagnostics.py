"""Ethernet Network Diagnostics: link and counters of the node's network interface.

Spec: Matter Core 1.3 "Ethernet Network Diagnostics Cluster"
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from msgspec import Struct
from msgspec.structs import astuple

from evse_node.cluster.definitions.definition import ClusterDefinition
from evse_node.cluster.server import ClusterServer, command, reader, serves
from evse_node.matter.data_model import InteractionContext

# PHYRateEnum by megabits per second. Spec: Matter Core 1.3 "PHYRateEnum"
_RATES: Final = (10, 100, 1000, 2500, 5000, 10_000, 40_000, 100_000, 200_000, 400_000)
_MINUTE_S: Final = 60.0


class EthernetCounters(Struct, frozen=True):
    """Counters of an interface since its creation."""

    received: int = 0
    sent: int = 0
    send_errors: int = 0
    collisions: int = 0
    overruns: int = 0

    def since(self, earlier: EthernetCounters) -> EthernetCounters:
        """Return the counts since `earlier`; a counter that was reset counts from zero."""
        pairs = zip(astuple(self), astuple(earlier), strict=True)
        return EthernetCounters(*(now - then if now >= then else now for now, then in pairs))


class EthernetStatus(Struct, frozen=True):
    """The present state of an interface; None for unknown. The rate is in Mbit/s."""

    rate_mbps: int | None = None
    is_full_duplex: bool | None = None
    has_carrier: bool | None = None
    counters: EthernetCounters = EthernetCounters()


ReadEthernet: TypeAlias = Callable[[], EthernetStatus]
"""Reads the state of the node's interface."""


@serves("Ethernet Network Diagnostics")
class EthernetNetworkDiagnosticsServer(ClusterServer):
    """Counters since the start of the node or the last reset."""

    def __init__(self, definition: ClusterDefinition, read_ethernet: ReadEthernet) -> None:
        super().__init__(
            definition,
            features=["PKTCNT", "ERRCNT"],
            optional=["PHYRate", "FullDuplex", "CarrierDetect", "TimeSinceReset"],
        )
        self._read_ethernet = read_ethernet
        self._start = EthernetCounters()
        self._reset_at = 0.0
        # Cached for the other attributes in the same message.
        self._cached: tuple[float, EthernetStatus] | None = None

    def attached(self) -> None:
        """Start counting."""
        self._start = self._read_ethernet().counters
        self._reset_at = self.environment.now()

    def _status(self, context: InteractionContext) -> EthernetStatus:
        if self._cached is None or self._cached[0] != context.now:
            self._cached = (context.now, self._read_ethernet())
        return self._cached[1]

    def _counters(self, context: InteractionContext) -> EthernetCounters:
        return self._status(context).counters.since(self._start)

    @reader("PHYRate")
    def phy_rate(self, context: InteractionContext) -> int | None:
        rate_mbps = self._status(context).rate_mbps
        return _RATES.index(rate_mbps) if rate_mbps in _RATES else None

    @reader
    def full_duplex(self, context: InteractionContext) -> bool | None:
        return self._status(context).is_full_duplex

    @reader
    def packet_rx_count(self, context: InteractionContext) -> int:
        return self._counters(context).received

    @reader
    def packet_tx_count(self, context: InteractionContext) -> int:
        return self._counters(context).sent

    @reader
    def tx_err_count(self, context: InteractionContext) -> int:
        return self._counters(context).send_errors

    @reader
    def collision_count(self, context: InteractionContext) -> int:
        return self._counters(context).collisions

    @reader
    def overrun_count(self, context: InteractionContext) -> int:
        """Return the packets dropped for lack of buffers."""
        return self._counters(context).overruns

    @reader
    def carrier_detect(self, context: InteractionContext) -> bool | None:
        return self._status(context).has_carrier

    @reader
    def time_since_reset(self, context: InteractionContext) -> int:
        """Return the minutes since the start of the node."""
        return int((context.now - self._reset_at) / _MINUTE_S)

    @command
    def reset_counts(self, context: InteractionContext) -> None:
        self._start = self._read_ethernet().counters
        self._cached = None
