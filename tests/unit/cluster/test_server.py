from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from evse_node.cluster.definitions.zap import load_definitions
from evse_node.cluster.server import (
    ClusterEnvironment,
    ClusterServer,
    Value,
    kept_reader,
    reader,
    serves,
    writer,
)
from evse_node.errors import ConfigError, StatusError
from evse_node.matter.data_model import (
    AttributePath,
    AuthMode,
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
    TIMED,
    UPTIME,
    Sample,
)

CONTEXT = InteractionContext(Subject(AuthMode.CASE, 1, 5), 20.0)
UNFILTERED = InteractionContext(Subject(AuthMode.CASE, 1, 5), 20.0, fabric_filtered=False)


class Bench:
    """A node that notes what its clusters report."""

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

    def attach(self, sample: Sample, endpoint: int = 1) -> Sample:
        sample.attach(endpoint, self.environment)
        return sample


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def sample(bench: Bench) -> Sample:
    return bench.attach(Sample())


def value_of(sample: Sample, attribute: int, context: InteractionContext = CONTEXT) -> object:
    entry = sample.attributes[attribute]
    encoded = entry.encoded or sample.encode_attribute(attribute, context)
    tag, value, end = decode_element(encoded, 0)
    assert (tag, end) == (2, len(encoded))
    return value


class TestElements:
    def test_entries_are_those_of_the_definition(self, sample: Sample) -> None:
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

    def test_global_attributes(self, sample: Sample) -> None:
        assert value_of(sample, 0xFFFD) == 1
        assert value_of(sample, 0xFFFC) == 0
        assert value_of(sample, 0xFFFB) == list(sample.attributes)
        assert value_of(sample, 0xFFF9) == list(sample.commands)
        assert value_of(sample, 0xFFF8) == [ADD_RESPONSE]

    def test_optional_elements(self) -> None:
        sample = Sample(optional=["Rare", "Broken"])
        assert RARE in sample.events
        assert sample.has_attribute("broken")
        assert not Sample().has_attribute("broken")

    def test_features_decide(self) -> None:
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

    @pytest.mark.parametrize(
        "arguments", [{"optional": ["Rar"]}, {"features": ["X"]}, {"values": {"leve": 1}}]
    )
    def test_unknown_names(self, arguments: dict[str, object]) -> None:
        with pytest.raises(ConfigError):
            Sample(**arguments)

    def test_path_is_encoded_when_attached(self, sample: Sample) -> None:
        tag, path, _ = decode_element(sample.attributes[LEVEL].path_ib, 0)
        assert (tag, path) == (1, [(2, 1), (3, CLUSTER), (4, LEVEL)])


class TestValues:
    def test_first_values(self) -> None:
        sample = Sample(values={"fixed": "text", "checked": -3})
        assert value_of(sample, FIXED) == "text"
        assert value_of(sample, CHECKED) == -3
        assert sample.get("level") == 7
        assert sample.get("labels") == []

    def test_set_encodes_counts_and_reports(self, bench: Bench, sample: Sample) -> None:
        assert sample.data_version == 0xFFFFFFFF
        sample.set(level=8, secret=5)
        assert sample.data_version == 0
        assert value_of(sample, LEVEL) == 8
        assert bench.changed == [
            AttributePath(1, CLUSTER, LEVEL),
            AttributePath(1, CLUSTER, SECRET),
        ]

    def test_same_value_is_no_change(self, bench: Bench, sample: Sample) -> None:
        sample.set(labels=[{"label": "a"}])
        version = sample.data_version
        bench.changed.clear()
        sample.set(level=7, labels=[{"label": "a"}])
        assert sample.data_version == version
        assert bench.changed == []

    def test_list_changed_in_place_is_a_change(self, bench: Bench, sample: Sample) -> None:
        labels: list[object] = [{"label": "a"}]
        sample.set(labels=labels)
        labels.append({"label": "b"})
        assert value_of(sample, LABELS) == [{0: "a"}]
        sample.set(labels=labels)
        assert value_of(sample, LABELS) == [{0: "a"}, {0: "b"}]
        assert len(bench.changed) == 2

    def test_all_or_nothing(self, bench: Bench, sample: Sample) -> None:
        with pytest.raises(TypeError):
            sample.set(level=9, secret="x")
        assert sample.get("level") == 7
        assert bench.changed == []

    def test_unknown_name(self, sample: Sample) -> None:
        with pytest.raises(ConfigError):
            sample.set(levl=9)

    def test_absent_optional_attribute_is_passed_over(self, bench: Bench, sample: Sample) -> None:
        sample.set(broken=3)
        sample.report("broken")
        assert bench.changed == []

    def test_computed_attribute_cannot_be_set(self, sample: Sample) -> None:
        with pytest.raises(TypeError):
            sample.set(uptime=3)
        with pytest.raises(KeyError):
            sample.get("uptime")

    def test_set_quietly(self, bench: Bench, sample: Sample) -> None:
        sample.set_quietly(level=8)
        assert value_of(sample, LEVEL) == 8
        assert sample.data_version == 0
        assert bench.changed == []

    def test_report(self, bench: Bench, sample: Sample) -> None:
        sample.report("uptime", "level")
        assert [path.attribute for path in bench.changed] == [UPTIME, LEVEL]
        assert sample.data_version == 0

    def test_attribute_whose_changes_are_omitted(self, bench: Bench, sample: Sample) -> None:
        sample.attributes[LEVEL].changes_omitted = True
        sample.set(level=8)
        assert bench.changed == []
        assert sample.data_version == 0

    def test_before_attach_values_are_only_kept(self) -> None:
        sample = Sample()
        sample.set(level=8)
        assert sample.get("level") == 8
        with pytest.raises(RuntimeError):
            _ = sample.environment

    def test_reader(self, sample: Sample) -> None:
        assert sample.attributes[UPTIME].encoded is None
        assert value_of(sample, UPTIME) == 20


