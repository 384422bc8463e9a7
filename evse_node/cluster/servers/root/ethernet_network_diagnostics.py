"""Ethernet Network Diagnostics: how the node's network interface is doing.

Spec: Matter Core 1.3 "Ethernet Network Diagnostics Cluster"
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from msgspec import Struct

from evse_node.cluster.definitions.definition import ClusterDefinition, Value
from evse_node.cluster.server import ClusterServer, command, reader, serves
from evse_node.matter.data_model import InteractionContext

# Spec: Matter Core 1.3 "PHYRateEnum"; by megabit per second
_RATES: Final = {
    rate: number
    for number, rate in enumerate(
        (10, 100, 1000, 2500, 5000, 10_000, 40_000, 100_000, 200_000, 400_000)
    )
}
_MINUTE_S: Final = 60.0


class EthernetCounters(Struct, frozen=True):
    """What an interface has counted since it came into being."""

    received: int = 0
    sent: int = 0
    send_errors: int = 0
    collisions: int = 0
    overruns: int = 0

    def since(self, earlier: EthernetCounters) -> EthernetCounters:
        """Return what was counted since then; all of it by a counter that began anew."""
        return EthernetCounters(
            _since(self.received, earlier.received),
            _since(self.sent, earlier.sent),
            _since(self.send_errors, earlier.send_errors),
            _since(self.collisions, earlier.collisions),
            _since(self.overruns, earlier.overruns),
        )


def _since(now: int, then: int) -> int:
    return now - then if now >= then else now


class EthernetStatus(Struct, frozen=True):
    """An interface now; None is not known. The rate is in megabit per second."""

    rate_mbps: int | None = None
    is_full_duplex: bool | None = None
    has_carrier: bool | None = None
    counters: EthernetCounters = EthernetCounters()


ReadEthernet: TypeAlias = Callable[[], EthernetStatus]
"""Looks at the interface that the node uses."""


@serves("Ethernet Network Diagnostics")
class EthernetNetworkDiagnosticsServer(ClusterServer):
    """Counts from the start of the node, or from the last reset, on."""

    def __init__(self, definition: ClusterDefinition, read_ethernet: ReadEthernet) -> None:
        super().__init__(
            definition,
            features=["PKTCNT", "ERRCNT"],
            optional=["PHYRate", "FullDuplex", "CarrierDetect", "TimeSinceReset"],
        )
        self._read_ethernet = read_ethernet
        self._start = EthernetCounters()
        self._reset_at = 0.0
        # One message may read all attributes.
        self._seen: tuple[float, EthernetStatus] | None = None

    def attached(self) -> None:
        """Begin to count."""
        self._start = self._read_ethernet().counters
        self._reset_at = self.environment.now()

    def _status(self, context: InteractionContext) -> EthernetStatus:
        if self._seen is None or self._seen[0] != context.now:
            self._seen = (context.now, self._read_ethernet())
        return self._seen[1]

    def _counters(self, context: InteractionContext) -> EthernetCounters:
        return self._status(context).counters.since(self._start)

    @reader("PHYRate")
    def phy_rate(self, context: InteractionContext) -> Value:
        """The rate of the link, or null."""
        return _RATES.get(self._status(context).rate_mbps or 0)

    @reader
    def full_duplex(self, context: InteractionContext) -> Value:
        """Whether both sides may send at once, or null."""
        return self._status(context).is_full_duplex

    @reader
    def packet_rx_count(self, context: InteractionContext) -> Value:
        """Packets received."""
        return self._counters(context).received

    @reader
    def packet_tx_count(self, context: InteractionContext) -> Value:
        """Packets sent."""
        return self._counters(context).sent

    @reader
    def tx_err_count(self, context: InteractionContext) -> Value:
        """Packets that could not be sent."""
        return self._counters(context).send_errors

    @reader
    def collision_count(self, context: InteractionContext) -> Value:
        """Collisions while sending."""
        return self._counters(context).collisions

    @reader
    def overrun_count(self, context: InteractionContext) -> Value:
        """Packets dropped for want of buffers."""
        return self._counters(context).overruns

    @reader
    def carrier_detect(self, context: InteractionContext) -> Value:
        """Whether there is a carrier, or null."""
        return self._status(context).has_carrier

    @reader
    def time_since_reset(self, context: InteractionContext) -> Value:
        """Minutes since the start of the node."""
        return int((context.now - self._reset_at) / _MINUTE_S)

    @command
    def reset_counts(self, context: InteractionContext) -> None:
        """Count from zero again."""
        self._start = self._read_ethernet().counters
        self._seen = None
