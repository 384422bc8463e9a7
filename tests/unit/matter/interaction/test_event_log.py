from __future__ import annotations

import pytest

from evse_node.matter.data_model import EventPath, EventPriority, EventRecord, Node
from evse_node.matter.interaction.event_log import EventLog
from evse_node.matter.tlv import TlvList, decode, encode
from evse_node.testing.memory_store import MemoryStore

PATH = EventPath(1, 2, 3)
OTHER = EventPath(1, 2, 4)
PAYLOAD = encode({0: 1}, 7)


class Clock:
    def __init__(self) -> None:
        self.now = 50.0
        self.utc_ms: int | None = None


@pytest.fixture
def clock() -> Clock:
    return Clock()


def make_log(clock: Clock, store: MemoryStore | None = None, **sizes: int) -> EventLog:
    capacities = {
        EventPriority.DEBUG: sizes.get("debug", 3),
        EventPriority.INFO: sizes.get("info", 3),
        EventPriority.CRITICAL: sizes.get("critical", 3),
    }
    return EventLog(
        Node(), store or MemoryStore(), lambda: clock.now, lambda: clock.utc_ms, capacities
    )


def numbers(log: EventLog, minimum: int = 0, fabric: int = 1) -> list[int]:
    return [event.record.number for event in log.select({PATH, OTHER}, minimum, fabric)]


def test_event_report_is_encoded_once(clock: Clock) -> None:
    log = make_log(clock)
    clock.now = 51.5
    log.record(PATH, EventPriority.CRITICAL, PAYLOAD)
    (event,) = log.select({PATH}, 0, 1)
    path = TlvList([(1, 1), (2, 2), (3, 3)])
    assert decode(event.report) == {1: {0: path, 1: 0, 2: 2, 4: 1500, 7: {0: 1}}}


def test_event_has_utc_timestamp_when_wall_clock_is_set(clock: Clock) -> None:
    log = make_log(clock)
    clock.utc_ms = 1_700_000_000_000
    log.record(PATH, EventPriority.INFO, PAYLOAD)
    report = decode(log.select({PATH}, 0, 1)[0].report)
    assert isinstance(report, dict)
    assert report[1] == {
        0: TlvList([(1, 1), (2, 2), (3, 3)]),
        1: 0,
        2: 1,
        3: 1_700_000_000_000,
        7: {0: 1},
    }


def test_observers_receive_the_record(clock: Clock) -> None:
    node = Node()
    records: list[EventRecord] = []
    node.event_observers.append(records.append)
    log = EventLog(node, MemoryStore(), lambda: 0.0, lambda: None)
    record = log.record(PATH, EventPriority.INFO, PAYLOAD, 5)
    assert records == [record]
    assert (record.number, record.fabric_index) == (0, 5)


def test_oldest_event_of_same_priority_is_dropped(clock: Clock) -> None:
    log = make_log(clock)
    log.record(PATH, EventPriority.CRITICAL, PAYLOAD)
    for _ in range(10):
        log.record(PATH, EventPriority.DEBUG, PAYLOAD)
    assert numbers(log) == [0, 8, 9, 10]
    assert len(log) == 4


def test_select_returns_events_by_path_number_and_fabric(clock: Clock) -> None:
    log = make_log(clock, info=100)
    for number in range(20):
        log.record(OTHER if number % 2 else PATH, EventPriority.INFO, PAYLOAD, number % 3)
    assert numbers(log, 17, 1) == [18, 19]
    assert numbers(log, 0, 2) == [n for n in range(20) if n % 3 in (0, 2)]
    assert [e.record.number for e in log.select({PATH}, 15, 1)] == [16, 18]
    assert log.select(set(), 0, 1) == []
    assert numbers(log, 20) == []
    assert numbers(log, 2**64 - 1) == []


class TestNumbers:
    def test_increase_after_crash(self, clock: Clock) -> None:
        store = MemoryStore()
        log = make_log(clock, store)
        last = [log.record(PATH, EventPriority.INFO, PAYLOAD).number for _ in range(5)][-1]
        # The log is not closed.
        again = make_log(clock, store)
        assert again.record(PATH, EventPriority.INFO, PAYLOAD).number > last

    def test_are_not_consumed_by_restarts_without_events(self, clock: Clock) -> None:
        store = MemoryStore()
        make_log(clock, store).record(PATH, EventPriority.INFO, PAYLOAD)
        for _ in range(5):
            make_log(clock, store)
        assert make_log(clock, store).next_number == 1024

    def test_are_reserved_in_blocks(self, clock: Clock) -> None:
        writes: list[str] = []
        store = MemoryStore()
        store.before_set = lambda key, value: writes.append(key)
        log = make_log(clock, store)
        for _ in range(1024):
            log.record(PATH, EventPriority.INFO, PAYLOAD)
        assert writes == ["counter/event"]
        log.record(PATH, EventPriority.INFO, PAYLOAD)
        assert len(writes) == 2

    def test_number_from_before_restart_selects_new_events(self, clock: Clock) -> None:
        store = MemoryStore()
        make_log(clock, store).record(PATH, EventPriority.INFO, PAYLOAD)
        log = make_log(clock, store)
        log.record(PATH, EventPriority.INFO, PAYLOAD)
        assert numbers(log, 5) == [1024]


def test_events_of_removed_fabric_are_deleted(clock: Clock) -> None:
    log = make_log(clock, info=2)
    log.record(PATH, EventPriority.INFO, PAYLOAD, 1)
    log.record(PATH, EventPriority.INFO, PAYLOAD, 2)
    log.remove_fabric(1)
    assert numbers(log, fabric=1) == []
    # It no longer counts towards the capacity.
    log.record(PATH, EventPriority.INFO, PAYLOAD, 2)
    assert numbers(log, fabric=2) == [1, 2]
