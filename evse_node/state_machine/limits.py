"""Claims on the current: who allows how much, and what follows from all of them.

Each claim is named with its source, so that a person can be shown not only the limit
but also who sets it. A source without a claim allows any current.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType

from msgspec import Struct, field

from evse_node.units import Milliamps


class LimitSource(Enum):
    """Who may limit the current, in the order in which ties are named."""

    HARDWARE = "hardware"  # what the charger itself is built for
    CIRCUIT = "circuit"  # what the installation was configured for
    CABLE = "cable"  # what the plugged cable carries
    COMMAND = "command"  # EnableCharging or EnableDischarging
    USER = "user"  # UserMaximumChargeCurrent
    TEMPERATURE = "temperature"  # derating
    GRID = "grid"  # energy management
    SOLAR = "solar"  # what the sun leaves over

    # There is one object of each, and they are looked up all the time.
    __hash__ = object.__hash__


class Limit(Struct, frozen=True):
    """A limit and the source that sets it; without a source nobody limits."""

    current_ma: Milliamps
    source: LimitSource | None


_NO_LIMIT = Limit(Milliamps(0), None)
_NO_CLAIMS: Mapping[LimitSource, Milliamps] = MappingProxyType({})


class Limits(Struct, frozen=True):
    """All claims of one direction. `with_claim` makes a changed copy."""

    claims: Mapping[LimitSource, Milliamps] = field(default_factory=lambda: _NO_CLAIMS)

    def with_claim(self, source: LimitSource, current_ma: int | None) -> Limits:
        """Set the claim of a source, or withdraw it with None. Raises ValueError below 0."""
        if self.claims.get(source) == current_ma:
            return self
        claims = dict(self.claims)
        if current_ma is None:
            del claims[source]
        elif current_ma < 0:
            raise ValueError(f"the {source.value} limit of {current_ma} mA is below 0")
        else:
            claims[source] = Milliamps(current_ma)
        return Limits(MappingProxyType(claims))

    def claim(self, source: LimitSource) -> Milliamps | None:
        """Return what a source allows, or None when it does not care."""
        return self.claims.get(source)

    @property
    def lowest(self) -> Limit:
        """The lowest claim and its source; 0 without a source when nobody claims anything."""
        claims = self.claims
        if not claims:
            return _NO_LIMIT
        lowest_ma = min(claims.values())
        sources = [source for source, current_ma in claims.items() if current_ma == lowest_ma]
        if len(sources) > 1:
            sources.sort(key=list(LimitSource).index)
        return Limit(lowest_ma, sources[0])

    @property
    def current_ma(self) -> Milliamps:
        """The lowest claim."""
        return min(self.claims.values(), default=Milliamps(0))

    def current_without(self, *sources: LimitSource) -> Milliamps:
        """Return the lowest claim, were it not for these sources."""
        others = [claim for kind, claim in self.claims.items() if kind not in sources]
        return min(others, default=Milliamps(0))
