"""Send hostile datagrams to a stack and report rate, counters and memory.

    python -m benchmarks.fuzz --count 1000000

Exits with a traceback as soon as the stack raises, is changed without authorisation, a table
grows beyond its limit, or memory grows.
"""

from __future__ import annotations

import argparse
import gc
import logging
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

from tests.support.fuzz.fuzz_charger import charger_fuzzer
from tests.support.fuzz.fuzzing import Fuzzer
from tests.support.matter.hostile_network import Handshakes

# Memory is compared from here on, when every table has been full once.
_WARM_UP = 0.2
_ALLOWED_GROWTH_MB = 8.0
_HANDSHAKES_EACH = 1000


def resident_mb() -> float:
    """Return the resident memory of this process in MB (10**6 bytes)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError("no VmRSS")


def traced_mb() -> float:
    """Return the memory of Python objects in MB, as measured by tracemalloc."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0] / 1e6


def run(fuzzer: Fuzzer, count: int, measure: Callable[[], float], unit: str) -> None:
    """Send `count` datagrams; print rate and memory ten times."""
    base = 0.0
    step = max(count // 10, 1)
    begin = time.process_time()
    while fuzzer.sent < count:
        fuzzer.run(min(step, count - fuzzer.sent))
        memory = measure()
        rate = fuzzer.sent / (time.process_time() - begin)
        print(f"{fuzzer.sent:>9} datagrams  {rate:8.0f}/s  {memory:7.2f} {unit}", flush=True)
        if fuzzer.sent <= count * _WARM_UP:
            base = memory
    growth = memory - base
    print(f"answers: {fuzzer.received}, new stacks: {fuzzer.rebuilds}")
    print("dropped:", ", ".join(f"{v} {k}" for k, v in sorted(fuzzer.counters().items())))
    print("largest:", ", ".join(f"{v} {k}" for k, v in fuzzer.largest.items()))
    print(f"memory since the first fifth: {growth:+.2f} {unit}")
    if growth > _ALLOWED_GROWTH_MB:
        raise SystemExit(f"memory has grown by {growth:.1f} {unit}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=100_000, help="datagrams to send")
    parser.add_argument("--seed", type=int, default=1, help="another seed, other datagrams")
    parser.add_argument(
        "--trace",
        action="store_true",
        help="measure Python objects with tracemalloc (slow) in place of resident memory",
    )
    arguments = parser.parse_args()
    logging.getLogger("evse_node").addHandler(logging.NullHandler())
    logging.getLogger("evse_node").setLevel(logging.ERROR)

    if arguments.trace:
        tracemalloc.start()
    measure, unit = (traced_mb, "MB traced") if arguments.trace else (resident_mb, "MB resident")
    run(charger_fuzzer(arguments.seed), arguments.count, measure, unit)

    handshakes = Handshakes(arguments.seed)
    begin = time.process_time()
    number = max(arguments.count // _HANDSHAKES_EACH, 20)
    handshakes.run(number)
    seconds = time.process_time() - begin
    print(
        f"{number} handshakes in {seconds:.1f} s: {handshakes.established} established, "
        f"{handshakes.refused} refused, {handshakes.network.changed} messages changed"
    )


if __name__ == "__main__":
    main()
