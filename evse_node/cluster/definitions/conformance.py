"""Conformance: rules that make an element mandatory, optional or disallowed.

Spec: Matter Core 1.3 "Conformance"
"""

from __future__ import annotations

from collections.abc import Set
from enum import Enum
from typing import TypeAlias

from msgspec import Struct

_NONE: frozenset[str] = frozenset()


class Presence(Enum):
    """Presence of an element with given features."""

    MANDATORY = "mandatory"
    OPTIONAL = "optional"
    PROVISIONAL = "provisional"
    DISALLOWED = "disallowed"


class FeatureTerm(Struct, frozen=True):
    """True when the feature with this code is supported."""

    code: str

    def holds(self, features: Set[str], elements: Set[str]) -> bool:
        """Return whether the term holds."""
        return self.code in features

    def __str__(self) -> str:
        return self.code


class ElementTerm(Struct, frozen=True):
    """True when the attribute, command or event with this name is present."""

    name: str

    def holds(self, features: Set[str], elements: Set[str]) -> bool:
        """Return whether the term holds."""
        return self.name in elements

    def __str__(self) -> str:
        return self.name


class NotTerm(Struct, frozen=True):
    """True when `term` is not."""

    term: Term

    def holds(self, features: Set[str], elements: Set[str]) -> bool:
        """Return whether the term holds."""
        return not self.term.holds(features, elements)

    def __str__(self) -> str:
        return f"!{_bracketed(self.term)}"


class AndTerm(Struct, frozen=True):
    """True when all `terms` are."""

    terms: tuple[Term, ...]

    def holds(self, features: Set[str], elements: Set[str]) -> bool:
        """Return whether the term holds."""
        return all(term.holds(features, elements) for term in self.terms)

    def __str__(self) -> str:
        return " & ".join(_bracketed(term) for term in self.terms)


class OrTerm(Struct, frozen=True):
    """True when at least one of `terms` is."""

    terms: tuple[Term, ...]

    def holds(self, features: Set[str], elements: Set[str]) -> bool:
        """Return whether the term holds."""
        return any(term.holds(features, elements) for term in self.terms)

    def __str__(self) -> str:
        return " | ".join(_bracketed(term) for term in self.terms)


Term: TypeAlias = FeatureTerm | ElementTerm | NotTerm | AndTerm | OrTerm


def _bracketed(term: Term) -> str:
    return f"({term})" if isinstance(term, AndTerm | OrTerm) else str(term)


class Choice(Struct, frozen=True):
    """Choice among the elements of `group`: `minimum` are present, or more with `is_more`."""

    group: str
    is_more: bool = False
    minimum: int = 1

    def __str__(self) -> str:
        count = str(self.minimum) if self.minimum != 1 else ""
        return f".{self.group}{count}{'+' if self.is_more else ''}"


_LETTER = {
    Presence.MANDATORY: "M",
    Presence.OPTIONAL: "O",
    Presence.PROVISIONAL: "P",
    Presence.DISALLOWED: "X",
}


class Rule(Struct, frozen=True):
    """A rule: `presence` applies when `condition` holds (None: always)."""

    presence: Presence
    condition: Term | None = None
    choice: Choice | None = None

    def __str__(self) -> str:
        choice = str(self.choice) if self.choice else ""
        if self.condition is None:
            return _LETTER[self.presence] + choice
        if self.presence is Presence.MANDATORY:
            return f"{self.condition}{choice}"
        if self.presence is Presence.OPTIONAL:
            return f"[{self.condition}]{choice}"
        return f"{_LETTER[self.presence]}({self.condition}){choice}"


class Conformance(Struct, frozen=True):
    """Rules in order; the first whose condition holds applies. If none does: disallowed.

    Spec: Matter Core 1.3 "Otherwise Conformance"
    """

    rules: tuple[Rule, ...]

    def rule(self, features: Set[str], elements: Set[str] = _NONE) -> Rule | None:
        """Return the rule that applies, if any."""
        for rule in self.rules:
            if rule.condition is None or rule.condition.holds(features, elements):
                return rule
        return None

    def evaluate(self, features: Set[str], elements: Set[str] = _NONE) -> Presence:
        """Return the presence with these feature codes and names of present elements."""
        rule = self.rule(features, elements)
        return rule.presence if rule else Presence.DISALLOWED

    def choice(self, features: Set[str], elements: Set[str] = _NONE) -> Choice | None:
        """Return the choice that the element belongs to with these features, if any."""
        rule = self.rule(features, elements)
        return rule.choice if rule else None

    def __str__(self) -> str:
        return ", ".join(str(rule) for rule in self.rules)


MANDATORY = Conformance((Rule(Presence.MANDATORY),))
OPTIONAL = Conformance((Rule(Presence.OPTIONAL),))
