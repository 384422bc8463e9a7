"""Print every multicast DNS response on the given interfaces, one JSON object per line.

Run on the controller's host: `python -m tests.interop.mdns_listener ctl0 ...`
"""

from __future__ import annotations

import json
import select
import socket
import struct
import sys

from zeroconf._dns import DNSAddress, DNSPointer, DNSService, DNSText
from zeroconf._protocol.incoming import DNSIncoming


def _open(interface: str, family: socket.AddressFamily) -> socket.socket:
    udp = socket.socket(family, socket.SOCK_DGRAM)
    udp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    udp.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode() + b"\0")
    index = socket.if_nametoindex(interface)
    if family == socket.AF_INET:
        request = socket.inet_aton("224.0.0.251") + bytes(4) + struct.pack("@i", index)
        udp.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
    else:
        udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        request = socket.inet_pton(family, "ff02::fb") + struct.pack("@I", index)
        udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, request)
    udp.bind(("", 5353))
    return udp


def _describe(data: bytes) -> dict[str, object] | None:
    message = DNSIncoming(data)
    if message.is_query():
        return None
    records = message.answers()
    return {
        "pointers": {each.name: each.ttl for each in records if isinstance(each, DNSPointer)},
        "services": {each.name: each.port for each in records if isinstance(each, DNSService)},
        "servers": [each.server for each in records if isinstance(each, DNSService)],
        "texts": [each.text.decode() for each in records if isinstance(each, DNSText)],
        "addresses": sorted(
            socket.inet_ntop(
                socket.AF_INET6 if len(each.address) == 16 else socket.AF_INET, each.address
            )
            for each in records
            if isinstance(each, DNSAddress)
        ),
    }


def main() -> None:
    sockets = {
        _open(interface, family): interface
        for interface in sys.argv[1:]
        for family in (socket.AF_INET, socket.AF_INET6)
    }
    print(json.dumps({"ready": True}), flush=True)
    while True:
        for udp in select.select(list(sockets), [], [])[0]:
            data, address = udp.recvfrom(9000)
            found = _describe(data)
            if found is not None:
                found |= {"on": sockets[udp], "from": address[0]}
                print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
