from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import IntEnum
from pathlib import Path
from typing import NewType, NotRequired, TypedDict

import mypy.api
import pytest

from evse_node.cluster import servers
from evse_node.cluster.binding import Handlers, check_class
from evse_node.cluster.definitions.zap import load_definitions, revision_definitions
from evse_node.cluster.server import (
    Attribute,
    ClusterServer,
    OptionalAttribute,
    Value,
    command,
    reader,
    serves,
    writer,
)
from evse_node.matter.data_model import AuthMode, CommandReply, InteractionContext, Subject
from tests.support.matter.sample_cluster import SAMPLE, Label, Note

Context = InteractionContext


def identify(self: object, context: Context, *, identify_time: int) -> None: ...


def make(name: str, **members: object) -> type[ClusterServer]:
    return serves(name)(type("Server", (ClusterServer,), members))


def test_served_class_is_bound() -> None:
    server = make("Identify", identify=command(identify))
    definition = load_definitions()["Identify"]
    assert server(definition).name == "Identify"


@pytest.mark.parametrize("mark", [command, reader, writer])
def test_decorator_returns_method_itself(mark: Callable[[object], object]) -> None:
    assert mark(identify) is identify


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"identfy": command(lambda self, context, *, identify_time: None)}, "<lambda>|lambda"),
        ({"x": command("Identfy")(lambda self, context, *, identify_time: None)}, "identfy"),
        ({"x": reader("IdentifyTimer")(lambda self, context: 0)}, "identify_timer"),
        ({"x": writer("IdentifyTimer")(lambda self, context, value: None)}, "identify_timer"),
        ({"x": command("Identify")(lambda self, context: None)}, "identify_time"),
        ({"x": command("Identify")(lambda self, context, *, time: None)}, "identify_time"),
        (
            {"x": command("Identify")(lambda self, context, identify_time: None)},
            "not keyword-only",
        ),
        ({"x": command("Identify")(lambda self, *, identify_time: None)}, "context first"),
        ({"x": reader("IdentifyTime")(lambda self: 0)}, "takes"),
        ({"x": writer("IdentifyTime")(lambda self, context: None)}, "takes"),
    ],
)
def test_handler_that_does_not_match_fails_at_binding(
    members: dict[str, object], reason: str
) -> None:
    with pytest.raises(TypeError, match=reason):
        make("Identify", **members)


def test_unknown_cluster_fails_at_binding() -> None:
    with pytest.raises(TypeError, match="Identity"):
        make("Identity")


def test_missing_handler_fails_at_construction() -> None:
    server = make("Identify")
    with pytest.raises(TypeError, match="does not handle Identify"):
        server(load_definitions()["Identify"])


def test_reader_of_writable_attribute_without_writer_fails_at_construction() -> None:
    server = make(
        "Identify",
        identify=command(identify),
        identify_time=reader("IdentifyTime")(lambda self, context: 0),
    )
    with pytest.raises(TypeError, match="no writer"):
        server(load_definitions()["Identify"])


def test_definition_of_another_cluster_fails_at_construction() -> None:
    server = make("Identify", identify=command(identify))
    with pytest.raises(TypeError, match="serves Identify, not Descriptor"):
        server(load_definitions()["Descriptor"])


def test_class_without_serves_fails_at_construction() -> None:
    class Bare(ClusterServer):
        pass

    with pytest.raises(TypeError, match="lacks @serves"):
        Bare(load_definitions()["Descriptor"])


class Mode(ClusterServer):
    """A base class whose handlers and attributes are bound in subclasses."""

    current_mode: Attribute[int]

    @command
    def change_to_mode(self, context: Context, *, new_mode: int) -> Mapping[str, Value]:
        return {"status": 0, "status_text": self.greeting()}

    def greeting(self) -> str:
        return ""


@serves("Energy EVSE Mode")
class EvseMode(Mode):
    def greeting(self) -> str:
        return "evse"


@serves("Device Energy Management Mode")
class ManagementMode(Mode):
    def change_to_mode(self, context: Context, *, new_mode: int) -> Mapping[str, Value]:
        return {"status": 1, "status_text": ""}


