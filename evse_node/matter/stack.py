"""The Matter stack of one node: composition of all its parts behind five entry points.

In: `receive_datagram`, `handle_timer`. Out: `datagrams_to_send`, `next_event`, `get_timer`.

Spec: Matter Core 1.3, chapters 4 "Secure Channel", 5 "Commissioning", 8 "Interaction Model"
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Final, TypeAlias

from msgspec import Struct

from evse_node.matter.data_model import Node
from evse_node.matter.fabrics.access_control import AccessControl
from evse_node.matter.fabrics.administration import Administration
from evse_node.matter.fabrics.commissioning import CommissioningWindow, FailSafe, PasscodeVerifier
from evse_node.matter.fabrics.discovery import (
    CommissionableIdentity,
    Service,
    commissionable_service,
    operational_service,
)
from evse_node.matter.fabrics.fabric import FabricTable
from evse_node.matter.fabrics.group import GroupKeys
from evse_node.matter.interaction.event_log import EventLog
from evse_node.matter.interaction.model import InteractionModel
from evse_node.matter.messaging.message_layer import MessageLayer
from evse_node.matter.messaging.session import Address, SessionParameters
from evse_node.matter.secure_channel.secure_channel import SecureChannel
from evse_node.matter.store import Store
from evse_node.matter.timers import Timers

_LOGGER: Final = logging.getLogger(__name__)

DEFAULT_SUPPORTED_FABRICS = 16
SESSIONS_PER_FABRIC = 4


class ServicesChanged(Struct, frozen=True):
    """The complete set of DNS-SD services to advertise has changed."""

    services: tuple[Service, ...]


class Decommissioned(Struct, frozen=True):
    """The last fabric was removed, and its last messages have been sent.

    Restart the node with a store that holds nothing made for its fabrics. Until then it
    accepts no session.
    """


StackEvent: TypeAlias = ServicesChanged | Decommissioned


class StackSettings(Struct, frozen=True):
    """Identity and limits of one node. `port` is its UDP port."""

    identity: CommissionableIdentity
    verifier: PasscodeVerifier
    discriminator: int
    parameters: SessionParameters
    port: int
    supported_fabrics: int = DEFAULT_SUPPORTED_FABRICS


class MatterStack:
    """The protocol stack of one node. `clock` is the monotonic clock of `now`.

    `node` may be empty until `start` is called. `utc_ms` returns Unix time in milliseconds,
    or None while the wall clock is not set.

    Raises ConfigError when the store cannot be read.
    """

    def __init__(
        self,
        settings: StackSettings,
        node: Node,
        store: Store,
        *,
        random_bytes: Callable[[int], bytes],
        clock: Callable[[], float],
        utc_ms: Callable[[], int | None],
    ) -> None:
        self.settings = settings
        self.node = node
        self.store = store
        self.timers = timers = Timers()
        self._random_bytes = random_bytes
        supported = settings.supported_fabrics

        self.fabrics = fabrics = FabricTable(store, supported)
        self.access_control = AccessControl(store, fabrics)
        self.group_keys = GroupKeys(store, fabrics)
        self.fail_safe = fail_safe = FailSafe(timers)
        self.window = CommissioningWindow(
            timers,
            fail_safe,
            factory_verifier=settings.verifier,
            factory_discriminator=settings.discriminator,
        )
        self.layer = MessageLayer(
            timers,
            random_bytes,
            # Plus one for PASE, and one so that a full table can accept a new handshake.
            session_capacity=supported * SESSIONS_PER_FABRIC + 2,
        )
        # Bound directly, since each datagram uses all three.
        self.receive_datagram: Callable[[bytes, Address, float], None] = self.layer.receive_datagram
        """Process a datagram, `(data, address, now)`. Never raises."""
        self.get_timer: Callable[[], float | None] = timers.deadline
        """Return the time of the next call of `handle_timer`, or None."""
        self.datagrams_to_send: Callable[[float], list[tuple[bytes, Address]]] = (
            self.layer.datagrams_to_send
        )
        """Return the datagrams to send, in order, and clear them."""
        self.sessions = self.layer.sessions
        self.exchanges = exchanges = self.layer.exchanges
        self.administration = Administration(timers, fabrics, self.sessions, fail_safe, self.window)
        self.secure_channel = SecureChannel(
            exchanges,
            fabrics,
            self.window,
            store,
            timers,
            settings.parameters,
            random_bytes,
            utc_ms,
        )
        self.event_log = EventLog(node, store, clock, utc_ms)
        self.interaction = InteractionModel(
            node,
            exchanges,
            self.access_control,
            timers,
            self.event_log,
            store,
            random_bytes=random_bytes,
            supported_fabrics=supported,
            maximum_paths_per_invoke=settings.parameters.max_paths_per_invoke,
            revision=settings.parameters.interaction_model_revision,
        )

        self._instance = b""
        self._events: deque[StackEvent] = deque()
        self._has_changed = False
        self._services: tuple[Service, ...] = ()
        self._observe()

    def _observe(self) -> None:
        self.administration.report_to_fabric = self.interaction.subscriptions.report_to_fabric
        self.administration.on_decommissioned.append(
            lambda now: self._events.append(Decommissioned())
        )
        self.fabrics.on_added.append(self._mark_changed)
        self.fabrics.on_updated.append(self._mark_changed)
        self.fabrics.on_removed.append(self._on_fabric_removed)
        self.window.on_changed.append(self._mark_changed)

    def start(self, now: float) -> None:
        """Announce the services and resume the stored subscriptions.

        Call once, when the endpoints are complete. A node without fabrics opens its
        commissioning window.
        """
        self.administration.start(now)
        indices = frozenset(fabric.index for fabric in self.fabrics)
        self.interaction.resume_subscriptions(self.secure_channel.connect, indices, now)
        self._has_changed = True

    def handle_timer(self, now: float) -> None:
        """Run the timers that are due. Never raises."""
        try:
            self.timers.run(now)
        except Exception:
            # A bug. The other due timers are still queued and run with the next call.
            _LOGGER.exception("error in a timer")

    def next_event(self) -> StackEvent | None:
        """Return the next event, or None. Repeated changes are merged into one event."""
        if self._has_changed:
            self._has_changed = False
            self._collect_events()
        return self._events.popleft() if self._events else None

    @property
    def dropped(self) -> dict[str, int]:
        """The number of dropped datagrams, by reason."""
        return self.layer.dropped

    def _collect_events(self) -> None:
        services = self._describe_services()
        if services != self._services:
            self._services = services
            self._events.append(ServicesChanged(services))

    def _describe_services(self) -> tuple[Service, ...]:
        settings = self.settings
        services = [
            operational_service(
                fabric.compressed_fabric_id, fabric.node_id, settings.parameters, settings.port
            )
            for fabric in self.fabrics
        ]
        mode = self.window.commissioning_mode
        if not mode:
            # The next commissioning window is announced under a new instance name.
            self._instance = b""
            return tuple(services)
        if not self._instance:
            self._instance = self._random_bytes(8)
        commissionable = commissionable_service(
            settings.identity,
            settings.parameters,
            instance=self._instance,
            discriminator=self.window.discriminator,
            commissioning_mode=mode,
            port=settings.port,
        )
        return (commissionable, *services)

    def _mark_changed(self, _: float) -> None:
        self._has_changed = True

    def _on_fabric_removed(self, index: int) -> None:
        self._has_changed = True
        self.interaction.remove_fabric(index)
