"""Identify: a signal by which a person can find the device.

Spec: Matter Application Clusters 1.3 "Identify Cluster"; 1.4 for the reports of IdentifyTime
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from math import ceil
from typing import TypeAlias

from evse_node.cluster.definitions.definition import ClusterDefinition
from evse_node.cluster.server import Attribute, ClusterServer, command, reader, serves, writer
from evse_node.matter.data_model import InteractionContext
from evse_node.matter.timers import Timer, Timers


class IdentifyType(IntEnum):
    """Spec: "IdentifyTypeEnum"."""

    NONE = 0
    DISPLAY = 4


class Effect(IntEnum):
    """Spec: "EffectIdentifierEnum"."""

    BLINK = 0x00
    BREATHE = 0x01
    OKAY = 0x02
    CHANNEL_CHANGE = 0x0B
    FINISH_EFFECT = 0xFE
    STOP_EFFECT = 0xFF


IdentifyObserver: TypeAlias = Callable[[bool], None]
EffectObserver: TypeAlias = Callable[[Effect], None]


@serves("Identify")
class Identify(ClusterServer):
    """A countdown of IdentifyTime that needs no timer tick each second.

    `on_identify` is called with True when identification starts and False when it ends,
    `on_effect` for each triggered effect; without it there is no TriggerEffect.
    """

    identify_type: Attribute[IdentifyType]

    def __init__(
        self,
        definition: ClusterDefinition,
        timers: Timers,
        *,
        identify_type: IdentifyType = IdentifyType.NONE,
        on_identify: IdentifyObserver = lambda is_on: None,
        on_effect: EffectObserver | None = None,
    ) -> None:
        super().__init__(definition, optional=[] if on_effect is None else ["TriggerEffect"])
        self.identify_type = identify_type
        self._timers = timers
        self._on_identify = on_identify
        self._on_effect = on_effect
        self._until = 0.0
        self._timer: Timer | None = None

    @property
    def is_identifying(self) -> bool:
        """Whether identification is running."""
        return self._timer is not None

    def _remaining_s(self, now: float) -> float:
        return self._until - now if self.is_identifying else 0.0

    @reader
    def identify_time(self, context: InteractionContext) -> int:
        """Return the remaining seconds, rounded up."""
        # The last microsecond may be a rounding error of floats.
        return ceil(max(0.0, self._remaining_s(context.now) - 1e-6))

    @writer("identify_time")
    def write_identify_time(self, context: InteractionContext, value: int) -> None:
        self.identify_for(value, context.now)

    @command
    def identify(self, context: InteractionContext, *, identify_time: int) -> None:
        self.identify_for(identify_time, context.now)

    @command
    def trigger_effect(
        self, context: InteractionContext, *, effect_identifier: int, effect_variant: int
    ) -> None:
        """Play an effect once, in its default variant; STOP_EFFECT and FINISH_EFFECT end it."""
        effect = Effect(effect_identifier)
        if effect is Effect.STOP_EFFECT:
            self.identify_for(0, context.now)
        elif effect is Effect.FINISH_EFFECT and self._remaining_s(context.now) > 1.0:
            self.identify_for(1, context.now)
        if self._on_effect is not None:
            self._on_effect(effect)

    def identify_for(self, seconds: int, now: float) -> None:
        """Identify for this many seconds from now; 0 ends it.

        IdentifyTime is reported on each request, and when the time is over.
        """
        was_identifying = self.is_identifying
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if seconds > 0:
            self._until = now + seconds
            self._timer = self._timers.call_at(self._until, self._on_end)
        if was_identifying or seconds > 0:
            self.report("identify_time")
        if self.is_identifying is not was_identifying:
            self._on_identify(self.is_identifying)

    def _on_end(self, now: float) -> None:
        self._timer = None
        self.report("identify_time")
        self._on_identify(False)
