"""Read interactions: events."""

from __future__ import annotations

import pytest

from evse_node.matter.interaction.status import Status
from tests.support.matter.interaction_client import (
    InteractionClient,
    Path,
)
from tests.support.matter.interaction_host import InteractionHost
from tests.support.matter.sample_cluster import (
    CLUSTER,
    HAPPENED,
    LEVEL,
    SENSITIVE,
)

GLOBAL = {0xFFF8, 0xFFF9, 0xFFFB, 0xFFFC, 0xFFFD}


class TestEvents:
    def test_events_are_reported_in_order(
        self, host: InteractionHost, client: InteractionClient
    ) -> None:
        host.samples[1].emit("Happened", number=1)
        host.utc_ms = 1_700_000_000_000
        host.samples[0].emit("Happened", number=2)
        report = client.read(events=[(None, None, None)])
        first, second = report.events
        assert first.path == (1, CLUSTER, HAPPENED)
        assert (first.number, first.priority, first.fields) == (0, 1, {0: 1})
        assert (first.system_ms, first.utc_ms) == (0, None)
        assert (second.number, second.fields) == (1, {0: 2})
        assert (second.system_ms, second.utc_ms) == (None, 1_700_000_000_000)

    def test_events_and_attributes_are_reported_together(
        self, host: InteractionHost, client: InteractionClient
    ) -> None:
        host.samples[1].emit("Happened", number=1)
        report = client.read((1, CLUSTER, LEVEL), events=[(1, CLUSTER, HAPPENED)])
        assert report.value(1, CLUSTER, LEVEL) == 7
        assert len(report.events) == 1

    def test_event_filter_omits_older_events(
        self, host: InteractionHost, client: InteractionClient
    ) -> None:
        for number in range(5):
            host.samples[1].emit("Happened", number=number)
        report = client.read(events=[(1, CLUSTER, None)], event_minimum=3)
        assert [event.number for event in report.events] == [3, 4]

    def test_many_events_are_sent_in_several_messages(
        self, host: InteractionHost, client: InteractionClient
    ) -> None:
        for number in range(120):
            host.samples[1].emit("Happened", number=number)
        report = client.read((1, CLUSTER, LEVEL), events=[(1, CLUSTER, HAPPENED)])
        assert [event.fields[0] for event in report.events] == list(range(120))
        assert report.messages > 2

    def test_fabric_sensitive_event_is_reported_to_its_fabric_only(
        self, host: InteractionHost, client: InteractionClient
    ) -> None:
        host.samples[1].emit("Sensitive", number=1, fabric_index=1)
        host.samples[1].emit("Sensitive", number=2, fabric_index=2)
        report = client.read(events=[(1, CLUSTER, SENSITIVE)], fabric_filtered=False)
        assert [event.fields for event in report.events] == [{0: 1, 254: 1}]

    @pytest.mark.parametrize(
        ("path", "status"),
        [
            ((7, CLUSTER, HAPPENED), Status.UNSUPPORTED_ENDPOINT),
            ((1, 0x1234, HAPPENED), Status.UNSUPPORTED_CLUSTER),
            ((1, CLUSTER, 0x77), Status.UNSUPPORTED_EVENT),
        ],
    )
    def test_unreadable_concrete_path_returns_status(
        self, client: InteractionClient, path: Path, status: int
    ) -> None:
        assert client.read(events=[path]).event_statuses == {path: status}

    def test_inaccessible_events_are_omitted_or_refused(
        self, host: InteractionHost, client: InteractionClient
    ) -> None:
        host.samples[1].emit("Happened", number=1)
        host.grants.denied.add((1, CLUSTER))
        path = (1, CLUSTER, HAPPENED)
        assert client.read(events=[path]).event_statuses == {path: Status.UNSUPPORTED_ACCESS}
        assert client.read(events=[(None, None, None)]).events == []
