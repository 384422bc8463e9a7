"""Common steps of the tests of the OpenEVSE backend."""

from __future__ import annotations

from evse_node.hal.interface import HalEvent
from evse_node.units import Milliamps
from tests.contract.openevse_bench import OpenEvseBench

OFFER = Milliamps(16_000)


def charge(bench: OpenEvseBench) -> None:
    bench.plug_in()
    bench.backend.offer(OFFER)
    bench.wait(0.5)
    bench.backend.contactor.close()
    bench.demand()
    assert bench.is_powered()
    bench.events.clear()
    bench.model.log.clear()


def events_of(bench: OpenEvseBench, *kinds: type[HalEvent]) -> list[HalEvent]:
    return [event for event in bench.events if isinstance(event, kinds)]
