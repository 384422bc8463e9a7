"""The Secure Channel protocol of a node: dispatch of messages that open an exchange.

Spec: Matter Core 1.3 "Secure Channel Protocol"
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from evse_node.matter.fabrics.fabric import FabricTable
from evse_node.matter.messaging.exchange import Exchange
from evse_node.matter.messaging.exchange_manager import ExchangeManager
from evse_node.matter.messaging.message import PROTOCOL_SECURE_CHANNEL, Message
from evse_node.matter.messaging.session import Address, SecureSession, SessionParameters
from evse_node.matter.messaging.status_report import Opcode, decode_status_report
from evse_node.matter.secure_channel.case import CaseCredentials
from evse_node.matter.secure_channel.case_initiator import CaseCall, CaseInitiator, OnDone
from evse_node.matter.secure_channel.case_responder import CaseResponder
from evse_node.matter.secure_channel.certificate_time import LastKnownGoodTime
from evse_node.matter.secure_channel.pase import CommissioningWindowPort, PaseResponder
from evse_node.matter.secure_channel.session_resumption import ResumptionStore
from evse_node.matter.store import Store
from evse_node.matter.timers import Timers

_LOGGER: Final = logging.getLogger(__name__)


class SecureChannel:
    """Establishment and end of sessions; registers itself with the exchange manager.

    `utc_ms` is Unix time in milliseconds, or None while the clock is not set;
    `certificate_time.now()` is the time for validity checks of certificates.
    """

    def __init__(
        self,
        exchanges: ExchangeManager,
        fabrics: FabricTable,
        window: CommissioningWindowPort,
        store: Store,
        timers: Timers,
        parameters: SessionParameters,
        random_bytes: Callable[[int], bytes],
        utc_ms: Callable[[], int | None],
    ) -> None:
        self._sessions = sessions = exchanges.sessions
        self._fabrics = fabrics
        self.resumption = ResumptionStore(store, fabrics)
        self.certificate_time = LastKnownGoodTime(store, fabrics, utc_ms)
        credentials = CaseCredentials(
            sessions,
            fabrics,
            self.resumption,
            parameters,
            random_bytes,
            self.certificate_time.now,
        )
        self.pase = PaseResponder(sessions, timers, window, parameters, random_bytes)
        self.case = CaseResponder(credentials)
        self.initiator = CaseInitiator(credentials, exchanges)
        self._credentials = credentials
        # This node's NOC by fabric index.
        self._nocs = {fabric.index: fabric.noc for fabric in fabrics}
        fabrics.on_added.append(self._on_fabric_changed)
        fabrics.on_updated.append(self._on_fabric_changed)
        fabrics.on_removed.append(self._on_fabric_changed)
        fabrics.on_committed.append(self.resumption.make_lasting)
        exchanges.register(PROTOCOL_SECURE_CHANNEL, self.on_message)

    def on_message(self, exchange: Exchange, message: Message, now: float) -> None:
        """Process a message that opens an exchange; unexpected opcodes are ignored."""
        opcode = message.opcode
        if opcode == Opcode.CASE_SIGMA1:
            self.case.on_sigma1(exchange, message, now)
        elif opcode == Opcode.PBKDF_PARAM_REQUEST:
            self.pase.on_request(exchange, message, now)
        elif opcode == Opcode.STATUS_REPORT:
            self._on_status_report(exchange, message, now)
        else:
            _LOGGER.debug("secure channel opcode 0x%02X opens no exchange", opcode)

    def connect(
        self,
        fabric_index: int,
        peer_node_id: int,
        address: Address,
        on_done: OnDone,
        now: float,
        parameters: SessionParameters | None = None,
    ) -> CaseCall:
        """Establish a CASE session; see `CaseInitiator.connect`."""
        return self.initiator.connect(fabric_index, peer_node_id, address, on_done, now, parameters)

    def _on_status_report(self, exchange: Exchange, message: Message, now: float) -> None:
        session = exchange.session
        if not isinstance(session, SecureSession):
            return
        if decode_status_report(message.payload).is_close_session:
            _LOGGER.info("peer has closed session %d", session.local_id)
            self._sessions.remove(session, now)

    def _on_fabric_changed(self, index: int) -> None:
        fabric = self._fabrics.get(index)
        noc = None if fabric is None else fabric.noc
        if self._nocs.get(index) == noc:
            return
        if noc is None:
            del self._nocs[index]
        else:
            self._nocs[index] = noc
        self._credentials.remove_fabric(index)
