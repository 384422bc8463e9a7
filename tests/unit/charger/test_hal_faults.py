"""Every call to the hardware raises, has a defect, is late, has no effect, or returns wrong data.

`TABLE` has a row for each method of each capability, which a test compares with the protocols
themselves. A row gives the action that makes the charger call the method while a vehicle charges,
and for each kind of failure the resulting fault, and whether energy continues to flow. In all of
them session, energy and attributes are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import pytest
from msgspec.structs import replace

from evse_node.errors import HalError
from evse_node.hal import interface as hal
from evse_node.hal.simulated.backend import SimulatedBackend
from evse_node.hal.simulated.board import SimulatedBoard
from evse_node.state_machine.control_pilot import PilotState
from evse_node.state_machine.enums import State
from evse_node.state_machine.events import (
    Direction,
    Disable,
    EnableCharging,
    EnableDischarging,
    FaultCleared,
    FaultRaised,
    LimitClaimed,
    StartDiagnostics,
)
from evse_node.state_machine.faults import FaultState
from evse_node.state_machine.limits import LimitSource
from evse_node.units import Milliamps, MilliwattHours, Milliwatts
from tests.support.charger.charger_host import ChargerHost

Method: TypeAlias = tuple[type[object], str]
ENABLE: Final = EnableCharging(None, Milliamps(6_000), Milliamps(16_000))
OTHER: Final = FaultState.OTHER
WET, DRY = FaultState.CONTACT_WET_FAILURE, FaultState.CONTACT_DRY_FAILURE
NONE: Final = FaultState.NO_ERROR


@dataclass(frozen=True)
class Outcome:
    """Expected fault, and whether energy continues to flow."""

    fault: FaultState
    flows: bool = False


FLOWS: Final = Outcome(NONE, flows=True)
"""Energy continues to flow."""
ENDS: Final = Outcome(NONE)
"""Power is off without a fault, as ordered."""

Failure: TypeAlias = Callable[[pytest.MonkeyPatch, "Scene", str], None]


class Scene:
    """A vehicle that charges, and a simulated clock that advances in small steps."""

    def __init__(self) -> None:
        # With a grid meter; the clock is the host's, once the host exists.
        backend = SimulatedBackend(clock=lambda: self.now(), has_grid_meter=True)
        # Without retries, so that each fault stays to be seen.
        self.host = ChargerHost(backend=backend, evse={"retry_after_s": ()})
        self.host.charger.handle(ENABLE, self.host.now)
        self.plug_in()
        self.run(30)
        assert self.is_powered
        assert self.host.charger.state.fault is NONE

    def now(self) -> float:
        return self.host.now if hasattr(self, "host") else 1000.0

    @property
    def board(self) -> SimulatedBoard:
        return self.host.backend.board

    @property
    def is_powered(self) -> bool:
        return self.board.is_closed

    def plug_in(self) -> None:
        self.host.backend.plug_in()
        self.host.backend.demand()

    def run(self, seconds: float) -> None:
        for _ in range(int(seconds * 4)):
            self.host.now += 0.25
            self.host.backend.advance()
            self.host.timers.run(self.host.now)

    def report(self, event: hal.HalEvent) -> None:
        self.host.charger.receive(event, self.host.now)

    # Actions that make the charger call a method

    def limit(self) -> None:
        limit = LimitClaimed(LimitSource.USER, Milliamps(10_000), (Direction.CHARGE,))
        self.host.charger.handle(limit, self.host.now)

    def disable(self) -> None:
        self.host.charger.handle(Disable(), self.host.now)

    def raise_fault(self) -> None:
        self.host.charger.handle(FaultRaised(FaultState.OVER_VOLTAGE), self.host.now)

    def pause(self) -> None:
        self.host.backend.no_demand()
        self.run(2)
        self.host.backend.demand()

    def start_new_session(self) -> None:
        self.host.backend.unplug()
        self.run(8)
        self.plug_in()

    def unplug(self) -> None:
        self.host.backend.unplug()

    def tap(self) -> None:
        self.host.backend.tap(b"\1\2\3\4")

    def acknowledge(self) -> None:
        self.host.charger.acknowledge_faults(self.host.now)

    def test(self) -> None:
        self.disable()
        self.run(10)
        self.host.charger.handle(StartDiagnostics(), self.host.now)
        self.run(125)

    def follow_surplus(self) -> None:
        self.host.backend.set_surplus(11_000)
        self.host.charger.follow_surplus(True, self.host.now)
        self.run(90)
        assert self.is_powered

    def wait_for_surplus(self) -> None:
        self.run(600)

    def discharge(self) -> None:
        self.disable()
        self.run(10)
        give = EnableDischarging(None, Milliamps(10_000))
        self.host.charger.handle(give, self.host.now)

    def nothing(self) -> None:
        """Do nothing: the method is called every second anyway, or never by the charger."""


def returning(answer: Callable[[Scene], object]) -> Failure:
    """Let the method return something else."""

    def inject(patch: pytest.MonkeyPatch, scene: Scene, name: str) -> None:
        patch.setattr(scene.board, name, lambda *given: answer(scene))

    return inject


def contradicted_by(*events: hal.HalEvent) -> Failure:
    """Let the hardware report events that contradict the order."""

    def inject(patch: pytest.MonkeyPatch, scene: Scene, name: str) -> None:
        original: Callable[..., object] = getattr(scene.board, name)

        def contradict(*given: object) -> object:
            answer = original(*given)
            for event in events:
                scene.report(event)
            return answer

        patch.setattr(scene.board, name, contradict)

    return inject


def reported(event: hal.HalEvent) -> Failure:
    """Let the hardware report an implausible event."""

    def inject(patch: pytest.MonkeyPatch, scene: Scene, name: str) -> None:
        scene.report(event)

    return inject


def meter(**wrong: object) -> Failure:
    """Let the meter return wrong values."""
    return returning(lambda scene: replace(GOOD_VALUES, **wrong))


GOOD_VALUES: Final = hal.MeterValues(
    MilliwattHours(10**9), MilliwattHours(0), Milliwatts(0), (), ()
)


@dataclass(frozen=True)
class Row:
    """Outcomes for one method. `raises` also applies to a defect, unless `defect` is given.

    `late`: the call takes 3 s instead of returning at once. `lost`: it has no effect; None for a
    method with a result. `wrong`: other failures by name. `prepare` runs before the failure.
    """

    trigger: Callable[[Scene], None]
    raises: Outcome
    late: Outcome
    lost: Outcome | None
    wrong: Mapping[str, tuple[Failure, Outcome]] = field(default_factory=dict)
    defect: Outcome | None = None
    prepare: Callable[[Scene], None] | None = None


FEEDBACK = hal.ContactorReported
TABLE: Final[Mapping[Method, Row]] = {
    (hal.ControlPilot, "offer"): Row(
        Scene.limit,
        Outcome(OTHER),
        FLOWS,
        Outcome(FaultState.OVER_CURRENT),
        {
            "short circuit": (
                contradicted_by(hal.PilotChanged(PilotState.E)),
                Outcome(FaultState.PILOT_SHORT_CIRCUIT),
            ),
            "state F": (contradicted_by(hal.PilotChanged(PilotState.F)), Outcome(OTHER)),
        },
    ),
    (hal.ControlPilot, "withdraw"): Row(
        Scene.disable,
        Outcome(OTHER),
        ENDS,
        ENDS,
        {"state F": (contradicted_by(hal.PilotChanged(PilotState.F)), Outcome(OTHER))},
    ),
    (hal.ControlPilot, "signal_unavailable"): Row(
        Scene.raise_fault,
        Outcome(OTHER),
        Outcome(FaultState.OVER_VOLTAGE),
        Outcome(FaultState.OVER_VOLTAGE),
        {
            "still state C": (
                contradicted_by(hal.PilotChanged(PilotState.C)),
                Outcome(FaultState.OVER_VOLTAGE),
            ),
        },
    ),
    (hal.Contactor, "open"): Row(
        Scene.disable,
        Outcome(WET),
        ENDS,
        Outcome(WET),
        {
            # The events never end, which is a fault of its own.
            "closed again": (contradicted_by(FEEDBACK(False), FEEDBACK(True)), Outcome(OTHER)),
        },
    ),
    (hal.Contactor, "close"): Row(
        Scene.pause,
        Outcome(DRY),
        FLOWS,
        Outcome(DRY),
        {"open again": (contradicted_by(FEEDBACK(True), FEEDBACK(False)), Outcome(DRY))},
        defect=Outcome(OTHER),
    ),
    (hal.CableLock, "lock"): Row(Scene.start_new_session, Outcome(OTHER), FLOWS, FLOWS),
    (hal.CableLock, "unlock"): Row(Scene.unplug, Outcome(OTHER), ENDS, ENDS),
    (hal.Meter, "read"): Row(
        Scene.nothing,
        Outcome(FaultState.METER_FAILURE),
        FLOWS,
        None,
        {
            "backwards": (meter(imported_mwh=0), FLOWS),
            "a thousand times too much": (
                meter(imported_mwh=10**15),
                Outcome(FaultState.METER_FAILURE),
            ),
            "absurd current": (
                meter(currents_ma=(Milliamps(400_000),)),
                Outcome(FaultState.METER_FAILURE),
            ),
        },
    ),
    (hal.GridMeter, "read_grid_power_mw"): Row(
        Scene.wait_for_surplus,
        ENDS,
        FLOWS,
        None,
        {
            "all the world draws": (returning(lambda scene: Milliwatts(10**15)), ENDS),
            "all the world feeds": (returning(lambda scene: Milliwatts(-(10**15))), ENDS),
        },
        prepare=Scene.follow_surplus,
    ),
    (hal.RfidReader, "acknowledge"): Row(Scene.tap, FLOWS, FLOWS, FLOWS),
    (hal.ProximityPilot, "events"): Row(
        Scene.nothing,
        FLOWS,
        FLOWS,
        None,
        {
            "another cable": (reported(hal.CableChanged(Milliamps(13_000))), FLOWS),
            "no current at all": (reported(hal.CableChanged(Milliamps(0))), ENDS),
        },
    ),
    (hal.ResidualCurrentDevice, "reset"): Row(
        Scene.acknowledge,
        FLOWS,
        FLOWS,
        FLOWS,
        {
            "trips again": (
                contradicted_by(hal.FaultRaised(FaultState.GROUND_FAULT)),
                Outcome(FaultState.GROUND_FAULT),
            )
        },
    ),
    (hal.TemperatureSensor, "read_millicelsius"): Row(
        Scene.nothing,
        FLOWS,  # with 6 A
        FLOWS,
        None,
        {
            "absurdly hot": (
                returning(lambda scene: 2_000_000),
                Outcome(FaultState.OVER_TEMPERATURE),
            ),
            "colder than anything": (returning(lambda scene: -300_000), FLOWS),
        },
    ),
    (hal.SelfTest, "start_self_test"): Row(
        Scene.test,
        Outcome(OTHER),
        ENDS,
        Outcome(OTHER),
        {"ends at once": (contradicted_by(hal.SelfTestCompleted()), ENDS)},
    ),
    (hal.Discharger, "set_discharge"): Row(
        Scene.discharge,
        Outcome(OTHER),
        FLOWS,
        FLOWS,
    ),
    (hal.BatteryInformation, "events"): Row(
        Scene.nothing,
        FLOWS,
        FLOWS,
        None,
        {
            "300 percent": (reported(hal.BatteryReported(300, MilliwattHours(-1))), FLOWS),
            "unknown": (reported(hal.BatteryReported(None, None)), FLOWS),
        },
    ),
    (hal.VehicleIdentification, "events"): Row(
        Scene.nothing,
        FLOWS,
        FLOWS,
        None,
        {"too long": (reported(hal.VehicleIdentified("x" * 100)), FLOWS)},
    ),
}
CALLED_BY_NODE: Final = {(hal.EvseBackend, "start"), (hal.EvseBackend, "stop")}
"""Methods called by the node, not by the charger: see tests/unit/node/test_evse_node.py."""


SIMPLE: Final = ("raises", "defect", "late", "lost")
WITHOUT_METHODS: Final = (hal.BatteryInformation, hal.VehicleIdentification, hal.ProximityPilot)
"""Capabilities that only report events."""


def protocol_methods() -> set[Method]:
    found: set[Method] = set()
    for protocol in vars(hal).values():
        if isinstance(protocol, type) and getattr(protocol, "_is_protocol", False):
            found |= {
                (protocol, name)
                for name, member in vars(protocol).items()
                if callable(member) and not name.startswith("_")
            }
    return found


def test_every_method_of_hal_has_a_case() -> None:
    methods = {method for method in TABLE if method[0] not in WITHOUT_METHODS}
    assert methods | CALLED_BY_NODE == protocol_methods()
    # A method with a result may return a wrong one.
    assert all(row.lost is not None or row.wrong for row in TABLE.values())


def cases() -> list[tuple[Method, str, Outcome]]:
    found = []
    for method, row in TABLE.items():
        if method[0] not in WITHOUT_METHODS:
            found += [
                (method, "raises", row.raises),
                (method, "defect", row.defect or row.raises),
                (method, "late", row.late),
            ]
        if row.lost is not None:
            found.append((method, "lost", row.lost))
        found += [(method, kind, outcome) for kind, (_, outcome) in row.wrong.items()]
    return found


def inject(patch: pytest.MonkeyPatch, scene: Scene, method: Method, kind: str) -> list[str]:
    """Inject a failure; the returned list gets an entry with each call of the method."""
    name = method[1]
    if kind not in SIMPLE:
        TABLE[method].wrong[kind][0](patch, scene, name)
        return []
    original: Callable[..., object] = getattr(scene.board, name)
    calls: list[str] = []

    def raises(*given: object) -> None:
        calls.append(name)
        raise HalError("torn off")

    def defect(*given: object) -> None:
        calls.append(name)
        raise ZeroDivisionError

    def late(*given: object) -> object:
        if not calls:
            scene.host.now += 3
        calls.append(name)
        return original(*given)

    def lost(*given: object) -> None:
        calls.append(name)

    simple = {"raises": raises, "defect": defect, "late": late, "lost": lost}
    patch.setattr(scene.board, name, simple[kind])
    return calls


@pytest.mark.parametrize(
    ("method", "kind", "outcome"),
    cases(),
    ids=[f"{method[0].__name__}.{method[1]} {kind}" for method, kind, _ in cases()],
)
def test_failing_call_has_expected_outcome(
    monkeypatch: pytest.MonkeyPatch, method: Method, kind: str, outcome: Outcome
) -> None:
    scene = Scene()
    prepare = TABLE[method].prepare
    if prepare is not None:
        prepare(scene)
    host, charger = scene.host, scene.host.charger
    before = charger.snapshot().session
    assert before is not None
    charged = host.read("SessionEnergyCharged")
    with monkeypatch.context() as patch:
        calls = inject(patch, scene, method, kind)
        TABLE[method].trigger(scene)
        scene.run(25)
        assert bool(calls) is (kind in SIMPLE)
        snapshot = charger.snapshot()
        assert (snapshot.fault, scene.is_powered) == (outcome.fault, outcome.flows)
        number = list(FaultState).index(outcome.fault)
        assert host.read("FaultState") == (255 if outcome.fault is OTHER else number)
        session = snapshot.session
        assert session is not None
        if TABLE[method].trigger is not Scene.start_new_session:
            assert session.id == before.id
            assert host.read("SessionID") == before.id
            assert host.read("SessionEnergyCharged") >= charged  # type: ignore[operator]
        assert host.status("Disable") in (0, 1)

    # After repair, unplugging and acknowledgement the next vehicle charges, and totals continue.
    scene.board.repair()
    charger.follow_surplus(False, host.now)
    host.backend.unplug()
    scene.run(10)
    charger.handle(FaultCleared(), host.now)
    charger.acknowledge_faults(host.now)
    assert charger.snapshot().faults == ()
    assert charger.snapshot().state is State.NOT_PLUGGED_IN
    charger.handle(ENABLE, host.now)
    scene.plug_in()
    scene.run(30)
    assert scene.is_powered
    after = charger.snapshot().session
    assert after is not None
    assert after.id > before.id
    offset_mwh = charger._monitor.filter.offset.imported_mwh  # another meter continues
    assert charger.snapshot().meter.imported_mwh == host.backend.car.charged.total_mwh + offset_mwh
