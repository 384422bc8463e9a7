"""Parts of a running node, wired together."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from threading import get_ident
from typing import Final

from msgspec.structs import replace

from evse_node.bridge.evse import EVSE as EVSE_CLUSTER
from evse_node.bridge.evse import evse_settings
from evse_node.charger import Charger, ChargerSettings
from evse_node.charger.solar_controller import SolarSettings
from evse_node.cluster.definitions.device_type import MatterVersion
from evse_node.cluster.definitions.revision import load_revision
from evse_node.cluster.environment import ClusterEnvironment
from evse_node.cluster.servers.root.network_interface import InterfaceType, NetworkInterface
from evse_node.config.node_config import NodeConfig
from evse_node.errors import ConfigError, HalError
from evse_node.hal.interface import EvseBackend, HalEvent, capabilities
from evse_node.matter.data_model import Node
from evse_node.matter.fabrics.discovery import CommissionableIdentity
from evse_node.matter.messaging.session import SessionParameters
from evse_node.matter.stack import (
    Decommissioned,
    MatterStack,
    ServicesChanged,
    StackEvent,
    StackSettings,
)
from evse_node.matter.wall_clock import ClockSource, WallClock
from evse_node.node.endpoints import PRODUCT_NAME, ClusterDefinitions, NodeParts, build_endpoints
from evse_node.node.factory_data import load_factory_data
from evse_node.node.runtime import Runtime, open_udp
from evse_node.platform.crash_reporter import CrashReporter
from evse_node.platform.dns_sd import MdnsAdvertiser
from evse_node.platform.interfaces import (
    ARPHRD_ETHER,
    ARPHRD_IEEE802154,
    Interface,
    is_wireless,
    placeholder_address,
)
from evse_node.platform.log_buffer import LogBuffer
from evse_node.platform.node_finder import NodeFinder
from evse_node.platform.sntp import NtpClient
from evse_node.platform.sqlite_store import SqliteStore
from evse_node.platform.time_zones import dst_offsets, has_database, zone_offset
from evse_node.units import Milliamps

_LOGGER: Final = logging.getLogger(__name__)

# A clock before this is not set: no such node existed then.
_EARLIEST_UTC_S: Final = 1_735_689_600  # 2025-01-01
_STOP_TIMEOUT_S: Final = 12.0
_UNIQUE_ID_KEY: Final = "basic/unique_id"
_ENERGY_EVSE: Final = 0x050C
_MAX_PATHS_PER_INVOKE: Final = 10


def _system_utc_us() -> int | None:
    """Return microseconds since 1970, or None while the machine's clock is not set."""
    now_us = time.time_ns() // 1000
    return now_us if now_us >= _EARLIEST_UTC_S * 1_000_000 else None


def _wall_clock(config: NodeConfig) -> WallClock:
    return WallClock(
        ClockSource(config.clock),
        monotonic=time.monotonic,
        system_utc_us=_system_utc_us,
        system_offset_s=zone_offset(config.time_zone),
    )


def _charger_settings(
    config: NodeConfig, backend: EvseBackend, definitions: ClusterDefinitions, clock: WallClock
) -> ChargerSettings:
    return ChargerSettings(
        evse=replace(
            evse_settings(definitions[EVSE_CLUSTER]),
            has_ventilation=config.ventilation,
            has_socket=backend.proximity_pilot is not None,
            allowed_cards=None if config.cards is None else frozenset(config.cards),
            contactor_timeout_s=backend.ratings.contactor_timeout_s,
            retry_after_s=config.fault_retries,
            closings_per_minute=config.closings_per_minute,
        ),
        features=_features(config, backend),
        circuit_capacity_ma=Milliamps(config.circuit_capacity_a * 1000),
        user_maximum_ma=Milliamps(config.user_maximum_a * 1000),
        may_charge_when_new=config.charging,
        card_outage_s=config.card_outage_s,
        are_vehicles_known=config.vehicles == "known",
        zone=clock.zone,
        solar=SolarSettings(report_valid_s=config.surplus_seconds),
    )


