"""One charger at run time: the state machine with its hardware, storage, plans and deadlines.

    backend = create_backend("simulated", {})
    charger = Charger(backend, store, now=monotonic(), utc_ms=utc_clock, timers=stack_timers)
    charger.observers.append(on_change)  # called with (Snapshot, notifications, now)
    await backend.start(lambda event: charger.receive(event, monotonic()))
    ...
    charger.save(monotonic())
    await backend.stop()

Everything runs in one thread. `receive` processes events of the hardware, `handle` all others.
Both process everything that follows, including immediate feedback of the hardware, and then call
the observers once. With `timers` the charger sets its deadline there; without, the caller reads
`next_deadline` and calls `on_timer`.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from msgspec.structs import replace

from evse_node.charger.charge_planner import ChargePlanner
from evse_node.charger.hardware import DummyHardware, HardwareView, RealHardware
from evse_node.charger.hardware_monitor import HardwareMonitor, first_reading, new_filter
from evse_node.charger.machine_driver import MachineDriver
from evse_node.charger.meter_filter import MeterCondition
from evse_node.charger.persistence import ChargerPersistence
from evse_node.charger.snapshot import ChargerSettings, Observer, Snapshot, differs_beyond_meter
from evse_node.charger.vehicle_draw import VehicleDraw
from evse_node.hal import interface as hal
from evse_node.matter.store import Store
from evse_node.matter.timers import Deadline, Timers
from evse_node.state_machine import events
from evse_node.state_machine.control_pilot import PilotState
from evse_node.state_machine.effects import BaseNotification, Notification, Refused, UnlockCable
from evse_node.state_machine.events import Direction, Event
from evse_node.state_machine.faults import FaultState
from evse_node.state_machine.limits import LimitSource
from evse_node.state_machine.session import MeterReading
from evse_node.state_machine.state import EvseState, next_deadline
from evse_node.state_machine.targets import ChargingTargetSchedule, check_targets, merge_targets
from evse_node.units import Milliwatts

_LOGGER: Final = logging.getLogger(__name__)

_COMMANDS: Final = (events.EnableCharging, events.EnableDischarging, events.Disable)


class Charger:
    """One charger on a backend and a store.

    `now` is monotonic seconds; `utc_ms` returns milliseconds since 1970, or None while the wall
    clock is unknown. `draw` returns a random number in [0, 1).
    """

    def __init__(
        self,
        backend: hal.EvseBackend,
        store: Store,
        *,
        now: float,
        settings: ChargerSettings | None = None,
        utc_ms: Callable[[], int | None] = lambda: None,
        timers: Timers | None = None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.settings = settings or ChargerSettings()
        possible = hal.capabilities(backend)
        chosen = self.settings.features
        self.features = possible if chosen is None else possible & chosen
        self.observers: list[Observer] = []
        self.randomization_window_s = 0
        self._real_hardware = RealHardware(backend)
        self._hardware_view = HardwareView()
        self._saved_claims: list[events.LimitClaimed] = []
        self._deadline = Deadline(timers, self.on_timer)
        self._is_busy = False
        self._last_error = ""
        self._is_test_mode = self._last_notified_test_mode = False
        self._re_reported: set[FaultState] | None = None
        self._persistence = ChargerPersistence(store, utc_ms, now)
        ratings = backend.ratings
        meter_filter = new_filter(backend, self._persistence.load_meter())
        reading = first_reading(backend, meter_filter, now)
        state = self._persistence.load_state(self.settings, self.features, ratings, reading, now)
        self._driver = MachineDriver(self._real_hardware, state)
        session = state.session
        self._monitor = HardwareMonitor(
            backend,
            self.settings.monitor,
            state.observed_causes,
            is_counter_reset=reading is None and (session is None or not session.is_active),
            meter_filter=meter_filter,
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
        self._process([], now)

    # State

    @property
    def state(self) -> EvseState:
        """The machine's state."""
        return self._driver.state

    def snapshot(self) -> Snapshot:
        """Return the present state for observers."""
        plan, is_test_mode = self._schedule.next_charge, self._is_test_mode
        last = self._last_snapshot
        is_current = last.evse is self.state and last.next_charge is plan
        if not is_current or last.is_test_mode is not is_test_mode:
            last = self._last_snapshot = Snapshot(self.state, plan, is_test_mode)
        return last

    @property
    def expected_draw(self) -> VehicleDraw | None:
        """Measured draw of the vehicle, else of the previous one; None before the first."""
        return self._planner.draw_estimator.learned.expected

    @property
    def guaranteed_power_mw(self) -> Milliwatts:
        """The power that a plan can rely on, whichever vehicle is connected."""
        return self._planner.guaranteed_power(self.state)[0]

    def meter_values(self, now: float) -> hal.MeterValues | None:
        """Read the meter; None without a meter, or when it has no valid reading."""
        return self._monitor.read_meter(now)

    @property
    def meter_condition(self) -> MeterCondition | None:
        """What was noticed about the meter's readings; None without a meter."""
        return self._monitor.meter_condition

    def refresh_meter(self, now: float) -> MeterReading:
        """Read the meter's totals now and return them."""
        self._process((), now)
        return self.state.meter

    # Events

    def handle(self, event: Event, now: float) -> str | None:
        """Process an event and all that follows; return the reason for refusing it, or None.

        Called from an observer or an order, it queues the event and returns None.
        """
        return self._process([event], now)

    def receive(self, event: hal.HalEvent, now: float) -> None:
        """Process an event of the hardware."""
        if isinstance(event, hal.SurplusReported):
            self.set_surplus(event.surplus_mw, now)
            return
        if isinstance(event, hal.CurrentDerated):
            self._monitor.hardware_limit_ma = event.current_ma
            self._process((), now)
            return
        is_first_pilot = (
            isinstance(event, events.PilotChanged) and self._hardware_view.pilot is None
        )
        self._hardware_view.record(event)
        if self._re_reported is not None and isinstance(event, events.FaultRaised):
            self._re_reported.add(event.fault)
        if isinstance(event, events.RfidTapped):
            self._real_hardware.acknowledge_card()
        elif self.is_test_mode:
            return
        self._process([event], now)
        if is_first_pilot and not self.state.outputs.is_locked:
            # An earlier run may have left the plug locked, and its vehicle may be gone.
            self._process(self._real_hardware.execute(UnlockCable()), now)

    def next_deadline(self) -> float | None:
        """Return when to call `on_timer` (monotonic seconds), or None."""
        state = self._driver.state
        machine_deadline = next_deadline(state)
        deadlines = (
            None if machine_deadline is None else machine_deadline[0],
            self._planner.next_deadline(),
            None if self._is_test_mode else self._monitor.next_deadline(state),
            self._persistence.next_deadline(state),
        )
        return min((each for each in deadlines if each is not None), default=None)

    def on_timer(self, now: float) -> None:
        """Process due timers. May be called at any time."""
        due: list[Event] = [
            events.TimerExpired(timer)
            for timer, _ in sorted(self.state.timers.items(), key=lambda item: item[1])
        ]
        self._process(due, now)

    def acknowledge_faults(self, now: float) -> None:
        """Clear all faults but those whose cause is still present."""
        re_reported: set[FaultState] = set()
        self._re_reported = re_reported
        try:
            self._real_hardware.reset_protection()
        finally:
            self._re_reported = None
        # Faults that the hardware reports during its reset are new.
        cleared = [
            events.FaultCleared(each) for each in self.state.faults if each not in re_reported
        ]
        self._process(cleared, now)

    # Targets and solar surplus

    @property
    def targets(self) -> tuple[ChargingTargetSchedule, ...]:
        """The stored charging targets."""
        return self._schedule.targets

    def set_targets(self, schedules: Iterable[ChargingTargetSchedule], now: float) -> None:
        """Merge charging targets into the stored ones. Raises TargetsRefusedError, storing none.

        Spec: Matter Application Clusters 1.3 "SetTargets Command"
        """
        new = tuple(schedules)
        check_targets(new, has_soc="SOC" in self.features)
        self._store_targets(merge_targets(self.targets, new), now)

    def clear_targets(self, now: float) -> None:
        """Clear all charging targets."""
        self._store_targets((), now)

    def follow_schedule(self, is_enabled: bool, now: float) -> None:
        """Let charging wait for the planned start, or no longer."""
        self._schedule.is_enabled = is_enabled
        self._process([], now)

    def follow_surplus(self, is_enabled: bool, now: float) -> None:
        """Let charging follow the solar surplus, or no longer."""
        if is_enabled is not self._solar.is_enabled:
            self._solar.reset()
        self._solar.is_enabled = is_enabled
        self._process([], now)

    def set_surplus(
        self, surplus_mw: Milliwatts | None, now: float, valid_s: float | None = None
    ) -> None:
        """Set the power available for charging, including what already charges.

        It is valid for `valid_s` seconds, or until the next call.
        """
        self._solar.set_surplus(surplus_mw, now, valid_s)
        self._process([], now)

    def _store_targets(self, targets: tuple[ChargingTargetSchedule, ...], now: float) -> None:
        self._schedule.targets = targets
        self._persistence.save_targets(targets)
        self._process([], now)

    # Test mode

    @property
    def is_test_mode(self) -> bool:
        """True while a test vehicle replaces the hardware."""
        return self._is_test_mode

    def enter_test_mode(self, now: float) -> None:
        """Switch the real hardware off; from now on `handle` alone changes the pilot.

        The charger restarts without vehicle, fault or permission, and without notifications.
        A second call restarts it again.
        """
        if not self.is_test_mode:
            self._saved_claims = [
                events.LimitClaimed(
                    source, self.state.limits(direction).claim(source), (direction,)
                )
                for source in (LimitSource.HARDWARE, LimitSource.CIRCUIT, LimitSource.USER)
                for direction in Direction
            ]
            self._hardware_view.faults = list(self.state.faults)
            self._hardware_view.retried = self.state.retried_faults
            self._is_test_mode = True
            self._process([events.Reset()], now)
            self._driver.hardware = DummyHardware()
            self._replace_settings(cards=None, unplugged_after_s=0.0)
        self._monitor.invalidate()
        others = (LimitSource.TEMPERATURE, LimitSource.SOLAR)
        claims = [events.LimitClaimed(source, None) for source in others]
        self._process([events.Reset(), events.ContactorReported(False), *claims], now)

    def leave_test_mode(self, now: float) -> None:
        """Return to the real hardware and its limits.

        Permissions for the test vehicle do not apply to a real one.
        """
        if not self.is_test_mode:
            return
        # The cable follows with `replay`, if the hardware reported one.
        unplugged = (events.PilotChanged(PilotState.A), events.CableChanged(None))
        self._process([events.FaultCleared(), events.Disable(), *unplugged], now)
        self._driver.hardware, self._is_test_mode = self._real_hardware, False
        evse = self.settings.evse
        self._replace_settings(evse.allowed_cards, evse.unplugged_after_s)
        for event in self._real_hardware.execute(UnlockCable()):
            self._hardware_view.record(event)
        self._process([*self._saved_claims, *self._hardware_view.replay()], now)

    def _replace_settings(self, cards: frozenset[bytes] | None, unplugged_after_s: float) -> None:
        settings = self.state.settings
        settings = replace(settings, allowed_cards=cards, unplugged_after_s=unplugged_after_s)
        self._driver.state = replace(self.state, settings=settings)

    # Processing

    def _process(self, events: Iterable[Event], now: float) -> str | None:
        received = tuple(events)
        if self._is_busy:
            self._driver.add(received)
            return None
        self._is_busy = True
        notifications: list[Notification] = []
        refusal: str | None = None
        before, plan = self._driver.state, self._schedule.next_charge
        try:
            self._queue_events(received, now)
            for event, effects in self._driver.process_events(self._next_planned_event, now):
                for effect in effects:
                    if isinstance(effect, BaseNotification):
                        notifications.append(effect)
                    elif isinstance(effect, Refused) and received and event is received[0]:
                        refusal = effect.reason
        finally:
            self._is_busy = False
        state, is_test_mode = self._driver.state, self._is_test_mode
        self._persistence.save_changes(before, state, now, is_test_mode=is_test_mode)
        self._persistence.save_meter(self._monitor.filter, now)
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

    def _queue_events(self, received: Sequence[Event], now: float) -> None:
        """Queue the received events between the meter's totals and the monitor's findings."""
        state, monitor = self._driver.state, self._monitor
        first: Sequence[Event] = ()
        last: Sequence[Event] = ()
        try:
            if self._is_test_mode:
                first = monitor.poll_meter(state, now)
            else:
                is_command = len(received) == 1 and isinstance(received[0], _COMMANDS)
                if not (is_command and monitor.is_up_to_date(state, now)):
                    first, last = monitor.poll(state, now)
                self._planner.observe(state, monitor.values, now)
        except Exception as error:
            fault = self._on_exception(error)
            last = last if fault is None else (*last, fault)
        self._driver.add((*first, *received, *last))

    def _next_planned_event(self, now: float) -> Event | None:
        """Return the next event of clock, targets and solar surplus."""
        state = self._driver.state
        if self._planner.is_idle(state):
            return None
        try:
            return self._planner.next_event(state, now, is_solar_allowed=not self._is_test_mode)
        except Exception as error:
            return self._on_exception(error)

    def _on_exception(self, error: Exception) -> Event | None:
        """Raise a fault, which opens the contactor, when a reading is invalid or planning raises.

        The received events are still processed. A persistent error is logged once.
        """
        if repr(error) != self._last_error:
            self._last_error = repr(error)
            _LOGGER.exception("invalid reading, or error in planning")
        is_present = FaultState.OTHER in self._driver.state.faults
        return None if is_present else events.FaultRaised(FaultState.OTHER, is_momentary=True)

    def save(self, now: float) -> None:
        """Store the running session's values; called on shutdown."""
        self._process((), now)
        self._persistence.save_session(self.state, now)
        self._persistence.save_meter(self._monitor.filter, now, is_last=True)
