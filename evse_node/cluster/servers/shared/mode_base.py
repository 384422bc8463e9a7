"""Mode Base: the common part of clusters with tagged modes, one of which is current.

The optional StartUpMode and OnMode are omitted: later revisions of the derived clusters
disallow them, and no revision's certification scripts cover them.

Spec: Matter Application Clusters 1.3 "Mode Base Cluster"
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from msgspec import Struct

from evse_node.cluster.definitions.definition import ClusterDefinition
from evse_node.cluster.server import Attribute, ClusterServer, Value, command
from evse_node.matter.data_model import InteractionContext

_SUCCESS: Final = 0x00
_UNSUPPORTED_MODE: Final = 0x01


class Mode(Struct, frozen=True):
    """A selectable mode: `label` for people, `tags` for software."""

    mode: int
    label: str
    tags: tuple[int, ...]

    def to_struct(self) -> Mapping[str, Value]:
        """Return the mode as ModeOptionStruct."""
        return {
            "label": self.label,
            "mode": self.mode,
            "mode_tags": [{"value": tag} for tag in self.tags],
        }


class ModeBase(ClusterServer):
    """Modes of which one is current; a base class for `@serves`.

    `on_change(mode, now)` is called on each selection and when the instance is attached.
    `default` is the first current mode.
    """

    supported_modes: Attribute[Sequence[Mapping[str, Value]]]
    current_mode: Attribute[int]

    def __init__(
        self,
        definition: ClusterDefinition,
        on_change: Callable[[Mode, float], None],
        *,
        modes: Sequence[Mode],
        default: Mode,
    ) -> None:
        super().__init__(definition)
        self.supported_modes = [mode.to_struct() for mode in modes]
        self.current_mode = default.mode
        self._modes = {mode.mode: mode for mode in modes}
        self._default = default
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
        """Select the first mode with this tag, if there is one."""
        for mode in self._modes.values():
            if tag in mode.tags:
                self.change_to(mode, now)
                return

    @command
    def change_to_mode(self, context: InteractionContext, *, new_mode: int) -> Mapping[str, Value]:
        """Select a mode by its number."""
        mode = self._modes.get(new_mode)
        if mode is None:
            return {"status": _UNSUPPORTED_MODE, "status_text": f"no mode {new_mode}"}
        self.change_to(mode, context.now)
        return {"status": _SUCCESS, "status_text": ""}
