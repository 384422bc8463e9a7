"""SNTP client: one request to an NTP server. (ntplib would block the loop.)

Spec: RFC 4330
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from evse_node.errors import DecodeError
from evse_node.matter.wall_clock import GivenTime, Granularity, OnTime
from evse_node.platform.task_set import TaskSet

NTP_PORT: Final = 123
_TIMEOUT_S: Final = 3.0
_ADDRESSES: Final = 4
# Limits the threads started by a controller that sets one name after another.
_MAX_LOOKUPS: Final = 4
_PACKET: Final = struct.Struct("!BBBb3I4Q")
_VERSION_AND_CLIENT: Final = 4 << 3 | 3
_SERVER: Final = 4
_NOT_SYNCHRONIZED: Final = 3
_MAX_STRATUM: Final = 15
_FRACTION: Final = 1 << 32
_ERA_S: Final = 1 << 32
# The Matter epoch, 2000-01-01, in seconds since 1900.
_MATTER_EPOCH_S: Final = 3_155_673_600
_S: Final = 1_000_000

_LOGGER: Final = logging.getLogger(__name__)


def encode_request(nonce: bytes) -> bytes:
    """Encode a request. The response repeats `nonce` (8 bytes)."""
    stamp = int.from_bytes(nonce, "big")
    return _PACKET.pack(_VERSION_AND_CLIENT, 0, 0, 0, 0, 0, 0, 0, 0, 0, stamp)


def decode_response(data: bytes, nonce: bytes, round_trip_s: float) -> int:
    """Return the Matter time in microseconds at which the response arrived.

    `round_trip_s` is the time between request and response. Raises DecodeError for a response
    to another request, or from a server that is not synchronized.
    """
    if len(data) < _PACKET.size:
        raise DecodeError("NTP message is truncated")
    flags, stratum, *_, origin, received, sent = _PACKET.unpack_from(data)
    if origin != int.from_bytes(nonce, "big"):
        raise DecodeError("NTP message does not belong to the request")
    if flags & 7 != _SERVER or flags >> 6 == _NOT_SYNCHRONIZED:
        raise DecodeError("NTP message of a server that is not synchronized")
    if not 0 < stratum <= _MAX_STRATUM or not sent:
        raise DecodeError(f"NTP server of stratum {stratum}")
    # Without the time that the server took.
    latency_s = max(0.0, round_trip_s - max(0, sent - received) / _FRACTION) / 2
    seconds, fraction = divmod(int(sent), _FRACTION)
    # Times before 2000 belong to the era that begins in 2036.
    if seconds < _MATTER_EPOCH_S:
        seconds += _ERA_S
    return (seconds - _MATTER_EPOCH_S) * _S + fraction * _S // _FRACTION + int(latency_s * _S)


_Found: TypeAlias = tuple[int, int, int, str, tuple[object, ...]]


class NtpClient:
    """Queries of servers, in tasks of the running event loop.

    `on_done` is called after each response, so that resulting messages can be sent.
    """

    def __init__(
        self,
        random_bytes: Callable[[int], bytes],
        monotonic: Callable[[], float],
        on_done: Callable[[], None],
        port: int = NTP_PORT,
    ) -> None:
        self._random_bytes = random_bytes
        self._monotonic = monotonic
        self._on_done = on_done
        self._port = port
        self._tasks = TaskSet()
        self.close = self._tasks.close
        self._lookups = 0

    def query(self, host: str, on_time: OnTime, now: float) -> None:
        """Query a server, given by name or address."""
        self._tasks.start(self._query(host, on_time))

    async def _query(self, host: str, on_time: OnTime) -> None:
        time = await self._request(host)
        on_time(time, self._monotonic())
        self._on_done()

    async def _request(self, host: str) -> GivenTime | None:
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                found = await self._look_up(host)
        except (OSError, UnicodeError) as error:  # unknown or invalid name
            _LOGGER.debug("NTP server %s is unknown: %s", host, error)
            return None
        for family, _, _, _, address in found[:_ADDRESSES]:
            try:
                async with asyncio.timeout(_TIMEOUT_S):
                    epoch_us = await self._exchange(family, address)
            except (OSError, DecodeError) as error:
                _LOGGER.debug("NTP server %s: %s", address[0], error or "no answer")
            else:
                return GivenTime(epoch_us, Granularity.MILLISECONDS)
        return None

    async def _exchange(self, family: int, address: tuple[object, ...]) -> int:
        loop = asyncio.get_running_loop()
        nonce = self._random_bytes(8)
        with socket.socket(family, socket.SOCK_DGRAM) as udp:
            udp.setblocking(False)
            await loop.sock_connect(udp, address)
            start = self._monotonic()
            await loop.sock_sendall(udp, encode_request(nonce))
            data = await loop.sock_recv(udp, 1024)
            return decode_response(data, nonce, self._monotonic() - start)

    async def _look_up(self, host: str) -> Sequence[_Found]:
        """Return a host's addresses. Raises OSError or UnicodeError.

        The thread is a daemon: a name server that does not answer blocks the resolver for up to
        a minute, and the program would wait for the threads of an executor when it ends.
        """
        if self._lookups >= _MAX_LOOKUPS:
            raise OSError("the name server has not answered earlier queries")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Sequence[_Found]] = loop.create_future()

        def finish(found: Sequence[_Found] | Exception) -> None:
            self._lookups -= 1
            if answer.done():
                return
            if isinstance(found, Exception):
                answer.set_exception(found)
            else:
                answer.set_result(found)

        def look_up() -> None:
            found: Sequence[_Found] | Exception
            try:
                found = socket.getaddrinfo(host, self._port, type=socket.SOCK_DGRAM)
            except Exception as error:
                found = error
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(finish, found)

        self._lookups += 1
        threading.Thread(target=look_up, name="evse-resolver", daemon=True).start()
        return await answer
