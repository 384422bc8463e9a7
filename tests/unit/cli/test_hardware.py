from __future__ import annotations

from pathlib import Path

import pytest

from evse_node.cli import hardware
from evse_node.cli import main as cli
from evse_node.cli.hardware import safe_off
from evse_node.errors import HalError
from evse_node.hal.external.backend import ExternalController
from evse_node.hal.external.modbus.controller_map import load_controller
from evse_node.hal.external.modbus.link import ModbusEvse, ModbusEvseLink
from evse_node.hal.external.poller import PollTimings
from evse_node.hal.interface import Ratings
from evse_node.hal.modbus.connection import ModbusSpec
from tests.support.hal.modbus_evse_models import Phoenix
from tests.support.hal.modbus_evse_peer import LoopThread, Peer


def test_safe_off_disables_controller_of_dead_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    phoenix = Phoenix()
    phoenix.is_enabled = True
    phoenix.turn_to("C")
    assert phoenix.is_closed
    peer, thread = Peer(phoenix), LoopThread()
    thread.run(peer.serve_tcp())
    file = tmp_path / "node.toml"
    file.write_text(
        'backend = "modbus-evse"\n[hal]\ncontroller = "phoenix-em-cp-pp-eth"\n'
        f'host = "127.0.0.1"\nport = {peer.port}\n'
    )
    monkeypatch.setattr("sys.argv", ["evse-node", "safe-off", "--config", str(file)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    thread.run(peer.close())
    thread.close()
    assert ended.value.code == 0
    assert not phoenix.is_closed
    assert not phoenix.is_enabled
    assert capsys.readouterr().out == "modbus-evse: off\n"


def test_safe_off_reports_silent_controller(monkeypatch: pytest.MonkeyPatch) -> None:
    evse = ModbusEvse(
        registers=load_controller("phoenix-em-cp-pp-eth"),
        modbus=ModbusSpec(host="127.0.0.1", tcp_port=9),
    )
    backend = ExternalController(
        ModbusEvseLink(evse), Ratings(), timings=PollTimings(start_s=0, reopen_s=0.01)
    )
    monkeypatch.setattr("evse_node.cli.hardware.create_backend", lambda name, options: backend)
    with pytest.raises(HalError, match=r"modbus-evse: not in the safe state: .*cannot be opened"):
        safe_off("modbus-evse", {})


def test_safe_off_of_gpio_switches_off_board(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    monkeypatch.setattr(hardware, "_safe_off_board", lambda board: called.append(board.name))
    safe_off("gpio", {"board": "reference"})
    assert called == ["Reference board"]


def test_safe_off_requires_board_or_configuration(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["evse-node", "safe-off"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert "one of the arguments --board --config is required" in capsys.readouterr().err