class Assembly:
    """The parts of one running node.

    `port` 0 selects a free one, which the attribute `port` holds. `on_changed` is called after
    any change of state, `on_decommissioned` after the removal of the last fabric, when the node
    has to restart. Raises ConfigError.
    """

    def __init__(
        self,
        config: NodeConfig,
        store: SqliteStore,
        backend: EvseBackend,
        port: int,
        on_changed: Callable[[], None],
        on_decommissioned: Callable[[], None],
    ) -> None:
        self._revision = load_revision(config.matter_version)
        self.factory = load_factory_data(config, store, os.urandom)
        definitions = ClusterDefinitions(config.cluster_xml, config.matter_version)
        clock = _wall_clock(config)
        charger = _charger_settings(config, backend, definitions, clock)
        # A node on loopback alone must not be reachable from other hosts.
        self._udp = open_udp(port, "lo" if config.interfaces == ("lo",) else "")
        self._closing = AsyncExitStack()
        self._closing.callback(self._udp.close)
        self.port: int = self._udp.getsockname()[1]
        self.backend = backend
        self.mdns = MdnsAdvertiser(config.interfaces, self._on_interfaces_changed)
        self._on_changed = on_changed
        self._on_decommissioned = on_decommissioned
        self._thread = get_ident()
        self._network_interfaces: tuple[Sequence[Interface], Sequence[NetworkInterface]] = ((), ())
        now = time.monotonic()
        node = Node()
        self._ntp = NtpClient(os.urandom, time.monotonic, lambda: self.runtime.wake())
        self._logs = LogBuffer(time.monotonic, clock.utc_us)
        try:
            self.stack = MatterStack(
                self._settings(),
                node,
                store,
                random_bytes=os.urandom,
                clock=time.monotonic,
                utc_ms=clock.utc_ms,
            )
            self._finder = NodeFinder(
                self.mdns.resolve,
                self.stack.fabrics,
                time.monotonic,
                lambda: self.runtime.wake(),
            )
            self.charger = Charger(
                backend,
                store,
                now=now,
                settings=charger,
                utc_ms=clock.utc_ms,
                timers=self.stack.timers,
            )
            environment = ClusterEnvironment(
                node, store, self.stack.event_log, time.monotonic, clock.utc_ms, os.urandom
            )
            parts = self._parts(config, definitions, clock, environment, _unique_id(store))
            self.clusters = build_endpoints(parts, now)
        except BaseException as error:
            self._udp.close()
            file = config.cluster_xml
            if file is None or not isinstance(error, ConfigError | TypeError | KeyError):
                raise
            # The file is valid, but does not define what the node serves.
            raise ConfigError(f"{file}: {error}") from None
        clock.on_changed.append(self.charger.on_timer)
        # The advertised services may stay the same meanwhile.
        self.stack.window.on_changed.append(lambda now: on_changed())
        self.charger.observers.append(lambda snapshot, notices, now: on_changed())
        self.runtime: Runtime[StackEvent] = Runtime(self.stack, self._udp, store, self._on_event)
        self._closing.callback(self.runtime.close)

    def _parts(
        self,
        config: NodeConfig,
        definitions: ClusterDefinitions,
        clock: WallClock,
        environment: ClusterEnvironment,
        unique_id: str,
    ) -> NodeParts:
        return NodeParts(
            stack=self.stack,
            charger=self.charger,
            backend=self.backend,
            factory=self.factory,
            clock=clock,
            query_ntp=self._ntp.query,
            look_up_dst=dst_offsets if has_database() else None,
            find_node=self._finder.find,
            logs=self._logs,
            definitions=definitions,
            environment=environment,
            interfaces=self._describe_interfaces,
            unique_id=unique_id,
            enable_key=config.enable_key,
            dem_features=config.dem_features,
            version=MatterVersion(self._revision.specification_version),
        )

    def _settings(self) -> StackSettings:
        attestation = self.factory.attestation
        return StackSettings(
            identity=CommissionableIdentity(
                attestation.vendor_id, attestation.product_id, _ENERGY_EVSE, PRODUCT_NAME
            ),
            verifier=self.factory.verifier,
            discriminator=self.factory.discriminator,
            parameters=SessionParameters(
                data_model_revision=self._revision.data_model_revision,
                interaction_model_revision=self._revision.interaction_model_revision,
                specification_version=self._revision.specification_version,
                max_paths_per_invoke=_MAX_PATHS_PER_INVOKE,
            ),
            port=self.port,
        )

    async def start(self) -> None:
        """Become discoverable, then start the hardware.

        Raises ConfigError and HalError; call `stop` also after these.
        """
        logger = logging.getLogger("evse_node")
        logger.addHandler(self._logs)
        self._closing.callback(logger.removeHandler, self._logs)
        report_fault = self.clusters.software_diagnostics.report_fault
        crashes = CrashReporter(report_fault, self.runtime.call, time.monotonic)
        logger.addHandler(crashes)
        self._closing.callback(logger.removeHandler, crashes)
        self._closing.push_async_callback(self._ntp.close)
        self._closing.push_async_callback(self._finder.close)
        self._closing.push_async_callback(self.mdns.close)
        await self.mdns.start()
        self.stack.start(time.monotonic())
        self.runtime.start()
        self._closing.callback(self._announce_stop)
        self._closing.push_async_callback(self._stop_backend)
        self._closing.callback(self._save_charger)
        await self.backend.start(self._on_hal_event)
        self.runtime.flush()

    async def stop(self) -> None:
        """Open the contactor, notify subscribers and network, close the socket. Repeatable."""
        await self._closing.aclose()

    def _save_charger(self) -> None:
        self.charger.save(time.monotonic())

    async def _stop_backend(self) -> None:
        try:
            async with asyncio.timeout(_STOP_TIMEOUT_S):
                await self.backend.stop()
        except (HalError, TimeoutError) as error:
            _LOGGER.error("the hardware did not stop: %s", error or "no answer")

    def _announce_stop(self) -> None:
        self.clusters.stop()
        self.stack.handle_timer(time.monotonic())
        self.runtime.flush()

    def _on_hal_event(self, event: HalEvent) -> None:
        if get_ident() != self._thread:
            self.runtime.call(lambda: self.charger.receive(event, time.monotonic()))
            return
        self.charger.receive(event, time.monotonic())
        self.runtime.wake()

    def _on_event(self, event: StackEvent) -> None:
        if isinstance(event, ServicesChanged):
            self.mdns.update(event.services)
        elif isinstance(event, Decommissioned):
            self._on_decommissioned()
        self._on_changed()

    def _describe_interfaces(self) -> Sequence[NetworkInterface]:
        chosen = self.mdns.chosen
        if self._network_interfaces[0] is not chosen:
            self._network_interfaces = (chosen, [_describe(interface) for interface in chosen])
        return self._network_interfaces[1]

    def _on_interfaces_changed(self) -> None:
        self.clusters.interfaces_changed()
        self.runtime.wake()


