"""The driver of the machine: it feeds events, carries out effects, and keeps time.

How to build and run one:

    backend = create_backend("simulated", {})
    charger = Charger(backend, store, now=monotonic(), utc_ms=utc_clock, timers=stack_timers)
    charger.observers.append(on_change)        # called with (Snapshot, notifications, now)
    await backend.start(lambda event: charger.receive(event, monotonic()))
    ...
    charger.save(monotonic())
    await backend.stop()

Everything happens in one thread. `receive` takes what the hardware tells, `handle` what
anyone else wants; both carry out all that follows, also what the hardware answers at
once, and then call the observers one time. With `timers` the charger keeps its one
deadline there; without, ask `next_deadline` and call `on_timer`.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from msgspec.structs import replace

from evse_node.charger.charge_planner import ChargePlanner
from evse_node.charger.hardware import (
    DummyHardware,
    HardwareView,
    RealHardware,
)
from evse_node.charger.hardware_monitor import HardwareMonitor, first_reading
from evse_node.charger.machine_driver import MachineDriver
from evse_node.charger.persistence import ChargerPersistence
from evse_node.charger.snapshot import (
    ChargerSettings,
    Observer,
    Snapshot,
    differs_beyond_meter,
)
from evse_node.charger.vehicle_draw import VehicleDraw
from evse_node.hal.interface import (
    CurrentDerated,
    EvseBackend,
    HalEvent,
    MeterValues,
    SurplusReported,
    capabilities,
)
from evse_node.matter.store import Store
from evse_node.matter.timers import Deadline, Timers
from evse_node.state_machine.control_pilot import PilotState
from evse_node.state_machine.effects import (
    BaseNotification,
    Notification,
    Refused,
    UnlockCable,
)
from evse_node.state_machine.events import (
    CableChanged,
    ContactorReported,
    Direction,
    Disable,
    EnableCharging,
    EnableDischarging,
    Event,
    FaultCleared,
    FaultRaised,
    LimitClaimed,
    PilotChanged,
    Reset,
    RfidTapped,
    TimerExpired,
)
from evse_node.state_machine.faults import FaultState
from evse_node.state_machine.limits import LimitSource
from evse_node.state_machine.session import MeterReading
from evse_node.state_machine.state import EvseState, next_deadline
from evse_node.state_machine.targets import (
    ChargingTargetSchedule,
    check_targets,
    merge_targets,
)
from evse_node.units import Milliwatts

_LOGGER: Final = logging.getLogger(__name__)

_COMMANDS: Final = (EnableCharging, EnableDischarging, Disable)


class Charger:
    """One charger: the machine with a backend, a store and a sense of time.

    `now` is monotonic seconds; `utc_ms` returns milliseconds since 1970, or None while
    the wall clock is not known. `draw` returns a random number from 0 up to 1.
    """

    def __init__(
        self,
        backend: EvseBackend,
        store: Store,
        *,
        now: float,
        settings: ChargerSettings | None = None,
        utc_ms: Callable[[], int | None] = lambda: None,
        timers: Timers | None = None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.settings = settings or ChargerSettings()
        possible = capabilities(backend)
        chosen = self.settings.features
        self.features = possible if chosen is None else possible & chosen
        self.observers: list[Observer] = []
        self.randomization_window_s = 0
        self._backend = backend
        self._real_hardware = RealHardware(backend)
        self._hardware_view = HardwareView()
        self._saved_claims: list[LimitClaimed] = []
        self._deadline = Deadline(timers, self.on_timer)
        self._is_busy = False
        self._error = ""
        self._is_test_mode = self._last_notified_test_mode = False
        self._re_reported: set[FaultState] | None = None
        self._persistence = ChargerPersistence(store, utc_ms, now)
        ratings = backend.ratings
        reading = first_reading(backend)
        state = self._persistence.load_state(self.settings, self.features, ratings, reading, now)
        self._driver = MachineDriver(self._real_hardware, state)
        session = state.session
        self._monitor = HardwareMonitor(
            backend,
            self.settings.monitor,
            state.observed_causes,
            is_counter_reset=reading is None and (session is None or not session.is_active),
        )
        self._planner = ChargePlanner(
            backend,
            self._persistence,
            self.settings,
            has_soc="SOC" in self.features,
            utc_ms=utc_ms,
            draw_delay_s=lambda: int(draw() * self.randomization_window_s),
        )
        self._schedule, self._solar = self._planner.schedule, self._planner.solar
        self._last_snapshot = Snapshot(state, self._schedule.next_charge, False)
        self._run([], now)

    # What it is

    @property
    def state(self) -> EvseState:
        """The machine's state."""
        return self._driver.state

    def snapshot(self) -> Snapshot:
        """Return the charger as others may see it now."""
        state, plan, last = self._driver.state, self._schedule.next_charge, self._last_snapshot
        if (
            last.evse is state
            and last.next_charge is plan
            and last.is_test_mode is self._is_test_mode
        ):
            return last
        last = self._last_snapshot = Snapshot(state, plan, self._is_test_mode)
        return last

    @property
    def expected_draw(self) -> VehicleDraw | None:
        """What the vehicle was seen to take, or the last one; None before the first."""
        return self._planner.draw_estimator.learned.expected

    @property
    def guaranteed_power_mw(self) -> Milliwatts:
        """The power that a target can count on, whatever vehicle this turns out to be."""
        return self._planner.guaranteed_power(self.state)[0]

    def meter_values(self) -> MeterValues | None:
        """Return what the meter shows now, or None without a meter that answers."""
        return self._monitor.read_meter()

    def refresh_meter(self, now: float) -> MeterReading:
        """Take in the meter's totals now; return them."""
        self._run((), now)
        return self.state.meter

    # What happens

    def handle(self, event: Event, now: float) -> str | None:
        """Take in an event and all that follows; return why it was refused, or None.

        Called out of an observer or an order, it waits for its turn and returns None.
        """
        return self._run([event], now)

    def receive(self, event: HalEvent, now: float) -> None:
        """Take in what the hardware tells."""
        if isinstance(event, SurplusReported):
            self.set_surplus(event.surplus_mw, now)
            return
        if isinstance(event, CurrentDerated):
            self._monitor.hardware_limit_ma = event.current_ma
            self._run((), now)
            return
        self._hardware_view.record(event)
        if self._re_reported is not None and isinstance(event, FaultRaised):
            self._re_reported.add(event.fault)
        if isinstance(event, RfidTapped):
            self._real_hardware.acknowledge_card()
        elif self.is_test_mode:
            return
        self._run([event], now)

    def next_deadline(self) -> float | None:
        """Return when `on_timer` wants to be called (monotonic seconds), or None."""
        state = self._driver.state
        machine = next_deadline(state)
        earliest = None if machine is None else machine[0]
        for moment in (
            self._planner.next_deadline(),
            None if self._is_test_mode else self._monitor.next_deadline(state),
            self._persistence.next_deadline(state),
        ):
            if moment is not None and (earliest is None or moment < earliest):
                earliest = moment
        return earliest

    def on_timer(self, now: float) -> None:
        """Do what is due. May be called at any time."""
        due: list[Event] = [
            TimerExpired(timer)
            for timer, _ in sorted(self.state.timers.items(), key=lambda item: item[1])
        ]
        self._run(due, now)

    def acknowledge_faults(self, now: float) -> None:
        """Clear the faults that a person has seen to; one whose cause is still there stays."""
        retold: set[FaultState] = set()
        self._re_reported = retold
        try:
            self._real_hardware.reset_protection()
        finally:
            self._re_reported = None
        # What the hardware tells while it is reset is new.
        present = [FaultCleared(fault) for fault in self.state.faults if fault not in retold]
        self._run(present, now)

    # Targets and sun

    @property
    def targets(self) -> tuple[ChargingTargetSchedule, ...]:
        """The charging targets that are stored."""
        return self._schedule.targets

    def set_targets(self, schedules: Iterable[ChargingTargetSchedule], now: float) -> None:
        """Put charging targets over the stored ones. Raises TargetsRefusedError; all or nothing.

        Spec: Matter Application Clusters 1.3 "SetTargets Command"
        """
        new = tuple(schedules)
        check_targets(new, has_soc="SOC" in self.features)
        self._store_targets(merge_targets(self.targets, new), now)

    def clear_targets(self, now: float) -> None:
        """Forget all charging targets."""
        self._store_targets((), now)

    def follow_schedule(self, is_followed: bool, now: float) -> None:
        """Let charging wait for the start that the targets ask for, or no longer."""
        self._schedule.is_enabled = is_followed
        self._run([], now)

    def follow_surplus(self, is_followed: bool, now: float) -> None:
        """Let charging follow what the sun leaves over, or no longer."""
        if is_followed is not self._solar.is_enabled:
            self._solar.reset()
        self._solar.is_enabled = is_followed
        self._run([], now)

    def set_surplus(
        self, surplus_mw: Milliwatts | None, now: float, valid_s: float | None = None
    ) -> None:
        """Take in how much power the sun leaves over for charging, what already goes there
        included. It holds for so many seconds, or until the next report.
        """
        self._solar.report(surplus_mw, now, valid_s)
        self._run([], now)

    def _store_targets(self, targets: tuple[ChargingTargetSchedule, ...], now: float) -> None:
        self._schedule.targets = targets
        self._persistence.save_targets(targets)
        self._run([], now)

    # Test mode

    @property
    def is_test_mode(self) -> bool:
        """True while a play vehicle stands in for the hardware."""
        return self._is_test_mode

    def enter_test_mode(self, now: float) -> None:
        """Put the real hardware to rest; from now on `handle` alone says what the pilot shows.

        The charger begins with no vehicle, no fault and nothing enabled, and tells nobody
        how it got there. Called again, it begins again.
        """
        if not self.is_test_mode:
            self._saved_claims = [
                LimitClaimed(source, self.state.limits(direction).claim(source), (direction,))
                for source in (LimitSource.HARDWARE, LimitSource.CIRCUIT, LimitSource.USER)
                for direction in Direction
            ]
            self._hardware_view.faults = list(self.state.faults)
            self._is_test_mode = True
            self._run([Reset()], now)
            self._driver.hardware = DummyHardware()
            self._replace_cards(None)
        self._monitor.invalidate()
        rest = (LimitSource.TEMPERATURE, LimitSource.SOLAR)
        claims = [LimitClaimed(source, None) for source in rest]
        self._run([Reset(), ContactorReported(False), *claims], now)

    def leave_test_mode(self, now: float) -> None:
        """Give the hardware back its place and the limits their values.

        What was enabled for a play vehicle does not hold for a real one.
        """
        if not self.is_test_mode:
            return
        # The hardware tells its cable again, if it knows of one.
        gone = (PilotChanged(PilotState.A), CableChanged(None))
        self._run([FaultCleared(), Disable(), *gone], now)
        self._driver.hardware, self._is_test_mode = self._real_hardware, False
        self._replace_cards(self.settings.evse.allowed_cards)
        for event in self._real_hardware.execute(UnlockCable()):
            self._hardware_view.record(event)
        self._run([*self._saved_claims, *self._hardware_view.replay()], now)

    def _replace_cards(self, allowed: frozenset[bytes] | None) -> None:
        settings = replace(self.state.settings, allowed_cards=allowed)
        self._driver.state = replace(self.state, settings=settings)

    # One turn

    def _run(self, events: Iterable[Event], now: float) -> str | None:
        given = tuple(events)
        if self._is_busy:
            self._driver.add(given)
            return None
        self._is_busy = True
        notifications: list[Notification] = []
        refusal: str | None = None
        before, plan = self._driver.state, self._schedule.next_charge
        try:
            self._take_in(given, now)
            for event, effects in self._driver.process_events(self._next_planned_event, now):
                for effect in effects:
                    if isinstance(effect, BaseNotification):
                        notifications.append(effect)
                    elif isinstance(effect, Refused) and given and event is given[0]:
                        refusal = effect.reason
        finally:
            self._is_busy = False
        state, is_test_mode = self._driver.state, self._is_test_mode
        self._persistence.save_changes(before, state, now, is_test_mode=is_test_mode)
        if not is_test_mode:
            self._planner.save()
        self._deadline.set(self.next_deadline())
        is_changed = state is not before and differs_beyond_meter(before, state)
        is_other_mode = is_test_mode is not self._last_notified_test_mode
        if notifications or is_changed or is_other_mode or self._schedule.next_charge is not plan:
            self._last_notified_test_mode = is_test_mode
            snapshot = self.snapshot()
            for observer in self.observers:
                observer(snapshot, tuple(notifications), now)
        return refusal

    def _take_in(self, given: Sequence[Event], now: float) -> None:
        """Queue what happened, between the meter's totals and what the monitor has to say."""
        state, monitor = self._driver.state, self._monitor
        first: Sequence[Event] = ()
        last: Sequence[Event] = ()
        try:
            if self._is_test_mode:
                first = monitor.poll_meter(state)
            else:
                is_command = len(given) == 1 and isinstance(given[0], _COMMANDS)
                if not (is_command and monitor.is_up_to_date(state, now)):
                    first, last = monitor.poll(state, now)
                self._planner.observe(state, monitor.values, now)
        except Exception as error:
            last = (*last, *self._on_exception(error))
        self._driver.add((*first, *given, *last))

    def _next_planned_event(self, now: float) -> Event | None:
        """Return what clock, targets and sun bring about."""
        state = self._driver.state
        if self._is_free_of_plans(state):
            return None
        try:
            return self._planner.next_event(state, now, is_solar_allowed=not self._is_test_mode)
        except Exception as error:
            return next(iter(self._on_exception(error)), None)

    def _on_exception(self, error: Exception) -> Sequence[Event]:
        """Cut power over what cannot be: a reading that is none, or a mistake in planning.

        What happened is still taken in. A mistake that lasts is logged once.
        """
        if repr(error) != self._error:
            self._error = repr(error)
            _LOGGER.exception("what is read or planned cannot be")
        is_told = FaultState.OTHER in self._driver.state.faults
        return () if is_told else (FaultRaised(FaultState.OTHER),)

    def _is_free_of_plans(self, state: EvseState) -> bool:
        """Tell whether nothing is planned, nor left of a plan: the clock does not matter."""
        charging, discharging = state.charging, state.discharging
        return (
            (charging is None or charging.until is None)
            and (discharging is None or discharging.until is None)
            and not state.is_held
            and LimitSource.SOLAR not in state.charge_limits.claims
            and not (self._schedule.is_enabled or self._schedule.targets)
            and not self._solar.is_enabled
            and self._planner.next_deadline() is None
        )

    def save(self, now: float) -> None:
        """Put the running session's values into the store; for the end of the program."""
        self._run((), now)
        self._persistence.save_session(self.state, now)
