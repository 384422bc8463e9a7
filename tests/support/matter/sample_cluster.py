"""A cluster server with one of each kind of element."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NotRequired, TypedDict

from msgspec.structs import replace

from evse_node.cluster.definitions.zap import load_cluster_file
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
from evse_node.errors import StatusError
from evse_node.matter.data_model import InteractionContext
from evse_node.matter.interaction.status import Status

_LOADED = load_cluster_file(Path(__file__).parent / "sample_cluster.xml")[0]
_STORED = {"level", "notes", "labels"}
# The overlay for properties that ZAP XML lacks does not cover this cluster.
SAMPLE = replace(
    _LOADED,
    attributes=MappingProxyType(
        {
            number: replace(attribute, is_nonvolatile=attribute.key in _STORED)
            for number, attribute in _LOADED.attributes.items()
        }
    ),
)
CLUSTER = SAMPLE.id
LEVEL, SECRET, UPTIME, TIMED, LABELS, NOTES, CHECKED, FIXED, BROKEN, SPARE = range(10)
LEVEL_PATH = (1, CLUSTER, LEVEL)
ADD, ADD_RESPONSE, LOCK, FAIL, SCOPED, MANAGE = range(6)
HAPPENED, SENSITIVE, RARE = range(3)


class Label(TypedDict):
    label: str
    number: NotRequired[int]


class Note(TypedDict):
    text: str
    secret: int
    fabric_index: NotRequired[int]


@serves("Sample", {"Sample": SAMPLE})
class Sample(ClusterServer):
    level: Attribute[int]
    secret: Attribute[int]
    timed: Attribute[bool]
    labels: Attribute[Sequence[Label]]
    notes: Attribute[Sequence[Note]]
    checked: Attribute[int | None]
    fixed: Attribute[str]
    spare: OptionalAttribute[int]

    def __init__(self, *, features: Collection[str] = (), optional: Collection[str] = ()) -> None:
        self.calls: list[object] = []
        super().__init__(SAMPLE, features=features, optional=optional)

    @reader
    def uptime(self, context: InteractionContext) -> int:
        return int(context.now)

    @reader
    def broken(self, context: InteractionContext) -> int:
        raise ZeroDivisionError

    @writer("checked")
    def write_checked(self, context: InteractionContext, value: int | None) -> None:
        if value == 13:
            raise StatusError(Status.INVALID_IN_STATE)
        if value == 14:
            raise ZeroDivisionError
        self.checked = value

    @command
    def add(
        self, context: InteractionContext, *, first: int, second: int | None, third: int = 3
    ) -> Mapping[str, Value]:
        self.calls.append((first, second, third))
        return {"sum": first + (second or 0) + third, "padding": bytes(10 * (second or 0))}

    @command
    def lock(self, context: InteractionContext) -> None:
        self.calls.append("lock")

    @command
    def fail(self, context: InteractionContext, *, how: int) -> None:
        if how == 1:
            raise StatusError(Status.FAILURE, cluster_status=4)
        if how == 2:
            raise ZeroDivisionError
        raise StatusError(Status.NOT_FOUND)

    @command
    def scoped(self, context: InteractionContext) -> None:
        self.calls.append(("scoped", context.subject.fabric_index))

    @command
    def manage(self, context: InteractionContext) -> None:
        self.calls.append("manage")
