"""Subscriptions to events, urgent and not."""

from __future__ import annotations

from tests.support.matter.interaction_client import (
    InteractionClient,
    reports_of,
)
from tests.support.matter.interaction_host import Client, InteractionHost
from tests.support.matter.sample_cluster import CLUSTER, HAPPENED, LEVEL_PATH, SENSITIVE


class TestEvents:
    def test_urgent_event_is_reported_at_once(
        self, host: InteractionHost, controller: Client, client: InteractionClient
    ) -> None:
        client.subscribe(urgent=[(1, CLUSTER, None)])
        host.samples[1].emit("Happened", number=5)
        host.network.run(0)
        (report,) = reports_of(controller.reports)
        assert [event.fields for event in report.events] == [{0: 5}]

    def test_event_that_is_not_urgent_waits_for_next_report(
        self, host: InteractionHost, controller: Client, client: InteractionClient
    ) -> None:
        client.subscribe(LEVEL_PATH, events=[(1, CLUSTER, HAPPENED)])
        host.samples[1].emit("Happened", number=5)
        host.network.run(5)
        assert controller.reports == []
        host.samples[1].level = 9
        host.network.run(1)
        (report,) = reports_of(controller.reports)
        assert len(report.events) == 1
        assert report.values == {LEVEL_PATH: 9}

    def test_event_is_part_of_report_at_maximum_interval(
        self, host: InteractionHost, controller: Client, client: InteractionClient
    ) -> None:
        client.subscribe(events=[(1, CLUSTER, HAPPENED)], maximum=10)
        host.samples[1].emit("Happened", number=5)
        host.network.run(10)
        assert len(reports_of(controller.reports)[0].events) == 1

    def test_each_event_is_reported_once(
        self, host: InteractionHost, controller: Client, client: InteractionClient
    ) -> None:
        host.samples[1].emit("Happened", number=1)
        first, _, _ = client.subscribe(urgent=[(None, None, None)])
        assert len(first.events) == 1
        for number in (2, 3, 4):
            host.samples[1].emit("Happened", number=number)
            host.network.run(1)
        reports = reports_of(controller.reports)
        assert [event.fields[0] for report in reports for event in report.events] == [2, 3, 4]

    def test_events_of_lost_report_are_repeated_on_next_session(
        self, host: InteractionHost, controller: Client, client: InteractionClient
    ) -> None:
        client.subscribe(urgent=[(1, CLUSTER, None)])
        old = controller.host_session
        host.network.lost = lambda data, source, to: to == controller.address
        host.samples[1].emit("Happened", number=5)
        host.network.run(0.05)
        host.network.lost = lambda data, source, to: False
        controller.connect()
        host.sessions.remove(old, host.network.now)
        host.samples[1].emit("Happened", number=6)
        host.network.run(30)
        reports = reports_of(controller.reports)
        assert [e.fields for report in reports for e in report.events] == [{0: 5}, {0: 6}]
        assert len(host.model.subscriptions) == 1

    def test_urgent_event_respects_the_minimum_interval(
        self, host: InteractionHost, controller: Client, client: InteractionClient
    ) -> None:
        client.subscribe(urgent=[(1, CLUSTER, None)], minimum=5, maximum=10)
        host.samples[1].emit("Happened", number=1)
        host.samples[1].emit("Happened", number=2)
        host.network.run(4.5)
        assert controller.reports == []
        host.network.run(1)
        assert len(reports_of(controller.reports)[0].events) == 2

    def test_fabric_sensitive_events_of_other_fabrics_are_omitted(
        self, host: InteractionHost, controller: Client, client: InteractionClient
    ) -> None:
        client.subscribe(urgent=[(1, CLUSTER, SENSITIVE)])
        host.samples[1].emit("Sensitive", number=1, fabric_index=2)
        host.network.run(1)
        assert controller.reports == []
        host.samples[1].emit("Sensitive", number=2, fabric_index=1)
        host.network.run(1)
        assert len(reports_of(controller.reports)[0].events) == 1

    def test_event_minimum_omits_older_events(
        self, host: InteractionHost, client: InteractionClient
    ) -> None:
        for number in range(4):
            host.samples[1].emit("Happened", number=number)
        report, _, _ = client.subscribe(events=[(1, CLUSTER, None)], event_minimum=3)
        assert [event.number for event in report.events] == [3]
