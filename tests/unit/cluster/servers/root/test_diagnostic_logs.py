from __future__ import annotations

import pytest

from evse_node.cluster.definitions.definition import Value
from evse_node.cluster.servers.root.diagnostic_logs import (
    DiagnosticLogsServer,
    Intent,
    LogEntry,
    LogStatus,
    TransferProtocol,
)
from evse_node.matter.interaction.status import Status
from evse_node.matter.wall_clock import MATTER_EPOCH_US
from tests.support.matter.root_node import RootNode
from tests.unit.cluster.servers.optional_clusters import add, invoke, refusal, shipped

BDX = TransferProtocol.BDX


class Logs:
    def __init__(self) -> None:
        self.entries: dict[Intent, list[LogEntry]] = {}

    def read(self, intent: Intent) -> list[LogEntry]:
        return self.entries.get(intent, [])

    def fill(self, count: int, size: int = 100) -> None:
        self.entries[Intent.END_USER_SUPPORT] = [
            LogEntry(b"%03d" % number + b"x" * (size - 4) + b"\n", None, number * 1000)
            for number in range(count)
        ]


@pytest.fixture
def logs() -> Logs:
    return Logs()


@pytest.fixture
def root() -> RootNode:
    return RootNode()


@pytest.fixture
def server(root: RootNode, logs: Logs) -> DiagnosticLogsServer:
    return add(root, DiagnosticLogsServer(shipped("Diagnostic Logs"), logs))


def request(protocol: int = 0, designator: str | None = None, intent: int = 0) -> dict[str, Value]:
    fields: dict[str, Value] = {"intent": intent, "requested_protocol": protocol}
    return fields if designator is None else fields | {"transfer_file_designator": designator}


def test_empty_log_is_no_logs(root: RootNode, server: DiagnosticLogsServer) -> None:
    for fields in (request(), request(BDX, "file"), request(intent=1), request(intent=2)):
        reply = invoke(root, server, "RetrieveLogsRequest", **fields)
        assert reply == {"status": LogStatus.NO_LOGS, "log_content": b""}


def test_short_logs_fit_response(root: RootNode, server: DiagnosticLogsServer, logs: Logs) -> None:
    logs.entries[Intent.CRASH_LOGS] = [
        LogEntry(b"one\n", MATTER_EPOCH_US + 7, 5),
        LogEntry(b"two\n", MATTER_EPOCH_US + 9, 6),
    ]
    expected = {
        "log_content": b"one\ntwo\n",
        "utc_time_stamp": 7,
        "time_since_boot": 5,
    }
    reply = invoke(root, server, "RetrieveLogsRequest", **request(intent=2))
    assert reply == {"status": LogStatus.SUCCESS, **expected}
    # Logs that fit the response need no transfer.
    reply = invoke(root, server, "RetrieveLogsRequest", **request(BDX, "file", intent=2))
    assert reply == {"status": LogStatus.EXHAUSTED, **expected}


def test_long_logs_return_newest_entries(
    root: RootNode, server: DiagnosticLogsServer, logs: Logs
) -> None:
    logs.fill(50)
    reply = invoke(root, server, "RetrieveLogsRequest", **request())
    content = reply["log_content"]
    assert isinstance(content, bytes)
    assert [line[:3] for line in content.splitlines()] == [b"%03d" % n for n in range(40, 50)]
    assert reply["time_since_boot"] == 40_000
    assert "utc_time_stamp" not in reply


def test_long_line_returns_its_end(
    root: RootNode, server: DiagnosticLogsServer, logs: Logs
) -> None:
    logs.fill(2, 3000)
    reply = invoke(root, server, "RetrieveLogsRequest", **request())
    assert reply["log_content"] == b"x" * 1023 + b"\n"
    assert reply["time_since_boot"] == 1000


@pytest.mark.parametrize("designator", ["", "file"])
def test_without_bdx_response_has_what_fits(
    root: RootNode, server: DiagnosticLogsServer, logs: Logs, designator: str
) -> None:
    logs.fill(50)
    reply = invoke(root, server, "RetrieveLogsRequest", **request(BDX, designator))
    assert reply["status"] == LogStatus.EXHAUSTED
    content = reply["log_content"]
    assert isinstance(content, bytes)
    assert len(content) == 1000


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (request(intent=3), Status.INVALID_COMMAND),
        (request(BDX, "file", intent=3), Status.INVALID_COMMAND),
        (request(2, "file"), Status.INVALID_COMMAND),
        (request(BDX), Status.INVALID_COMMAND),
        (request(BDX, "x" * 33), Status.CONSTRAINT_ERROR),
    ],
)
def test_invalid_request_is_refused(
    root: RootNode,
    server: DiagnosticLogsServer,
    logs: Logs,
    fields: dict[str, Value],
    status: Status,
) -> None:
    logs.fill(1)
    assert refusal(root, server, "RetrieveLogsRequest", **fields) == status
