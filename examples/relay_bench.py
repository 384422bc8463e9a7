"""Test the outputs of a board on a bench: each one on and off, contactors with feedback.

    python examples/relay_bench.py --board relay-hat-ads1115 --cycles 3

Nothing that carries mains may be connected: this closes contactors without a vehicle.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from evse_node.errors import EvseNodeError
from evse_node.hal.gpio.board import HEARTBEAT, Board, load_board
from evse_node.hal.gpio.drivers import Drivers
from evse_node.hal.gpio.linux import LinuxDrivers
from evse_node.hal.gpio.square_wave import SquareWave


@contextmanager
def beating(board: Board, drivers: Drivers) -> Iterator[None]:
    """Send the heartbeat, without which the board opens its contactors."""
    if board.heartbeat is None:
        yield
        return
    line = drivers.open_output(HEARTBEAT, board.outputs()[HEARTBEAT])
    interval_s = board.heartbeat.interval_ms / 1000
    wave, halt = SquareWave(HEARTBEAT, line, interval_s, clock=time.monotonic), threading.Event()
    thread = threading.Thread(target=wave.run, args=(halt,))
    wave.start()
    thread.start()
    try:
        yield
    finally:
        halt.set()
        thread.join()
        line.close()


def exercise(board: Board, drivers: Drivers, cycles: int, pause_s: float) -> bool:
    """Switch everything `cycles` times; return whether every mirror contact followed."""
    with beating(board, drivers):
        return _exercise(board, drivers, cycles, pause_s)


def _exercise(board: Board, drivers: Drivers, cycles: int, pause_s: float) -> bool:
    mirrors = [name for name in board.inputs() if name.endswith("mirror contact")]
    inputs = drivers.open_inputs({name: board.inputs()[name] for name in mirrors})
    is_fine = True
    for name, spec in board.outputs().items():
        if name == HEARTBEAT:
            continue
        output = drivers.open_output(name, spec)
        mirror = f"{name} mirror contact"
        try:
            for cycle in range(1, cycles + 1):
                for is_on in (True, False):
                    output.set(is_on)
                    time.sleep(pause_s)
                    reported = inputs.is_active(mirror) if mirror in mirrors else is_on
                    word = "follows" if reported is is_on else "DOES NOT FOLLOW"
                    is_fine = is_fine and reported is is_on
                    print(f"{name} {cycle}: {'on' if is_on else 'off'}, {word}")
        finally:
            output.set(False)
            output.close()
    inputs.close()
    return is_fine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--board", required=True, help="file, or name of a shipped board")
    parser.add_argument("--cycles", type=int, default=3)
    parser.add_argument("--pause", type=float, default=0.5, help="seconds between two switches")
    arguments = parser.parse_args()
    board = load_board(arguments.board)
    if not exercise(board, LinuxDrivers(), arguments.cycles, arguments.pause):
        raise SystemExit("a mirror contact does not follow its contactor")


if __name__ == "__main__":
    try:
        main()
    except EvseNodeError as error:
        raise SystemExit(str(error)) from None
