"""Fixtures of the tests of external controllers."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.contract.openevse_bench import OpenEvseBench
from tests.unit.hal.external.scripted_link import Rig, ScriptedLink


@pytest.fixture
def link() -> ScriptedLink:
    return ScriptedLink()


@pytest.fixture
async def rig(link: ScriptedLink) -> AsyncIterator[Rig]:
    made = Rig(link)
    await made.backend.start(made.events.append)
    yield made
    link.hangs, link.failure = False, None
    await made.backend.stop()


@pytest.fixture
async def bench() -> OpenEvseBench:
    made = OpenEvseBench()
    await made.start()
    return made
