"""A few thousand hostile datagrams; `python -m benchmarks.fuzz` sends any number."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from evse_node.matter.fabrics.access_control import ALL_PRIVILEGES, AccessControl
from evse_node.matter.messaging.message_layer import MessageLayer
from evse_node.matter.messaging.session import SessionParameters
from evse_node.matter.secure_channel.case import CaseCredentials, CasePeer
from tests.support.fuzz.fuzz_charger import charger_fuzzer
from tests.support.fuzz.fuzzing import Fuzzer, sample_fuzzer
from tests.support.matter.fake_fabric import NODE_ID
from tests.support.matter.hostile_network import Handshakes


@pytest.mark.parametrize("make_fuzzer", [sample_fuzzer, charger_fuzzer])
def test_hostile_datagrams_change_nothing(make_fuzzer: Callable[[int], Fuzzer]) -> None:
    fuzzer = make_fuzzer(1)
    fuzzer.run(4000)
    assert fuzzer.sent == 4000
    # Some datagrams passed decryption.
    assert fuzzer.received > 1000
    assert {"malformed", "not authentic", "no session"} <= set(fuzzer.counters())


@pytest.mark.parametrize("seed", [1, 2])
def test_hostile_handshakes_change_nothing(seed: int) -> None:
    handshakes = Handshakes(seed)
    handshakes.run(30)
    assert handshakes.network.changed > 10
    assert handshakes.established > 3
    assert handshakes.refused > 10


def test_fuzzer_detects_unauthorized_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AccessControl, "granted", lambda *arguments: ALL_PRIVILEGES)
    with pytest.raises(AssertionError, match="without privileges"):
        sample_fuzzer(1).run(10_000)


def test_fuzzer_detects_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(value: object) -> SessionParameters:
        raise KeyError

    monkeypatch.setattr(SessionParameters, "decode", decode)
    with pytest.raises(AssertionError):
        sample_fuzzer(1).run(4000)


def test_fuzzer_detects_growing_table(monkeypatch: pytest.MonkeyPatch) -> None:
    def drop(self: MessageLayer, reason: str, *_: object) -> None:
        number = len(self.dropped)
        self.dropped[f"{reason} {number}"] = 1

    monkeypatch.setattr(MessageLayer, "_drop", drop)
    with pytest.raises(AssertionError, match="drop reasons"):
        sample_fuzzer(1).run(4000)


def test_fuzzer_detects_session_of_outsider(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CaseCredentials, "verify_peer", lambda *_: CasePeer(NODE_ID, ()))
    handshakes = Handshakes(1, share=0.0)
    ours = handshakes.stack.fabrics.find_by_destination_id
    fabric = next(iter(handshakes.stack.fabrics))
    monkeypatch.setattr(
        handshakes.stack.fabrics,
        "find_by_destination_id",
        lambda *arguments: ours(*arguments) or (fabric, fabric.operational_ipk),
    )
    monkeypatch.setattr(
        type(handshakes.stranger.fabric),
        "operational_ipk",
        property(lambda self: fabric.operational_ipks[0]),
    )
    with pytest.raises(AssertionError, match="without a certificate"):
        handshakes.run(60)