class TestPersistence:
    def test_nonvolatile_values_come_back(self, bench: Bench, sample: Sample) -> None:
        sample.set(level=8, labels=[{"label": "a", "number": 1}], secret=4)
        assert [key for key, _ in bench.store.items("attr/")] == [
            "attr/1/fff1fc01/0000",
            "attr/1/fff1fc01/0004",
        ]
        again = Bench(bench.store).attach(Sample())
        assert again.get("level") == 8
        assert again.get("labels") == [{"label": "a", "number": 1}]
        assert again.get("secret") == 0
        assert value_of(again, LEVEL) == 8

    def test_endpoints_are_apart(self, bench: Bench, sample: Sample) -> None:
        sample.set(level=8)
        assert Bench(bench.store).attach(Sample(), endpoint=2).get("level") == 7

    def test_stored_value_beats_the_first_one(self, bench: Bench, sample: Sample) -> None:
        sample.set(level=8)
        again = Bench(bench.store).attach(Sample(values={"level": 50}))
        assert again.get("level") == 8

    @pytest.mark.parametrize("data", [b"", b"\x24\x02", encode(101, 2), encode("x", 2)])
    def test_value_that_does_not_fit_is_left(
        self, bench: Bench, data: bytes, caplog: pytest.LogCaptureFixture
    ) -> None:
        bench.store.set("attr/1/fff1fc01/0000", data)
        assert bench.attach(Sample()).get("level") == 7
        assert "does not fit" in caplog.text

    def test_attached_sees_the_values(self, bench: Bench) -> None:
        seen: list[object] = []

        class Curious(Sample):
            def attached(self) -> None:
                seen.append((self.endpoint_id, self.get("level"), self.environment.now()))

        bench.store.set("attr/3/fff1fc01/0000", encode(9, 2))
        bench.attach(Curious(), endpoint=3)
        assert seen == [(3, 9, 5.0)]


class TestFabrics:
    MINE = {"text": "mine", "secret": 1, "fabric_index": 1}
    THEIRS = {"text": "theirs", "secret": 2, "fabric_index": 2}

    def test_value_depends_on_the_reader(self, sample: Sample) -> None:
        sample.set(notes=[self.THEIRS, self.MINE])
        assert sample.attributes[NOTES].encoded is None
        assert value_of(sample, NOTES) == [{1: "mine", 2: 1, 254: 1}]
        assert value_of(sample, NOTES, UNFILTERED) == [
            {1: "theirs", 254: 2},
            {1: "mine", 2: 1, 254: 1},
        ]

    def test_items_for_chunks_are_filtered_too(self, sample: Sample) -> None:
        sample.set(notes=[self.THEIRS, self.MINE])
        items = sample.encode_list_items(NOTES, CONTEXT)
        assert items == [encode({1: "mine", 2: 1, 254: 1})]

    def test_reader_of_a_fabric_scoped_list(self, bench: Bench) -> None:
        @serves("Operational Credentials")
        class Credentials(ClusterServer):
            @reader
            def nocs(self, context: InteractionContext) -> object:
                return [
                    {"noc": b"1", "icac": None, "fabric_index": 1},
                    {"noc": b"2", "icac": None, "fabric_index": 2},
                ]

        # Only the reader is looked at here.
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
    def test_default_write_stores(self, bench: Bench, sample: Sample) -> None:
        sample.write_attribute(LEVEL, 9, CONTEXT)
        assert sample.get("level") == 9
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
    def test_refusals(self, sample: Sample, attribute: int, value: object, status: Status) -> None:
        with pytest.raises(StatusError) as info:
            sample.write_attribute(attribute, value, CONTEXT)  # type: ignore[arg-type]
        assert info.value.status is status

    def test_append_checks_the_item(self, sample: Sample) -> None:
        with pytest.raises(StatusError) as info:
            sample.append_list_item(LABELS, {0: "x" * 201}, CONTEXT)
        assert info.value.status is Status.CONSTRAINT_ERROR
        assert sample.get("labels") == []