def test_members_of_base_class_serve_several_clusters() -> None:
    definitions = load_definitions()
    evse = EvseMode(definitions["Energy EVSE Mode"])
    management = ManagementMode(definitions["Device Energy Management Mode"])
    context = Context(Subject(AuthMode.PASE), 0.0)
    one = evse.invoke(0, {0: 1}, context)
    other = management.invoke(0, {0: 1}, context)
    assert isinstance(one, CommandReply)
    assert b"evse" in one.payload
    # An override needs no decorator of its own.
    assert isinstance(other, CommandReply)
    assert other.payload == bytes.fromhex("35 01 24 00 01 2c 01 00 18")
    evse.current_mode = 2
    assert (evse.current_mode, management.current_mode) == (2, 0)


class Level(IntEnum):
    LOW = 0


Milli = NewType("Milli", int)


class ShortNote(TypedDict):
    text: str


class WrongField(TypedDict):
    txt: str


class WrongType(TypedDict):
    text: bytes


class WrongOption(TypedDict):
    text: NotRequired[str]


def declare(annotation: object, name: str, **members: object) -> type[ClusterServer]:
    """Bind a class with one annotated attribute to the sample cluster."""
    members |= {"__annotations__": {name: annotation}, "__module__": __name__}
    return serves("Sample", {"Sample": SAMPLE})(type("Server", (ClusterServer,), members))


class TestAnnotation:
    @pytest.mark.parametrize(
        ("name", "annotation"),
        [
            ("level", Attribute[Milli]),
            ("level", Attribute[Value]),
            ("level", Attribute[int]),
            ("timed", Attribute[bool]),
            ("checked", Attribute[int | None]),
            ("checked", Attribute[Milli | None]),
            ("fixed", Attribute[str]),
            ("spare", OptionalAttribute[int]),
            ("spare", Attribute[int]),
            ("labels", Attribute[Sequence[Label]]),
            ("labels", Attribute[list[Mapping[str, Value]]]),
            ("labels", Attribute[list[dict[str, Value]]]),
            ("notes", Attribute[Sequence[Note]]),
            ("notes", Attribute[Sequence[ShortNote]]),
        ],
    )
    def test_of_type_in_xml_is_bound(self, name: str, annotation: object) -> None:
        server = declare(annotation, name)
        assert getattr(server, name).key == name

    @pytest.mark.parametrize(
        ("name", "annotation", "reason"),
        [
            ("levl", Attribute[int], "no attribute levl"),
            ("level", Attribute[str], "str is not the type of int8u"),
            ("level", Attribute[Level], "not the type of int8u"),
            ("level", Attribute[bool], "not the type of int8u"),
            ("level", Attribute[int | None], "has None, but int8u is not nullable"),
            ("level", Attribute[int | str], "not the type of int8u"),
            ("level", OptionalAttribute[int], "Level is mandatory, not optional"),
            ("level", "Attribute[Missing]", "Missing"),
            ("timed", Attribute[int], "not the type of boolean"),
            ("checked", Attribute[int], "lacks None"),
            ("fixed", Attribute[int], "int is not the type of char_string"),
            ("fixed", Attribute[bytes], "not the type of char_string"),
            ("labels", Attribute[str], "str is not a list of LabelStruct"),
            ("labels", Attribute[Sequence[int]], "int is not the type of LabelStruct"),
            ("notes", Attribute[list[WrongField]], "WrongField.txt: NoteStruct has no such"),
            ("notes", Attribute[list[WrongType]], "WrongType.text: bytes is not the type"),
            ("notes", Attribute[list[WrongOption]], "WrongOption.text: NotRequired is for"),
        ],
    )
    def test_of_other_name_or_type_fails_at_binding(
        self, name: str, annotation: object, reason: str
    ) -> None:
        with pytest.raises(TypeError, match=reason):
            declare(annotation, name)

    def test_with_reader_fails_at_binding(self) -> None:
        method = reader("Uptime")(lambda self, context: 0)
        with pytest.raises(TypeError, match="is an attribute and has a reader"):
            declare(Attribute[int], "uptime", read=method)

    @pytest.mark.parametrize("name", ["_level", "level"])
    def test_of_other_member_is_left_alone(self, name: str) -> None:
        assert not hasattr(declare("int", name), name)

    def test_of_unknown_not_persisted_attribute_fails_at_binding(self) -> None:
        with pytest.raises(TypeError, match="levl"):
            declare(Attribute[int], "level", not_persisted=frozenset({"levl"}))

    def test_of_absent_attribute_fails_at_construction(self) -> None:
        server = serves("Power Topology")(
            type(
                "Server",
                (ClusterServer,),
                {
                    "__annotations__": {"active_endpoints": Attribute[Sequence[int]]},
                    "__module__": __name__,
                },
            )
        )
        definition = load_definitions()["Power Topology"]
        assert "active_endpoints" in server(definition, features=["SET", "DYPF"]).attributes_by_key
        with pytest.raises(TypeError, match="lacks active_endpoints here"):
            server(definition, features=["NODE"])

    def test_of_writer_is_checked(self) -> None:
        def write_level(self: object, context: Context, value: str) -> None: ...

        with pytest.raises(TypeError, match=r"write_level: str is not the type of int8u"):
            declare(Attribute[int], "level", write_level=writer("level")(write_level))

    def test_of_reader_is_checked(self) -> None:
        def uptime(self: object, context: Context) -> str:
            return ""

        with pytest.raises(TypeError, match="str is not the type of int32u"):
            declare(Attribute[int], "level", uptime=reader("Uptime")(uptime))

    @pytest.mark.parametrize(
        ("first", "second"), [("str", "int | None"), ("int", "int"), ("int | None", "int | None")]
    )
    def test_of_command_field_is_checked(self, first: str, second: str) -> None:
        def add(
            self: object, context: Context, *, first: object, second: object, third: int = 3
        ) -> None: ...

        add.__annotations__ |= {"first": first, "second": second}
        with pytest.raises(TypeError, match=r"Server.add: (first|second): "):
            declare(Attribute[int], "level", add=command(add))


