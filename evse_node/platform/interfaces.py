"""The machine's network interfaces and their addresses, read from the kernel by rtnetlink."""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from msgspec import Struct

from evse_node.errors import ConfigError

_RTM_NEWLINK: Final = 16
_RTM_GETLINK: Final = 18
_RTM_NEWADDR: Final = 20
_RTM_GETADDR: Final = 22
_NLMSG_ERROR: Final = 2
_NLMSG_DONE: Final = 3
_REQUEST_DUMP: Final = 0x301  # NLM_F_REQUEST | NLM_F_ROOT | NLM_F_MATCH
_GROUPS: Final = 0x1 | 0x10 | 0x100  # links, IPv4 addresses, IPv6 addresses

_IFLA_ADDRESS: Final = 1
_IFLA_IFNAME: Final = 3
_IFA_ADDRESS: Final = 1
_IFA_LOCAL: Final = 2
_IFA_FLAGS: Final = 8

_IFF_UP: Final = 0x1
_IFF_LOOPBACK: Final = 0x8
_IFF_RUNNING: Final = 0x40
_IFF_MULTICAST: Final = 0x1000
_IFA_F_TEMPORARY: Final = 0x01
_IFA_F_DADFAILED: Final = 0x08
_IFA_F_DEPRECATED: Final = 0x20
_IFA_F_TENTATIVE: Final = 0x40

ARPHRD_ETHER: Final = 1
ARPHRD_IEEE802154: Final = 804


class Interface(Struct, frozen=True):
    """A network interface. `hardware_address` is empty when it has none.

    `ipv4` holds addresses of 4 bytes, `ipv6` of 16 bytes, without tentative, deprecated and
    temporary ones, link-local first.
    """

    name: str
    index: int
    kind: int
    is_up: bool
    is_running: bool
    is_loopback: bool
    is_multicast: bool
    hardware_address: bytes
    ipv4: tuple[bytes, ...]
    ipv6: tuple[bytes, ...]

    @property
    def addresses(self) -> tuple[bytes, ...]:
        """Return all addresses, IPv6 first."""
        return self.ipv6 + self.ipv4


def interfaces() -> list[Interface]:
    """Return all interfaces of this network namespace in order of their index."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as netlink:
        links = list(_dump(netlink, _RTM_GETLINK, _RTM_NEWLINK))
        addresses = list(_dump(netlink, _RTM_GETADDR, _RTM_NEWADDR))
    by_index: dict[int, list[bytes]] = {}
    for body in addresses:
        index, address = _parse_address(body)
        if address:
            by_index.setdefault(index, []).append(address)
    found = (_parse_link(body, by_index) for body in links)
    return sorted(found, key=lambda interface: interface.index)


def select_interfaces(names: Collection[str], found: Collection[Interface]) -> list[Interface]:
    """Return the named interfaces; without names, all for multicast that are up, but not loopback.

    Raises ConfigError for a name that no interface has.
    """
    known = {interface.name: interface for interface in found}
    if names:
        for name in names:
            if name not in known:
                raise ConfigError(
                    f"interface: '{name}' does not exist: give one of {', '.join(known)}"
                )
        return [known[name] for name in names]
    return [
        interface
        for interface in found
        if interface.is_up and interface.is_multicast and not interface.is_loopback
    ]


def host_name(found: Collection[Interface]) -> str:
    """Return the DNS-SD host name: the hardware address as 12 or 16 upper-case hex digits.

    Interfaces without one (loopback) give a name derived from their index.
    Spec: Matter Core 1.3 "Host Name Construction"
    """
    for interface in found:
        if len(interface.hardware_address) in (6, 8):
            return interface.hardware_address.hex().upper()
    index = min((interface.index for interface in found), default=1)
    return placeholder_address(index).hex().upper()


def placeholder_address(index: int) -> bytes:
    """Return a locally administered address for an interface that has none."""
    return b"\x02\x00\x00\x00" + index.to_bytes(2, "big")


def is_wireless(name: str) -> bool:
    """Return whether an interface is Wi-Fi."""
    return Path(f"/sys/class/net/{name}/phy80211").exists()


class InterfaceMonitor:
    """Netlink socket that becomes readable when a link or an address changes."""

    def __init__(self) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
        )
        self._socket.bind((0, _GROUPS))

    def fileno(self) -> int:
        """Return the file descriptor to wait on."""
        return self._socket.fileno()

    def has_changed(self) -> bool:
        """Read all notifications; return whether there were any, or some were lost."""
        changed = False
        while True:
            try:
                self._socket.recv(65536)
            except BlockingIOError:
                return changed
            except OSError:  # ENOBUFS: notifications were lost
                return True
            changed = True

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def _dump(netlink: socket.socket, request: int, reply: int) -> Iterator[bytes]:
    message = struct.pack("=IHHIIB3x", 20, request, _REQUEST_DUMP, 1, 0, socket.AF_UNSPEC)
    netlink.sendto(message, (0, 0))
    while True:
        data = netlink.recv(65536)
        offset = 0
        while offset + 16 <= len(data):
            length, kind = struct.unpack_from("=IH", data, offset)
            if kind in (_NLMSG_DONE, _NLMSG_ERROR) or length < 16:
                return
            if kind == reply:
                yield data[offset + 16 : offset + length]
            offset += (length + 3) & ~3


def _attributes(body: bytes, offset: int) -> Iterator[tuple[int, bytes]]:
    while offset + 4 <= len(body):
        length, kind = struct.unpack_from("=HH", body, offset)
        if length < 4:
            return
        yield kind & 0x3FFF, body[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def _parse_link(body: bytes, addresses: dict[int, list[bytes]]) -> Interface:
    kind, index, flags = struct.unpack_from("=2xHiI", body, 0)
    attributes = dict(_attributes(body, 16))
    own = addresses.get(index, [])
    ipv6 = [address for address in own if len(address) == 16]
    hardware_address = attributes.get(_IFLA_ADDRESS, b"")
    return Interface(
        name=attributes.get(_IFLA_IFNAME, b"").rstrip(b"\0").decode(errors="replace"),
        index=index,
        kind=kind,
        is_up=bool(flags & _IFF_UP),
        is_running=bool(flags & _IFF_RUNNING),
        is_loopback=bool(flags & _IFF_LOOPBACK),
        is_multicast=bool(flags & _IFF_MULTICAST),
        hardware_address=hardware_address if any(hardware_address) else b"",
        ipv4=tuple(address for address in own if len(address) == 4),
        ipv6=tuple(sorted(ipv6, key=lambda address: not is_link_local(address))),
    )


def _parse_address(body: bytes) -> tuple[int, bytes]:
    flags, index = struct.unpack_from("=2xBxI", body, 0)
    attributes = dict(_attributes(body, 8))
    if _IFA_FLAGS in attributes:
        (flags,) = struct.unpack_from("=I", attributes[_IFA_FLAGS], 0)
    unusable = _IFA_F_TEMPORARY | _IFA_F_DADFAILED | _IFA_F_DEPRECATED | _IFA_F_TENTATIVE
    address = attributes.get(_IFA_LOCAL) or attributes.get(_IFA_ADDRESS, b"")
    # For IPv4, bit 0 means "secondary", not "temporary".
    if flags & (unusable if len(address) == 16 else unusable & ~_IFA_F_TEMPORARY):
        return index, b""
    return index, address


def is_link_local(address: bytes) -> bool:
    """Return whether a packed address is valid on its own link only."""
    return ipaddress.ip_address(address).is_link_local
