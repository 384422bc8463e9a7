"""The link of the backend "openevse": an OpenEVSE controller on a serial port, over RAPI.

An offer is a volatile current and "enable"; it ends with "sleep", which leaves the vehicle
three seconds to stop. Opening at once is "disable", which puts -12 V on the pilot, followed by
"sleep". The node sends heartbeats; without them the controller continues with its fallback
current.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from msgspec import Struct

from evse_node.errors import HalError
from evse_node.hal.external.link import ControllerOrders, ControllerStatus, LinkTraits
from evse_node.hal.external.openevse import state as openevse_state
from evse_node.hal.external.openevse.rapi import Notification
from evse_node.hal.external.openevse.rapi_client import RapiClient, number
from evse_node.hal.external.openevse.state import EnergyTotal, OpenEvseState, parse_state
from evse_node.hal.interface import MeterValues, Ratings
from evse_node.hal.serial_port import Port
from evse_node.state_machine.control_pilot import PilotState
from evse_node.units import Milliamps, Millivolts, MilliwattHours, Milliwatts

_LOGGER: Final = logging.getLogger(__name__)

ANSWER_S: Final = 0.3
# The firmware counts the heartbeat's interval in 16 bits of milliseconds.
LONGEST_HEARTBEAT_S: Final = 65
_HEARTBEATS_PER_INTERVAL: Final = 4
# Once enabled, it debounces the pilot twice, and may run its self-test.
CONTACTOR_S: Final = 2.0
OPENING_S: Final = 0.3
_SHORT_CIRCUIT_S: Final = 3.0
_DERATED_S: Final = 60.0
_RESTART_S: Final = 30.0
# After the order to restart, it waits for its watchdog and ignores commands.
_DEAF_S: Final = 2.0
_TEMPERATURE_POLLS: Final = 10
_NOT_INSTALLED: Final = -2_560
_NOTHING_EXPORTED: Final = MilliwattHours(0)


class OpenEvseSettings(Struct, frozen=True):
    """Settings of the controller.

    `fallback_a` is the current in amperes after `heartbeat_s` without a heartbeat; 0 seconds
    means no supervision. The ratings' voltage is for controllers that do not measure it.
    """

    ratings: Ratings = Ratings(contactor_timeout_s=CONTACTOR_S, opening_s=OPENING_S)
    has_meter: bool = True
    has_thermometer: bool = True
    has_lock: bool = False
    heartbeat_s: int = 20
    fallback_a: int = 6


class OpenEvseLink:
    """A `Link` over RAPI. `clock` returns monotonic seconds."""

    def __init__(
        self,
        port: Port,
        settings: OpenEvseSettings,
        *,
        clock: Callable[[], float] = time.monotonic,
        answer_s: float = ANSWER_S,
    ) -> None:
        self.traits = LinkTraits(
            faults=frozenset(openevse_state.FAULTS.values()),
            has_meter=settings.has_meter,
            has_thermometer=settings.has_thermometer,
            has_lock=settings.has_lock,
            heartbeat_s=settings.heartbeat_s / _HEARTBEATS_PER_INTERVAL or None,
            self_test_s=_RESTART_S,
        )
        self._settings = settings
        self._clock = clock
        self._client = RapiClient(port, self._on_notification, answer_s)
        self._wake: Callable[[], None] = _ignore
        self._total = EnergyTotal()
        self._is_set_up = False
        self._has_restarted = False
        self._has_lock_out = False
        self._booted = asyncio.Event()
        self._is_supervised = settings.heartbeat_s > 0
        self._unknown_since: float | None = None
        self._derated: tuple[Milliamps, float] | None = None
        self._temperature_mc: int | None = None
        self._polls_to_temperature = 0

    async def open(self, wake: Callable[[], None]) -> None:
        """Open the port, and read version and state."""
        self._wake = wake
        self._is_set_up = self._has_restarted = False
        self._unknown_since = None
        self._polls_to_temperature = 0
        self._booted = asyncio.Event()
        await self._client.open()
        version = await self._client.get("GV", least=1)
        parse_state(await self._client.get("GS", least=1))
        _LOGGER.info("OpenEVSE with firmware %s", version[0])

    async def close(self) -> None:
        self._wake = _ignore
        self._client.close()

    def _on_notification(self, notification: Notification) -> None:
        if notification.name == "AB":
            self._has_restarted = True
            self._booted.set()
        self._wake()

    # Status

    async def read_status(self) -> ControllerStatus:
        """Read state, limits and, where available, measured values."""
        state = await self._read_state()
        # The lowest, the rated, the set and the highest settable current.
        limits = [number(word) for word in await self._client.get("GC", least=4)]
        if min(limits) < 0:
            raise HalError(f"the controller reports currents of {limits} A")
        meter = await self._read_meter(state) if self._settings.has_meter else None
        if self._settings.has_thermometer:
            await self._read_temperature()
        has_restarted, self._has_restarted = self._has_restarted, False
        if has_restarted:
            # Not with the notification, which may arrive during the set-up.
            self._is_set_up = False
        return ControllerStatus(
            pilot=self._pilot(state),
            is_closed=state.is_closed,
            faults=state.faults,
            is_enabled=state.is_enabled,
            offered_ma=Milliamps(limits[2] * 1_000),
            limit_ma=self._limit_ma(Milliamps(limits[3] * 1_000)),
            temperature_millicelsius=self._temperature_mc,
            meter=meter,
            has_restarted=has_restarted,
        )

    async def _read_state(self) -> OpenEvseState:
        return parse_state(await self._client.get("GS", least=1))

    def _pilot(self, state: OpenEvseState) -> PilotState | None:
        if state.code != openevse_state.UNKNOWN:
            self._unknown_since = None
            return state.pilot
        # Unknown: the pilot is near 0 V, or was not measured yet since enabling.
        now = self._clock()
        if self._unknown_since is None:
            self._unknown_since = now
        return PilotState.E if now - self._unknown_since >= _SHORT_CIRCUIT_S else None

    def _limit_ma(self, configured_ma: Milliamps) -> Milliamps:
        if self._derated is None:
            return configured_ma
        derated_ma, until = self._derated
        if self._clock() >= until:
            # The next order shows whether it accepts more again.
            self._derated = None
            return configured_ma
        return min(configured_ma, derated_ma)

    async def _read_meter(self, state: OpenEvseState) -> MeterValues:
        ratings = self._settings.ratings
        words = await self._client.get("GG", least=2)
        current_ma, voltage_mv = number(words[0]), number(words[1])
        if current_ma < 0:
            raise HalError("the controller has no ammeter: set meter = false in [hal]")
        words = await self._client.get("GU", least=2)
        session_ws, finished_wh = number(words[0]), number(words[1])
        if session_ws < 0 or finished_wh < 0:
            raise HalError(f"the controller reports energies {session_ws} Ws, {finished_wh} Wh")
        if voltage_mv <= 0:
            voltage_mv = ratings.nominal_voltage_mv
        return MeterValues(
            self._total.update(session_ws, finished_wh, is_connected=state.is_connected),
            _NOTHING_EXPORTED,
            Milliwatts(current_ma * voltage_mv * ratings.phases // 1_000),
            (Millivolts(voltage_mv),) * ratings.phases,
            (Milliamps(current_ma),) * ratings.phases,
        )

    async def _read_temperature(self) -> None:
        self._polls_to_temperature -= 1
        if self._polls_to_temperature >= 0:
            return
        words = await self._client.get("GP", least=1)
        found = [tenths for word in words if (tenths := number(word)) > _NOT_INSTALLED]
        if not found and self._temperature_mc is None:
            raise HalError("the controller has no thermometer: set thermometer = false in [hal]")
        self._temperature_mc = max(found) * 100 if found else None
        self._polls_to_temperature = _TEMPERATURE_POLLS

    # Orders

    async def apply(self, orders: ControllerOrders) -> None:
        """Disable first, or enable last; between them set the current and volatile settings."""
        if not orders.is_enabled:
            await self._disable(orders)
        if not self._is_set_up:
            await self._set_up()
        await self._set_current(orders.current_ma // 1_000)
        if self._settings.has_lock:
            # Locked before there can be power.
            await self._client.get(f"S5 {int(orders.is_locked)}", least=0)
        if orders.is_enabled:
            if self._has_lock_out:
                # Such firmware locks each time a vehicle leaves.
                self._has_lock_out = (await self._client.ask("S4 0")).is_ok
            await self._client.get("FE", least=0)

    async def _disable(self, orders: ControllerOrders) -> None:
        try:
            state = await self._read_state()
        except HalError:
            if orders.must_open or orders.is_unavailable:
                # It may receive this even if its answers are lost.
                self._client.send("FD")
            raise
        if state.faults and not state.is_closed and not orders.is_final:
            # It is open, and would lose its fault.
            return
        if orders.is_unavailable:
            await self._client.get("FD", least=0)
            return
        if orders.must_open and state.is_closed:
            await self._client.get("FD", least=0)
        await self._client.get("FS", least=0)

    async def _set_up(self) -> None:
        settings = self._settings
        interval_s, fallback_a = settings.heartbeat_s, settings.fallback_a
        supervision = await self._client.ask(f"SY {interval_s} {fallback_a}")
        self._is_supervised = supervision.is_ok and interval_s > 0
        if interval_s > 0 and not supervision.is_ok:
            _LOGGER.warning("the firmware has no heartbeat: it will not notice a lost node")
        # Refused by controllers that measure the voltage.
        await self._client.ask(f"SV {settings.ratings.nominal_voltage_mv}")
        # Refused by firmware that does not lock after its start.
        await self._client.ask("SB")
        self._has_lock_out = True
        if settings.has_lock:
            await self._client.get("S5 M", least=0)
        counts = await self._client.ask("GF")
        if counts.is_ok and any(word != "0" for word in counts.words):
            _LOGGER.info("faults so far (residual current, earth, relay): %s", counts.words)
        self._is_set_up = True

    async def _set_current(self, amperes: int) -> None:
        answer = await self._client.ask(f"SC {amperes} V")
        if not answer.words:
            raise HalError(f"the controller refuses a current of {amperes} A")
        set_ma = Milliamps(number(answer.words[0]) * 1_000)
        if set_ma > amperes * 1_000:
            raise HalError(f"the controller offers {set_ma // 1_000} A instead of {amperes} A")
        if set_ma < amperes * 1_000:
            self._derated = (set_ma, self._clock() + _DERATED_S)
        elif self._derated is not None and set_ma > self._derated[0]:
            self._derated = None

    async def keep_alive(self) -> None:
        """Send a heartbeat; restart the supervision after a missed one."""
        if not self._is_supervised:
            return
        answer = await self._client.ask("SY")
        if not answer.is_ok:
            _LOGGER.warning("the controller missed a heartbeat")
            # Unlike an acknowledgement, this does not raise the current to its maximum.
            settings = self._settings
            await self._client.get(f"SY {settings.heartbeat_s} {settings.fallback_a}", least=3)

    async def self_test(self) -> None:
        """Restart the controller, which tests earth, relay and residual current device.

        It comes up enabled, so this returns as soon as it answers, whether or not it notified
        of the restart.
        """
        self._booted.clear()
        # It does not answer this, nor anything while it starts.
        self._client.send("FR")
        while not await self._has_booted():
            try:
                await self._read_state()
            except HalError:
                continue
            if not self._booted.is_set():
                # The notification was lost, or the order to restart.
                self._has_restarted = True
                raise HalError("the controller answers, but did not notify that it started")
        await self._read_state()

    async def _has_booted(self) -> bool:
        try:
            async with asyncio.timeout(_DEAF_S):
                await self._booted.wait()
        except TimeoutError:
            return False
        return True


def _ignore() -> None:
    pass
