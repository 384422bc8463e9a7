"""What the node asks of hardware, one small protocol per capability, and what hardware tells.

A backend is an object with the members of `EvseBackend`. The control pilot and the
contactor are a must; every other member is None where the hardware does not have it,
and that alone decides what the node offers (a meter, a card reader, a lock, ...).

Orders are plain calls in the event loop's thread. They return at once; slow hardware
queues them. They raise HalError when it is already known that they cannot be carried
out. What happens is told by calling the inbox with one of the events below, in the
event loop's thread (from another thread: `loop.call_soon_threadsafe`), and also from
within an order if the result is known at once.

Opening the contactor is the backend's right at any time: it does so by itself, within
100 ms, when the pilot leaves state C or D, and on residual current, and reports later.
It never closes by itself; a controller that does so whenever it is enabled is disabled at
once if no order follows. State F that was ordered stays until another order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias, runtime_checkable

from msgspec import Struct

from evse_node.state_machine.events import (
    BatteryReported,
    CableChanged,
    ContactorReported,
    FaultCleared,
    FaultRaised,
    PilotChanged,
    RfidTapped,
    SelfTestCompleted,
    VehicleIdentified,
)
from evse_node.units import Milliamps, Millivolts, MilliwattHours, Milliwatts

__all__ = [
    "BatteryInformation",
    "BatteryRead",
    "BatteryReported",
    "CableChanged",
    "CableLock",
    "CableReported",
    "CardPresented",
    "Contactor",
    "ContactorFeedback",
    "ContactorReported",
    "ControlPilot",
    "CurrentDerated",
    "Discharger",
    "EvseBackend",
    "FaultCleared",
    "FaultDetected",
    "FaultGone",
    "FaultRaised",
    "GridMeter",
    "HalEvent",
    "HalInbox",
    "Meter",
    "MeterValues",
    "PilotChanged",
    "PilotReported",
    "ProximityPilot",
    "Ratings",
    "ResidualCurrentDevice",
    "RfidReader",
    "RfidTapped",
    "SelfTest",
    "SelfTestCompleted",
    "SurplusReported",
    "TemperatureSensor",
    "VehicleIdRead",
    "VehicleIdentification",
    "VehicleIdentified",
    "capabilities",
]

# Events that only hardware reports; the others are the machine's own


class CurrentDerated(Struct, frozen=True):
    """The hardware can bear only this current now, being hot; None is no such limit."""

    current_ma: Milliamps | None


class SurplusReported(Struct, frozen=True):
    """The power that the sun leaves over for charging, what already goes there included.

    None is not known. For hardware that works it out by itself; one that has only a meter at
    the house's connection offers that as `GridMeter`.
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

# Names of these events up to version 0.1, kept for backends in packages of their own.
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


@runtime_checkable
class ControlPilot(Protocol):
    """Drives the control pilot. Spec: IEC 61851-1:2017 Annex A."""

    def offer(self, current_ma: Milliamps) -> None:
        """Put PWM on the pilot; the current is one that has a duty cycle (6 to 80 A)."""

    def withdraw(self) -> None:
        """Put constant +12 V on the pilot (X1)."""

    def signal_unavailable(self) -> None:
        """Put constant -12 V on the pilot (state F)."""


@runtime_checkable
class Contactor(Protocol):
    """Switches the power to the vehicle. Feedback comes as `ContactorReported`."""

    def open(self) -> None:
        """Switch off. Never refuses."""

    def close(self) -> None:
        """Switch on. Raises HalError when the hardware itself sees a reason not to."""


@runtime_checkable
class CableLock(Protocol):
    """Holds the plug in the socket."""

    def lock(self) -> None:
        """Hold the plug."""

    def unlock(self) -> None:
        """Release the plug."""


class MeterValues(Struct, frozen=True):
    """What the energy meter shows. Power is negative while the vehicle feeds back.

    Totals only count up. `voltages_mv` and `currents_ma` have one value per phase.
    `frequency_millihertz` is in millihertz, None if the meter does not measure it.
    """

    imported_mwh: MilliwattHours
    exported_mwh: MilliwattHours
    power_mw: Milliwatts
    voltages_mv: tuple[Millivolts, ...]
    currents_ma: tuple[Milliamps, ...]
    frequency_millihertz: int | None = None


@runtime_checkable
class Meter(Protocol):
    """The energy meter."""

    def read(self) -> MeterValues:
        """Return the newest values without waiting. Raises HalError when the meter is lost."""


