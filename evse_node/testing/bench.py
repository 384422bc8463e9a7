"""Test bench of a backend, and the steps that checks have in common."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Final, Protocol, TypeAlias, TypeVar

from evse_node.hal import interface as hal
from evse_node.units import Milliamps

OFFER: Final = Milliamps(16_000)
_Event = TypeVar("_Event")


Done: TypeAlias = Awaitable[None] | None
"""Return value of a bench's methods: None when done, or an awaitable until then."""


class Bench(Protocol):
    """Test bench: a backend, the vehicle and user at its other side, and a clock.

    When a method returns, the backend has posted the events that follow from it. A backend with
    tasks of its own in the same event loop uses coroutine functions instead.
    """

    events: list[hal.HalEvent]

    @property
    def backend(self) -> hal.EvseBackend:
        """The backend under test."""

    async def start(self) -> None:
        """Start the backend, with its events appended to `events`."""

    async def stop(self) -> None:
        """Stop the backend."""

    def plug_in(self) -> Done:
        """Bring the pilot to state B, with a cable of 32 A."""

    def demand(self) -> Done:
        """Bring the pilot to state C."""

    def no_demand(self) -> Done:
        """Bring the pilot back to state B."""

    def unplug(self) -> Done:
        """Bring the pilot to state A."""

    def wait(self, seconds: float) -> Done:
        """Let time pass."""

    def is_powered(self) -> bool:
        """Return whether the socket itself has voltage, whatever the backend reports."""

    def tap(self, uid: bytes) -> Done:
        """Hold a card to the reader. Not called without a reader."""


def events_of(bench: Bench, kind: type[_Event]) -> list[_Event]:
    """Return the events of one type that the backend posted."""
    return [event for event in bench.events if isinstance(event, kind)]


def expect(actual: object, expected: object, subject: str) -> None:
    """Raise AssertionError unless both are equal."""
    assert actual == expected, f"{subject}: expected {expected!r}, got {actual!r}"


def expect_feedback(bench: Bench, *, is_closed: bool, when: str) -> None:
    """Require exactly one report of the contactor, with this state."""
    reports = events_of(bench, hal.ContactorReported)
    expect(reports, [hal.ContactorReported(is_closed)], f"reports of the contactor {when}")


async def finish(done: Done) -> None:
    """Wait for a method of a bench that returned an awaitable."""
    if done is not None:
        await done


async def plug_in_and_demand(bench: Bench) -> None:
    """Bring the vehicle to state C and offer current."""
    await finish(bench.plug_in())
    await finish(bench.demand())
    bench.backend.control_pilot.offer(OFFER)


async def close(bench: Bench) -> None:
    """Order the contactor closed and require that it closes in time."""
    bench.backend.contactor.close()
    await finish(bench.wait(bench.backend.ratings.contactor_timeout_s))
    assert bench.is_powered(), (
        "the contactor did not close within contactor_timeout_s of the order, "
        "with an offer and the vehicle in state C"
    )


async def charge(bench: Bench) -> None:
    """Bring the bench to charging, and clear its events."""
    await plug_in_and_demand(bench)
    await close(bench)
    bench.events.clear()
