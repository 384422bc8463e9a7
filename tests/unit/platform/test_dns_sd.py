"""The DNS-SD shell on the loopback interface, asked by hand-made queries."""

from __future__ import annotations

import asyncio
import secrets
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from msgspec.structs import replace
from zeroconf import NotRunningException, Zeroconf
from zeroconf._dns import DNSAddress, DNSPointer, DNSRecord, DNSService, DNSText
from zeroconf._protocol.incoming import DNSIncoming

from evse_node.errors import ConfigError
from evse_node.matter.fabrics.discovery import Service
from evse_node.platform import dns_sd as mdns
from evse_node.platform.dns_sd import MdnsAdvertiser
from evse_node.platform.interfaces import Interface, InterfaceMonitor

PTR, TXT, SRV, A, AAAA = 12, 16, 33, 1, 28
TYPE = "_matterc._udp.local."
# Other nodes may be on this interface at the same time, so each run has names of its own.
NAME = secrets.token_hex(8).upper()
OTHER_NAME = secrets.token_hex(8).upper()
INSTANCE = f"{NAME}.{TYPE}"
LONG = f"_L{secrets.randbelow(4096)}"


SERVICE = Service(
    "_matterc._udp", NAME, 5540, (LONG, "_S15", "_CM"), {"D": "3840", "VP": "65521+32769"}
)


class Listener:
    """Receiver of all multicast DNS on loopback."""

    def __init__(self) -> None:
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.udp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.udp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        loopback = socket.inet_aton("127.0.0.1")
        self.udp.setsockopt(
            socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton("224.0.0.251") + loopback
        )
        self.udp.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, loopback)
        self.udp.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo\0")
        self.udp.bind(("224.0.0.251", 5353))

    async def query_once(
        self, name: str, kind: int, wanted: Callable[[DNSRecord], bool]
    ) -> list[DNSRecord]:
        """Query from a port of its own, which receives the answers (RFC 6762 section 6.7).

        Returns the records of the first answer that has a wanted one.
        """
        labels = b"".join(bytes([len(each)]) + each.encode() for each in name.split(".") if each)
        header = struct.pack(">6H", secrets.randbelow(0x10000), 0, 1, 0, 0, 0)
        question = labels + b"\0" + struct.pack(">HH", kind, 1)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as udp:
            loopback = socket.inet_aton("127.0.0.1")
            udp.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, loopback)
            udp.sendto(header + question, ("224.0.0.251", 5353))
            return await self._first(udp, wanted)

    def query(self, name: str, kind: int) -> None:
        """Query from the multicast port, as hosts do that follow a service."""
        labels = b"".join(bytes([len(each)]) + each.encode() for each in name.split(".") if each)
        question = labels + b"\0" + struct.pack(">HH", kind, 1)
        self.udp.sendto(struct.pack(">6H", 0, 0, 1, 0, 0, 0) + question, ("224.0.0.251", 5353))

    async def receive(self, wanted: Callable[[DNSRecord], bool]) -> list[DNSRecord]:
        """Return the records of the first response that has a wanted one."""
        return await self._first(self.udp, wanted)

    async def _first(
        self, udp: socket.socket, wanted: Callable[[DNSRecord], bool]
    ) -> list[DNSRecord]:
        async with asyncio.timeout(5):
            while True:
                message = DNSIncoming(await asyncio.get_running_loop().sock_recv(udp, 9000))
                records = [] if message.is_query() else message.answers()
                if any(wanted(record) for record in records):
                    return records


def is_pointer(
    name: str, ttl: int | None = None, alias: str = INSTANCE
) -> Callable[[DNSRecord], bool]:
    return lambda record: (
        isinstance(record, DNSPointer)
        and (record.name, record.alias) == (name, alias)
        and ttl in (None, record.ttl)
    )


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener()
    yield listener
    listener.udp.close()


@pytest.fixture
async def advertiser() -> AsyncIterator[MdnsAdvertiser]:
    advertiser = MdnsAdvertiser(("lo",))
    await advertiser.start()
    yield advertiser
    await advertiser.close()


async def test_no_answer_follows_the_goodbye(
    advertiser: MdnsAdvertiser, listener: Listener
) -> None:
    advertiser.update([SERVICE])
    # The answer to a query within a second of the announcement is delayed.
    for _ in range(3):
        listener.query(f"{LONG}._sub.{TYPE}", PTR)
        await asyncio.sleep(0.05)
    advertiser.update(())
    await listener.receive(is_pointer(f"{LONG}._sub.{TYPE}", ttl=0))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(2):
            await listener.receive(
                lambda record: (
                    isinstance(record, DNSPointer) and record.alias == INSTANCE and record.ttl > 0
                )
            )


