from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pytest
from msgspec.structs import replace

from evse_node.cluster.definitions.zap import load_definitions
from evse_node.cluster.server import (
    ClusterEnvironment,
    ClusterServer,
    Value,
    cached_reader,
    reader,
    serves,
    writer,
)
from evse_node.errors import ConfigError, StatusError
from evse_node.matter.data_model import (
    AttributePath,
    AuthMode,
    CommandReply,
    EventPath,
    EventPriority,
    EventRecord,
    InteractionContext,
    Node,
    Privilege,
    Subject,
)
from evse_node.matter.interaction.event_log import EventLog
from evse_node.matter.interaction.status import Status
from evse_node.matter.tlv import SignedInt, decode_element, encode
from evse_node.testing.memory_store import MemoryStore
from tests.support.matter.sample_cluster import (
    ADD,
    ADD_RESPONSE,
    CHECKED,
    CLUSTER,
    FAIL,
    FIXED,
    HAPPENED,
    LABELS,
    LEVEL,
    LOCK,
    MANAGE,
    NOTES,
    RARE,
    SAMPLE,
    SCOPED,
    SECRET,
    SENSITIVE,
    SPARE,
    TIMED,
    UPTIME,
    Label,
    Note,
    Sample,
)

CONTEXT = InteractionContext(Subject(AuthMode.CASE, 1, 5), 20.0)
UNFILTERED = InteractionContext(Subject(AuthMode.CASE, 1, 5), 20.0, fabric_filtered=False)


Server = TypeVar("Server", bound=ClusterServer)


class Bench:
    """A node that records the reports and events of its clusters."""

    def __init__(self, store: MemoryStore | None = None) -> None:
        self.node = Node()
        self.store = store or MemoryStore()
        self.changed: list[AttributePath] = []
        self.events: list[EventRecord] = []
        self.node.attribute_observers.append(self.changed.append)
        self.node.event_observers.append(self.events.append)
        clock: Callable[[], float] = lambda: 5.0  # noqa: E731
        self.environment = ClusterEnvironment(
            node=self.node,
            store=self.store,
            event_log=EventLog(self.node, self.store, clock, lambda: None),
            now=clock,
            utc_ms=lambda: None,
            random_bytes=lambda size: b"\xff" * size,
        )

    def attach(self, sample: Server, endpoint: int = 1) -> Server:
        sample.attach(endpoint, self.environment)
        return sample


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def sample(bench: Bench) -> Sample:
    return bench.attach(Sample())


def value_of(
    sample: ClusterServer, attribute: int, context: InteractionContext = CONTEXT
) -> object:
    entry = sample.attributes[attribute]
    encoded = entry.encoded or sample.encode_attribute(attribute, context)
    tag, value, end = decode_element(encoded, 0)
    assert (tag, end) == (2, len(encoded))
    return value


