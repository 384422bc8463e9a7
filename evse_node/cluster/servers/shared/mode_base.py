"""What all clusters derived from Mode Base have in common: modes with tags, one of them chosen.

StartUpMode and OnMode, which are optional, are left out: later revisions of these clusters
forbid them, and the certification scripts do not know them in any.

Spec: Matter Application Clusters 1.3 "Mode Base Cluster"
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from msgspec import Struct

from evse_node.cluster.definitions.definition import ClusterDefinition
from evse_node.cluster.server import ClusterServer, Value, command
from evse_node.matter.data_model import InteractionContext

_SUCCESS: Final = 0x00
_UNSUPPORTED_MODE: Final = 0x01


class Mode(Struct, frozen=True):
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


class ModeBase(ClusterServer):
    """Modes of which one is chosen; to be derived from, with `@serves`.

    `on_change(mode, now)` is called for each chosen mode, and when the instance is attached.
    `default` is chosen while nobody has chosen.
    """

    def __init__(
        self,
        definition: ClusterDefinition,
        on_change: Callable[[Mode, float], None],
        *,
        modes: Sequence[Mode],
        default: Mode,
    ) -> None:
        super().__init__(
            definition,
            values={
                "supported_modes": [mode.to_struct() for mode in modes],
                "current_mode": default.mode,
            },
        )
        self._modes = {mode.mode: mode for mode in modes}
        self._default = default
        self._on_change = on_change

    def attached(self) -> None:
        """Take up the mode that was kept."""
        self.change_to(self.current, self.environment.now())

    @property
    def current(self) -> Mode:
        """The chosen mode."""
        number = self.get("current_mode")
        return self._modes.get(number, self._default) if isinstance(number, int) else self._default

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
