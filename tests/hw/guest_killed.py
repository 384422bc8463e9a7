"""Tests inside the virtual machine: a node killed at any time, on real lines and a real PWM.

This kernel releases the lines of a dead process; the PWM continues until `safe-off`.
"""

from __future__ import annotations

import random
import time
from pathlib import Path

from evse_node.state_machine.control_pilot import PilotState
from tests.hw.guest_board import (
    CONTACTOR,
    PWM,
    GuestElectronics,
    add_measured,
    make_chip,
    write_board,
)
from tests.support.killed_node import Killer, config, turn_to

ROUNDS = 2
# A start is slow in emulation.
PACE_S = 10.0


def test_killed_node_is_made_safe_and_restarts(tmp_path: Path) -> None:
    board = write_board(tmp_path)
    file = tmp_path / "evse-node.toml"
    file.write_text(config(tmp_path, board))
    (tmp_path / "real").touch()
    chip = make_chip()
    electronics = GuestElectronics(chip)
    killer = Killer(tmp_path, file, board, lambda: chip.is_high(CONTACTOR), PACE_S)
    went_on = 0
    try:
        dice = random.Random(4)
        for _ in range(ROUNDS):
            killer.one_round(dice)
            went_on += (PWM / "enable").exists() and (PWM / "enable").read_text().strip() == "1"
            assert killer.make_safe() == "contactor 1: off\npilot: off\n"
            assert not chip.is_high(CONTACTOR)
            assert (PWM / "enable").read_text().strip() == "0"
            assert (PWM / "duty_cycle").read_text().strip() == "0"
            killer.check_store()
        assert went_on
        turn_to(tmp_path, PilotState.C)
        killer.start()
        killer.until_on(True, 30 * PACE_S)
        began = time.monotonic()
        killer.stop()
        add_measured("SIGTERM to end", [(time.monotonic() - began) * 1000])
        assert not chip.is_high(CONTACTOR)
    finally:
        killer.close()
        electronics.close()
        chip.close()
