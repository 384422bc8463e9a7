"""A whole charger as fuzzing target: all endpoints, and a simulated car."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from evse_node.bridge.evse import EVSE, evse_settings
from evse_node.charger import Charger, ChargerSettings
from evse_node.cluster.environment import ClusterEnvironment
from evse_node.config.node_config import NodeConfig
from evse_node.hal.simulated.backend import SimulatedBackend
from evse_node.matter.stack import MatterStack
from evse_node.matter.wall_clock import WallClock
from evse_node.node.endpoints import ClusterDefinitions, NodeParts, build_endpoints
from evse_node.node.factory_data import FactoryData, load_factory_data
from evse_node.platform.log_buffer import LogBuffer
from evse_node.testing.memory_store import MemoryStore
from tests.support.fakes import seeded_bytes
from tests.support.fuzz.fuzzing import Fuzzer
from tests.support.matter.root_node import ENABLE_KEY, ETHERNET


@cache
def factory_data() -> FactoryData:
    """Return factory data, generated once."""
    return load_factory_data(NodeConfig(), MemoryStore(), seeded_bytes(1))


def populate_charger(stack: MatterStack, clock: Callable[[], float]) -> None:
    """Add the endpoints of a charger node to a stack, and plug in a car."""
    definitions = ClusterDefinitions(None)
    wall_clock = WallClock(monotonic=clock, system_utc_us=lambda: None)
    backend = SimulatedBackend(clock=clock)
    charger = Charger(
        backend,
        stack.store,
        now=clock(),
        settings=ChargerSettings(evse=evse_settings(definitions[EVSE])),
        utc_ms=wall_clock.utc_ms,
        timers=stack.timers,
    )
    parts = NodeParts(
        stack=stack,
        charger=charger,
        backend=backend,
        factory=factory_data(),
        clock=wall_clock,
        query_ntp=lambda host, on_time, now: None,
        look_up_dst=None,
        find_node=lambda fabric, node, on_found, now: on_found(None, now),
        logs=LogBuffer(clock, wall_clock.utc_us),
        definitions=definitions,
        environment=ClusterEnvironment(
            stack.node,
            stack.store,
            stack.event_log,
            clock,
            wall_clock.utc_ms,
            stack._random_bytes,
        ),
        interfaces=lambda: [ETHERNET],
        unique_id="00" * 16,
        enable_key=ENABLE_KEY,
    )
    build_endpoints(parts, clock())
    backend.attach(lambda event: charger.receive(event, clock()))
    backend.plug_in()


# The session that is saved every five minutes, TotalOperationalHours, energy, whose
# readings have a time, and Time Synchronization, which lacks a time source.
MOVING = frozenset(
    {
        "store evse/session",
        "store attr/0/0033/0003",
        "versions (0, 51)",
        "attributes (0, 51, 3)",
        "versions (1, 145)",
        "events (0, 56)",
    }
)


def charger_fuzzer(seed: int) -> Fuzzer:
    """Return a fuzzer of a whole charger."""
    return Fuzzer(populate_charger, seed, moving=MOVING)
