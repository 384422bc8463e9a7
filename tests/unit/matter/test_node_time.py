from __future__ import annotations

import pytest

from evse_node.cluster.definitions.zap import load_definitions
from evse_node.cluster.servers.root.time_synchronization import TimeSynchronizationServer
from evse_node.errors import SessionError
from evse_node.matter.fabrics.fabric import FabricTable
from evse_node.matter.interaction.encoding import message_end
from evse_node.matter.interaction.subscription_resumption import OnConnected
from evse_node.matter.messaging.message import PROTOCOL_INTERACTION_MODEL
from evse_node.matter.messaging.session import Address
from evse_node.matter.node_time import NodeTime, OnFound
from evse_node.matter.tlv import SignedInt, TlvValue, encode
from evse_node.matter.wall_clock import (
    ClockSource,
    GivenTime,
    Granularity,
    TimeSource,
    WallClock,
)
from evse_node.testing.memory_store import MemoryStore
from tests.support.fakes import Network
from tests.support.matter.interaction_host import Client, InteractionHost

NOW_US = 830_000_000_000_000


class Setting:
    """A node that has the time, and one with a session to it that asks."""

    def __init__(self) -> None:
        self.network = Network()
        self.host = InteractionHost(self.network)
        self.clock = WallClock(
            ClockSource.MATTER,
            monotonic=lambda: self.network.now,
            system_utc_us=lambda: None,
        )
        server = TimeSynchronizationServer(
            load_definitions()["Time Synchronization"],
            self.clock,
            self.host.timers,
            FabricTable(self.host.store, 5),
        )
        self.host.node.endpoints[0].clusters[server.id] = server
        server.attach(0, self.host.environment)
        self.asker = Client(self.host)
        self.asker.exchanges.endings[PROTOCOL_INTERACTION_MODEL] = message_end(11)
        self.calls: list[tuple[int, int, Address, OnConnected]] = []
        self.refuses = False
        self.store = MemoryStore()
        self.found: Address | None = None
        self.node_time = self.make()
        self.answers: list[GivenTime | None] = []

    def make(self) -> NodeTime:
        return NodeTime(self.asker.exchanges, self.find, self.connect, self.store)

    def find(self, fabric: int, node: int, on_found: OnFound, now: float) -> None:
        on_found(self.found, now)

    def connect(
        self, fabric: int, node: int, address: Address, on_done: OnConnected, now: float
    ) -> None:
        if self.refuses:
            raise SessionError("no")
        self.calls.append((fabric, node, address, on_done))

    def read(self, node_id: int = 0x1111, endpoint: int = 0) -> None:
        self.node_time.read(
            1, node_id, endpoint, lambda time, now: self.answers.append(time), self.network.now
        )
        self.network.run(1)


@pytest.fixture
def setting() -> Setting:
    return Setting()


def test_node_time_uses_existing_session(setting: Setting) -> None:
    setting.clock.set_epoch_us(NOW_US, Granularity.SECONDS, TimeSource.ADMIN)
    setting.read()
    (time,) = setting.answers
    assert time is not None
    assert time.granularity is Granularity.SECONDS
    assert 0 <= time.epoch_us - NOW_US < 1_000_000
    assert not setting.calls


def test_node_time_is_none_without_time_or_cluster(setting: Setting) -> None:
    setting.read()
    setting.read(endpoint=1)
    assert setting.answers == [None, None]


def test_node_time_is_none_for_unknown_node(setting: Setting) -> None:
    setting.read(0x7777)
    assert setting.answers == [None]


def test_node_time_connects_to_stored_address_after_restart(setting: Setting) -> None:
    setting.clock.set_epoch_us(NOW_US, Granularity.SECONDS, TimeSource.ADMIN)
    setting.read()
    session = setting.asker.session
    setting.answers.clear()
    setting.asker.sessions.remove(session, setting.network.now)
    setting.node_time = setting.make()
    setting.read()
    ((fabric, node, address, on_done),) = setting.calls
    assert (fabric, node, address) == (1, 0x1111, setting.host.address)
    assert not setting.answers
    setting.asker.connect()
    on_done(setting.asker.session, setting.network.now)
    setting.network.run(1)
    (time,) = setting.answers
    assert time is not None

    setting.asker.sessions.remove(setting.asker.session, setting.network.now)
    setting.read(0x2222)
    assert setting.answers.pop() is None
    setting.read()
    setting.calls[-1][3](None, setting.network.now)
    assert setting.answers.pop() is None
    setting.refuses = True
    setting.read()
    assert setting.answers.pop() is None
    setting.store.set("time/source", b"\x15")
    setting.read()
    assert setting.answers.pop() is None


def test_node_time_connects_to_found_address(setting: Setting) -> None:
    setting.clock.set_epoch_us(NOW_US, Granularity.SECONDS, TimeSource.ADMIN)
    setting.read()
    setting.asker.sessions.remove(setting.asker.session, setting.network.now)
    setting.found = ("fe80::9", 5541, 0, 7)
    setting.read()
    setting.read(0x7777)
    assert [call[:3] for call in setting.calls] == [
        (1, 0x1111, setting.found),
        (1, 0x7777, setting.found),
    ]


def test_node_time_uses_session_established_during_discovery(setting: Setting) -> None:
    setting.clock.set_epoch_us(NOW_US, Granularity.SECONDS, TimeSource.ADMIN)
    setting.asker.sessions.remove(setting.asker.session, setting.network.now)
    waiting: list[OnFound] = []
    node_time = NodeTime(
        setting.asker.exchanges,
        lambda fabric, node, on_found, now: waiting.append(on_found),
        setting.connect,
        setting.store,
    )
    node_time.read(1, 0x1111, 0, lambda time, now: setting.answers.append(time), 0)
    setting.asker.connect()
    waiting[0](setting.host.address, setting.network.now)
    setting.network.run(1)
    assert setting.calls == []
    (time,) = setting.answers
    assert time is not None


def test_node_time_is_none_when_session_has_too_many_exchanges(setting: Setting) -> None:
    session = setting.asker.session
    session.exchanges.update(dict.fromkeys(range(1000, 1100)))  # type: ignore[arg-type]
    setting.node_time.read(
        1, 0x1111, 0, lambda time, now: setting.answers.append(time), setting.network.now
    )
    assert setting.answers == [None]


@pytest.mark.parametrize("value", [[2], {0: 2}, b"2", "2", 2.0, True, SignedInt(2), None])
@pytest.mark.parametrize("attribute", ["UTCTime", "Granularity"])
def test_node_time_rejects_invalid_values(
    setting: Setting, attribute: str, value: TlvValue
) -> None:
    server = setting.host.node.endpoints[0].clusters[0x38]
    values: dict[str, TlvValue] = {"UTCTime": 1, "Granularity": 2}
    for number, name in enumerate(values):
        server.attributes[number].encoded = encode((values | {attribute: value})[name], 2)
    setting.read()
    assert setting.answers == [None]


def test_node_time_rejects_unknown_granularity(setting: Setting) -> None:
    server = setting.host.node.endpoints[0].clusters[0x38]
    for number, value in enumerate((1, 99)):
        server.attributes[number].encoded = encode(value, 2)
    setting.read()
    assert setting.answers == [None]
