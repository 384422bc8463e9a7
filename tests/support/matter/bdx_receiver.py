"""Receiver of files over BDX, with injectable protocol errors."""

from __future__ import annotations

import struct
from collections.abc import Callable

from evse_node.matter.bdx import PROTOCOL_ID, Opcode
from evse_node.matter.messaging.exchange import Exchange
from evse_node.matter.messaging.message import PROTOCOL_SECURE_CHANNEL, Message
from evse_node.matter.messaging.status_report import StatusReport, decode_status_report
from tests.support.fakes import MessageHost

Answer = tuple[int, bytes]


class BdxReceiver:
    """Receiver of transfers to `host`. `spoil` changes an answer: (protocol, opcode, payload)."""

    def __init__(self, host: MessageHost) -> None:
        self.block_size = 1024
        self.accepts = True
        self.offers: list[tuple[int, int, int, bytes]] = []
        self.blocks: list[tuple[int, bytes]] = []
        self.reports: list[StatusReport] = []
        self.is_complete = False
        self.is_closed = False
        self.spoil: Callable[[int, bytes], tuple[int, int, bytes]] = lambda opcode, payload: (
            PROTOCOL_ID,
            opcode,
            payload,
        )
        host.exchanges.register(PROTOCOL_ID, self._on_offer)

    @property
    def data(self) -> bytes:
        return b"".join(block for _, block in self.blocks)

    def _on_offer(self, exchange: Exchange, message: Message, now: float) -> None:
        assert message.opcode == Opcode.SEND_INIT
        control, range_control, block_size, length = struct.unpack_from("<BBHH", message.payload)
        designator = message.payload[6:]
        assert length == len(designator)
        self.offers.append((control, range_control, block_size, designator))
        exchange.handler = self
        if self.accepts:
            answer = struct.pack("<BH", 0x10, self.block_size)
            self._send(exchange, Opcode.SEND_ACCEPT, answer, now)

    def on_message(self, exchange: Exchange, message: Message, now: float) -> None:
        if message.protocol_id == PROTOCOL_SECURE_CHANNEL:
            self.reports.append(decode_status_report(message.payload))
            exchange.close(now)
            return
        (counter,) = struct.unpack_from("<I", message.payload)
        self.blocks.append((counter, message.payload[4:]))
        self.is_complete = message.opcode == Opcode.BLOCK_EOF
        opcode = Opcode.BLOCK_ACK_EOF if self.is_complete else Opcode.BLOCK_ACK
        self._send(exchange, opcode, struct.pack("<I", counter), now)
        if self.is_complete:
            exchange.close(now)

    def on_closed(self, exchange: Exchange, now: float, failed: bool) -> None:
        self.is_closed = True

    def _send(self, exchange: Exchange, opcode: int, payload: bytes, now: float) -> None:
        protocol, opcode, payload = self.spoil(opcode, payload)
        exchange.send(protocol, opcode, payload, now=now)