class TestEvents:
    def test_emit(self, bench: Bench, sample: Sample) -> None:
        sample.emit("Happened", number=3)
        (record,) = bench.events
        assert record.path == EventPath(1, CLUSTER, HAPPENED)
        assert record.priority is EventPriority.INFO
        assert record.payload == encode({0: 3}, 7)
        assert record.fabric_index == 0

    def test_fabric_sensitive_event(self, bench: Bench, sample: Sample) -> None:
        sample.emit("Sensitive", number=3, fabric_index=2)
        (record,) = bench.events
        assert record.payload == encode({0: 3, 254: 2}, 7)
        assert record.fabric_index == 2

    def test_absent_event_is_passed_over(self, bench: Bench, sample: Sample) -> None:
        sample.emit("Rare")
        assert bench.events == []

    def test_unknown_event(self, sample: Sample) -> None:
        with pytest.raises(ConfigError):
            sample.emit("Happend", number=1)

    def test_wrong_fields(self, sample: Sample) -> None:
        with pytest.raises(ValueError, match="number"):
            sample.emit("Happened")


class TestCommands:
    def test_reply(self, sample: Sample) -> None:
        reply = sample.invoke(ADD, {0: 1, 1: 2}, CONTEXT)
        assert reply is not None
        assert reply.command_id == ADD_RESPONSE
        assert reply.payload == encode({0: 6, 1: bytes(20)}, 1)

    def test_no_reply(self, sample: Sample) -> None:
        assert sample.invoke(LOCK, None, CONTEXT) is None

    def test_malformed_fields(self, sample: Sample) -> None:
        with pytest.raises(StatusError) as info:
            sample.invoke(ADD, {0: "x"}, CONTEXT)
        assert info.value.status is Status.INVALID_COMMAND
        assert sample.calls == []


@serves("Sample", {"Sample": SAMPLE})
class KeepingSample(Sample):
    """Computes two attributes, and says when they have changed."""

    def __init__(self) -> None:
        self.level_now = 1
        self.notes_now: list[Value] = []
        super().__init__()

    @kept_reader
    def uptime(self, context: InteractionContext) -> Value:
        self.calls.append("uptime")
        return self.level_now

    @kept_reader
    def notes(self, context: InteractionContext) -> Value:
        self.calls.append("notes")
        return self.notes_now

    @writer("notes")
    def write_notes(self, context: InteractionContext, value: Value) -> None:
        raise StatusError(Status.FAILURE)


def test_a_kept_value_is_computed_again_only_after_a_report(bench: Bench) -> None:
    sample = KeepingSample()
    bench.attach(sample)
    entry = sample.attributes[UPTIME]
    assert entry.encoded is None
    first = sample.encode_attribute(UPTIME, CONTEXT)
    assert entry.encoded == first
    sample.level_now = 2
    sample.report("uptime")
    assert entry.encoded is None
    second = sample.encode_attribute(UPTIME, CONTEXT)
    assert second != first
    assert entry.encoded == second
    assert sample.calls == ["uptime", "uptime"]


def test_a_kept_list_is_kept_for_each_fabric(bench: Bench) -> None:
    sample = KeepingSample()
    bench.attach(sample)
    other = InteractionContext(Subject(AuthMode.CASE, 2, 5), 20.0)
    sample.notes_now = [
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
    sample.notes_now = []
    sample.report("notes")
    assert sample.encode_attribute(NOTES, CONTEXT) not in seen
    assert sample.calls == ["notes", "notes"]