class TestElements:
    def test_entries_match_definition(self, sample: Sample) -> None:
        assert list(sample.attributes) == [
            *(LEVEL, SECRET, UPTIME, TIMED, LABELS, NOTES, CHECKED, FIXED),
            *(0xFFF8, 0xFFF9, 0xFFFB, 0xFFFC, 0xFFFD),
        ]
        assert sample.attributes[SECRET].read_privilege is Privilege.ADMINISTER
        assert sample.attributes[LEVEL].write_privilege is Privilege.OPERATE
        assert sample.attributes[UPTIME].write_privilege is None
        assert sample.attributes[TIMED].is_timed_write
        assert sample.attributes[LABELS].is_list
        assert sample.attributes[NOTES].is_fabric_scoped
        assert list(sample.commands) == [ADD, LOCK, FAIL, SCOPED, MANAGE]
        assert sample.commands[ADD].response_id == ADD_RESPONSE
        assert sample.commands[LOCK].is_timed
        assert sample.commands[SCOPED].is_fabric_scoped
        assert sample.commands[MANAGE].invoke_privilege is Privilege.MANAGE
        assert list(sample.events) == [HAPPENED, SENSITIVE]
        assert sample.events[SENSITIVE].is_fabric_sensitive
        assert sample.events[SENSITIVE].priority is EventPriority.CRITICAL

    def test_global_attributes_list_elements(self, sample: Sample) -> None:
        assert value_of(sample, 0xFFFD) == 1
        assert value_of(sample, 0xFFFC) == 0
        assert value_of(sample, 0xFFFB) == list(sample.attributes)
        assert value_of(sample, 0xFFF9) == list(sample.commands)
        assert value_of(sample, 0xFFF8) == [ADD_RESPONSE]

    def test_optional_elements_are_present_when_named(self) -> None:
        sample = Sample(optional=["Rare", "Broken"])
        assert RARE in sample.events
        assert "broken" in sample.attributes_by_key
        assert "broken" not in Sample().attributes_by_key

    def test_features_select_attributes(self) -> None:
        @serves("Power Topology")
        class PowerTopology(ClusterServer):
            pass

        definition = load_definitions()["Power Topology"]
        server = PowerTopology(definition, features=["NODE"])
        assert server.has_feature("NODE")
        assert not server.has_feature("TREE")
        assert 0 not in server.attributes
        dynamic = PowerTopology(definition, features=["SET", "DYPF"])
        assert {0, 1} <= set(dynamic.attributes)
        with pytest.raises(ConfigError):
            PowerTopology(definition, features=["NODE", "TREE"])

    @pytest.mark.parametrize("arguments", [{"optional": ["Rar"]}, {"features": ["X"]}])
    def test_unknown_name_in_constructor_raises(self, arguments: dict[str, list[str]]) -> None:
        with pytest.raises(ConfigError):
            Sample(**arguments)

    def test_attach_encodes_path(self, sample: Sample) -> None:
        tag, path, _ = decode_element(sample.attributes[LEVEL].path_ib, 0)
        assert (tag, path) == (1, [(2, 1), (3, CLUSTER), (4, LEVEL)])