def bound_servers() -> Iterator[tuple[str, type]]:
    for module in pkgutil.walk_packages(servers.__path__, f"{servers.__name__}."):
        for member in vars(importlib.import_module(module.name)).values():
            handlers = getattr(member, "_cluster_served", None)
            if isinstance(handlers, Handlers) and member.__module__ == module.name:
                yield handlers.served, member


BOUND = dict(bound_servers())


def test_every_shipped_cluster_has_a_server() -> None:
    assert set(BOUND) == set(load_definitions())


@pytest.mark.parametrize("name", sorted(BOUND.keys() - {"Basic Information"}))
def test_server_matches_later_revision(name: str) -> None:
    check_class(BOUND[name], revision_definitions("1.4.2")[name])


def test_unique_id_is_optional_until_later_revision() -> None:
    definition = revision_definitions("1.4.2")["Basic Information"]
    with pytest.raises(TypeError, match="unique_id: UniqueID is mandatory"):
        check_class(BOUND["Basic Information"], definition)


TYPED = """
from typing import assert_type
from tests.support.matter.sample_cluster import Label, Sample
from collections.abc import Sequence

sample = Sample()
assert_type(sample.level, int)
assert_type(sample.checked, int | None)
assert_type(sample.spare, int | None)
assert_type(sample.labels, Sequence[Label])
sample.level = 8
sample.checked = None
sample.spare = 3
"""
UNTYPED = {
    "sample.levl = 8": "no attribute",
    "sample.level = 'x'": "expression has type",
    "sample.level = None": "expression has type",
    "sample.spare = None": "expression has type",
    "sample.uptime = 3": "assign to a method",
    "text: str = sample.fixed + sample.level": "Unsupported operand",
    "sample.labels = [{'lable': 'x'}]": "Extra key",
}


def test_type_checker_knows_attributes(tmp_path: Path) -> None:
    snippet = tmp_path / "snippet.py"
    snippet.write_text(TYPED + "\n".join(UNTYPED))
    first = TYPED.count("\n") + 1
    output, _, _ = mypy.api.run(
        ["--strict", "--no-error-summary", "--hide-error-context", str(snippet)]
    )
    errors = [line for line in output.splitlines() if ": error:" in line]
    lines = dict.fromkeys(int(line.split(":")[1]) for line in errors)
    assert list(lines) == list(range(first, first + len(UNTYPED))), output
    for number, (statement, reason) in enumerate(UNTYPED.items(), first):
        assert any(f":{number}: error:" in line and reason in line for line in errors), statement
