"""DNS-SD over zeroconf: one responder per interface, services with subtypes, goodbyes.

This module adds to zeroconf: subtypes that point to the instance itself, answers with the
addresses of their own interface only, announcements without probing (names are random), and
interfaces that appear and disappear.

Spec: Matter Core 1.3 "Discovery"; RFC 6762, RFC 6763
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Collection, Sequence
from typing import Final

from msgspec import Struct
from zeroconf import Error as ZeroconfError
from zeroconf import IPVersion, ServiceInfo, Zeroconf
from zeroconf.asyncio import AsyncZeroconf

from evse_node.matter.fabrics.discovery import Service
from evse_node.matter.messaging.session import Address
from evse_node.platform import zeroconf_internals as internals
from evse_node.platform.interfaces import (
    Interface,
    InterfaceMonitor,
    host_name,
    interfaces,
    is_link_local,
    select_interfaces,
)

_LOGGER: Final = logging.getLogger(__name__)

# RFC 6762 section 8.3: at least two announcements, one second apart, then at growing intervals.
_ANNOUNCE_AFTER_S: Final = (0.0, 1.0, 3.0)
_SETTLE_S: Final = 0.25
_HOST_TTL_S: Final = 120
_SERVICE_TTL_S: Final = 4500
_RESOLVE_MS: Final = 3000


class _Advertised(Struct, frozen=True):
    """The records of one service on one interface: the instance and its subtypes."""

    main: ServiceInfo
    subtypes: tuple[ServiceInfo, ...]

    def pointers(self) -> dict[str, ServiceInfo]:
        """Return the PTR owners by name."""
        return {info.type: info for info in (self.main, *self.subtypes)}

    def records(self) -> list[internals.Record]:
        """Return all records but those of the host."""
        pointers = [info.dns_pointer() for info in self.pointers().values()]
        return [*pointers, self.main.dns_service(), self.main.dns_text()]


class _Responder:
    """Zeroconf on one interface: receives from it only, and announces its addresses only."""

    def __init__(self, interface: Interface, host: str) -> None:
        self.interface = interface
        self._server = f"{host}.local."
        self._advertised: dict[tuple[str, str], _Advertised] = {}
        choice = [socket.inet_ntoa(each) for each in interface.ipv4[:1]]
        version = IPVersion.V4Only
        if interface.ipv6:
            # The first address is link-local, if there is one: the source of multicast DNS.
            choice.append(socket.inet_ntop(socket.AF_INET6, interface.ipv6[0]))
            version = IPVersion.All if interface.ipv4 else IPVersion.V6Only
        self._zeroconf = Zeroconf(interfaces=choice, ip_version=version)
        self._registry = internals.reset_registry(self._zeroconf)

    async def start(self) -> None:
        """Wait for the sockets, and bind the wildcard one to the interface."""
        # Cancelled with this task, it would never report that it has started, nor could it close.
        await asyncio.shield(self._zeroconf.async_wait_for_start())
        internals.bind_to_interface(self._zeroconf, self.interface.name)

    def replace(self, services: Sequence[Service]) -> None:
        """Advertise exactly these; send goodbyes for what ends. Announces changes once."""
        before = self._advertised
        after = {(each.type, each.instance): self._describe(each) for each in services}
        goodbyes: list[list[internals.Record]] = []
        for key, old in before.items():
            new = after.get(key)
            self._registry.async_remove([old.main, *old.subtypes])
            kept = new.pointers() if new is not None else {}
            ended = [info for name, info in old.pointers().items() if name not in kept]
            goodbyes.append(_goodbye(ended, old.main if new is None else None))
            # Delayed answers are out of date, or superseded by the announcement below.
            internals.discard_answers(self._zeroconf, old.records())
        self._advertised = after
        for advertised in after.values():
            for info in (advertised.main, *advertised.subtypes):
                self._registry.async_add(info)
        for goodbye in filter(None, goodbyes):
            internals.send_records(self._zeroconf, goodbye)
        self.announce()

    def announce(self) -> None:
        """Send all records of all services."""
        for advertised in self._advertised.values():
            addresses = advertised.main.get_address_and_nsec_records()
            internals.send_records(self._zeroconf, [*advertised.records(), *addresses])

    async def resolve(self, kind: str, instance: str) -> Address | None:
        """Query this link for a service; return its address, or None."""
        info = ServiceInfo(f"{kind}.local.", f"{instance}.{kind}.local.")
        try:
            if not await info.async_request(self._zeroconf, _RESOLVE_MS):
                return None
        except (OSError, ZeroconfError) as error:
            _LOGGER.debug("cannot query on %s: %s", self.interface.name, error)
            return None
        port = info.port or 0
        addresses = info.addresses_by_version(IPVersion.V6Only)
        # A link-local address needs no route.
        for address in sorted(addresses, key=is_link_local, reverse=True):
            scope = self.interface.index if is_link_local(address) else 0
            return socket.inet_ntop(socket.AF_INET6, address), port, 0, scope
        for address in info.addresses_by_version(IPVersion.V4Only):
            return f"::ffff:{socket.inet_ntoa(address)}", port, 0, 0
        return None

    async def close(self, *, is_leaving: bool) -> None:
        """Close the sockets, after goodbyes for all services if the node is leaving."""
        if is_leaving:
            self.replace(())
        internals.reset_registry(self._zeroconf)
        await AsyncZeroconf(zc=self._zeroconf).async_close()

    def _describe(self, service: Service) -> _Advertised:
        kind = f"{service.type}.local."
        main = self._info(service, kind)
        subtypes = [self._info(service, f"{each}._sub.{kind}") for each in service.subtypes]
        for info in subtypes:
            internals.make_distinct(info)
        return _Advertised(main, tuple(subtypes))

    def _info(self, service: Service, kind: str) -> ServiceInfo:
        return ServiceInfo(
            kind,
            f"{service.instance}.{service.type}.local.",
            port=service.port,
            properties={key.encode(): value.encode() for key, value in service.txt.items()},
            server=self._server,
            host_ttl=_HOST_TTL_S,
            other_ttl=_SERVICE_TTL_S,
            addresses=list(self.interface.addresses),
        )


async def _open_responder(interface: Interface, host: str) -> _Responder | None:
    """Return a started responder, or None for an interface without multicast."""
    try:
        responder = _Responder(interface, host)
        try:
            await responder.start()
        except BaseException:
            await responder.close(is_leaving=False)
            raise
    except (OSError, RuntimeError, ZeroconfError) as error:
        _LOGGER.warning("no DNS-SD on %s: %s", interface.name, str(error) or type(error).__name__)
        return None
    return responder


def _goodbye(
    pointers: Sequence[ServiceInfo], instance: ServiceInfo | None
) -> list[internals.Record]:
    """Return records that end these pointers, and the instance if it is given.

    The host's addresses stay: another node on this machine may have the same name.
    """
    records: list[internals.Record] = [info.dns_pointer(override_ttl=0) for info in pointers]
    if instance is not None:
        records += [instance.dns_service(override_ttl=0), instance.dns_text(override_ttl=0)]
    return records


class MdnsAdvertiser:
    """Advertiser of a node's services on its interfaces, which it follows as they change.

    `names` selects interfaces; empty means all that serve a network. `update` may be
    called before `start`. `on_changed` is called when the selected interfaces change. All
    methods belong to the loop's thread.
    """

    def __init__(
        self, names: Collection[str] = (), on_changed: Callable[[], None] = lambda: None
    ) -> None:
        self._names = tuple(names)
        self._on_changed = on_changed
        self._chosen: tuple[Interface, ...] = ()
        self._services: tuple[Service, ...] = ()
        self._responders: dict[int, _Responder] = {}
        self._host = ""
        self._monitor: InterfaceMonitor | None = None
        self._pending: set[asyncio.TimerHandle] = set()
        self._change: asyncio.Task[None] | None = None
        # Serializes changes: interfaces may change while sockets are being opened.
        self._lock = asyncio.Lock()
        self._has_changed = False
        self._is_closed = False

    @property
    def interfaces(self) -> list[Interface]:
        """Return the interfaces that are in use now."""
        return [responder.interface for responder in self._responders.values()]

    @property
    def services(self) -> tuple[Service, ...]:
        """Return the advertised services."""
        return self._services

    @property
    def chosen(self) -> tuple[Interface, ...]:
        """Return the selected interfaces, in use or not."""
        return self._chosen

    @property
    def host(self) -> str:
        """Return the host name without `.local`."""
        return self._host

    async def start(self) -> None:
        """Open the sockets, announce, and follow the interfaces from now on.

        Raises ConfigError when a chosen interface does not exist.
        """
        loop = asyncio.get_running_loop()
        self._monitor = InterfaceMonitor()
        loop.add_reader(self._monitor.fileno(), self._on_network_change)
        await self._select(select_interfaces(self._names, interfaces()))

    def update(self, services: Sequence[Service]) -> None:
        """Advertise exactly these services from now on."""
        self._services = tuple(services)
        for responder in self._responders.values():
            responder.replace(self._services)
        self._schedule_announcements()

    async def resolve(self, kind: str, instance: str) -> Address | None:
        """Return the address of a service as for an IPv6 socket, or None.

        `kind` is like `_matter._tcp`. The first answer of any link counts.
        """
        queries = [
            asyncio.ensure_future(responder.resolve(kind, instance))
            for responder in self._responders.values()
        ]
        try:
            for answer in asyncio.as_completed(queries):
                if (address := await answer) is not None:
                    return address
            return None
        finally:
            for query in queries:
                query.cancel()

    async def close(self) -> None:
        """Send goodbyes and close everything. May be repeated."""
        self._is_closed = True
        self._cancel_pending()
        if self._monitor is not None:
            asyncio.get_running_loop().remove_reader(self._monitor.fileno())
            self._monitor.close()
            self._monitor = None
        if self._change is not None:
            self._change.cancel()
            await asyncio.gather(self._change, return_exceptions=True)
        responders, self._responders = self._responders, {}
        for responder in responders.values():
            await responder.close(is_leaving=True)

    def _on_network_change(self) -> None:
        if self._monitor is None or not self._monitor.has_changed():
            return
        self._has_changed = True
        if self._change is None or self._change.done():
            self._change = asyncio.get_running_loop().create_task(self._read_interfaces())

    async def _read_interfaces(self) -> None:
        while self._has_changed:
            # Addresses come in bursts: link, then link-local, then global ones.
            await asyncio.sleep(_SETTLE_S)
            self._has_changed = False
            try:
                found = {each.name: each for each in interfaces()}
            except OSError as error:
                _LOGGER.warning("the network interfaces cannot be read: %s", error)
                continue
            if self._names:
                await self._select([found[name] for name in self._names if name in found])
            else:
                await self._select(select_interfaces((), found.values()))

    async def _select(self, chosen: Sequence[Interface]) -> None:
        async with self._lock:
            has_changed = tuple(chosen) != self._chosen
            self._chosen = tuple(chosen)
            usable = {each.index: each for each in chosen if each.is_up and each.addresses}
            if not self._host:
                self._host = host_name(chosen)
            for index, old in list(self._responders.items()):
                if usable.get(index) != old.interface:
                    del self._responders[index]
                    await old.close(is_leaving=index not in usable)
            for index, interface in usable.items():
                if index in self._responders or self._is_closed:
                    continue
                responder = await _open_responder(interface, self._host)
                if responder is None:
                    continue
                self._responders[index] = responder
                responder.replace(self._services)
                _LOGGER.info("DNS-SD on %s as %s.local", interface.name, self._host)
                self._schedule_announcements()
            if has_changed:
                self._on_changed()

    def _schedule_announcements(self) -> None:
        self._cancel_pending()
        loop = asyncio.get_running_loop()
        for delay in _ANNOUNCE_AFTER_S[1:]:
            self._pending.add(loop.call_later(delay, self._announce))

    def _announce(self) -> None:
        for responder in self._responders.values():
            responder.announce()

    def _cancel_pending(self) -> None:
        for handle in self._pending:
            handle.cancel()
        self._pending.clear()
