"""Exercises the outputs of a board on a bench: each one on and off, contactors with feedback.

    python examples/relay_bench.py --board relay-hat-ads1115 --cycles 3

Nothing that carries mains may be connected: this closes contactors without a vehicle.
"""

from __future__ import annotations

import argparse
import time

from evse_node.errors import EvseNodeError
from evse_node.hal.gpio.board import Board
from evse_node.hal.gpio.board_file import load_board
from evse_node.hal.gpio.drivers import Drivers
from evse_node.hal.gpio.linux import LinuxDrivers


def exercise(board: Board, drivers: Drivers, cycles: int, pause_s: float) -> bool:
    """Switch everything `cycles` times; return whether every mirror contact followed."""
    mirrors = [name for name in board.inputs() if name.endswith("mirror contact")]
    inputs = drivers.open_inputs({name: board.inputs()[name] for name in mirrors})
    is_fine = True
    for name, spec in board.outputs().items():
        output = drivers.open_output(name, spec)
        mirror = f"{name} mirror contact"
        try:
            for cycle in range(1, cycles + 1):
                for is_on in (True, False):
                    output.set(is_on)
                    time.sleep(pause_s)
                    told = inputs.is_active(mirror) if mirror in mirrors else is_on
                    word = "follows" if told is is_on else "DOES NOT FOLLOW"
                    is_fine = is_fine and told is is_on
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
