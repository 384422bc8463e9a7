"""An order or a lost link at each step of a poll."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from evse_node.errors import HalError
from evse_node.hal.external.backend import ExternalController
from evse_node.hal.interface import HalEvent, Ratings
from tests.unit.hal.external.stepped_link import PATIENT, SteppedLink, charge, until

Act = Callable[[ExternalController, SteppedLink], None]


def open_it(backend: ExternalController, link: SteppedLink) -> None:
    backend.contactor.open()


def state_f(backend: ExternalController, link: SteppedLink) -> None:
    backend.signal_unavailable()


def open_and_offer_more(backend: ExternalController, link: SteppedLink) -> None:
    backend.contactor.open()
    backend.offer(backend.ratings.maximum_current_ma)


def break_off(backend: ExternalController, link: SteppedLink) -> None:
    """The port is gone for a moment, in which the controller opens."""
    link.is_enabled = False
    link.failures.append(OSError("gone"))


@pytest.mark.parametrize("act", [open_it, state_f, open_and_offer_more, break_off])
async def test_contactor_stays_open_after_action_at_any_step(act: Act) -> None:
    for moment in range(17):
        link = SteppedLink()
        backend = ExternalController(link, Ratings(), timings=PATIENT)
        await charge_and(act, backend, link, moment)
        assert not link.is_enabled, moment
        # Not even briefly since the order.
        assert link.enablings == 0 or act is break_off, moment
        await backend.stop()


async def charge_and(act: Act, backend: ExternalController, link: SteppedLink, moment: int) -> None:
    """Act at a moment of the polls while it charges, and wait for some more of them."""
    await charge(backend)
    await until(lambda: link.is_enabled)
    acted: list[int] = []

    def on_moment() -> None:
        act(backend, link)
        acted.append(link.polls)

    link.enablings = 0
    link.on_moment, link.moment = on_moment, link.steps + moment
    await until(lambda: bool(acted))
    await until(lambda: link.polls >= acted[0] + 6)


async def test_last_order_wins_when_orders_outpace_polls() -> None:
    link = SteppedLink()
    events: list[HalEvent] = []
    backend = ExternalController(link, Ratings(), timings=PATIENT)
    await backend.start(events.append)
    desired = itertools.cycle(
        [backend.contactor.open, backend.withdraw, backend.signal_unavailable]
    )

    def on_every_step() -> None:
        next(desired)()
        backend.offer(backend.ratings.maximum_current_ma)
        link.moment = link.steps + 1

    link.on_moment, link.moment = on_every_step, link.steps
    before = link.polls
    # Each poll ends despite new orders.
    await until(lambda: link.polls >= before + 10)
    link.moment = -1
    backend.contactor.open()
    after = link.polls
    await until(lambda: link.polls >= after + 4)
    assert not link.is_enabled
    with pytest.raises(HalError, match="is already running"):
        await backend.start(events.append)
    await backend.stop()
