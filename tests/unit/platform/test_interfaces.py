"""Interfaces from rtnetlink: the real loopback, and made-up messages."""

from __future__ import annotations

import socket
import struct

import pytest

from evse_node.errors import ConfigError
from evse_node.platform import interfaces as network
from evse_node.platform.interfaces import (
    Interface,
    InterfaceMonitor,
    host_name,
    interfaces,
    select_interfaces,
)

LINK_LOCAL = socket.inet_pton(socket.AF_INET6, "fe80::1")
GLOBAL = socket.inet_pton(socket.AF_INET6, "fd00::1")


def interface(name: str, index: int, *, mac: bytes = b"", up: bool = True) -> Interface:
    return Interface(
        name=name,
        index=index,
        kind=network.ARPHRD_ETHER,
        is_up=up,
        is_running=up,
        is_loopback=name == "lo",
        is_multicast=name != "lo",
        hardware_address=mac,
        ipv4=(),
        ipv6=(),
    )


LO = interface("lo", 1)
ETH0 = interface("eth0", 2, mac=bytes.fromhex("b827eb000a0f"))
ETH1 = interface("eth1", 3, mac=bytes.fromhex("b827eb000a10"), up=False)
THREAD = interface("wpan0", 4, mac=bytes.fromhex("0123456789abcdef"))


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", len(value) + 4, kind) + value + bytes(-len(value) % 4)


def test_loopback_is_found_with_its_address() -> None:
    loopback = next(each for each in interfaces() if each.name == "lo")
    assert loopback.is_loopback
    assert loopback.hardware_address == b""
    assert bytes([127, 0, 0, 1]) in loopback.addresses


def test_link_message_is_parsed() -> None:
    body = struct.pack("=BBHiII", 0, 0, 1, 7, 0x1 | 0x40 | 0x1000, 0)
    body += attribute(3, b"eth7\0") + attribute(1, b"\xb8\x27\xeb\0\n\x0f")
    found = network._parse_link(body, {7: [b"\x0a\0\0\x01", GLOBAL, LINK_LOCAL]})
    assert (found.name, found.index, found.kind) == ("eth7", 7, 1)
    assert (found.is_up, found.is_running, found.is_loopback) == (True, True, False)
    assert found.is_multicast
    assert found.addresses == (LINK_LOCAL, GLOBAL, b"\x0a\0\0\x01")
    assert found.hardware_address.hex() == "b827eb000a0f"


@pytest.mark.parametrize(
    ("flags", "is_usable"),
    [(0x80, True), (0x280, True), (0x01, False), (0x08, False), (0x20, False), (0x40, False)],
)
def test_only_usable_ipv6_addresses_count(flags: int, is_usable: bool) -> None:
    body = struct.pack("=BBBBI", socket.AF_INET6, 64, flags & 0xFF, 0, 7)
    body += attribute(1, GLOBAL) + attribute(8, struct.pack("=I", flags))
    assert network._parse_address(body) == (7, GLOBAL if is_usable else b"")


def test_secondary_ipv4_address_is_usable_and_local_precedes_peer() -> None:
    body = struct.pack("=BBBBI", socket.AF_INET, 24, 0x01, 0, 7)
    body += attribute(1, b"\x0a\0\0\x09") + attribute(2, b"\x0a\0\0\x02")
    assert network._parse_address(body) == (7, b"\x0a\0\0\x02")


def test_truncated_attribute_ends_the_list() -> None:
    assert list(network._attributes(b"\x02\0\0\0rest", 0)) == []


def test_selection_without_names_has_every_multicast_interface() -> None:
    assert select_interfaces((), [LO, ETH0, ETH1, THREAD]) == [ETH0, THREAD]


def test_named_interfaces_are_selected_in_any_state() -> None:
    assert select_interfaces(("eth1", "lo"), [LO, ETH0, ETH1]) == [ETH1, LO]
    with pytest.raises(ConfigError, match="interface: 'eth9' does not exist: give one of lo, eth0"):
        select_interfaces(("eth9",), [LO, ETH0])


def test_host_name_is_the_first_hardware_address() -> None:
    assert host_name([LO, ETH0]) == "B827EB000A0F"
    assert host_name([THREAD, ETH0]) == "0123456789ABCDEF"
    assert host_name([LO]) == "020000000001"


def test_monitor_reports_no_change_while_nothing_changes() -> None:
    monitor = InterfaceMonitor()
    assert monitor.fileno() >= 0
    assert monitor.has_changed() is False
    monitor.close()
