"""The composition root: one node, from its settings to a running charger on the network.

    async with EvseNode(NodeConfig(storage=Path("state"))) as node:
        print(node.qr_code)
        node.car.plug_in()

Any number of nodes may run in one process, each with a storage folder and a port of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from evse_node.bridge import EVSE as EVSE_CLUSTER
from evse_node.bridge import evse_settings
from evse_node.charger import Charger, ChargerSettings, Snapshot
from evse_node.cluster.environment import ClusterEnvironment
from evse_node.cluster.network_interface import InterfaceType, NetworkInterface
from evse_node.config import NodeConfig
from evse_node.endpoints import ClusterDefinitions, NodeClusters, build_endpoints
from evse_node.errors import ConfigError, HalError
from evse_node.factory import KEPT, FactoryData, load_factory_data
from evse_node.hal.interface import EvseBackend, HalEvent, capabilities
from evse_node.hal.registry import create_backend
from evse_node.hal.simulated import SimulatedBackend
from evse_node.matter.data_model import Node
from evse_node.matter.discovery import CommissionableIdentity
from evse_node.matter.session import SessionParameters
from evse_node.matter.stack import (
    GroupAddressesChanged,
    MatterStack,
    ServicesChanged,
    StackEvent,
    StackSettings,
)
from evse_node.mdns import MdnsAdvertiser
from evse_node.network import (
    ARPHRD_ETHER,
    ARPHRD_IEEE802154,
    Interface,
    is_wireless,
    stand_in_address,
)
from evse_node.runtime import Runtime, open_udp
from evse_node.settings import HostPort
from evse_node.storage import SqliteStore

if TYPE_CHECKING:
    from evse_node.control.server import ControlServer

_LOGGER: Final = logging.getLogger(__name__)

# A clock before this was never set: no such node existed then.
_EARLIEST_UTC_S: Final = 1_735_689_600  # 2025-01-01
_STOP_TIMEOUT_S: Final = 5.0
_UNIQUE_ID_KEY: Final = "basic/unique_id"
_DEVICE_TYPE: Final = 0x050C
_PARAMETERS: Final = SessionParameters(
    data_model_revision=17,
    interaction_model_revision=11,
    specification_version=0x01030000,
    max_paths_per_invoke=1,
)


def utc_ms() -> int | None:
    """Return milliseconds since 1970, or None while the machine's clock is not set."""
    now = time.time()
    return int(now * 1000) if now >= _EARLIEST_UTC_S else None


def _unique_id(store: SqliteStore) -> str:
    # Not among the factory data: a reset node is another one to its next owner.
    kept = store.get(_UNIQUE_ID_KEY)
    if kept is None:
        kept = os.urandom(16)
        store.set(_UNIQUE_ID_KEY, kept)
    return kept.hex()


def _describe(interface: Interface) -> NetworkInterface:
    kinds = {ARPHRD_ETHER: InterfaceType.ETHERNET, ARPHRD_IEEE802154: InterfaceType.THREAD}
    kind = kinds.get(interface.kind, InterfaceType.UNSPECIFIED)
    return NetworkInterface(
        name=interface.name,
        is_operational=interface.is_up and interface.is_running,
        hardware_address=interface.hardware_address or stand_in_address(interface.index),
        ipv4_addresses=interface.ipv4,
        ipv6_addresses=interface.ipv6,
        type=InterfaceType.WI_FI if is_wireless(interface.name) else kind,
    )


class _Running:
    """Everything that exists between start and stop. `closing` undoes it in reverse order."""

    def __init__(
        self,
        factory: FactoryData,
        backend: EvseBackend,
        stack: MatterStack,
        charger: Charger,
        clusters: NodeClusters,
        mdns: MdnsAdvertiser,
    ) -> None:
        self.factory = factory
        self.backend = backend
        self.stack = stack
        self.charger = charger
        self.clusters = clusters
        self.mdns = mdns
        self.groups: frozenset[str] = frozenset()