@runtime_checkable
class GridMeter(Protocol):
    """A meter where the house is connected to the grid. The charger is behind it."""

    def read_grid_power_mw(self) -> Milliwatts:
        """Return the newest power of all phases together, without waiting.

        Positive is drawn from the grid, negative fed into it. Raises HalError when the meter
        is lost.
        """


@runtime_checkable
class RfidReader(Protocol):
    """Reads cards and tells of them as `RfidTapped`."""

    def acknowledge(self) -> None:
        """Show that the card was read, by a light or a sound."""


@runtime_checkable
class ProximityPilot(Protocol):
    """Knows the cable in the socket; changes come as `CableChanged`.

    Spec: IEC 61851-1:2017 Annex B
    """

    def ampacity_ma(self) -> Milliamps | None:
        """Return what the cable carries, or None without a cable."""


@runtime_checkable
class ResidualCurrentDevice(Protocol):
    """Opens the contactor on residual current, and reports GROUND_FAULT."""

    def reset(self) -> None:
        """Be ready again after a fault was acknowledged."""


@runtime_checkable
class TemperatureSensor(Protocol):
    """Measures the charger's own temperature. The charger derates and cuts off by it.

    Hardware that does so by itself tells `CurrentDerated` and OVER_TEMPERATURE, besides.
    """

    def read_millicelsius(self) -> int:
        """Return the newest value. Raises HalError when the sensor is lost."""


@runtime_checkable
class SelfTest(Protocol):
    """Can test the hardware while no vehicle is supplied."""

    def start_self_test(self) -> None:
        """Begin; `SelfTestCompleted` follows."""


@runtime_checkable
class Discharger(Protocol):
    """Can take energy from the vehicle."""

    def set_discharge(self, current_ma: Milliamps | None) -> None:
        """Take at most this current; None ends it."""


@runtime_checkable
class BatteryInformation(Protocol):
    """Learns the state of the vehicle's battery; changes come as `BatteryReported`."""

    def battery(self) -> BatteryReported:
        """Return what is known now."""


@runtime_checkable
class VehicleIdentification(Protocol):
    """Learns who the vehicle is; changes come as `VehicleIdentified`."""

    def vehicle_id(self) -> str | None:
        """Return what is known now, at most 32 characters."""


class Ratings(Struct, frozen=True):
    """What the hardware is built for.

    `contactor_timeout_s` is how long its mirror contact may take after an order, before that
    is a fault of the contactor. `opening_s` is within which time the contactor opens by itself
    when the vehicle is ready no more; a controller that opens by itself has a time of its own.
    """

    maximum_current_ma: Milliamps = Milliamps(32_000)
    maximum_discharge_current_ma: Milliamps = Milliamps(0)
    phases: int = 1
    nominal_voltage_mv: Millivolts = Millivolts(230_000)
    contactor_timeout_s: float = 0.5
    opening_s: float = 0.1


class EvseBackend(Protocol):
    """One charger's hardware; None is what it does not have."""

    @property
    def ratings(self) -> Ratings:
        """What the hardware is built for."""

    @property
    def control_pilot(self) -> ControlPilot:
        """The pilot's driver."""

    @property
    def contactor(self) -> Contactor:
        """The switch."""

    @property
    def proximity_pilot(self) -> ProximityPilot | None:
        """A socket that knows its cable."""

    @property
    def lock(self) -> CableLock | None:
        """A socket that holds the plug."""

    @property
    def meter(self) -> Meter | None:
        """An energy meter."""

    @property
    def grid_meter(self) -> GridMeter | None:
        """A meter at the house's connection; with it, charging can follow the sun."""

    @property
    def rfid_reader(self) -> RfidReader | None:
        """A card reader."""

    @property
    def residual_current_device(self) -> ResidualCurrentDevice | None:
        """Protection that can be reset."""

    @property
    def temperature_sensor(self) -> TemperatureSensor | None:
        """A sensor that can be read."""

    @property
    def self_test(self) -> SelfTest | None:
        """A test of the hardware by itself."""

    @property
    def discharger(self) -> Discharger | None:
        """The way back from the vehicle's battery."""

    @property
    def battery_information(self) -> BatteryInformation | None:
        """Digital communication about the battery."""

    @property
    def vehicle_identification(self) -> VehicleIdentification | None:
        """Digital communication about the vehicle."""

    async def start(self, post: HalInbox) -> None:
        """Take the hardware in hand, contactor open, and report how things are.

        Raises HalError when the hardware is not there.
        """

    async def stop(self) -> None:
        """Open the contactor, withdraw the offer and let go of the hardware. May be repeated."""


def capabilities(backend: EvseBackend) -> frozenset[str]:
    """Return the codes of the Energy EVSE cluster's features that a backend can serve.

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
