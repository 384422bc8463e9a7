"""Client of another node's time: the trusted time source of Time Synchronization.

It uses an existing session, or else establishes one at the address found by DNS-SD, or at
the last known address.

Spec: Matter Core 1.3 "Time Synchronization Cluster"
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, TypeAlias

from evse_node.errors import DecodeError, SessionError
from evse_node.matter.data_model import AttributePath
from evse_node.matter.interaction.read_client import ReadClient, Values
from evse_node.matter.interaction.subscription_resumption import Connect
from evse_node.matter.messaging.exchange_manager import ExchangeManager
from evse_node.matter.messaging.session import Address, SecureSession
from evse_node.matter.store import Store
from evse_node.matter.tlv import Writer, decode_struct
from evse_node.matter.tlv_fields import expect_integer, expect_text
from evse_node.matter.wall_clock import GivenTime, Granularity, OnTime

_CLUSTER: Final = 0x0038
_UTC_TIME: Final = 0x0000
_GRANULARITY: Final = 0x0001
_STORE_KEY: Final = "time/source"
_LOGGER: Final = logging.getLogger(__name__)

OnFound: TypeAlias = Callable[[Address | None, float], None]
"""`on_found(address, now)` is called once; None when the node was not found."""
FindNode: TypeAlias = Callable[[int, int, OnFound, float], None]
"""`find_node(fabric_index, node_id, on_found, now)` looks for a node on the network."""


class NodeTime:
    """Reader of UTCTime of a node on one of the fabrics.

    The address of the last node is stored for use after a restart.
    """

    def __init__(
        self, exchanges: ExchangeManager, find_node: FindNode, connect: Connect, store: Store
    ) -> None:
        self._exchanges = exchanges
        self._find_node = find_node
        self._connect = connect
        self._store = store

    def read(
        self, fabric_index: int, node_id: int, endpoint: int, on_time: OnTime, now: float
    ) -> None:
        """Read a node's time."""

        def on_session(session: SecureSession | None, now: float) -> None:
            if session is None:
                on_time(None, now)
                return
            self._store_address(fabric_index, node_id, session.address)
            self._read_time(session, endpoint, on_time, now)

        def on_found(address: Address | None, now: float) -> None:
            # The node may have connected meanwhile.
            session = self._exchanges.sessions.find_case(fabric_index, node_id)
            address = address or self._load_address(fabric_index, node_id)
            if session is not None or address is None:
                on_session(session, now)
                return
            try:
                self._connect(fabric_index, node_id, address, on_session, now)
            except SessionError as error:
                _LOGGER.debug("cannot connect to the time source: %s", error)
                on_time(None, now)

        session = self._exchanges.sessions.find_case(fabric_index, node_id)
        if session is not None:
            on_session(session, now)
        else:
            self._find_node(fabric_index, node_id, on_found, now)

    def _read_time(
        self, session: SecureSession, endpoint: int, on_time: OnTime, now: float
    ) -> None:
        time = AttributePath(endpoint, _CLUSTER, _UTC_TIME)
        granularity = AttributePath(endpoint, _CLUSTER, _GRANULARITY)

        def on_values(values: Values | None, now: float) -> None:
            values = values or {}
            on_time(_given(values.get(time), values.get(granularity)), now)

        try:
            ReadClient(on_values).start(self._exchanges, session, (time, granularity), now)
        except SessionError as error:
            _LOGGER.debug("cannot read the time source: %s", error)
            on_time(None, now)

    def _store_address(self, fabric_index: int, node_id: int, address: Address) -> None:
        if self._load_address(fabric_index, node_id) == address:
            return
        writer = Writer()
        writer.start_structure()
        writer.uint(0, fabric_index)
        writer.uint(1, node_id)
        writer.utf8(2, address[0])
        writer.uint(3, address[1])
        writer.uint(4, address[3])
        writer.end()
        self._store.set(_STORE_KEY, writer.getvalue())

    def _load_address(self, fabric_index: int, node_id: int) -> Address | None:
        data = self._store.get(_STORE_KEY)
        if data is None:
            return None
        try:
            members = decode_struct(data)
            if (members.get(0), members.get(1)) != (fabric_index, node_id):
                return None
            host = expect_text(members.get(2))
            return host, expect_integer(members.get(3)), 0, expect_integer(members.get(4))
        except DecodeError:
            return None


def _given(epoch_us: object, granularity: object) -> GivenTime | None:
    # Exact types: a signed integer or a boolean counts as an int, too.
    if type(epoch_us) is not int or type(granularity) is not int:
        return None
    if granularity not in _GRANULARITIES:
        return None
    return GivenTime(epoch_us, Granularity(granularity))


_GRANULARITIES: Final = frozenset(Granularity)
