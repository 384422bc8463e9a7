"""DNS-SD over zeroconf: one responder per interface, services with subtypes, goodbyes.

What zeroconf does not do by itself is added here: subtypes that point to the
instance itself, an answer that carries the addresses of its own interface only,
an announcement without the probing that names drawn at random do not need, and
interfaces that come and go.

Spec: Matter Core 1.3 "Discovery"; RFC 6762, RFC 6763
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, Protocol, TypeAlias

from msgspec import Struct
from zeroconf import Error as ZeroconfError
from zeroconf import IPVersion, ServiceInfo, Zeroconf
from zeroconf._dns import DNSRecord
from zeroconf._handlers.query_handler import QueryHandler
from zeroconf._protocol.outgoing import DNSOutgoing
from zeroconf._services.registry import ServiceRegistry
from zeroconf.asyncio import AsyncZeroconf
from zeroconf.const import _FLAGS_AA, _FLAGS_QR_RESPONSE

from evse_node.platform.interfaces import (
    Interface,
    InterfaceMonitor,
    host_name,
    interfaces,
    is_link_local,
    select_interfaces,
)

_LOGGER: Final = logging.getLogger(__name__)

# RFC 6762 section 8.3: at least two announcements, one second apart, then further and further.
_ANNOUNCE_AFTER_S: Final = (0.0, 1.0, 3.0)
_SETTLE_S: Final = 0.25
_HOST_TTL_S: Final = 120
_SERVICE_TTL_S: Final = 4500
_RESOLVE_MS: Final = 3000

Address: TypeAlias = tuple[str, int, int, int]


class Service(Protocol):
    """A service to advertise, as `evse_node.matter.fabrics.discovery` describes it."""

    @property
    def type(self) -> str:
        """`_matterc._udp` or `_matter._tcp`."""

    @property
    def instance(self) -> str:
        """The instance name, one label."""

    @property
    def port(self) -> int:
        """The UDP port of the node."""

    @property
    def subtypes(self) -> Sequence[str]:
        """Subtypes like `_L3840`, without `_sub`."""

    @property
    def txt(self) -> Mapping[str, str]:
        """Keys and values of the TXT record."""


class _Registry(ServiceRegistry):
    """Knows subtypes, but does not name them as service types (RFC 6763 section 9)."""

    def async_get_types(self) -> list[str]:
        return [name for name in super().async_get_types() if "._sub." not in name]


class _Advertised(Struct, frozen=True):
    """The records of one service on one interface: the instance and its subtypes."""

    main: ServiceInfo
    subtypes: tuple[ServiceInfo, ...]

    def pointers(self) -> dict[str, ServiceInfo]:
        """Return the PTR owners by name."""
        return {info.type: info for info in (self.main, *self.subtypes)}


class _Responder:
    """Zeroconf bound to one interface: hears only it, names only its addresses."""

    def __init__(self, interface: Interface, host: str) -> None:
        self.interface = interface
        self._server = f"{host}.local."
        self._advertised: dict[tuple[str, str], _Advertised] = {}
        choice = [socket.inet_ntoa(each) for each in interface.ipv4[:1]]
        version = IPVersion.V4Only
        if interface.ipv6:
            # Link-local addresses come first, and multicast DNS is to come from one.
            choice.append(socket.inet_ntop(socket.AF_INET6, interface.ipv6[0]))
            version = IPVersion.All if interface.ipv4 else IPVersion.V6Only
        self._zeroconf = Zeroconf(interfaces=choice, ip_version=version)
        # The query handler keeps the registry that it was made with.
        self._zeroconf.registry = _Registry()
        self._zeroconf.query_handler = QueryHandler(self._zeroconf)

    async def start(self) -> None:
        """Wait for the sockets, and bind the wildcard one to the interface."""
        # Cancelled with us, it would never know that it has started, and could not be closed.
        await asyncio.shield(self._zeroconf.async_wait_for_start())
        name = self.interface.name.encode() + b"\0"
        for reader in self._zeroconf.engine.readers:
            udp = reader.transport.get_extra_info("socket")
            try:
                udp.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name)
            except OSError as error:  # old kernels let only root do this; answers still go out
                _LOGGER.debug("cannot bind to %s: %s", self.interface.name, error)

    def replace(self, services: Sequence[Service]) -> None:
        """Advertise exactly these; say goodbye to what is gone. Announces what changed, once."""
        before = self._advertised
        after = {(each.type, each.instance): self._describe(each) for each in services}
        registry = self._zeroconf.registry
        goodbyes: list[_Goodbye] = []
        for key, old in before.items():
            new = after.get(key)
            registry.async_remove([old.main, *old.subtypes])
            kept = new.pointers() if new is not None else {}
            gone = [info for name, info in old.pointers().items() if name not in kept]
            goodbyes.append(_Goodbye(gone, old.main if new is None else None))
            self._take_back(old)
        self._advertised = after
        for advertised in after.values():
            for info in (advertised.main, *advertised.subtypes):
                registry.async_add(info)
        self._send_goodbyes(goodbyes)
        self.announce()

    def _take_back(self, advertised: _Advertised) -> None:
        """Forget answers that wait to be sent; some do for more than a second, as they ought to.

        What they would tell is out of date, or follows at once.
        """
        main = advertised.main
        records: list[DNSRecord] = [main.dns_service(), main.dns_text()]
        records += [info.dns_pointer() for info in advertised.pointers().values()]
        for waiting in (self._zeroconf.out_queue, self._zeroconf.out_delay_queue):
            for group in waiting.queue:
                for record in records:
                    group.answers.pop(record, None)

    def announce(self) -> None:
        """Send all records of all services."""
        for advertised in self._advertised.values():
            out = DNSOutgoing(_FLAGS_QR_RESPONSE | _FLAGS_AA)
            for info in advertised.pointers().values():
                out.add_answer_at_time(info.dns_pointer(), 0)
            out.add_answer_at_time(advertised.main.dns_service(), 0)
            out.add_answer_at_time(advertised.main.dns_text(), 0)
            for record in advertised.main.get_address_and_nsec_records():
                out.add_answer_at_time(record, 0)
            self._zeroconf.async_send(out)

    async def resolve(self, kind: str, instance: str) -> Address | None:
        """Ask this link for a service; return where it is, or None."""
        info = ServiceInfo(f"{kind}.local.", f"{instance}.{kind}.local.")
        try:
            if not await info.async_request(self._zeroconf, _RESOLVE_MS):
                return None
        except (OSError, ZeroconfError) as error:
            _LOGGER.debug("cannot ask on %s: %s", self.interface.name, error)
            return None
        port = info.port or 0
        addresses = info.addresses_by_version(IPVersion.V6Only)
        # Nothing can be wrong with the way to an address of this link.
        for address in sorted(addresses, key=is_link_local, reverse=True):
            scope = self.interface.index if is_link_local(address) else 0
            return socket.inet_ntop(socket.AF_INET6, address), port, 0, scope
        for address in info.addresses_by_version(IPVersion.V4Only):
            return f"::ffff:{socket.inet_ntoa(address)}", port, 0, 0
        return None

    async def close(self, *, is_leaving: bool) -> None:
        """Close the sockets; say goodbye to all services before, when the node is leaving."""
        if is_leaving:
            self.replace(())
        self._zeroconf.registry = _Registry()
        await AsyncZeroconf(zc=self._zeroconf).async_close()

    def _send_goodbyes(self, goodbyes: Sequence[_Goodbye]) -> None:
        # The host's addresses stay: another node on this machine may have the same name.
        for goodbye in goodbyes:
            out = DNSOutgoing(_FLAGS_QR_RESPONSE | _FLAGS_AA)
            for info in goodbye.pointers:
                out.add_answer_at_time(info.dns_pointer(override_ttl=0), 0)
            if goodbye.instance is not None:
                out.add_answer_at_time(goodbye.instance.dns_service(override_ttl=0), 0)
                out.add_answer_at_time(goodbye.instance.dns_text(override_ttl=0), 0)
            if goodbye.pointers or goodbye.instance is not None:
                self._zeroconf.async_send(out)

    def _describe(self, service: Service) -> _Advertised:
        kind = f"{service.type}.local."
        main = self._info(service, kind)
        subtypes = [self._info(service, f"{each}._sub.{kind}") for each in service.subtypes]
        for info in subtypes:
            # The registry is keyed by instance name, which all of them share.
            info.key = f"{info.type} {info.key}".lower()
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


async def _begin(interface: Interface, host: str) -> _Responder | None:
    """Return a responder that hears and speaks, or None where that is not possible."""
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


class _Goodbye(Struct, frozen=True):
    pointers: list[ServiceInfo]
    instance: ServiceInfo | None


class MdnsAdvertiser:
    """Advertises a node's services on its interfaces, as these come, change and go.

    `names` chooses interfaces; empty means all that serve a network. `update` may be
    called before `start`. `on_changed` is called when the interfaces are others. All
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
        # Interfaces may change while the sockets of the first ones are still being opened.
        self._following = asyncio.Lock()
        self._has_changed = False
        self._is_closed = False

    @property
    def interfaces(self) -> list[Interface]:
        """Return the interfaces that are in use now."""
        return [responder.interface for responder in self._responders.values()]

    @property
    def services(self) -> tuple[Service, ...]:
        """Return what is advertised."""
        return self._services

    @property
    def chosen(self) -> tuple[Interface, ...]:
        """Return the interfaces that are meant, in use or not."""
        return self._chosen

    @property
    def host(self) -> str:
        """Return the host name without `.local`."""
        return self._host

    async def start(self) -> None:
        """Open the sockets, announce, and watch the interfaces from now on.

        Raises ConfigError when a chosen interface does not exist.
        """
        loop = asyncio.get_running_loop()
        self._monitor = InterfaceMonitor()
        loop.add_reader(self._monitor.fileno(), self._on_network_change)
        await self._follow(select_interfaces(self._names, interfaces()))

    def update(self, services: Sequence[Service]) -> None:
        """Advertise exactly these services from now on."""
        self._services = tuple(services)
        for responder in self._responders.values():
            responder.replace(self._services)
        self._announce_again()

    async def resolve(self, kind: str, instance: str) -> Address | None:
        """Return where a service is: its address as for an IPv6 socket, or None.

        `kind` is like `_matter._tcp`. The link that answers first counts.
        """
        asking = [
            asyncio.ensure_future(responder.resolve(kind, instance))
            for responder in self._responders.values()
        ]
        try:
            for answer in asyncio.as_completed(asking):
                if (address := await answer) is not None:
                    return address
            return None
        finally:
            for each in asking:
                each.cancel()

    async def close(self) -> None:
        """Say goodbye and close everything. May be repeated."""
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
            self._change = asyncio.get_running_loop().create_task(self._look_again())

    async def _look_again(self) -> None:
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
                await self._follow([found[name] for name in self._names if name in found])
            else:
                await self._follow(select_interfaces((), found.values()))

    async def _follow(self, chosen: Sequence[Interface]) -> None:
        async with self._following:
            await self._use(chosen)

    async def _use(self, chosen: Sequence[Interface]) -> None:
        has_changed = tuple(chosen) != self._chosen
        self._chosen = tuple(chosen)
        usable = {each.index: each for each in chosen if each.is_up and each.addresses}
        if not self._host:
            self._host = host_name(chosen)
        for index, responder in list(self._responders.items()):
            if usable.get(index) != responder.interface:
                del self._responders[index]
                await responder.close(is_leaving=index not in usable)
        for index, interface in usable.items():
            if index in self._responders or self._is_closed:
                continue
            begun = await _begin(interface, self._host)
            if begun is None:
                continue
            self._responders[index] = begun
            begun.replace(self._services)
            _LOGGER.info("DNS-SD on %s as %s.local", interface.name, self._host)
            self._announce_again()
        if has_changed:
            self._on_changed()

    def _announce_again(self) -> None:
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
