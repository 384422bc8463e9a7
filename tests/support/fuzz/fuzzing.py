"""Fuzzer for the stack: peers of every kind that send hostile datagrams, and invariants.

Peers have real sessions and encrypt their messages, so that the code behind decryption is
reached. Datagrams of peers without privileges must change nothing; administrators may
change the node, but not break it.
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
from evse_node.matter.messaging.session import SessionParameters
from evse_node.matter.messaging.status_report import Opcode
from evse_node.matter.secure_channel.case_messages import Sigma1
from evse_node.matter.secure_channel.pase_messages import PBKDFParamRequest
from evse_node.matter.stack import MatterStack
from evse_node.testing.memory_store import MemoryStore
from tests.support.fakes import address, seeded_bytes
from tests.support.fuzz.fuzz_peers import (
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

ADMINISTRATOR, OUTSIDER = 0x1111, 0x2222

Populate = Callable[[MatterStack, Callable[[], float]], None]


class ErrorCollector(logging.Handler):
    """Log handler that collects unexpected exceptions of the stack."""

    def __init__(self, ignored: tuple[type[BaseException], ...]) -> None:
        super().__init__(logging.ERROR)
        self.records: list[str] = []
        self._ignored = ignored

    def emit(self, record: logging.LogRecord) -> None:
        kind = record.exc_info[0] if record.exc_info else None
        if kind is None or not issubclass(kind, self._ignored):
            self.records.append(self.format(record))


class Fuzzer:
    """A stack, its peers, and a clock that runs while they send.

    `populate(stack, clock)` adds endpoints to the stack's node. `ignored` are exceptions that
    clusters for tests raise on purpose, `moving` the values that change with time, named as
    by `_differences`.
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
        self.errors = ErrorCollector(ignored)
        self.sent = 0
        self.received = 0
        self.rebuilds = -1
        self.dropped: dict[str, int] = {}
        self.largest: dict[str, int] = {}
        self.now = 1000.0
        # Datagrams that outsiders may replay, and handshakes that they may imitate.
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
        self._restore_privileges()
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
                self, address(11), False, Subject(case, self.fabric.index, OUTSIDER), node_id
            ),
            GroupPeer(self, address(12), False),
            SessionPeer(
                self, address(13), True, Subject(case, self.fabric.index, ADMINISTRATOR), node_id
            ),
            SessionPeer(self, address(14), True, Subject(AuthMode.PASE), 0),
        ]
        self._by_address = {peer.address: peer for peer in self.peers}

    def _sigma1(self, resumption_id: bytes | None = None, resume_mic: bytes | None = None) -> bytes:
        """Return a Sigma1 of a member of the fabric, which the stack answers."""
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

    def _restore_privileges(self) -> None:
        """Restore the access control entries of privileged peers, and remove group keys."""
        stack, index = self.stack, self.fabric.index
        stack.access_control.set_entries(
            index,
            [
                AccessControlEntry(Privilege.ADMINISTER, AuthMode.CASE, (ADMINISTRATOR,)),
            ],
        )
        for number in stack.group_keys.key_set_ids(index):
            if number:
                stack.group_keys.remove_key_set(index, number)

    # Sending.

    def run(self, count: int, batch: int = 500) -> None:
        """Send `count` datagrams, in batches from all peers or from those without privileges.

        Raises AssertionError when an invariant is violated.
        """
        logging.getLogger("evse_node").addHandler(self.errors)
        try:
            end = self.sent + count
            while self.sent < end:
                size = min(batch, end - self.sent)
                self._send_batch(size, may_change=self.random.random() < 0.6)
        finally:
            logging.getLogger("evse_node").removeHandler(self.errors)

    def _send_batch(self, size: int, *, may_change: bool) -> None:
        if self.fabric.index not in self.stack.fabrics:
            # An administrator has removed the fabric of all peers.
            self._keep_counters()
            self._build()
        self._restore_privileges()
        peers = self.peers
        if not may_change:
            peers = [peer for peer in self.peers if not peer.may_change]
            self._settle()
        before = self.snapshot()
        for _ in range(size):
            self.send(self.random.choice(peers))
        if not may_change:
            changed = _differences(before, self.snapshot())
            for name in self.moving:
                changed.pop(name, None)
            assert not changed, f"peers without privileges changed the node: {changed}"
        self.check()

    def _settle(self) -> None:
        """Wait for the end of everything that privileged peers started."""
        stack = self.stack
        for session in stack.sessions:
            if session.subject.node_id != OUTSIDER:
                stack.sessions.remove(session, self.now)
        stack.window.close(self.now)
        for _ in range(200):
            self._advance(30.0)
            if not stack.fail_safe.is_armed and not len(stack.interaction.subscriptions):
                break
        # Commands to the charger that are limited in time end, too.
        self._advance(3600.0)

    def send(self, peer: Peer) -> None:
        """Send one datagram of a peer, deliver the responses, and advance the clock."""
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

    # Invariants.

    def snapshot(self) -> dict[str, object]:
        """Return the state that peers without privileges must not change."""
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
        "subscriptions": 64,
        "events": 4096,
        "stored": 200_000,
        "drop reasons": 8,
    }

    def check(self) -> None:
        """Check that no unexpected exception was raised, and that no table exceeds its limit."""
        assert not self.errors.records, self.errors.records[0]
        assert "internal error" not in self.stack.dropped
        for name, size in self.sizes().items():
            self.largest[name] = max(size, self.largest.get(name, 0))
            assert size <= self.LIMITS[name], f"{size} {name}"

    def _keep_counters(self) -> None:
        for reason, count in self.stack.dropped.items():
            self.dropped[reason] = self.dropped.get(reason, 0) + count

    def counters(self) -> dict[str, int]:
        """Return the number of dropped datagrams, by reason, over all stacks."""
        total = dict(self.dropped)
        for reason, count in self.stack.dropped.items():
            total[reason] = total.get(reason, 0) + count
        return total


def _differences(before: dict[str, object], after: dict[str, object]) -> dict[str, object]:
    """Return the values that differ between two snapshots, old and new."""
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
    """Add the sample cluster to endpoints 0 and 1."""
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