class TestValues:
    def test_assigned_and_default_values_before_attach(self) -> None:
        sample = Sample()
        sample.fixed, sample.checked = "text", -3
        assert value_of(sample, FIXED) == "text"
        assert value_of(sample, CHECKED) == -3
        assert sample.level == 7
        assert sample.labels == []

    def test_changes_encode_step_version_once_and_report(
        self, bench: Bench, sample: Sample
    ) -> None:
        assert sample.data_version == 0xFFFFFFFF
        with sample.changes():
            sample.level = 8
            sample.secret = 5
        assert sample.data_version == 0
        assert value_of(sample, LEVEL) == 8
        assert bench.changed == [
            AttributePath(1, CLUSTER, LEVEL),
            AttributePath(1, CLUSTER, SECRET),
        ]

    def test_equal_value_is_not_reported(self, bench: Bench, sample: Sample) -> None:
        sample.labels = [{"label": "a"}]
        version = sample.data_version
        bench.changed.clear()
        with sample.changes():
            sample.level = 7
            sample.labels = [{"label": "a"}]
        assert sample.data_version == version
        assert bench.changed == []

    def test_list_changed_in_place_is_reported_on_assignment(
        self, bench: Bench, sample: Sample
    ) -> None:
        labels: list[Label] = [{"label": "a"}]
        sample.labels = labels
        labels.append({"label": "b"})
        assert value_of(sample, LABELS) == [{0: "a"}]
        sample.labels = labels
        assert value_of(sample, LABELS) == [{0: "a"}, {0: "b"}]
        assert len(bench.changed) == 2

    def test_changes_apply_nothing_when_one_raises(self, bench: Bench, sample: Sample) -> None:
        def change_both() -> None:
            with sample.changes():
                sample.level = 9
                sample.secret = "x"  # type: ignore[assignment]

        with pytest.raises(TypeError):
            change_both()
        assert sample.level == 7
        assert bench.changed == []

    def test_last_assignment_in_changes_counts(self, bench: Bench, sample: Sample) -> None:
        with sample.changes():
            sample.level = 8
            assert sample.level == 7
            sample.level = 7
            sample.secret = 1
            sample.secret = 2
        assert (sample.level, sample.secret) == (7, 2)
        assert [path.attribute for path in bench.changed] == [SECRET]

    def test_assignment_after_failed_changes_applies_at_once(self, sample: Sample) -> None:
        with pytest.raises(ZeroDivisionError), sample.changes():
            sample.level = 1 // 0
        sample.level = 8
        assert sample.level == 8

    def test_absent_optional_attribute_reads_none_and_ignores_assignment(
        self, bench: Bench, sample: Sample
    ) -> None:
        sample.spare = 3
        sample.report("spare")
        assert sample.spare is None
        assert bench.changed == []

    def test_present_optional_attribute_stores_value(self, bench: Bench) -> None:
        sample = bench.attach(Sample(optional=["Spare"]))
        sample.spare = 3
        assert sample.spare == 3
        assert value_of(sample, SPARE) == 3

    def test_unknown_name_in_report_raises(self, sample: Sample) -> None:
        with pytest.raises(ConfigError):
            sample.report("levl")

    def test_computed_attribute_cannot_be_assigned(self, sample: Sample) -> None:
        with pytest.raises(TypeError, match="computed"):
            sample.assign(sample.attributes_by_key["uptime"], 3)

    def test_unreported_changes_encode_without_report(self, bench: Bench, sample: Sample) -> None:
        with sample.changes(is_reported=False):
            sample.level = 8
        assert value_of(sample, LEVEL) == 8
        assert sample.data_version == 0
        assert bench.changed == []

    def test_report_notifies_stored_and_computed_attributes(
        self, bench: Bench, sample: Sample
    ) -> None:
        sample.report("uptime", "level")
        assert [path.attribute for path in bench.changed] == [UPTIME, LEVEL]
        assert sample.data_version == 0

    def test_changes_omitted_attribute_is_not_reported(self, bench: Bench, sample: Sample) -> None:
        sample.attributes[LEVEL].changes_omitted = True
        sample.level = 8
        assert bench.changed == []
        assert sample.data_version == 0

    def test_assignment_before_attach_only_stores(self) -> None:
        sample = Sample()
        sample.level = 8
        assert sample.level == 8
        with pytest.raises(RuntimeError):
            _ = sample.environment

    def test_reader_computes_on_each_read(self, sample: Sample) -> None:
        assert sample.attributes[UPTIME].encoded is None
        assert value_of(sample, UPTIME) == 20


class TestPersistence:
    def test_nonvolatile_values_survive_restart(self, bench: Bench, sample: Sample) -> None:
        with sample.changes():
            sample.level = 8
            sample.labels = [{"label": "a", "number": 1}]
            sample.secret = 4
        assert [key for key, _ in bench.store.items("attr/")] == [
            "attr/1/fff1fc01/0000",
            "attr/1/fff1fc01/0004",
        ]
        again = Bench(bench.store).attach(Sample())
        assert again.level == 8
        assert again.labels == [{"label": "a", "number": 1}]
        assert again.secret == 0
        assert value_of(again, LEVEL) == 8

    def test_endpoints_persist_separately(self, bench: Bench, sample: Sample) -> None:
        sample.level = 8
        assert Bench(bench.store).attach(Sample(), endpoint=2).level == 7

    def test_persisted_value_replaces_assigned_one(self, bench: Bench, sample: Sample) -> None:
        sample.level = 8
        again = Sample()
        again.level = 50
        Bench(bench.store).attach(again)
        assert again.level == 8

    @pytest.mark.parametrize("data", [b"", b"\x24\x02", encode(101, 2), encode("x", 2)])
    def test_unreadable_persisted_value_is_ignored(
        self, bench: Bench, data: bytes, caplog: pytest.LogCaptureFixture
    ) -> None:
        bench.store.set("attr/1/fff1fc01/0000", data)
        assert bench.attach(Sample()).level == 7
        assert "no longer fits" in caplog.text

    def test_attached_runs_after_values_are_loaded(self, bench: Bench) -> None:
        seen: list[object] = []

        class Observing(Sample):
            def attached(self) -> None:
                seen.append((self.endpoint_id, self.level, self.environment.now()))

        bench.store.set("attr/3/fff1fc01/0000", encode(9, 2))
        bench.attach(Observing(), endpoint=3)
        assert seen == [(3, 9, 5.0)]


