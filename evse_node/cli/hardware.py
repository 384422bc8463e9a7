"""The commands `safe-off` and `doctor`.

A kernel may keep a line driven after its process has ended, and always keeps PWM of sysfs running.
So the service runs `safe-off` after each stop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import NamedTuple

from evse_node.cli.doctor import examine, wiring
from evse_node.errors import HalError
from evse_node.hal.gpio.board import Board, load_board
from evse_node.hal.gpio.drivers import Drivers
from evse_node.hal.gpio.linux import LinuxDrivers
from evse_node.hal.interface import EvseBackend
from evse_node.hal.registry import create_backend


class SafeStep(NamedTuple):
    """One part of a board; `problem` is "" if it is safe now."""

    part: str
    problem: str


def safe_off(name: str, options: Mapping[str, object]) -> None:
    """Open the contactor of a backend and withdraw its offer.

    Raises HalError if something is not safe, after trying everything.
    """
    board = options.get("board")
    if name == "gpio" and isinstance(board, str):
        _safe_off_board(load_board(board))
        return
    logging.basicConfig(level=logging.ERROR, format="%(message)s")
    try:
        asyncio.run(_start_and_stop(create_backend(name, options)))
    except HalError as error:
        raise HalError(f"{name}: not in the safe state: {error}") from None
    print(f"{name}: off")


async def _start_and_stop(backend: EvseBackend) -> None:
    try:
        await backend.start(lambda event: None)
    finally:
        await backend.stop()


def _safe_off_board(board: Board) -> None:
    """Switch off every part that can be reached, even if others are broken."""
    steps = make_safe(board, LinuxDrivers())
    for part, problem in steps:
        print(f"{part}: {f'NOT SAFE: {problem}' if problem else 'off'}")
    unsafe = [step.part for step in steps if step.problem]
    if unsafe:
        raise HalError(f"{board.name}: not in the safe state: {', '.join(unsafe)}")


def make_safe(board: Board, drivers: Drivers) -> list[SafeStep]:
    """Drive every output inactive, contactors first, and stop the PWM of the pilot."""
    steps = []
    for name, spec in board.outputs().items():
        problem = ""
        try:
            drivers.open_output(name, spec).close()
        except Exception as error:
            problem = str(error) or repr(error)
        steps.append(SafeStep(name, problem))
    problem = ""
    try:
        pwm = drivers.open_pwm(board.pilot)
        try:
            pwm.disable()
        finally:
            pwm.close()
    except Exception as error:
        problem = str(error) or repr(error)
    steps.append(SafeStep("pilot", problem))
    return steps


def doctor(name: str) -> None:
    """Check each part of a board and print its wiring. Raises HalError if a check fails."""
    board = load_board(name)
    print(board.name)
    wrong = []
    for part, is_fine, text in examine(board, LinuxDrivers()):
        print(f"  {'ok   ' if is_fine else 'WRONG'} {part}: {text}", flush=True)
        if not is_fine:
            wrong.append(part)
    rows = wiring(board)
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    print("Wiring")
    for part, where, how in rows:
        print(f"  {part:{widths[0]}}  {where:{widths[1]}}  {how}".rstrip())
    if wrong:
        raise HalError(f"{board.name}: failed checks: {', '.join(wrong)}")
