from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from evse_node.cluster.definitions.zap import load_definitions
from evse_node.cluster.server import ClusterServer, Value, command, reader, serves, writer
from evse_node.matter.data_model import AuthMode, InteractionContext, Subject

Context = InteractionContext


def identify(self: object, context: Context, *, identify_time: int) -> None: ...


def make(name: str, **members: object) -> type[ClusterServer]:
    return serves(name)(type("Server", (ClusterServer,), members))


def test_served_class_is_bound() -> None:
    server = make("Identify", identify=command(identify))
    definition = load_definitions()["Identify"]
    assert server(definition).name == "Identify"


@pytest.mark.parametrize("mark", [command, reader, writer])
def test_marked_method_stays_itself(mark: Callable[[object], object]) -> None:
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
def test_mistakes_are_found_when_the_class_is_made(members: dict[str, object], reason: str) -> None:
    with pytest.raises(TypeError, match=reason):
        make("Identify", **members)


def test_unknown_cluster() -> None:
    with pytest.raises(TypeError, match="Identity"):
        make("Identity")


def test_missing_handler_is_found_when_an_instance_is_made() -> None:
    server = make("Identify")
    with pytest.raises(TypeError, match="does not handle Identify"):
        server(load_definitions()["Identify"])


def test_reader_of_a_writable_attribute_needs_a_writer() -> None:
    server = make(
        "Identify",
        identify=command(identify),
        identify_time=reader("IdentifyTime")(lambda self, context: 0),
    )
    with pytest.raises(TypeError, match="no writer"):
        server(load_definitions()["Identify"])


def test_definition_of_another_cluster() -> None:
    server = make("Identify", identify=command(identify))
    with pytest.raises(TypeError, match="serves Identify, not Descriptor"):
        server(load_definitions()["Descriptor"])


def test_class_without_serves() -> None:
    class Bare(ClusterServer):
        pass

    with pytest.raises(TypeError, match="lacks @serves"):
        Bare(load_definitions()["Descriptor"])


class Mode(ClusterServer):
    """Serves no cluster itself; its handlers are bound in subclasses."""

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


def test_handlers_of_a_base_serve_several_clusters() -> None:
    definitions = load_definitions()
    evse = EvseMode(definitions["Energy EVSE Mode"])
    management = ManagementMode(definitions["Device Energy Management Mode"])
    context = Context(Subject(AuthMode.PASE), 0.0)
    one = evse.invoke(0, {0: 1}, context)
    other = management.invoke(0, {0: 1}, context)
    assert one is not None
    assert b"evse" in one.payload
    # An override needs no mark of its own.
    assert other is not None
    assert other.payload == bytes.fromhex("35 01 24 00 01 2c 01 00 18")
