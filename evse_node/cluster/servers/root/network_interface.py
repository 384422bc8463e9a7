"""Network interfaces of the node, for the diagnostic clusters.

Spec: Matter Core 1.3 "NetworkInterface Type"
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import TypeAlias

from msgspec import Struct


class InterfaceType(IntEnum):
    """Spec: Matter Core 1.3 "InterfaceTypeEnum"."""

    UNSPECIFIED = 0
    WI_FI = 1
    ETHERNET = 2
    CELLULAR = 3
    THREAD = 4


class NetworkInterface(Struct, frozen=True):
    """An interface: `hardware_address` 6 or 8 bytes, addresses of 4 and of 16 bytes."""

    name: str
    is_operational: bool
    hardware_address: bytes
    ipv4_addresses: tuple[bytes, ...] = ()
    ipv6_addresses: tuple[bytes, ...] = ()
    type: InterfaceType = InterfaceType.ETHERNET


# Returns the present interfaces, the one in use first.
Interfaces: TypeAlias = Callable[[], Sequence[NetworkInterface]]
