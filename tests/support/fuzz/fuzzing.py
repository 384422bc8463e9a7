"""A stack under fire: peers of every kind that send hostile datagrams, and what must hold.

Peers have real sessions and encrypt what they send, so that the fire reaches what lies
behind the encryption. Some are entitled to nothing: whatever they send must leave no
trace. Others may administer the node: they may change it, but not break it.
"""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Callable

from evse_node.cluster.server import ClusterEnvironment
from evse_node.matter.crypto import KeyPair
from evse_node.matter.data_model import AuthMode, Endpoint, EventRecord, Node, Privilege, Subject
from evse_node.matter.fabrics.access_control import AccessControlEntry
from evse_node.matter.fabrics.group import GroupKeyMapping
from evse_node.matter.fabrics.group_key import (
    EpochKey,
    GroupKeySet,
)
from evse_node.matter.messaging.session import SessionParameters
from evse_node.matter.messaging.status_report import Opcode
from evse_node.matter.secure_channel.case_messages import Sigma1
from evse_node.matter.secure_channel.pase_messages import PBKDFParamRequest
from evse_node.matter.stack import MatterStack
from evse_node.testing.memory_store import MemoryStore
from tests.support.fakes import address, seeded_bytes
from tests.support.fuzz.fuzz_peers import (
    GROUP_KEYS,
    IDLE_GROUP,
    OPERATING_GROUP,
    GroupPeer,
    Outsider,
    Peer,
    SessionPeer,
)
from tests.support.fuzz.mutations import Mutator
from tests.support.fuzz.request_maker import RequestMaker
from tests.support.matter.fake_fabric import add_fabric
from tests.support.matter.fake_node import settings
from tests.support.matter.pase_initiator import encode_pbkdf_param_request
from tests.support.matter.sample_cluster import Sample

ADMINISTRATOR, STRANGER = 0x1111, 0x2222

Populate = Callable[[MatterStack, Callable[[], float]], None]


class Deadline(logging.Handler):
    """Collects what the stack has logged as a defect of its own."""

    def __init__(self, ignored: tuple[type[BaseException], ...]) -> None:
        super().__init__(logging.ERROR)
        self.records: list[str] = []
        self._ignored = ignored

    def emit(self, record: logging.LogRecord) -> None:
        kind = record.exc_info[0] if record.exc_info else None
        if kind is None or not issubclass(kind, self._ignored):
            self.records.append(self.format(record))


