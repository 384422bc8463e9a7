"""The commands of the command line that are about a board: `safe-off` and `doctor`."""

from __future__ import annotations

from evse_node.cli.doctor import examine, wiring
from evse_node.errors import HalError
from evse_node.hal.gpio.board import load_board
from evse_node.hal.gpio.linux import LinuxDrivers
from evse_node.hal.gpio.safe_off import make_safe


def safe_off(name: str) -> None:
    """Make a board safe. Raises HalError, after everything was tried, if something is not."""
    board = load_board(name)
    steps = make_safe(board, LinuxDrivers())
    for part, problem in steps:
        print(f"{part}: {f'NOT SAFE: {problem}' if problem else 'off'}")
    unsafe = [step.part for step in steps if step.problem]
    if unsafe:
        raise HalError(f"{board.name}: not in the safe state: {', '.join(unsafe)}")


def doctor(name: str) -> None:
    """Check a board, part by part, and draw its wiring. Raises HalError if something is wrong."""
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
        raise HalError(f"{board.name}: to be looked at: {', '.join(wrong)}")
