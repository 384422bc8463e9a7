"""Cost of a device process, read from /proc, and the time to its first mDNS answer."""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import time
from pathlib import Path


def cpu_ms(pid: int) -> float:
    """Return the CPU time of all threads of a process in milliseconds, from schedstat."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0])
    return total / 1e6


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process in MB (10**6 bytes)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError(f"no VmRSS of {pid}")


def wait_for_first_answer(subtype: str, timeout: float) -> float:
    """Query a DNS-SD subtype every 10 ms; return the seconds until an answer comes.

    Runs on the controller's host: joins the IPv4 mDNS group on every interface there.
    """
    name = b"".join(bytes([len(part)]) + part.encode() for part in subtype.split(".")) + b"\0"
    query = struct.pack(">6H", 0, 0, 1, 0, 0, 0) + name + struct.pack(">2H", 12, 1)
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("", 5353))
    group = socket.inet_aton("224.0.0.251")
    listener.setsockopt(
        socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group + socket.inet_aton("10.99.0.3")
    )
    listener.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("10.99.0.3"))
    listener.settimeout(0.01)
    begin = time.perf_counter()
    while time.perf_counter() - begin < timeout:
        listener.sendto(query, ("224.0.0.251", 5353))
        try:
            answer, _ = listener.recvfrom(9000)
        except TimeoutError:
            continue
        # A response (QR bit) with answers that name the service. Only the first
        # label is certain to be uncompressed: the end of a name may be a reference.
        if (
            answer[2] & 0x80
            and struct.unpack_from(">H", answer, 6)[0]
            and name[: name[0] + 1] in answer
        ):
            return time.perf_counter() - begin
    raise TimeoutError(f"no answer for {subtype}")


def start_to_answer(
    command: list[str], query_command: list[str], log: Path
) -> tuple[subprocess.Popen[bytes], float]:
    """Start a device and a query loop; return the process and the seconds to its first answer."""
    with log.open("ab") as output:
        asker = subprocess.Popen(query_command, stdout=subprocess.PIPE, text=True)
        assert asker.stdout is not None
        asker.stdout.readline()
        begin = time.perf_counter()
        device = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
        answered = asker.stdout.readline().strip()
        elapsed = time.perf_counter() - begin
        asker.wait()
        asker.stdout.close()
    if answered != "answered":
        device.kill()
        raise TimeoutError(f"{command} did not answer: {log.read_text()[-2000:]}")
    return device, elapsed


if __name__ == "__main__":
    print("asking", flush=True)
    wait_for_first_answer(sys.argv[1], 20)
    print("answered", flush=True)
