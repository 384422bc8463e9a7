"""Settings of all tests: with EVSE_NODE_STRICT=1, a skipped test fails.

A test that cannot run on a machine calls `pytest.skip`. In CI every test must run, except
for the reasons listed here.
"""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

# The duration of an example depends on the machine.
settings.register_profile("evse-node", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("evse-node")

STRICT = os.environ.get("EVSE_NODE_STRICT") == "1"

# Beginnings of the messages of skips that CI accepts: documents that are not part of this
# project, and privileges of root.
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
