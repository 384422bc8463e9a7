"""All that this package uses of zeroconf beyond its public interface, each with its reason.

A new version may rename any of it, so pyproject.toml bounds the version on both sides, and
tests/unit/platform/test_zeroconf_internals.py names what a version lacks. The lower bound is
also the first tested version whose cache of other hosts' records has a limit.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Collection, Iterable
from typing import Final, TypeAlias

from zeroconf import ServiceInfo, Zeroconf

# Common base of the records that a message may carry.
from zeroconf._dns import DNSRecord

# Answers questions from the registry it was created with; a new registry needs a new handler.
from zeroconf._handlers.query_handler import QueryHandler

# Messages of chosen records: `register_service` would probe first, announce each subtype as an
# instance of its own, and has no goodbye for a single subtype.
from zeroconf._protocol.outgoing import DNSOutgoing

# Base of the registry below.
from zeroconf._services.registry import ServiceRegistry
from zeroconf.const import _FLAGS_AA, _FLAGS_QR_RESPONSE

Record: TypeAlias = DNSRecord

_LOGGER: Final = logging.getLogger(__name__)


class _Registry(ServiceRegistry):
    """Registry that holds subtypes, but does not list them as types (RFC 6763 section 9)."""

    def async_get_types(self) -> list[str]:
        return [name for name in super().async_get_types() if "._sub." not in name]


def reset_registry(zeroconf: Zeroconf) -> ServiceRegistry:
    """Give a Zeroconf an empty registry for services with subtypes, and return it."""
    zeroconf.registry = _Registry()
    zeroconf.query_handler = QueryHandler(zeroconf)
    return zeroconf.registry


def make_distinct(subtype: ServiceInfo) -> None:
    """Give a subtype's entry a key of its own: the registry's is the instance name."""
    subtype.key = f"{subtype.type} {subtype.key}".lower()


def bind_to_interface(zeroconf: Zeroconf, interface: str) -> None:
    """Bind the receiving sockets to the interface, so that they receive from no other."""
    name = interface.encode() + b"\0"
    for reader in zeroconf.engine.readers:
        udp = reader.transport.get_extra_info("socket")
        try:
            udp.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name)
        except OSError as error:  # old kernels let only root do this; answers still go out
            _LOGGER.debug("cannot bind to %s: %s", interface, error)


def discard_answers(zeroconf: Zeroconf, records: Collection[Record]) -> None:
    """Drop records from delayed answers; RFC 6762 delays some for more than a second."""
    for waiting in (zeroconf.out_queue, zeroconf.out_delay_queue):
        for group in waiting.queue:
            for record in records:
                group.answers.pop(record, None)


def send_records(zeroconf: Zeroconf, records: Iterable[Record]) -> None:
    """Send records in an unsolicited response."""
    out = DNSOutgoing(_FLAGS_QR_RESPONSE | _FLAGS_AA)
    for record in records:
        out.add_answer_at_time(record, 0)
    zeroconf.async_send(out)
