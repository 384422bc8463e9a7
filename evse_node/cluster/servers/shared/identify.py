"""Identify: let a person see which device it is.

Spec: Matter Application Clusters 1.3 "Identify Cluster"; for when IdentifyTime is
reported, 1.4
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from math import ceil
from typing import TypeAlias

from evse_node.cluster.codec.values import integer
from evse_node.cluster.definitions.definition import ClusterDefinition, Value
from evse_node.cluster.server import ClusterServer, command, reader, serves, writer
from evse_node.matter.data_model import InteractionContext
from evse_node.matter.timers import Timer, Timers


class IdentifyType(IntEnum):
    """Spec: "IdentifyTypeEnum"."""

    NONE = 0
    LIGHT_OUTPUT = 1
    VISIBLE_INDICATOR = 2
    AUDIBLE_BEEP = 3
    DISPLAY = 4
    ACTUATOR = 5


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
    """Counts IdentifyTime down without a timer for each second.

    `on_identify` is called with True when identification begins and False when it ends,
    `on_effect` for each effect that is triggered; without it there is no TriggerEffect.
    """

    def __init__(
        self,
        definition: ClusterDefinition,
        timers: Timers,
        *,
        identify_type: IdentifyType = IdentifyType.NONE,
        on_identify: IdentifyObserver = lambda is_on: None,
        on_effect: EffectObserver | None = None,
    ) -> None:
        super().__init__(
            definition,
            optional=[] if on_effect is None else ["TriggerEffect"],
            values={"identify_type": identify_type},
        )
        self._timers = timers
        self._on_identify = on_identify
        self._on_effect = on_effect
        self._until = 0.0
        self._timer: Timer | None = None

    @property
    def is_identifying(self) -> bool:
        """Whether the device is to show itself now."""
        return self._timer is not None

    def _remaining_s(self, now: float) -> float:
        return self._until - now if self.is_identifying else 0.0

    @reader
    def identify_time(self, context: InteractionContext) -> Value:
        """Seconds that are left; a second that has begun counts whole."""
        # Without the last microsecond, which may be no more than a rounding of floats.
        return ceil(max(0.0, self._remaining_s(context.now) - 1e-6))

    @writer("identify_time")
    def write_identify_time(self, context: InteractionContext, value: Value) -> None:
        """Begin, prolong or end identification."""
        self.identify_for(integer(value), context.now)

    @command
    def identify(self, context: InteractionContext, *, identify_time: int) -> None:
        """Begin, prolong or end identification."""
        self.identify_for(identify_time, context.now)

    @command
    def trigger_effect(
        self, context: InteractionContext, *, effect_identifier: int, effect_variant: int
    ) -> None:
        """Play an effect once; any variant is the default one. The last two end identification."""
        effect = Effect(effect_identifier)
        if effect is Effect.STOP_EFFECT:
            self.identify_for(0, context.now)
        elif effect is Effect.FINISH_EFFECT and self._remaining_s(context.now) > 1.0:
            self.identify_for(1, context.now)
        if self._on_effect is not None:
            self._on_effect(effect)

    def identify_for(self, seconds: int, now: float) -> None:
        """Show the device for so many seconds from now, or with 0 no longer.

        Reported each time that someone asks for it, and when it ends by itself.
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