async def test_announcement_has_pointers_service_text_and_addresses(
    advertiser: MdnsAdvertiser, listener: Listener
) -> None:
    advertiser.update([SERVICE])
    records = await listener.receive(is_pointer(TYPE))
    pointers = {(each.name, each.alias) for each in records if isinstance(each, DNSPointer)}
    assert pointers == {
        (TYPE, INSTANCE),
        (f"{LONG}._sub.{TYPE}", INSTANCE),
        (f"_S15._sub.{TYPE}", INSTANCE),
        (f"_CM._sub.{TYPE}", INSTANCE),
    }
    (service,) = [each for each in records if isinstance(each, DNSService)]
    assert (service.name, service.port, service.server) == (INSTANCE, 5540, "020000000001.local.")
    (text,) = [each for each in records if isinstance(each, DNSText)]
    assert text.text == b"\x06D=3840\x0eVP=65521+32769"
    addresses = {each.address for each in records if isinstance(each, DNSAddress)}
    assert bytes([127, 0, 0, 1]) in addresses


@pytest.mark.parametrize(
    "name", [TYPE, f"{LONG}._sub.{TYPE}", f"_CM._sub.{TYPE}"], ids=["type", "long", "commissioning"]
)
async def test_query_for_type_or_subtype_is_answered_with_the_instance(
    advertiser: MdnsAdvertiser, listener: Listener, name: str
) -> None:
    advertiser.update([SERVICE])
    records = await listener.query_once(name, PTR, is_pointer(name))
    (pointer,) = [each for each in records if isinstance(each, DNSPointer)]
    assert pointer.alias == INSTANCE
    assert any(isinstance(each, DNSService) and each.port == 5540 for each in records)
    assert any(isinstance(each, DNSText) and b"D=3840" in each.text for each in records)


async def test_subtypes_are_not_listed_as_service_types(
    advertiser: MdnsAdvertiser, listener: Listener
) -> None:
    advertiser.update([SERVICE])
    types = "_services._dns-sd._udp.local."
    records = await listener.query_once(types, PTR, is_pointer(types, alias=TYPE))
    assert not any("_sub" in each.alias for each in records if isinstance(each, DNSPointer))


async def test_removed_subtype_gets_goodbye_and_others_stay(
    advertiser: MdnsAdvertiser, listener: Listener
) -> None:
    advertiser.update([SERVICE])
    advertiser.update([replace(SERVICE, subtypes=(LONG,), txt={"D": "3840", "CM": "0"})])
    goodbye = await listener.receive(is_pointer(f"_CM._sub.{TYPE}", ttl=0))
    assert {each.name for each in goodbye} == {f"_CM._sub.{TYPE}", f"_S15._sub.{TYPE}"}
    again = await listener.receive(is_pointer(f"{LONG}._sub.{TYPE}"))
    assert any(isinstance(each, DNSText) and b"CM=0" in each.text for each in again)


async def test_removed_service_gets_goodbye_and_host_stays(
    advertiser: MdnsAdvertiser, listener: Listener
) -> None:
    operational = Service("_matter._tcp", OTHER_NAME, 5541, ("_I29",), {})
    advertiser.update([SERVICE, operational])
    advertiser.update([operational])
    goodbye = await listener.receive(is_pointer(TYPE, ttl=0))
    assert {type(each) for each in goodbye} == {DNSPointer, DNSService, DNSText}
    assert all(each.ttl == 0 and "_matterc" in each.name for each in goodbye)
    kind = "_matter._tcp.local."
    assert await listener.query_once(kind, PTR, is_pointer(kind, alias=f"{OTHER_NAME}.{kind}"))


async def test_close_sends_goodbyes(listener: Listener) -> None:
    advertiser = MdnsAdvertiser(("lo",))
    advertiser.update([SERVICE])
    await advertiser.start()
    assert [each.name for each in advertiser.interfaces] == ["lo"]
    await advertiser.close()
    await listener.receive(is_pointer(TYPE, ttl=0))
    await advertiser.close()
    assert advertiser.interfaces == []


async def test_two_nodes_on_one_host_both_answer(
    advertiser: MdnsAdvertiser, listener: Listener
) -> None:
    second = MdnsAdvertiser(("lo",))
    await second.start()
    advertiser.update([SERVICE])
    second.update([replace(SERVICE, instance=OTHER_NAME, port=5541)])
    for alias in (INSTANCE, f"{OTHER_NAME}.{TYPE}"):
        await listener.query_once(TYPE, PTR, is_pointer(TYPE, alias=alias))
    await second.close()


