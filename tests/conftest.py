"""For all tests: with EVSE_NODE_STRICT=1, a skipped test is a failed one.

A test that cannot run somewhere says so by `pytest.skip`. On the machine that decides
about a change everything must run, so there a skip counts only with a reason listed here.
"""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says something of the machine, not of what is tested.
settings.register_profile("evse-node", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("evse-node")

STRICT = os.environ.get("EVSE_NODE_STRICT") == "1"

# What the deciding machine may lack: each reason is the beginning of a skip's message.
# Nobody else can give what is asked for here: documents that are not part of this project,
# and rights that a user without root does not have.
ALLOWED_SKIPS: tuple[str, ...] = (
    "no upstream ZAP files beside the repo",
    "no data model beside the repository",
    "network namespaces need root",
)


def _is_allowed(reason: str) -> bool:
    return reason.removeprefix("Skipped: ").startswith(ALLOWED_SKIPS)


def _refuse(report: pytest.TestReport | pytest.CollectReport) -> None:
    if not STRICT or not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if not _is_allowed(reason):
        report.outcome = "failed"
        report.longrepr = f"EVSE_NODE_STRICT allows no skips: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _refuse(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _refuse(report)
    return report
