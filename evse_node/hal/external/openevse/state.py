"""States, flags and energy of an OpenEVSE controller."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from evse_node.errors import HalError
from evse_node.hal.external.openevse.rapi_client import number
from evse_node.state_machine.control_pilot import PilotState
from evse_node.state_machine.faults import FaultState
from evse_node.units import MilliwattHours

UNKNOWN: Final = 0x00
SLEEPING: Final = 0xFE
DISABLED: Final = 0xFF

_VEHICLE: Final[Mapping[int, PilotState]] = {
    0x01: PilotState.A,
    0x02: PilotState.B,
    0x03: PilotState.C,
    0x04: PilotState.D,
}
FAULTS: Final[Mapping[int, FaultState]] = {
    0x05: FaultState.OTHER,  # the vehicle has no diode
    0x06: FaultState.GROUND_FAULT,
    0x07: FaultState.GROUND_FAULT,  # no protective earth
    0x08: FaultState.CONTACT_WET_FAILURE,
    0x09: FaultState.OTHER,  # the test of the residual current device
    0x0A: FaultState.OVER_TEMPERATURE,
    0x0B: FaultState.OVER_CURRENT,
    0x0C: FaultState.OTHER,  # reserved for the pilot's test
    0x0D: FaultState.OTHER,  # reserved for the thermometer
    0x0E: FaultState.CONTACT_DRY_FAILURE,
}

_ROUNDING_MWH: Final = 1_000
_HARD_FAULT: Final = 0x0002
_RELAY_CLOSED: Final = 0x0040
_VEHICLE_CONNECTED: Final = 0x0100


class OpenEvseState(Struct, frozen=True):
    """Answer to `GS`. `code` is the controller's own state."""

    code: int
    flags: int

    @property
    def is_closed(self) -> bool:
        return bool(self.flags & _RELAY_CLOSED)

    @property
    def is_enabled(self) -> bool | None:
        """Whether it charges or would; None in a fault, which hides that."""
        return None if self.code in FAULTS else self.code not in (SLEEPING, DISABLED)

    @property
    def is_connected(self) -> bool:
        """Whether a vehicle is connected; while disabled, whether one was before."""
        return bool(self.flags & _VEHICLE_CONNECTED)

    @property
    def faults(self) -> frozenset[FaultState]:
        """The present fault, if any, also under another state."""
        if self.code in FAULTS:
            return frozenset({FAULTS[self.code]})
        return frozenset({FaultState.OTHER} if self.flags & _HARD_FAULT else ())

    @property
    def pilot(self) -> PilotState | None:
        """The pilot's state, None while it is not determined.

        Asleep, the controller detects only whether a vehicle is connected, and keeps the relay
        closed until the vehicle has stopped.
        """
        if self.code in _VEHICLE:
            return _VEHICLE[self.code]
        if self.code == DISABLED:
            return PilotState.F
        if self.code == UNKNOWN or (self.code == SLEEPING and self.is_closed):
            return None
        return PilotState.B if self.is_connected else PilotState.A


def parse_state(words: tuple[str, ...]) -> OpenEvseState:
    """Parse the answer to `GS`: state, seconds, pilot's state and flags. Raises HalError."""
    if len(words) < 4:
        raise HalError("the controller's firmware is too old: it does not report its flags")
    code = number(words[0], 16)
    if code not in _VEHICLE and code not in FAULTS and code not in (UNKNOWN, SLEEPING, DISABLED):
        raise HalError(f"the controller reports an unknown state 0x{code:02X}")
    return OpenEvseState(code, number(words[3], 16))


class EnergyTotal(Struct, eq=False):
    """Sum of finished sessions (watt-hours) and the present one (watt-seconds).

    When a session ends, the controller adds it to its total, rounded down, and keeps reporting
    it until the next one begins. It loses a session that its restart interrupts; this total
    does not.
    """

    _before: tuple[int, int] | None = None
    _is_in_total: bool = False
    _offset_mwh: int = 0
    _highest_mwh: int = 0

    def update(self, session_ws: int, finished_wh: int, *, is_connected: bool) -> MilliwattHours:
        """Process the controller's counters, and return the total."""
        if self._before is None:
            self._is_in_total = not is_connected
        else:
            session_before, finished_before = self._before
            if session_ws < session_before:
                self._is_in_total = False
            elif finished_wh > finished_before:
                self._is_in_total = True
            elif session_ws > session_before:
                self._is_in_total = False
        self._before = (session_ws, finished_wh)
        total_mwh = finished_wh * 1_000 + self._offset_mwh
        if not self._is_in_total:
            total_mwh += session_ws * 10 // 36
        if total_mwh < self._highest_mwh - _ROUNDING_MWH:
            self._offset_mwh += self._highest_mwh - total_mwh
            total_mwh = self._highest_mwh
        self._highest_mwh = max(self._highest_mwh, total_mwh)
        return MilliwattHours(self._highest_mwh)