class EvseNode:
    """One node. `backend` takes the place of the one that the settings name.

    Raises ConfigError from `start` for settings that cannot be used here, and HalError
    when the hardware is not there.
    """

    def __init__(self, config: NodeConfig, *, backend: EvseBackend | None = None) -> None:
        self.config = config
        self._backend = backend
        self._port = config.port
        self._store: SqliteStore | None = None
        self._running: _Running | None = None
        self._runtime: Runtime[StackEvent] | None = None
        self._closing = AsyncExitStack()
        self._control: ControlServer | None = None
        self._control_address: HostPort | None = None
        self._observers: list[Callable[[], None]] = []
        self._is_notice_due = False

    # Its life

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start everything; when it returns, the node can be found and commissioned."""
        try:
            self._store = SqliteStore(self.config.storage)
            await self._begin(self._store)
            await self._start_control()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Open the contactor, take leave of the network, and close. May be repeated."""
        if self._control is not None:
            from evse_node.control.client import remove_control_file

            remove_control_file(self.config.storage)
            control, self._control = self._control, None
            await control.close()
        await self._end()
        if self._store is not None:
            self._store.close()
            self._store = None

    async def factory_reset(self) -> None:
        """Forget fabrics and all settings that were made over Matter, and start anew."""
        store = self._store
        if store is None:
            raise RuntimeError("the node is not running")
        await self._end()
        store.erase(KEPT)
        store.commit()
        await self._begin(store)
        self._notify()

    async def _begin(self, store: SqliteStore) -> None:
        async with AsyncExitStack() as closing:
            await self._assemble(store, closing)
            self._closing = closing.pop_all()

    async def _assemble(self, store: SqliteStore, closing: AsyncExitStack) -> None:
        config = self.config
        now = time.monotonic()
        factory = load_factory_data(config, store, os.urandom)
        if self._backend is None:
            self._backend = create_backend(config.backend, config.hal)
        backend = self._backend
        udp = open_udp(self._port)
        closing.callback(udp.close)
        self._port = udp.getsockname()[1]
        node = Node()
        stack = MatterStack(
            self._settings(factory),
            node,
            store,
            random_bytes=os.urandom,
            clock=time.monotonic,
            utc_ms=utc_ms,
        )
        definitions = ClusterDefinitions(config.cluster_xml)
        charger = Charger(
            backend,
            store,
            now=now,
            settings=ChargerSettings(
                evse=evse_settings(definitions[EVSE_CLUSTER]), features=self._features(backend)
            ),
            utc_ms=utc_ms,
            timers=stack.timers,
        )
        mdns = MdnsAdvertiser(config.interfaces, self._on_interfaces_changed)
        clusters = build_endpoints(
            stack,
            charger,
            factory,
            definitions,
            ClusterEnvironment(node, store, stack.event_log, time.monotonic, utc_ms, os.urandom),
            enable_key=config.enable_key,
            interfaces=lambda: [_describe(interface) for interface in mdns.chosen],
            unique_id=_unique_id(store),
            now=now,
        )
        runtime = self._runtime = Runtime(stack, udp, store, self._on_event)
        closing.callback(runtime.close)
        closing.push_async_callback(mdns.close)
        await mdns.start()
        self._running = _Running(factory, backend, stack, charger, clusters, mdns)
        stack.start(now)
        runtime.start()
        closing.callback(self._say_goodbye, runtime, stack, clusters)
        charger.observers.append(lambda snapshot, notices, now: self._notify())
        closing.push_async_callback(self._stop_backend, backend)
        await backend.start(self._on_hal_event)
        runtime.flush()

    def _say_goodbye(
        self, runtime: Runtime[StackEvent], stack: MatterStack, clusters: NodeClusters
    ) -> None:
        clusters.basic_information.shut_down()
        runtime.flush()
        stack.handle_timer(time.monotonic())
        runtime.flush()

    async def _end(self) -> None:
        closing, self._closing = self._closing, AsyncExitStack()
        await closing.aclose()
        self._running = None
        self._runtime = None

    async def _stop_backend(self, backend: EvseBackend) -> None:
        try:
            async with asyncio.timeout(_STOP_TIMEOUT_S):
                await backend.stop()
        except (HalError, TimeoutError) as error:
            _LOGGER.error("the hardware did not stop: %s", error or "no answer")

    async def _start_control(self) -> None:
        if self.config.control is None:
            return
        from evse_node.control.client import write_control_file
        from evse_node.control.node_control import NodeControl
        from evse_node.control.server import ControlServer

        control = ControlServer(NodeControl(self))
        self._control_address = await control.start(self.config.control)
        self._control = control
        write_control_file(self.config.storage, self._control_address)

    def _settings(self, factory: FactoryData) -> StackSettings:
        attestation = factory.attestation
        return StackSettings(
            identity=CommissionableIdentity(
                attestation.vendor_id, attestation.product_id, _DEVICE_TYPE
            ),
            verifier=factory.verifier,
            discriminator=factory.discriminator,
            parameters=_PARAMETERS,
            port=self._port,
        )

    def _features(self, backend: EvseBackend) -> frozenset[str] | None:
        wanted = self.config.features
        if wanted is None:
            return None
        for code in wanted:
            if code not in capabilities(backend):
                able = ", ".join(sorted(capabilities(backend)))
                raise ConfigError(
                    f"features: '{code}' is not possible with the backend "
                    f"'{self.config.backend}': give some of {able}"
                )
        return frozenset(wanted)

    # What happens

    def _on_hal_event(self, event: HalEvent) -> None:
        if self._running is not None and self._runtime is not None:
            self._running.charger.receive(event, time.monotonic())
            self._runtime.wake()

    def _on_event(self, event: StackEvent) -> None:
        if self._running is None:
            return
        if isinstance(event, ServicesChanged):
            self._running.mdns.update(event.services)
        elif isinstance(event, GroupAddressesChanged):
            self._listen_to_groups(event.addresses)
        self._notify()

    def _on_interfaces_changed(self) -> None:
        running = self._running
        if running is None:
            return
        running.clusters.general_diagnostics.interfaces_changed()
        # Membership of an interface that was gone is gone, too.
        groups, running.groups = running.groups, frozenset()
        self._listen_to_groups(groups)
        self.wake()

    def _listen_to_groups(self, addresses: frozenset[str]) -> None:
        running, runtime = self._running, self._runtime
        if running is None or runtime is None:
            return
        indexes = [interface.index for interface in running.mdns.interfaces]
        for address in running.groups - addresses:
            runtime.leave(address, indexes)
        for address in addresses - running.groups:
            runtime.join(address, indexes)
        running.groups = addresses

    def watch(self, observer: Callable[[], None]) -> Callable[[], None]:
        """Call `observer` soon after every change; return what ends that."""
        self._observers.append(observer)

        def unwatch() -> None:
            with contextlib.suppress(ValueError):
                self._observers.remove(observer)

        return unwatch

    def _notify(self) -> None:
        if self._observers and not self._is_notice_due:
            self._is_notice_due = True
            asyncio.get_running_loop().call_soon(self._call_observers)

    def _call_observers(self) -> None:
        self._is_notice_due = False
        for observer in list(self._observers):
            observer()

    # What it is

    @property
    def _now(self) -> _Running:
        if self._running is None:
            raise RuntimeError("the node is not running")
        return self._running

    @property
    def is_running(self) -> bool:
        """Whether the node is started."""
        return self._running is not None

    @property
    def port(self) -> int:
        """The UDP port."""
        return self._port

    @property
    def control_address(self) -> HostPort | None:
        """Where the control API listens, or None without one."""
        return self._control_address

    @property
    def qr_code(self) -> str:
        """The text of the QR code, beginning with "MT:"."""
        return self._now.factory.onboarding.qr_code()

    @property
    def manual_code(self) -> str:
        """The manual pairing code, 11 digits."""
        return self._now.factory.onboarding.manual_code()

    @property
    def factory(self) -> FactoryData:
        """Passcode, discriminator, serial number and attestation."""
        return self._now.factory

    @property
    def stack(self) -> MatterStack:
        """The Matter stack. After changing something in it, call `wake`."""
        return self._now.stack

    @property
    def charger(self) -> Charger:
        """The charger. After handling an event with it, call `wake`."""
        return self._now.charger

    @property
    def mdns(self) -> MdnsAdvertiser:
        """The DNS-SD advertiser."""
        return self._now.mdns

    @property
    def state(self) -> Snapshot:
        """The charger's state now."""
        return self._now.charger.snapshot()

    @property
    def car(self) -> SimulatedBackend:
        """The simulated car and its board. Raises HalError with real hardware."""
        backend = self._now.backend
        if not isinstance(backend, SimulatedBackend):
            raise HalError(f"the backend '{self.config.backend}' has no simulated car")
        return backend

    @property
    def has_car(self) -> bool:
        """Whether there is a simulated car."""
        return isinstance(self._now.backend, SimulatedBackend)

    def wake(self) -> None:
        """Let the stack see soon what was changed from outside."""
        if self._runtime is not None:
            self._runtime.wake()
