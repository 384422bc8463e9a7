"""The Energy EVSE Mode cluster: when the charger is to charge.

Spec: Matter Application Clusters 1.3 "Energy EVSE Mode Cluster"
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from evse_node.cluster.definition import ClusterDefinition
from evse_node.cluster.server import ClusterServer, Value, command, serves
from evse_node.matter.data_model import InteractionContext
from evse_node.records import dataclass

MANUAL: Final = 0x4000
TIME_OF_USE: Final = 0x4001
SOLAR_CHARGING: Final = 0x4002

_SUCCESS: Final = 0x00
_UNSUPPORTED_MODE: Final = 0x01


@dataclass(frozen=True, slots=True)
class Mode:
    """A mode that can be chosen; `tags` say to machines what `label` says to people."""

    mode: int
    label: str
    tags: tuple[int, ...]

    def to_struct(self) -> Value:
        """Return the mode as ModeOptionStruct."""
        return {
            "label": self.label,
            "mode": self.mode,
            "mode_tags": [{"value": tag} for tag in self.tags],
        }


MODES: Final = (
    Mode(0, "Manual", (MANUAL,)),
    Mode(1, "Scheduled", (TIME_OF_USE,)),
    Mode(2, "Solar", (SOLAR_CHARGING,)),
    Mode(3, "Scheduled and solar", (TIME_OF_USE, SOLAR_CHARGING)),
)


@serves("Energy EVSE Mode")
class EnergyEvseMode(ClusterServer):
    """The modes of one charger. `on_change(mode, now)` is called for each chosen mode."""

    def __init__(
        self,
        definition: ClusterDefinition,
        on_change: Callable[[Mode, float], None],
        *,
        modes: Sequence[Mode] = MODES,
    ) -> None:
        super().__init__(
            definition,
            values={
                "supported_modes": [mode.to_struct() for mode in modes],
                "current_mode": modes[0].mode,
            },
        )
        self._modes = {mode.mode: mode for mode in modes}
        self._first = modes[0]
        self._on_change = on_change

    def attached(self) -> None:
        """Take up the mode that was kept."""
        self.change_to(self.current, self.environment.now())

    @property
    def current(self) -> Mode:
        """The chosen mode."""
        number = self.get("current_mode")
        return self._modes.get(number, self._first) if isinstance(number, int) else self._first

    def change_to(self, mode: Mode, now: float) -> None:
        """Choose one of the supported modes."""
        self.set(current_mode=mode.mode)
        self._on_change(mode, now)

    def change_to_tag(self, tag: int, now: float) -> None:
        """Choose the first mode with this tag, if there is one."""
        for mode in self._modes.values():
            if tag in mode.tags:
                self.change_to(mode, now)
                return

    @command
    def change_to_mode(self, context: InteractionContext, *, new_mode: int) -> Mapping[str, Value]:
        """Choose a mode by its number."""
        mode = self._modes.get(new_mode)
        if mode is None:
            return {"status": _UNSUPPORTED_MODE, "status_text": f"no mode {new_mode}"}
        self.change_to(mode, context.now)
        return {"status": _SUCCESS, "status_text": ""}
