"""kill -9 at any instant, then `safe-off`: outputs are safe, the store is whole, the node starts.

The lines are files, which stay as they are when their process dies, as a Raspberry Pi's may.
More instants than the usual few: EVSE_NODE_KILLS=200, from another seed EVSE_NODE_SEED=2.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from evse_node.state_machine.control_pilot import PilotState
from tests.support.killed_node import COIL, OUTPUTS, Killer, make_files, turn_to

KILLS = int(os.environ.get("EVSE_NODE_KILLS", "8"))
SEED = int(os.environ.get("EVSE_NODE_SEED", "1"))


@pytest.fixture
def killer(tmp_path: Path) -> Iterator[Killer]:
    file = make_files(tmp_path)
    coil = tmp_path / "lines" / COIL

    def is_on() -> bool:
        return coil.exists() and coil.read_text() == "1"

    made = Killer(tmp_path, file, tmp_path / "board.toml", is_on)
    yield made
    made.close()


@pytest.mark.slow
def test_node_killed_at_any_instant_is_made_safe(killer: Killer, tmp_path: Path) -> None:
    dice = random.Random(SEED)
    channel = tmp_path / "pwm/pwmchip0/pwm0"
    for _ in range(KILLS):
        killer.one_round(dice)
        output = killer.make_safe()
        assert output.splitlines() == [*(f"{name}: off" for name in OUTPUTS), "pilot: off"]
        assert {name: (tmp_path / "lines" / name).read_text() for name in OUTPUTS} == dict.fromkeys(
            OUTPUTS, "0"
        )
        assert (channel / "enable").read_text() == "0"
        assert (channel / "duty_cycle").read_text() == "0"
        killer.check_store()
    # Otherwise nothing was proved.
    assert killer.left_on > 0
    turn_to(tmp_path, PilotState.C)
    killer.start()
    killer.until_on(True, 30)
    killer.stop()
    assert not killer.is_on()
