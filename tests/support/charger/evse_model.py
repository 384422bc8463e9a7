"""A small model of the charger, written from the specification and not from the machine.

It holds facts only, and derives the expected attributes of the cluster from them.

Spec: Matter Application Clusters 1.3 "Energy EVSE Cluster"
"""

from __future__ import annotations

from dataclasses import dataclass, field

CHARGE, DISCHARGE = "charge", "discharge"
MINIMUM_MA = 6_000
ENDED_BY_UNPLUGGING = {"PilotShortCircuit", "EVDisconnected", "ContactDryFailure", "OverCurrent"}
RETRIED = ENDED_BY_UNPLUGGING | {"Other"}
RETRIES = 3


@dataclass
class Model:
    """Facts about one charger. `pilot` is a letter; limits are mA by source for each direction."""

    has_enabled_state: bool
    has_ventilation: bool
    cards: frozenset[bytes] | None = None
    has_socket: bool = False
    is_unplugging_delayed: bool = False
    pilot: str = "A"
    is_session_active: bool = False
    session_id: int | None = None
    faults: list[str] = field(default_factory=list)
    observed: set[str] = field(default_factory=set)
    retried: set[str] = field(default_factory=set)
    retry_count: int = 0
    is_diagnosing: bool = False
    is_held: bool = False
    has_card: bool = False
    enabled: dict[str, int | None] = field(default_factory=dict)
    minimum_ma: int = MINIMUM_MA
    limits: dict[str, dict[str, int]] = field(
        default_factory=lambda: {CHARGE: {"command": 0}, DISCHARGE: {"command": 0}}
    )
    transfer: str | None = None

    # Expected attributes

    @property
    def supply_state(self) -> str:
        if self.faults:
            return "DisabledError"
        if self.is_diagnosing:
            return "DisabledDiagnostics"
        if len(self.enabled) == 2:
            return "Enabled"
        if CHARGE in self.enabled:
            return "ChargingEnabled"
        return "DischargingEnabled" if self.enabled else "Disabled"

    @property
    def state(self) -> str:
        if self.faults:
            return "Fault"
        if not self.is_session_active:
            return "NotPluggedIn"
        if self.pilot not in "CD":
            return "PluggedInNoDemand"
        if self.transfer is None:
            return "PluggedInDemand"
        return "PluggedInCharging" if self.transfer == CHARGE else "PluggedInDischarging"

    def maximum_ma(self, direction: str) -> int:
        return min(self.limits[direction].values())

    def may_flow(self, direction: str) -> bool:
        """Return whether the charger permits energy in this direction."""
        return (
            direction in self.enabled
            and not self.faults
            and not self.is_diagnosing
            and (self.cards is None or self.has_card)
            and (not self.has_socket or "cable" in self.limits[direction])
            and not (direction == CHARGE and self.is_held)
            and self.maximum_ma(direction) >= MINIMUM_MA
            and (direction == DISCHARGE or self.maximum_ma(CHARGE) >= self.minimum_ma)
        )

    @property
    def is_vehicle_ready(self) -> bool:
        return self.pilot == "C" or (self.pilot == "D" and self.has_ventilation)

    def settle(self) -> None:
        """Start, stop or reverse the transfer by the facts. In a fault it is unchanged."""
        if self.faults:
            return
        if not self.is_session_active or not self.is_vehicle_ready:
            self.transfer = None
            return
        if self.transfer is not None and not self.may_flow(self.transfer):
            self.transfer = None
        if self.transfer is None:
            wanted = CHARGE if CHARGE in self.enabled else DISCHARGE
            self.transfer = wanted if self.may_flow(wanted) else None

    # Facts

    def on_pilot(self, pilot: str) -> None:
        before, self.pilot = self.pilot, pilot
        if pilot in "EF":
            if pilot != before:
                self.on_momentary_fault("PilotShortCircuit" if pilot == "E" else "Other")
            return
        if pilot in "AB":
            self.transfer = None
        if pilot == "A":
            if before != "A" and not (self.is_unplugging_delayed and self.is_session_active):
                self.on_unplugged()
        elif not self.is_session_active:
            self.is_session_active = True
            self.session_id = 0 if self.session_id is None else self.session_id + 1
        self.settle()

    def on_unplugged(self) -> None:
        """Process state A that has lasted."""
        self.has_card = self.has_card and not self.is_session_active
        self.is_session_active = False
        self.faults = [fault for fault in self.faults if not self._ends_with_unplugging(fault)]
        self.retried, self.retry_count = set(), 0
        self.settle()

    def _ends_with_unplugging(self, fault: str) -> bool:
        return fault in ENDED_BY_UNPLUGGING | self.retried and fault not in self.observed

    def on_fault(self, fault: str) -> None:
        if fault != "NoError" and fault not in self.faults:
            self.faults.append(fault)
        self.retried.discard(fault)

    def on_momentary_fault(self, fault: str) -> None:
        """Process a fault whose end is not reported: it is retried three times, then latches."""
        if fault in self.faults:
            return
        self.on_fault(fault)
        if fault in RETRIED:
            self.retry_count += not self.retried
            self.retried.add(fault)

    def on_retry(self, lasting: set[str]) -> None:
        assert self.retried
        assert self.retry_count <= RETRIES
        for fault in set(self.retried):
            self._clear(fault, lasting)
        self.settle()

    def on_clear(self, fault: str | None, lasting: set[str]) -> None:
        """Clear one fault or all; `lasting` are those that the contactor still shows."""
        if fault is None or fault in self.retried:
            self.retry_count = 0
        self._clear(fault, lasting)
        self.settle()

    def _clear(self, fault: str | None, lasting: set[str]) -> None:
        pilot_fault = {"E": "PilotShortCircuit", "F": "Other"}.get(self.pilot)
        kept = self.observed | lasting | {pilot_fault or ""}
        if self.has_socket and self.pilot in "BCD" and "cable" not in self.limits[CHARGE]:
            kept.add("EVDisconnected")
        self.faults = [
            each for each in self.faults if each in kept or (fault is not None and each != fault)
        ]
        self.retried.intersection_update(self.faults)

    def on_observed(self, causes: set[str], lasting: set[str]) -> None:
        gone = self.observed - causes
        self.observed = set(causes)
        for fault in causes:
            self.on_fault(fault)
        for fault in gone:
            self.on_clear(fault, lasting)
        self.settle()

    def may_command(self) -> bool:
        return not self.faults and not self.is_diagnosing

    def on_enable(self, direction: str, until: int | None, minimum: int, maximum: int) -> bool:
        if not self.may_command():
            return False
        if not self.has_enabled_state:
            self._withdraw(DISCHARGE if direction == CHARGE else CHARGE)
        self.enabled[direction] = until
        self.limits[direction]["command"] = maximum
        if direction == CHARGE:
            self.minimum_ma = minimum
        self.settle()
        return True

    def on_disable(self) -> bool:
        if not self.may_command():
            return False
        self._withdraw(CHARGE)
        self._withdraw(DISCHARGE)
        self.settle()
        return True

    def _withdraw(self, direction: str) -> None:
        self.enabled.pop(direction, None)
        self.limits[direction]["command"] = 0
        if direction == CHARGE:
            self.minimum_ma = 0

    def on_clock(self, epoch_s: int) -> None:
        ended = [
            direction
            for direction, until in self.enabled.items()
            if until is not None and until <= epoch_s
        ]
        for direction in ended:
            self._withdraw(direction)
        if ended and not self.enabled:
            self.on_disable_all()
        self.settle()

    def on_disable_all(self) -> None:
        self._withdraw(CHARGE)
        self._withdraw(DISCHARGE)

    def on_diagnostics(self, is_contactor_open: bool) -> bool:
        if self.supply_state != "Disabled" or not is_contactor_open:
            return False
        self.is_diagnosing = True
        return True

    def on_limit(self, source: str, current_ma: int | None, directions: tuple[str, ...]) -> None:
        for direction in directions:
            self.limits[direction].pop(source, None)
            if current_ma is not None:
                self.limits[direction][source] = current_ma
        self.settle()

    def on_hold(self, is_held: bool) -> None:
        self.is_held = is_held
        self.settle()

    def on_card(self, uid: bytes) -> None:
        if self.cards is not None and uid in self.cards:
            self.has_card = not self.has_card
            self.settle()