def _features(config: NodeConfig, backend: EvseBackend) -> frozenset[str] | None:
    if config.features is None:
        return None
    able = capabilities(backend)
    for code in config.features:
        if code not in able:
            raise ConfigError(
                f"features: '{code}' is not possible with the backend '{config.backend}': "
                f"give some of {', '.join(sorted(able))}"
            )
    return frozenset(config.features)


def _unique_id(store: SqliteStore) -> str:
    # Not factory data: after a reset, it is another node to its next owner.
    unique_id = store.get(_UNIQUE_ID_KEY)
    if unique_id is None:
        unique_id = os.urandom(16)
        store.set(_UNIQUE_ID_KEY, unique_id)
    return unique_id.hex()


def _describe(interface: Interface) -> NetworkInterface:
    kinds = {ARPHRD_ETHER: InterfaceType.ETHERNET, ARPHRD_IEEE802154: InterfaceType.THREAD}
    kind = kinds.get(interface.kind, InterfaceType.UNSPECIFIED)
    return NetworkInterface(
        name=interface.name,
        is_operational=interface.is_up and interface.is_running,
        hardware_address=interface.hardware_address or placeholder_address(interface.index),
        ipv4_addresses=interface.ipv4,
        ipv6_addresses=interface.ipv6,
        type=InterfaceType.WI_FI if is_wireless(interface.name) else kind,
    )