class Fuzzer:
    """A stack, its peers, and a clock that runs while they fire.

    `populate(stack, clock)` puts endpoints into the stack's node. `ignored` are exceptions that
    clusters for tests raise on purpose, `moving` what time changes by itself,
    as `_differences` names it.
    """

    def __init__(
        self,
        populate: Populate,
        seed: int = 0,
        *,
        ignored: tuple[type[BaseException], ...] = (),
        moving: frozenset[str] = frozenset(),
    ) -> None:
        self.moving = moving
        self.random = random.Random(seed)
        self.alarm = Deadline(ignored)
        self.sent = 0
        self.received = 0
        self.rebuilds = -1
        self.dropped: dict[str, int] = {}
        self.largest: dict[str, int] = {}
        self.now = 1000.0
        # Datagrams that outsiders may have overheard, and handshakes that they may know.
        self.seen: list[bytes] = []
        self.openings: list[tuple[int, bytes]] = []
        self._populate = populate
        self._build()

    def _count(self, record: EventRecord) -> None:
        self._events[record.path[:2]] += 1

    def _build(self) -> None:
        self.rebuilds += 1
        self._events: Counter[tuple[int, ...]] = Counter()
        self.store = MemoryStore()
        self.stack = stack = MatterStack(
            settings(),
            Node(),
            self.store,
            random_bytes=seeded_bytes(self.random.getrandbits(32)),
            clock=lambda: self.now,
            utc_ms=lambda: None,
        )
        stack.node.event_observers.append(self._count)
        self.fabric = add_fabric(stack.fabrics)
        self._entitle()
        self._populate(stack, lambda: self.now)
        stack.start(self.now)
        self.maker = RequestMaker(self.random, stack.node)
        self.mutator = Mutator(self.random, [self.maker.make().payload for _ in range(100)])
        pbkdf_param_request = PBKDFParamRequest(bytes(32), 1, 0, False)
        self.openings = [
            (Opcode.CASE_SIGMA1, self._sigma1()),
            (Opcode.CASE_SIGMA1, self._sigma1(bytes(16), bytes(16))),
            (
                Opcode.PBKDF_PARAM_REQUEST,
                encode_pbkdf_param_request(pbkdf_param_request),
            ),
        ] * 8
        node_id = self.fabric.node_id
        case = AuthMode.CASE
        self.peers: list[Peer] = [
            Outsider(self, address(10), False),
            SessionPeer(
                self, address(11), False, Subject(case, self.fabric.index, STRANGER), node_id
            ),
            GroupPeer(self, address(12), False, IDLE_GROUP),
            SessionPeer(
                self, address(13), True, Subject(case, self.fabric.index, ADMINISTRATOR), node_id
            ),
            SessionPeer(self, address(14), True, Subject(AuthMode.PASE), 0),
            GroupPeer(self, address(15), True, OPERATING_GROUP),
        ]
        self._by_address = {peer.address: peer for peer in self.peers}

    def _sigma1(self, resumption_id: bytes | None = None, resume_mic: bytes | None = None) -> bytes:
        """Return a Sigma1 that the stack answers, as a member of the fabric could send it."""
        initiator_random = self.random.randbytes(32)
        return Sigma1(
            initiator_random,
            1,
            self.fabric.destination_id(initiator_random),
            KeyPair.generate().public_key,
            SessionParameters(),
            resumption_id,
            resume_mic,
        ).encode()

    def _entitle(self) -> None:
        """Give back what those who may change the node have changed about themselves."""
        stack, index = self.stack, self.fabric.index
        stack.access_control.set_entries(
            index,
            [
                AccessControlEntry(Privilege.ADMINISTER, AuthMode.CASE, (ADMINISTRATOR,)),
                AccessControlEntry(Privilege.MANAGE, AuthMode.GROUP, (OPERATING_GROUP,)),
            ],
        )
        for number in stack.group_keys.key_set_ids(index):
            if number:
                stack.group_keys.remove_key_set(index, number)
        for number, (group, key) in enumerate(GROUP_KEYS.items(), 1):
            stack.group_keys.set_key_set(index, GroupKeySet(number, 0, (EpochKey(key, 1),)))
            stack.group_keys.add_endpoint(index, group, 1)
        mappings = [GroupKeyMapping(group, number) for number, group in enumerate(GROUP_KEYS, 1)]
        stack.group_keys.set_key_map(index, mappings)

    # Firing.

    def run(self, count: int, batch: int = 500) -> None:
        """Send `count` datagrams, in batches by those who may change something or not.

        Raises AssertionError when something that must hold does not.
        """
        logging.getLogger("evse_node").addHandler(self.alarm)
        try:
            end = self.sent + count
            while self.sent < end:
                size = min(batch, end - self.sent)
                self._fire_batch(size, may_change=self.random.random() < 0.6)
        finally:
            logging.getLogger("evse_node").removeHandler(self.alarm)

    def _fire_batch(self, size: int, *, may_change: bool) -> None:
        if self.fabric.index not in self.stack.fabrics:
            # An administrator has removed the fabric that everything here depends on.
            self._keep_counters()
            self._build()
        self._entitle()
        peers = self.peers
        if not may_change:
            peers = [peer for peer in self.peers if not peer.may_change]
            self._settle()
        before = self.snapshot()
        for _ in range(size):
            self.fire(self.random.choice(peers))
        if not may_change:
            changed = _differences(before, self.snapshot())
            for name in self.moving:
                changed.pop(name, None)
            assert not changed, f"peers without a right have changed the node: {changed}"
        self.check()

    def _settle(self) -> None:
        """Let everything end that the entitled have begun."""
        stack = self.stack
        for session in stack.sessions:
            if session.subject.node_id != STRANGER:
                stack.sessions.remove(session, self.now)
        stack.window.close(self.now)
        for _ in range(200):
            self._advance(30.0)
            if not stack.fail_safe.is_armed and not len(stack.interaction.subscriptions):
                break
        # What they have told the charger to do for a while ends, too.
        self._advance(3600.0)

    def fire(self, peer: Peer) -> None:
        """Let a peer send one datagram; time goes on, answers are taken."""
        data = peer.datagram()
        self.stack.receive_datagram(data, peer.address, self.now)
        self.sent += 1
        if len(self.seen) < 200:
            self.seen.append(data)
        elif self.random.random() < 0.01:
            self.seen[self.random.randrange(200)] = data
        self._collect()
        self._advance(self.random.choice((0.0, 0.001, 0.01, 0.05, 0.3)))

    def _advance(self, seconds: float) -> None:
        end = self.now + seconds
        while (timer := self.stack.get_timer()) is not None and timer <= end:
            self.now = max(self.now, timer)
            self.stack.handle_timer(self.now)
            self._collect()
        self.now = end

    def _collect(self) -> None:
        for data, destination in self.stack.datagrams_to_send(self.now):
            self.received += 1
            peer = self._by_address.get(destination)
            if peer is not None:
                peer.on_datagram(data)
        while self.stack.next_event() is not None:
            pass

    # What must hold.

    def snapshot(self) -> dict[str, object]:
        """Return what nobody without a right may change."""
        stack = self.stack
        return {
            "store": {key: value for key, value in self.store.items("") if key not in self.moving},
            "fabrics": list(stack.fabrics),
            "access": stack.access_control.generation,
            "window": (stack.window.status, stack.window.opener),
            "fail-safe": stack.fail_safe.is_armed,
            "versions": {
                (endpoint.id, cluster.id): cluster.data_version
                for endpoint in stack.node.endpoints.values()
                for cluster in endpoint.clusters.values()
            },
            "events": dict(self._events),
            "attributes": {
                (endpoint.id, cluster.id, attribute.id): attribute.encoded
                for endpoint in stack.node.endpoints.values()
                for cluster in endpoint.clusters.values()
                for attribute in cluster.attributes.values()
            },
        }

    def sizes(self) -> dict[str, int]:
        """Return the sizes of all tables."""
        stack = self.stack
        return {
            "sessions": len(stack.sessions),
            "unsecured": len(stack.sessions._unsecured),
            "reserved": len(stack.sessions._reserved),
            "exchanges": len(stack.exchanges),
            "timers": len(stack.timers._heap),
            "handshakes": len(stack.secure_channel.case) + stack.secure_channel.pase.is_busy,
            "resumption": len(stack.secure_channel.resumption),
            "group peers": len(stack.layer.group_peers),
            "subscriptions": len(stack.interaction.subscriptions),
            "events": len(stack.event_log),
            "stored": sum(len(key) + len(value) for key, value in self.store.items("")),
            "drop reasons": len(stack.dropped),
        }

    LIMITS = {
        "sessions": 64,
        "unsecured": 32,
        "reserved": 9,
        "exchanges": 512,
        "timers": 4000,
        "handshakes": 9,
        "resumption": 64,
        "group peers": 1024,
        "subscriptions": 64,
        "events": 4096,
        "stored": 200_000,
        "drop reasons": 8,
    }

    def check(self) -> None:
        """Make sure that nothing was raised inside, and that no table grows too long."""
        assert not self.alarm.records, self.alarm.records[0]
        assert "internal error" not in self.stack.dropped
        for name, size in self.sizes().items():
            self.largest[name] = max(size, self.largest.get(name, 0))
            assert size <= self.LIMITS[name], f"{size} {name}"

    def _keep_counters(self) -> None:
        for reason, count in self.stack.dropped.items():
            self.dropped[reason] = self.dropped.get(reason, 0) + count

    def counters(self) -> dict[str, int]:
        """Return how many datagrams led to nothing, by reason, over all stacks."""
        total = dict(self.dropped)
        for reason, count in self.stack.dropped.items():
            total[reason] = total.get(reason, 0) + count
        return total


def _differences(before: dict[str, object], after: dict[str, object]) -> dict[str, object]:
    """Return what two snapshots do not have in common, old and new."""
    found: dict[str, object] = {}
    for name, old in before.items():
        new = after[name]
        if isinstance(old, dict) and isinstance(new, dict):
            for key in old.keys() | new.keys():
                if old.get(key) != new.get(key):
                    found[f"{name} {key}"] = (old.get(key), new.get(key))
        elif old != new:
            found[name] = (old, new)
    return found


def populate_samples(stack: MatterStack, clock: Callable[[], float]) -> None:
    """Put the sample cluster onto endpoints 0 and 1."""
    environment = ClusterEnvironment(
        stack.node,
        stack.store,
        stack.event_log,
        clock,
        lambda: None,
        stack._random_bytes,
    )
    for endpoint in (0, 1):
        sample = Sample()
        sample.attach(endpoint, environment)
        stack.node.endpoints[endpoint] = Endpoint(endpoint, ((0x16, 1),), {sample.id: sample})


def sample_fuzzer(seed: int) -> Fuzzer:
    """Return a fuzzer of a stack with sample clusters, which divide by zero on purpose."""
    return Fuzzer(populate_samples, seed, ignored=(ZeroDivisionError,))