class TestFabrics:
    MINE: Note = {"text": "mine", "secret": 1, "fabric_index": 1}
    THEIRS: Note = {"text": "theirs", "secret": 2, "fabric_index": 2}

    def test_fabric_scoped_list_depends_on_fabric_and_filter(self, sample: Sample) -> None:
        sample.notes = [self.THEIRS, self.MINE]
        assert sample.attributes[NOTES].encoded is None
        assert value_of(sample, NOTES) == [{1: "mine", 2: 1, 254: 1}]
        assert value_of(sample, NOTES, UNFILTERED) == [
            {1: "theirs", 254: 2},
            {1: "mine", 2: 1, 254: 1},
        ]

    def test_list_items_are_filtered_by_fabric(self, sample: Sample) -> None:
        sample.notes = [self.THEIRS, self.MINE]
        items = sample.encode_list_items(NOTES, CONTEXT)
        assert items == [encode({1: "mine", 2: 1, 254: 1})]

    def test_computed_fabric_scoped_list_is_filtered(self, bench: Bench) -> None:
        @serves("Operational Credentials")
        class Credentials(ClusterServer):
            @reader
            def nocs(self, context: InteractionContext) -> object:
                return [
                    {"noc": b"1", "icac": None, "fabric_index": 1},
                    {"noc": b"2", "icac": None, "fabric_index": 2},
                ]

        # Without commands, which would need handlers.
        definition = load_definitions()["Operational Credentials"]
        server = Credentials(replace(definition, commands={}, responses={}))
        server.attach(0, bench.environment)
        assert decode_element(server.encode_attribute(0, CONTEXT), 0)[1] == [
            {1: b"1", 2: None, 254: 1}
        ]
        assert decode_element(server.encode_attribute(0, UNFILTERED), 0)[1] == [
            {1: b"1", 2: None, 254: 1},
            {254: 2},
        ]


class TestWrites:
    def test_write_without_writer_stores(self, bench: Bench, sample: Sample) -> None:
        sample.write_attribute(LEVEL, 9, CONTEXT)
        assert sample.level == 9
        assert len(bench.changed) == 1

    @pytest.mark.parametrize(
        ("attribute", "value", "status"),
        [
            (LEVEL, 101, Status.CONSTRAINT_ERROR),
            (LEVEL, SignedInt(1), Status.INVALID_DATA_TYPE),
            (LABELS, [{0: "x", 1: 256}], Status.CONSTRAINT_ERROR),
            (NOTES, [{1: "x"}], Status.INVALID_DATA_TYPE),
        ],
    )
    def test_invalid_write_is_refused(
        self, sample: Sample, attribute: int, value: object, status: Status
    ) -> None:
        with pytest.raises(StatusError) as info:
            sample.write_attribute(attribute, value, CONTEXT)  # type: ignore[arg-type]
        assert info.value.status is status

    def test_append_of_invalid_item_is_refused(self, sample: Sample) -> None:
        with pytest.raises(StatusError) as info:
            sample.append_list_item(LABELS, {0: "x" * 201}, CONTEXT)
        assert info.value.status is Status.CONSTRAINT_ERROR
        assert sample.labels == []


