"""Contract between the node and a charger's hardware: one small protocol per capability.

Parties: the charger's state machine decides, and the backend, an object with the members of
`EvseBackend`, carries out. `control_pilot` and `contactor` are required. Every other member is
None where the hardware lacks it, which alone decides the features that the node offers.

Orders: the node calls a method of a capability. It returns at once; slow hardware queues the
order. It raises HalError when the order certainly cannot be carried out.

Events: the backend passes what happens to the inbox that `start` received: pilot and contactor
once at start, then each change once. An event may be posted from within an order whose outcome
is known at once.

Threads: orders come in the event loop's thread, and events are posted in it. Another thread
posts with `loop.call_soon_threadsafe`.

Opening rule: a backend may open the contactor at any time, without an order. It must do so
within `Ratings.opening_s` after the pilot left states C and D, and on residual current, and
reports that afterwards. It never closes without an order; a controller that closes whenever it
is enabled is disabled at once unless the order to close follows. State F, once ordered, lasts
until the next order to the pilot.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Protocol, TypeAlias

from msgspec import Struct
from msgspec.structs import force_setattr

from evse_node.state_machine.events import BatteryReported as BatteryReported
from evse_node.state_machine.events import CableChanged as CableChanged
from evse_node.state_machine.events import ContactorReported as ContactorReported
from evse_node.state_machine.events import FaultCleared as FaultCleared
from evse_node.state_machine.events import FaultRaised as FaultRaised
from evse_node.state_machine.events import PilotChanged as PilotChanged
from evse_node.state_machine.events import RfidTapped as RfidTapped
from evse_node.state_machine.events import SelfTestCompleted as SelfTestCompleted
from evse_node.state_machine.events import VehicleIdentified as VehicleIdentified
from evse_node.units import Milliamps, Millivolts, MilliwattHours, Milliwatts

# Events that only hardware reports; the others are the state machine's own


class CurrentDerated(Struct, frozen=True):
    """The hardware is hot and carries only this current for now; None lifts the limit."""

    current_ma: Milliamps | None


class SurplusReported(Struct, frozen=True):
    """Solar surplus available for charging, including what charging uses already.

    None means unknown. For hardware that computes it; hardware with a plain meter at the grid
    connection offers that as `GridMeter`.
    """

    surplus_mw: Milliwatts | None


HalEvent: TypeAlias = (
    PilotChanged
    | ContactorReported
    | CableChanged
    | FaultRaised
    | FaultCleared
    | CurrentDerated
    | SurplusReported
    | RfidTapped
    | BatteryReported
    | VehicleIdentified
    | SelfTestCompleted
)

# Names of these events up to version 0.1, kept for backends of other packages
PilotReported = PilotChanged
ContactorFeedback = ContactorReported
CableReported = CableChanged
FaultDetected = FaultRaised
FaultGone = FaultCleared
CardPresented = RfidTapped
BatteryRead = BatteryReported
VehicleIdRead = VehicleIdentified

HalInbox: TypeAlias = Callable[[HalEvent], None]


# Capabilities


class ControlPilot(Protocol):
    """Driver of the control pilot. Changes of its state come as `PilotChanged`.

    Spec: IEC 61851-1:2017 Annex A
    """

    def offer(self, current_ma: Milliamps) -> None:
        """Put PWM on the pilot, for a current that has a duty cycle (6 to 80 A)."""

    def withdraw(self) -> None:
        """Put constant +12 V on the pilot (X1)."""

    def signal_unavailable(self) -> None:
        """Put constant -12 V on the pilot (state F)."""


class Contactor(Protocol):
    """Switch of the vehicle's supply. Its mirror contact comes as `ContactorReported`."""

    def open(self) -> None:
        """Open. Always accepted."""

    def close(self) -> None:
        """Close. Raises HalError when the hardware itself has a reason not to."""


class CableLock(Protocol):
    """Lock that holds the plug in the socket."""

    def lock(self) -> None:
        """Hold the plug."""

    def unlock(self) -> None:
        """Release the plug."""


class MeterValues(Struct, frozen=True, repr_omit_defaults=True):
    """Values of the energy meter. Power is negative while the vehicle feeds back.

    Totals only count up. `voltages_mv` and `currents_ma` have one value per phase.
    `frequency_millihertz` is None if the meter does not measure it. `frequency_mhz`, its name up
    to version 0.1, is accepted with a DeprecationWarning, and always reads as None.
    """

    imported_mwh: MilliwattHours
    exported_mwh: MilliwattHours
    power_mw: Milliwatts
    voltages_mv: tuple[Millivolts, ...]
    currents_ma: tuple[Milliamps, ...]
    frequency_millihertz: int | None = None
    frequency_mhz: int | None = None

    def __post_init__(self) -> None:
        """Take the frequency under its former name."""
        if self.frequency_mhz is not None:
            warnings.warn(
                "MeterValues: frequency_mhz is deprecated, use frequency_millihertz",
                DeprecationWarning,
                stacklevel=2,
            )
            force_setattr(self, "frequency_millihertz", self.frequency_mhz)
            force_setattr(self, "frequency_mhz", None)


