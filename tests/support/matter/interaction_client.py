"""A client of the interaction model for tests, with decoded responses.

client = InteractionClient(controller)     # FakeController, or anything that can `open`
assert client.read((1, 0x99, 0)).value(1, 0x99, 0) == 0
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from evse_node.matter.interaction.messages import Opcode
from evse_node.matter.interaction.status import Status
from evse_node.matter.messaging.message import Message
from evse_node.matter.tlv import TagKey, TlvList, TlvValue, decode_struct, encode

REVISION: Final[dict[TagKey, TlvValue]] = {0xFF: 11}
OK = encode({0: 0, **REVISION})

Path = tuple[int | None, int | None, int | None]


class WireStatusError(Exception):
    """A status in response to a whole action."""

    def __init__(self, status: int) -> None:
        self.status = Status(status)
        super().__init__(self.status.name)


def attribute_path(path: Path, *extra: tuple[int, TlvValue]) -> TlvList:
    return TlvList(
        [(t, v) for t, v in zip((2, 3, 4), path, strict=True) if v is not None] + [*extra]
    )


def event_path(path: Path, *, is_urgent: bool = False) -> TlvList:
    members: list[tuple[TagKey | None, TlvValue]] = [
        (t, v) for t, v in zip((1, 2, 3), path, strict=True) if v is not None
    ]
    return TlvList(members + ([(4, True)] if is_urgent else []))


def command_path(path: Path) -> TlvList:
    return TlvList([(t, v) for t, v in enumerate(path) if v is not None])


def _selection(
    tags: tuple[int, int, int, int],
    paths: Sequence[Path],
    events: Sequence[Path],
    *,
    urgent: Sequence[Path] = (),
    event_minimum: int | None = None,
    fabric_filtered: bool = True,
    versions: Sequence[tuple[int, int, int]] = (),
) -> dict[TagKey, TlvValue]:
    members: dict[TagKey, TlvValue] = {}
    if paths:
        members[tags[0]] = [attribute_path(path) for path in paths]
    if events or urgent:
        members[tags[1]] = [
            *(event_path(path) for path in events),
            *(event_path(path, is_urgent=True) for path in urgent),
        ]
    if event_minimum is not None:
        members[tags[2]] = [{1: event_minimum}]
    members[tags[3]] = fabric_filtered
    if versions:
        members[tags[3] + 1] = [
            {0: TlvList([(1, endpoint), (2, cluster)]), 1: version}
            for endpoint, cluster, version in versions
        ]
    return members


def read_request(*paths: Path, events: Sequence[Path] = (), **options: Any) -> bytes:
    return encode(_selection((0, 1, 2, 3), paths, events, **options) | REVISION)


def subscribe_request(
    *paths: Path,
    events: Sequence[Path] = (),
    minimum: int = 0,
    maximum: int = 60,
    keep: bool = True,
    **options: Any,
) -> bytes:
    return encode(
        {0: keep, 1: minimum, 2: maximum}
        | _selection((3, 4, 5, 7), paths, events, **options)
        | REVISION
    )


class Write(NamedTuple):
    """A value to write; `append` adds it to a list."""

    path: Path
    data: TlvValue
    version: int | None = None
    append: bool = False


def write_request(
    *writes: Write, timed: bool = False, more: bool = False, suppress: bool = False
) -> bytes:
    items: list[TlvValue] = []
    for write in writes:
        item: dict[TagKey, TlvValue] = {} if write.version is None else {0: write.version}
        item[1] = attribute_path(write.path, *([(5, None)] if write.append else []))
        item[2] = write.data
        items.append(item)
    members: dict[TagKey, TlvValue] = {0: suppress, 1: timed, 2: items, 3: more}
    return encode(members | REVISION)


class Invoke(NamedTuple):
    """A command to invoke."""

    path: Path
    fields: TlvValue = None
    reference: int | None = None


def invoke_request(*invokes: Invoke, timed: bool = False, suppress: bool = False) -> bytes:
    items: list[TlvValue] = []
    for invoke in invokes:
        item: dict[TagKey, TlvValue] = {0: command_path(invoke.path)}
        if invoke.fields is not None:
            item[1] = invoke.fields
        if invoke.reference is not None:
            item[2] = invoke.reference
        items.append(item)
    members: dict[TagKey, TlvValue] = {0: suppress, 1: timed, 2: items}
    return encode(members | REVISION)


@dataclass
class Event:
    path: tuple[Any, ...]
    number: int
    priority: int
    fields: Any
    utc_ms: int | None
    system_ms: int | None


@dataclass
class Report:
    """The content of one or more ReportDataMessages."""

    values: dict[tuple[Any, ...], Any] = field(default_factory=dict)
    versions: dict[tuple[Any, ...], int] = field(default_factory=dict)
    statuses: dict[tuple[Any, ...], int] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    event_statuses: dict[tuple[Any, ...], int] = field(default_factory=dict)
    subscription_id: int | None = None
    messages: int = 0
    is_suppressed: bool = False

    def add(self, payload: bytes) -> bool:
        """Add a message; return whether more follow."""
        assert len(payload) <= 1232
        message: Any = decode_struct(payload)
        self.messages += 1
        self.subscription_id = message.get(0)
        for report in message.get(1, ()):
            if 0 in report:
                self.statuses[_members(report[0][0], 2)] = report[0][1][0]
                continue
            data = report[1]
            path = _members(data[1], 2)
            self.versions[path] = data[0]
            if (5, None) in data[1]:
                self.values[path].append(data[2])
            else:
                assert path not in self.values, f"{path} is reported twice"
                self.values[path] = data[2]
        for report in message.get(2, ()):
            if 0 in report:
                self.event_statuses[_members(report[0][0], 1)] = report[0][1][0]
                continue
            data = report[1]
            self.events.append(
                Event(_members(data[0], 1), data[1], data[2], data[7], data.get(3), data.get(4))
            )
        self.is_suppressed = bool(message.get(4))
        return bool(message.get(3))

    def value(self, *path: int) -> Any:
        return self.values[path]


def _members(path: TlvList, first: int) -> tuple[Any, ...]:
    return tuple(path.first(tag) for tag in range(first, first + 3))


def reports_of(messages: Sequence[Message]) -> list[Report]:
    """Join the messages of reports on subscriptions."""
    reports: list[Report] = []
    is_open = False
    for message in messages:
        if message.opcode != Opcode.REPORT_DATA:
            continue
        if not is_open:
            reports.append(Report())
        is_open = reports[-1].add(message.payload)
    return reports


class InteractionClient:
    """Client that follows the protocol."""

    def __init__(self, controller: Any) -> None:
        self.controller = controller

    def report(self, opcode: int, payload: bytes) -> Report:
        """Send a read request, and return the whole report."""
        conversation = self.controller.open()
        conversation.send(opcode, payload)
        report = Report()
        while True:
            message = conversation.receive()
            _raise_for_status(message)
            assert message.opcode == Opcode.REPORT_DATA
            more = report.add(message.payload)
            if not more:
                break
            conversation.send(Opcode.STATUS_RESPONSE, OK)
        conversation.close()
        return report

    def read(self, *paths: Path, **options: Any) -> Report:
        return self.report(Opcode.READ_REQUEST, read_request(*paths, **options))

    def subscribe(self, *paths: Path, **options: Any) -> tuple[Report, int, int]:
        """Return the priming report, the subscription id and its maximum interval."""
        conversation = self.controller.open()
        conversation.send(Opcode.SUBSCRIBE_REQUEST, subscribe_request(*paths, **options))
        report = Report()
        while True:
            message = conversation.receive()
            _raise_for_status(message)
            if message.opcode == Opcode.SUBSCRIBE_RESPONSE:
                break
            report.add(message.payload)
            conversation.send(Opcode.STATUS_RESPONSE, OK)
        conversation.close()
        response: Any = decode_struct(message.payload)
        return report, response[0], response[2]

    def request(self, opcode: int, payload: bytes, timed_ms: int | None = None) -> Message:
        """Send one message (after a timed request), and return the response."""
        conversation = self.controller.open()
        if timed_ms is not None:
            conversation.send(Opcode.TIMED_REQUEST, encode({0: timed_ms, **REVISION}))
            message = conversation.receive()
            assert (message.opcode, decode_struct(message.payload)[0]) == (1, 0)
        conversation.send(opcode, payload)
        answer: Message = conversation.receive()
        conversation.close()
        _raise_for_status(answer)
        return answer

    def write(self, *writes: Write, timed_ms: int | None = None) -> list[Any]:
        """Return the status of each value, as a number or (number, cluster status)."""
        payload = write_request(*writes, timed=timed_ms is not None)
        return write_statuses(self.request(Opcode.WRITE_REQUEST, payload, timed_ms))

    def invoke(self, path: Path, fields: TlvValue = None, *, timed_ms: int | None = None) -> Any:
        """Return the fields of the response, or the status (as for `write`)."""
        payload = invoke_request(Invoke(path, fields), timed=timed_ms is not None)
        answers = invoke_all(self.request(Opcode.INVOKE_REQUEST, payload, timed_ms))
        assert len(answers) == 1
        return answers[0][1]


def _raise_for_status(message: Message) -> None:
    if message.opcode == Opcode.STATUS_RESPONSE:
        status: Any = decode_struct(message.payload)[0]
        raise WireStatusError(status)


def _status(status: Any) -> Any:
    return (status[0], status[1]) if 1 in status else status[0]


def write_statuses(message: Message) -> list[Any]:
    assert message.opcode == Opcode.WRITE_RESPONSE
    body: Any = decode_struct(message.payload)
    return [_status(item[1]) for item in body[0]]


def invoke_all(message: Message) -> list[tuple[Any, Any]]:
    """Return (reference, fields or status) of each response."""
    assert message.opcode == Opcode.INVOKE_RESPONSE
    body: Any = decode_struct(message.payload)
    answers = []
    for item in body[1]:
        if 0 in item:
            answers.append((item[0].get(2), item[0].get(1)))
        else:
            answers.append((item[1].get(2), _status(item[1][1])))
    return answers