class TestEvents:
    def test_emit_records_event(self, bench: Bench, sample: Sample) -> None:
        sample.emit("Happened", number=3)
        (record,) = bench.events
        assert record.path == EventPath(1, CLUSTER, HAPPENED)
        assert record.priority is EventPriority.INFO
        assert record.payload == encode({0: 3}, 7)
        assert record.fabric_index == 0

    def test_fabric_sensitive_event(self, bench: Bench, sample: Sample) -> None:
        sample.emit("Sensitive", number=3, fabric_index=2)

    def test_fabric_sensitive_event_records_fabric(self, bench: Bench, sample: Sample) -> None:
        sample.emit("Sensitive", number=3, fabric_index=2)
        (record,) = bench.events
        assert record.payload == encode({0: 3, 254: 2}, 7)
        assert record.fabric_index == 2

    def test_absent_optional_event_is_skipped(self, bench: Bench, sample: Sample) -> None:
        sample.emit("Rare")
        assert bench.events == []

    def test_unknown_event_raises(self, sample: Sample) -> None:
        with pytest.raises(ConfigError):
            sample.emit("Happend", number=1)

    def test_event_without_required_field_raises(self, sample: Sample) -> None:
        with pytest.raises(ValueError, match="number"):
            sample.emit("Happened")


class TestCommands:
    def test_handler_fields_become_response(self, sample: Sample) -> None:
        reply = sample.invoke(ADD, {0: 1, 1: 2}, CONTEXT)
        assert isinstance(reply, CommandReply)
        assert reply.command_id == ADD_RESPONSE
        assert reply.payload == encode({0: 6, 1: bytes(20)}, 1)

    def test_command_without_response_returns_none(self, sample: Sample) -> None:
        assert sample.invoke(LOCK, None, CONTEXT) is None

    def test_malformed_fields_are_refused(self, sample: Sample) -> None:
        with pytest.raises(StatusError) as info:
            sample.invoke(ADD, {0: "x"}, CONTEXT)
        assert info.value.status is Status.INVALID_COMMAND
        assert sample.calls == []


WITHOUT_COMMANDS = replace(SAMPLE, commands={}, responses={})


@serves("Sample", {"Sample": WITHOUT_COMMANDS})
class CachingSample(ClusterServer):
    """A sample with two cached readers."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.current_level = 1
        self.current_notes: list[Value] = []
        super().__init__(WITHOUT_COMMANDS)

    @cached_reader
    def uptime(self, context: InteractionContext) -> Value:
        self.calls.append("uptime")
        return self.current_level

    @cached_reader
    def notes(self, context: InteractionContext) -> Value:
        self.calls.append("notes")
        return self.current_notes

    @writer("notes")
    def write_notes(self, context: InteractionContext, value: Value) -> None:
        raise StatusError(Status.FAILURE)


def test_cached_reader_computes_once_until_report(bench: Bench) -> None:
    sample = CachingSample()
    bench.attach(sample)
    entry = sample.attributes[UPTIME]
    assert entry.encoded is None
    first = sample.encode_attribute(UPTIME, CONTEXT)
    assert entry.encoded == first
    sample.current_level = 2
    sample.report("uptime")
    assert entry.encoded is None
    second = sample.encode_attribute(UPTIME, CONTEXT)
    assert second != first
    assert entry.encoded == second
    assert sample.calls == ["uptime", "uptime"]


def test_cached_list_is_cached_for_each_fabric(bench: Bench) -> None:
    sample = CachingSample()
    bench.attach(sample)
    other = InteractionContext(Subject(AuthMode.CASE, 2, 5), 20.0)
    sample.current_notes = [
        {"text": "one", "secret": 1, "fabric_index": 1},
        {"text": "two", "secret": 2, "fabric_index": 2},
    ]
    seen = {
        sample.encode_attribute(NOTES, context)
        for context in (CONTEXT, UNFILTERED, other, CONTEXT, UNFILTERED, other)
    }
    assert len(seen) == 3
    assert sample.attributes[NOTES].encoded is None
    assert sample.calls == ["notes"]
    sample.current_notes = []
    sample.report("notes")
    assert sample.encode_attribute(NOTES, CONTEXT) not in seen
    assert sample.calls == ["notes", "notes"]