class Meter(Protocol):
    """The energy meter."""

    def read(self) -> MeterValues:
        """Return the newest values without waiting. Raises HalError when the meter is lost.

        Also called before `start`: a session that continues needs the totals.
        """


class GridMeter(Protocol):
    """Meter at the house's grid connection, upstream of the charger."""

    def read_grid_power_mw(self) -> Milliwatts:
        """Return the newest power of all phases together, without waiting.

        Positive is drawn from the grid, negative fed into it. Raises HalError when the meter
        is lost.
        """


class RfidReader(Protocol):
    """Card reader. Cards come as `RfidTapped`."""

    def acknowledge(self) -> None:
        """Confirm to the user that the card was read, by a light or a sound."""


class ProximityPilot(Protocol):
    """Sensor of the cable in the socket. Changes come as `CableChanged`; it takes no orders.

    Spec: IEC 61851-1:2017 Annex B
    """


class ResidualCurrentDevice(Protocol):
    """Protection that opens the contactor on residual current and reports GROUND_FAULT."""

    def reset(self) -> None:
        """Rearm, after a fault was acknowledged."""


class TemperatureSensor(Protocol):
    """Sensor of the charger's own temperature, by which the node derates and cuts off.

    Hardware that does so by itself also reports `CurrentDerated` and OVER_TEMPERATURE.
    """

    def read_millicelsius(self) -> int:
        """Return the newest value. Raises HalError when the sensor is lost."""


class SelfTest(Protocol):
    """Self-test of the hardware, for the time without a supplied vehicle."""

    def start_self_test(self) -> None:
        """Start the test; `SelfTestCompleted` follows."""


class Discharger(Protocol):
    """Converter that can draw energy from the vehicle."""

    def set_discharge(self, current_ma: Milliamps | None) -> None:
        """Draw at most this current; None ends it."""


class BatteryInformation(Protocol):
    """Source of the vehicle battery's state. Changes come as `BatteryReported`."""


class VehicleIdentification(Protocol):
    """Source of the vehicle's identifier. Changes come as `VehicleIdentified`."""


class Ratings(Struct, frozen=True):
    """Limits and times of the hardware.

    `contactor_timeout_s`: time from an order until the mirror contact must have followed, or
    else the contactor has failed. `opening_s`: time within which the contactor opens by itself
    once the vehicle is no longer ready. `time_scale`: how much faster simulated energy is counted.
    """

    maximum_current_ma: Milliamps = Milliamps(32_000)
    maximum_discharge_current_ma: Milliamps = Milliamps(0)
    phases: int = 1
    nominal_voltage_mv: Millivolts = Millivolts(230_000)
    contactor_timeout_s: float = 0.5
    opening_s: float = 0.1
    time_scale: float = 1.0


class EvseBackend(Protocol):
    """The hardware of one charger. Members of absent hardware are None."""

    @property
    def ratings(self) -> Ratings:
        """Limits and times of the hardware."""

    @property
    def control_pilot(self) -> ControlPilot:
        """Driver of the control pilot."""

    @property
    def contactor(self) -> Contactor:
        """Switch of the vehicle's supply."""

    @property
    def proximity_pilot(self) -> ProximityPilot | None:
        """Sensor of the cable, where the charger has a socket."""

    @property
    def lock(self) -> CableLock | None:
        """Lock of the socket."""

    @property
    def meter(self) -> Meter | None:
        """Energy meter."""

    @property
    def grid_meter(self) -> GridMeter | None:
        """Meter at the grid connection, for charging from solar surplus."""

    @property
    def rfid_reader(self) -> RfidReader | None:
        """Card reader."""

    @property
    def residual_current_device(self) -> ResidualCurrentDevice | None:
        """Resettable protection against residual current."""

    @property
    def temperature_sensor(self) -> TemperatureSensor | None:
        """Sensor of the charger's temperature."""

    @property
    def self_test(self) -> SelfTest | None:
        """Self-test of the hardware."""

    @property
    def discharger(self) -> Discharger | None:
        """Converter for energy from the vehicle."""

    @property
    def battery_information(self) -> BatteryInformation | None:
        """Digital communication about the battery."""

    @property
    def vehicle_identification(self) -> VehicleIdentification | None:
        """Digital communication about the vehicle's identity."""

    async def start(self, post: HalInbox) -> None:
        """Take control of the hardware, contactor open, and post its state.

        Raises HalError when the hardware is not there.
        """

    async def stop(self) -> None:
        """Open the contactor, withdraw the offer and release the hardware. May be repeated."""


def capabilities(backend: EvseBackend) -> frozenset[str]:
    """Return the codes of the Energy EVSE cluster's features that a backend supports.

    Spec: Matter Application Clusters 1.3 "Energy EVSE Cluster", "Features"
    """
    has = {
        "RFID": backend.rfid_reader is not None,
        "V2X": backend.discharger is not None,
        "SOC": backend.battery_information is not None,
        "PNC": backend.vehicle_identification is not None,
        # Targets need a wall clock, not hardware.
        "PREF": True,
    }
    return frozenset(code for code, is_present in has.items() if is_present)
