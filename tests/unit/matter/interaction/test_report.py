from __future__ import annotations

from evse_node.matter.data_model import AuthMode, InteractionContext, Subject
from evse_node.matter.interaction.encoding import MESSAGE_END_SIZE, message_end
from evse_node.matter.interaction.paths import ClusterView
from evse_node.matter.interaction.report import (
    CAPACITY,
    ReportStream,
    _ReportQueue,
    attribute_reports,
)
from evse_node.matter.messaging.message import MAX_PAYLOAD
from evse_node.matter.tlv import decode_struct
from tests.support.matter.sample_cluster import FIXED, LEVEL, UPTIME, Sample

CONTEXT = InteractionContext(Subject(AuthMode.CASE, 1, 5), 20.0)


def make_view(*attributes: int) -> tuple[Sample, ClusterView]:
    sample = Sample()
    for attribute in sample._attributes.values():
        attribute.place(1, sample.id)
    chosen = {number: sample.attributes[number] for number in attributes}
    return sample, ClusterView(1, sample, chosen)


def runs(view: ClusterView, now: float = 20.0) -> list[bytes]:
    context = InteractionContext(CONTEXT.subject, now)
    return [joined for joined, _ in attribute_reports([view], context)]


def test_cached_reports_are_joined_once() -> None:
    _, view = make_view(LEVEL, UPTIME, FIXED)
    first = runs(view)
    assert len(first) == 3
    again = runs(view, 21.0)
    # The same bytes object is reused; the attribute between is computed.
    assert again[0] is first[0]
    assert again[2] is first[2]
    assert again[1] != first[1]


def test_changed_value_is_in_the_next_report() -> None:
    sample, view = make_view(LEVEL)
    first = runs(view)
    sample.level = 77
    second = runs(view)
    assert second != first
    assert second == runs(ClusterView(1, sample, view.entries))


def test_messages_are_filled_and_complete() -> None:
    status = bytes.fromhex("15 2c 01 03 61 62 63 18")
    stream = ReportStream([], CONTEXT, statuses=[status] * 500, subscription_id=7)
    messages = []
    while not stream.is_done:
        messages.append(stream.next_message())
    counts = []
    for message in messages:
        assert len(message) + MESSAGE_END_SIZE <= MAX_PAYLOAD
        reports = decode_struct(message + message_end(11))[1]
        assert isinstance(reports, list)
        counts.append(len(reports))
    assert sum(counts) == 500
    assert set(counts[:-1]) == {CAPACITY // len(status)}


def test_joined_reports_are_split_at_report_ends() -> None:
    source = _ReportQueue(iter([(b"aabbbbcc", (2, 6, 8)), (b"d", (1,)), (b"eee", (3,))]))

    def fill(room: int) -> tuple[bytes, int, bool]:
        parts: list[bytes] = []
        left = source.fill(parts, b"[", room)
        return b"".join(parts), left, source.has_remainder

    assert fill(3) == (b"[aa\x18", 1, True)
    assert fill(3) == (b"", 3, True)
    assert fill(8) == (b"[bbbbccd\x18", 1, True)
    assert fill(3) == (b"[eee\x18", 0, False)
    assert fill(3) == (b"", 3, False)
