"""`evse-node safe-off`: all outputs and the pilot into the safe state, whoever died before.

A kernel may keep a line driven after its owner's death, and sysfs PWM always goes on. So the
service runs this after each stop. Every part is tried, also when others fail.
"""

from __future__ import annotations

from typing import NamedTuple

from evse_node.hal.gpio.board import Board
from evse_node.hal.gpio.drivers import Drivers


class SafeStep(NamedTuple):
    """One part; `problem` is "" if it is safe now."""

    part: str
    problem: str


def make_safe(board: Board, drivers: Drivers) -> list[SafeStep]:
    """Drive every output inactive, contactors first, and stop the pilot's generator."""
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
