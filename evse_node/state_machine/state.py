"""State of the charger as one frozen value."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from math import inf
from types import MappingProxyType
from typing import Annotated

from msgspec import Struct, field
from msgspec.structs import replace

from evse_node.state_machine.control_pilot import (
    MINIMUM_OFFER_MA,
    PilotOutput,
    PilotState,
    offer_ma,
)
from evse_node.state_machine.enums import State, SupplyState
from evse_node.state_machine.events import Direction, Timer
from evse_node.state_machine.faults import FaultState, shown_fault
from evse_node.state_machine.limits import Limits, LimitSource
from evse_node.state_machine.session import NO_READING, MeterReading, Session
from evse_node.units import UINT32, EpochSeconds, Milliamps, MilliwattHours

_NO_CURRENT = Milliamps(0)


class EvseSettings(Struct, frozen=True):
    """Settings that are constant at run time. Times are seconds.

    `has_enabled_state`: the cluster's revision has SupplyState Enabled.
    `has_ventilation`: charging in state D is allowed.
    `has_socket`: the proximity pilot reports the cable; without a cable no energy flows.
    `state_f_s`: duration of state F on a fault during charging; 0 omits it, because some old
    hybrids do not recover from state F.
    `allowed_cards`: one of these cards is required before energy flows; None requires none.
    A card read without a vehicle is valid for `card_wait_s`.
    A vehicle counts as unplugged once the pilot was in state A for `unplugged_after_s`, so that a
    plug that bounces is one session. The contactor closes at most `closings_per_minute` times.
    `retry_after_s`: waits after the first, second, … retried fault; after the last one the fault
    latches. Charging for `retry_reset_s` clears the count.
    Spec: IEC 61851-1:2017 Table A.6
    """

    has_enabled_state: bool = False
    has_ventilation: bool = False
    has_socket: bool = False
    contactor_timeout_s: float = 0.5
    stop_grace_s: float = 6.0
    duty_interval_s: float = 5.0
    x1_pause_s: float = 3.0
    state_f_s: float = 0.3
    unlock_delay_s: float = 5.0
    wake_up_after_s: float = 30.0
    wake_up_s: float = 4.0
    allowed_cards: frozenset[bytes] | None = None
    card_wait_s: float = 60.0
    diagnostics_timeout_s: float = 120.0
    unplugged_after_s: float = 1.0
    closings_per_minute: int = 6
    retry_after_s: tuple[float, ...] = (10.0, 60.0, 300.0)
    retry_reset_s: float = 600.0


class ContactorState(Enum):
    """State of the contactor: an order is not a fact until its feedback arrives."""

    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"
    OPENING = "opening"


class Outputs(Struct, frozen=True):
    """The last orders to the hardware, and the last feedback of the contactor.

    `offered_ma` is valid in X2 only. `offer_changed_at` and `withdrawn_at` are monotonic seconds
    of the last change of duty cycle and of the last end of PWM. `is_awake`: the vehicle has
    responded to this offer, or its one wake-up is done. `closed_at`: times of the last closings.
    """

    pilot: PilotOutput = PilotOutput.X1
    offered_ma: Milliamps = _NO_CURRENT
    offer_changed_at: float = -inf
    withdrawn_at: float = -inf
    is_awake: bool = False
    contactor: ContactorState = ContactorState.OPEN
    is_reported_closed: bool = False
    closed_at: tuple[float, ...] = ()
    is_locked: bool = False
    discharge_ma: Milliamps | None = None


class Permission(Struct, frozen=True):
    """Permission to charge or discharge, until a time or without end (None)."""

    until: Annotated[EpochSeconds, UINT32] | None = None


class Transfer(Struct, frozen=True):
    """An energy transfer whose start was notified, with the meter at its start."""

    direction: Direction
    start: MeterReading


class Vehicle(Struct, frozen=True):
    """Data reported by the vehicle; None when unknown."""

    state_of_charge_percent: int | None = None
    battery_capacity_mwh: MilliwattHours | None = None
    id: str | None = None


UNKNOWN_VEHICLE = Vehicle()
_INITIAL_OUTPUTS = Outputs()
_NO_TIMERS: Mapping[Timer, float] = MappingProxyType({})
_NOTHING_COMMANDED = Limits().with_claim(LimitSource.COMMAND, 0)


class EvseState(Struct, frozen=True):
    """State of one charger. `pilot` is None until the hardware's first report.

    `observed_causes` are the monitored faults whose cause is present, `retried_faults` those that
    are cleared after a wait, `retry_count` the waits so far (see `retries`).
    """

    settings: EvseSettings = field(default_factory=EvseSettings)
    state: State = State.NOT_PLUGGED_IN
    pilot: PilotState | None = None
    faults: tuple[FaultState, ...] = ()
    observed_causes: frozenset[FaultState] = frozenset()
    retried_faults: frozenset[FaultState] = frozenset()
    retry_count: int = 0
    is_diagnosing: bool = False
    is_held: bool = False
    is_discharge_requested: bool = False
    is_authorized: bool = False
    charging: Permission | None = None
    discharging: Permission | None = None
    minimum_charge_ma: Milliamps = MINIMUM_OFFER_MA
    charge_limits: Limits = _NOTHING_COMMANDED
    discharge_limits: Limits = _NOTHING_COMMANDED
    meter: MeterReading = NO_READING
    session: Session | None = None
    transfer: Transfer | None = None
    vehicle: Vehicle = UNKNOWN_VEHICLE
    outputs: Outputs = _INITIAL_OUTPUTS
    timers: Mapping[Timer, float] = field(default_factory=lambda: _NO_TIMERS)

    @property
    def fault(self) -> FaultState:
        """The fault that is shown."""
        return shown_fault(self.faults)

    @property
    def supply_state(self) -> SupplyState:
        """SupplyState as it follows from faults, self-test and permissions.

        Without the Enabled state of revision 3, at most one direction is allowed.
        Spec: Matter Application Clusters 1.3 "SupplyState Attribute"
        """
        if self.faults:
            return SupplyState.DISABLED_ERROR
        if self.is_diagnosing:
            return SupplyState.DISABLED_DIAGNOSTICS
        if self.charging is not None:
            if self.discharging is not None and self.settings.has_enabled_state:
                return SupplyState.ENABLED
            return SupplyState.CHARGING_ENABLED
        if self.discharging is not None:
            return SupplyState.DISCHARGING_ENABLED
        return SupplyState.DISABLED

    @property
    def is_vehicle_ready(self) -> bool:
        """True when the vehicle requests energy and may get it (D requires ventilation)."""
        if self.pilot is PilotState.D:
            return self.settings.has_ventilation
        return self.pilot is PilotState.C

    @property
    def is_below_minimum(self) -> bool:
        """True while a limit is below the minimum of EnableCharging, so that charging pauses."""
        return self.charge_limits.current_ma < self.minimum_charge_ma

    @property
    def is_closing_limited(self) -> bool:
        """True while the contactor may not close, because it closed too often in a minute."""
        return Timer.CLOSING_PAUSE in self.timers

    @property
    def is_card_awaited(self) -> bool:
        """True while no energy may flow for lack of an allowed card."""
        return self.settings.allowed_cards is not None and not self.is_authorized

    @property
    def is_cable_missing(self) -> bool:
        """True while the ampacity of the cable in the socket is unknown."""
        return self.settings.has_socket and self.charge_limits.claim(LimitSource.CABLE) is None

    def limits(self, direction: Direction) -> Limits:
        """Return the limits of one direction."""
        return self.charge_limits if direction is Direction.CHARGE else self.discharge_limits

    def with_claim(
        self, source: LimitSource, current_ma: int | None, direction: Direction
    ) -> EvseState:
        """Return the state with a source's claim on one direction, or without it for None."""
        limits = self.limits(direction)
        changed = limits.with_claim(source, current_ma)
        if changed is limits:
            return self
        if direction is Direction.CHARGE:
            return replace(self, charge_limits=changed)
        return replace(self, discharge_limits=changed)

    def is_permitted(self, direction: Direction) -> bool:
        """Return whether the charger permits energy in this direction.

        That requires: a permission, no fault, no self-test, a card and a cable where required, no
        pause of the contactor, no schedule that holds charging back, and a limit that has a duty
        cycle and is not below the minimum of the command.
        """
        permission = self.charging if direction is Direction.CHARGE else self.discharging
        return (
            permission is not None
            and not self.faults
            and not self.is_diagnosing
            and not self.is_card_awaited
            and not self.is_cable_missing
            and not self.is_closing_limited
            and not (self.is_held and direction is Direction.CHARGE)
            and offer_ma(self.limits(direction).current_ma) is not None
            and not (direction is Direction.CHARGE and self.is_below_minimum)
        )

    @property
    def permitted_direction(self) -> Direction | None:
        """Direction in which energy may start to flow; None for neither.

        Where both are enabled, the vehicle is discharged only on request, never because charging
        has to wait.
        """
        is_charge_preferred = self.charging is not None and not self.is_discharge_requested
        is_discharge = self.discharging is not None and not is_charge_preferred
        direction = Direction.DISCHARGE if is_discharge else Direction.CHARGE
        return direction if self.is_permitted(direction) else None

    def with_timer(self, timer: Timer, when: float) -> EvseState:
        """Return the state with a timer set, replacing its earlier deadline."""
        return replace(self, timers=MappingProxyType({**self.timers, timer: when}))

    def without_timer(self, *timers: Timer) -> EvseState:
        """Return the state without these timers, set or not."""
        if not self.timers or self.timers.keys().isdisjoint(timers):
            return self
        left = {timer: when for timer, when in self.timers.items() if timer not in timers}
        return replace(self, timers=MappingProxyType(left))

    def with_outputs(self, outputs: Outputs) -> EvseState:
        """Return the state with other outputs."""
        return replace(self, outputs=outputs)

    def with_contactor(self, contactor: ContactorState) -> EvseState:
        """Return the state with another state of the contactor."""
        return replace(self, outputs=replace(self.outputs, contactor=contactor))


def next_deadline(state: EvseState) -> tuple[float, Timer] | None:
    """Return the earliest deadline and its timer, or None when none is pending."""
    if not state.timers:
        return None
    return min(
        ((when, timer) for timer, when in state.timers.items()),
        key=lambda pair: pair[0],
    )
