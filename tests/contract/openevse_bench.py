"""Bench of the OpenEVSE backend, on a model of the controller."""

from __future__ import annotations

from collections.abc import Coroutine

from evse_node.hal.external.backend import ExternalController
from evse_node.hal.external.openevse.link import OpenEvseLink, OpenEvseSettings
from evse_node.hal.external.poller import PollTimings
from evse_node.hal.interface import HalEvent
from tests.support.hal.rapi_peer import A, B, C, ModelPort, OpenEvseModel

STEP_S = 0.01


def run_without_waiting(coroutine: Coroutine[object, object, None]) -> None:
    """Run a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    coroutine.close()
    raise AssertionError("the coroutine waits")


class OpenEvseBench:
    """Bench with the backend, polled by `wait`, and a model that answers without delay."""

    def __init__(self, settings: OpenEvseSettings | None = None) -> None:
        self.now = 10.0
        self.settings = settings or OpenEvseSettings()
        self.model = OpenEvseModel(lambda: self.now)
        self.model.has_lock = self.settings.has_lock
        self.port = ModelPort(self.model)
        self.link = OpenEvseLink(self.port, self.settings, clock=lambda: self.now, answer_s=0.01)
        self.backend = ExternalController(
            self.link,
            self.settings.ratings,
            timings=PollTimings(lost_s=7.0),
            clock=lambda: self.now,
        )
        self.events: list[HalEvent] = []
        self.step_s = STEP_S
        self.runs_polls = True
        self._poll_at = self.now

    async def start(self) -> None:
        await self.backend.attach(self.events.append)
        self.wait(1)

    async def stop(self) -> None:
        await self.backend.stop()

    def plug_in(self) -> None:
        self.turn_to(B)

    def demand(self) -> None:
        self.turn_to(C)

    def no_demand(self) -> None:
        self.turn_to(B)

    def unplug(self) -> None:
        self.turn_to(A)

    def turn_to(self, vehicle: int) -> None:
        self.model.car = vehicle
        self.wait(0.6)

    def tap(self, uid: bytes) -> None:
        raise AssertionError("no reader")

    def wait(self, seconds: float) -> None:
        end = self.now + seconds
        step_s = self.step_s if seconds < 5 else 5 * STEP_S
        while self.now < end - 1e-9:
            self.now += step_s
            self.port.deliver(self.model.update())
            if not self.runs_polls:
                continue
            if self.now >= self._poll_at or self.backend.next_poll_s() == 0:
                run_without_waiting(self.backend.poll())
                self._poll_at = self.now + self.backend.next_poll_s()

    def is_powered(self) -> bool:
        return self.model.is_powered
