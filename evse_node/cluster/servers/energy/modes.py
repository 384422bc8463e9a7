"""Mode clusters: tagged modes of the charger and of its energy management, one of them current.

The optional StartUpMode and OnMode are omitted: later revisions of the derived clusters
disallow them, and no revision's certification scripts cover them.

Spec: Matter Application Clusters 1.3 "Mode Base Cluster", "Energy EVSE Mode Cluster", "Device
Energy Management Mode Cluster"
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Final

from msgspec import Struct

from evse_node.cluster.definitions.definition import ClusterDefinition
from evse_node.cluster.server import Attribute, ClusterServer, Value, command, serves
from evse_node.matter.data_model import InteractionContext

MANUAL: Final = 0x4000
TIME_OF_USE: Final = 0x4001
SOLAR_CHARGING: Final = 0x4002

NO_OPTIMIZATION: Final = 0x4000
DEVICE_OPTIMIZATION: Final = 0x4001
LOCAL_OPTIMIZATION: Final = 0x4002
GRID_OPTIMIZATION: Final = 0x4003

_SUCCESS: Final = 0x00
_UNSUPPORTED_MODE: Final = 0x01


class Mode(Struct, frozen=True):
    """A selectable mode: `label` for people, `tags` for software."""

    mode: int
    label: str
    tags: tuple[int, ...]


EVSE_MODES: Final = (
    Mode(0, "Manual", (MANUAL,)),
    Mode(1, "Scheduled", (TIME_OF_USE,)),
    Mode(2, "Solar", (SOLAR_CHARGING,)),
    Mode(3, "Scheduled and solar", (TIME_OF_USE, SOLAR_CHARGING)),
)
ENERGY_MANAGEMENT_MODES: Final = (
    Mode(0, "No energy management", (NO_OPTIMIZATION,)),
    Mode(1, "Device", (DEVICE_OPTIMIZATION,)),
    Mode(2, "Device and home", (DEVICE_OPTIMIZATION, LOCAL_OPTIMIZATION)),
    Mode(3, "Device and grid", (DEVICE_OPTIMIZATION, GRID_OPTIMIZATION)),
    Mode(4, "Device, home and grid", (DEVICE_OPTIMIZATION, LOCAL_OPTIMIZATION, GRID_OPTIMIZATION)),
)


class ModeBase(ClusterServer):
    """Modes of which one is current; a base class for `@serves`.

    `on_change(mode, now)` is called on each selection and when the instance is attached.
    `initial` is the index of the first current mode.
    """

    default_modes: ClassVar[Sequence[Mode]]
    initial: ClassVar[int] = 0

    supported_modes: Attribute[Sequence[Mapping[str, Value]]]
    current_mode: Attribute[int]

    def __init__(
        self,
        definition: ClusterDefinition,
        on_change: Callable[[Mode, float], None],
        *,
        modes: Sequence[Mode] | None = None,
    ) -> None:
        super().__init__(definition)
        modes = self.default_modes if modes is None else modes
        self.supported_modes = [
            {
                "label": mode.label,
                "mode": mode.mode,
                "mode_tags": [{"value": tag} for tag in mode.tags],
            }
            for mode in modes
        ]
        self._modes = {mode.mode: mode for mode in modes}
        self._default = modes[self.initial]
        self.current_mode = self._default.mode
        self._on_change = on_change

    def attached(self) -> None:
        """Apply the persisted mode."""
        self.change_to(self.current, self.environment.now())

    @property
    def current(self) -> Mode:
        """The current mode; the default one if a persisted mode is no longer supported."""
        return self._modes.get(self.current_mode, self._default)

    def change_to(self, mode: Mode, now: float) -> None:
        """Select one of the supported modes."""
        self.current_mode = mode.mode
        self._on_change(mode, now)

    def change_to_tag(self, tag: int, now: float) -> None:
        """Select the first mode with this tag, if any."""
        for mode in self._modes.values():
            if tag in mode.tags:
                self.change_to(mode, now)
                return

    @command
    def change_to_mode(self, context: InteractionContext, *, new_mode: int) -> Mapping[str, Value]:
        mode = self._modes.get(new_mode)
        if mode is None:
            return {"status": _UNSUPPORTED_MODE, "status_text": f"no mode {new_mode}"}
        self.change_to(mode, context.now)
        return {"status": _SUCCESS, "status_text": ""}


@serves("Energy EVSE Mode")
class EnergyEvseMode(ModeBase):
    """The modes of one charger, initially the first."""

    default_modes = EVSE_MODES


@serves("Device Energy Management Mode")
class DeviceEnergyManagementMode(ModeBase):
    """The modes of one appliance, initially the last, which allows every optimization."""

    default_modes = ENERGY_MANAGEMENT_MODES
    initial = -1