async def test_query_for_host_or_service_is_answered_directly(
    advertiser: MdnsAdvertiser, listener: Listener
) -> None:
    advertiser.update([SERVICE])
    records = await listener.query_once(INSTANCE, SRV, lambda each: isinstance(each, DNSService))
    assert [each.port for each in records if isinstance(each, DNSService)] == [5540]
    for kind, address in ((A, "127.0.0.1"), (AAAA, "::1")):
        packed = socket.inet_pton(socket.AF_INET6 if kind == AAAA else socket.AF_INET, address)
        await listener.query_once(
            f"{advertiser.host}.local.",
            kind,
            lambda each, packed=packed: isinstance(each, DNSAddress) and each.address == packed,  # type: ignore[misc]
        )


async def test_start_rejects_unknown_interface_by_name() -> None:
    advertiser = MdnsAdvertiser(("nowhere0",))
    with pytest.raises(ConfigError, match="interface: 'nowhere0' does not exist"):
        await advertiser.start()
    await advertiser.close()


async def test_interface_without_multicast_is_left_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(zeroconf: Zeroconf, timeout: float = 1.0) -> None:
        raise NotRunningException

    monkeypatch.setattr(Zeroconf, "async_wait_for_start", fail)
    advertiser = MdnsAdvertiser(("lo",))
    await advertiser.start()
    assert "no DNS-SD on lo: NotRunningException" in caplog.text
    advertiser.update([SERVICE])
    assert advertiser.interfaces == []
    await advertiser.close()


async def test_interface_that_changes_during_start_gets_one_responder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A second one would keep answering for what has ended.
    opened: list[object] = []
    open_responder = mdns._open_responder

    async def open_slowly(interface: Interface, host: str) -> object:
        await asyncio.sleep(0.05)
        opened.append(await open_responder(interface, host))
        return opened[-1]

    monkeypatch.setattr(mdns, "_SETTLE_S", 0.0)
    monkeypatch.setattr(mdns, "_open_responder", open_slowly)
    monkeypatch.setattr(InterfaceMonitor, "has_changed", lambda monitor: True)
    advertiser = MdnsAdvertiser(("lo",))
    starting = asyncio.create_task(advertiser.start())
    await asyncio.sleep(0.01)
    advertiser._on_network_change()
    await starting
    assert advertiser._change is not None
    await advertiser._change
    assert list(advertiser._responders.values()) == opened
    await advertiser.close()


async def test_interfaces_are_followed_after_a_failed_read(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse() -> list[Interface]:
        raise OSError("out of memory")

    monkeypatch.setattr(mdns, "_SETTLE_S", 0.0)
    monkeypatch.setattr(InterfaceMonitor, "has_changed", lambda monitor: True)
    changed = asyncio.Event()
    advertiser = MdnsAdvertiser(("lo",), changed.set)
    await advertiser.start()
    changed.clear()
    async with asyncio.timeout(5):
        monkeypatch.setattr(mdns, "interfaces", refuse)
        advertiser._on_network_change()
        while "the network interfaces cannot be read: out of memory" not in caplog.text:
            await asyncio.sleep(0.001)
        monkeypatch.setattr(mdns, "interfaces", list)
        advertiser._on_network_change()
        await changed.wait()
    assert advertiser.interfaces == []
    await advertiser.close()


OPERATIONAL = f"{NAME}-{OTHER_NAME}"


async def test_resolve_returns_address_of_another_node(advertiser: MdnsAdvertiser) -> None:
    other = MdnsAdvertiser(("lo",))
    await other.start()
    try:
        other.update([Service("_matter._tcp", OPERATIONAL, 4711, (), {})])
        found = await advertiser.resolve("_matter._tcp", OPERATIONAL)
    finally:
        await other.close()
    assert found is not None
    host, port, _, scope = found
    assert host in ("::1", "::ffff:127.0.0.1")
    assert (port, scope) == (4711, 0)


async def test_resolve_of_unknown_service_returns_none(
    advertiser: MdnsAdvertiser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evse_node.platform.dns_sd._RESOLVE_MS", 300)
    assert await advertiser.resolve("_matter._tcp", f"{OTHER_NAME}-{NAME}") is None


async def test_resolve_without_interfaces_returns_none() -> None:
    assert await MdnsAdvertiser(("lo",)).resolve("_matter._tcp", OPERATIONAL) is None
