"""Limits of the current: claims by source, and the lowest of them.

The source is kept, so that a user can see not only the limit but also its reason. A source
without a claim allows any current.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType

from msgspec import Struct, field

from evse_node.units import Milliamps


class LimitSource(Enum):
    """Source of a limit; of equal limits, the first one here is shown."""

    HARDWARE = "hardware"  # rating of the charger
    CIRCUIT = "circuit"  # rating of the installation, from the settings
    CABLE = "cable"  # ampacity of the cable
    COMMAND = "command"  # EnableCharging or EnableDischarging
    USER = "user"  # UserMaximumChargeCurrent
    TEMPERATURE = "temperature"  # derating
    GRID = "grid"  # energy management
    SOLAR = "solar"  # solar surplus

    # Each member is a singleton; hashing by identity is faster.
    __hash__ = object.__hash__


class Limit(Struct, frozen=True):
    """A limit and its source; None when there is no claim."""

    current_ma: Milliamps
    source: LimitSource | None


_NO_LIMIT = Limit(Milliamps(0), None)
_NO_CLAIMS: Mapping[LimitSource, Milliamps] = MappingProxyType({})


class Limits(Struct, frozen=True):
    """All claims of one direction, and the lowest of them (0 without any)."""

    claims: Mapping[LimitSource, Milliamps] = field(default_factory=lambda: _NO_CLAIMS)
    current_ma: Milliamps = Milliamps(0)

    def with_claim(self, source: LimitSource, current_ma: int | None) -> Limits:
        """Return a copy with a source's claim, or without with None. Raises ValueError below 0."""
        if self.claims.get(source) == current_ma:
            return self
        claims = dict(self.claims)
        if current_ma is None:
            del claims[source]
        elif current_ma < 0:
            raise ValueError(f"the {source.value} limit of {current_ma} mA is below 0")
        else:
            claims[source] = Milliamps(current_ma)
        lowest_ma = min(claims.values(), default=Milliamps(0))
        return Limits(MappingProxyType(claims), lowest_ma)

    def claim(self, source: LimitSource) -> Milliamps | None:
        """Return a source's claim, or None without one."""
        return self.claims.get(source)

    @property
    def lowest(self) -> Limit:
        """The lowest claim and its source; 0 and None without any claim."""
        for source in LimitSource:
            if self.claims.get(source) == self.current_ma:
                return Limit(self.current_ma, source)
        return _NO_LIMIT

    def current_without(self, *sources: LimitSource) -> Milliamps:
        """Return the lowest claim of the other sources."""
        others = [claim for kind, claim in self.claims.items() if kind not in sources]
        return min(others, default=Milliamps(0))
