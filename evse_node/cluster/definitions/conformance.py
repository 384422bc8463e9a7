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
    """Condition that the feature with this code is supported."""

    code: str


class ElementTerm(Struct, frozen=True):
    """Condition that the attribute, command or event with this name is present."""

    name: str


class NotTerm(Struct, frozen=True):
    """Condition that `term` does not hold."""

    term: Term


class AndTerm(Struct, frozen=True):
    """Condition that all `terms` hold."""

    terms: tuple[Term, ...]


class OrTerm(Struct, frozen=True):
    """Condition that at least one of `terms` holds."""

    terms: tuple[Term, ...]


Term: TypeAlias = FeatureTerm | ElementTerm | NotTerm | AndTerm | OrTerm


def _holds(term: Term, features: Set[str], elements: Set[str]) -> bool:
    match term:
        case FeatureTerm(code):
            return code in features
        case ElementTerm(name):
            return name in elements
        case NotTerm(inner):
            return not _holds(inner, features, elements)
        case AndTerm(terms):
            return all(_holds(each, features, elements) for each in terms)
        case OrTerm(terms):
            return any(_holds(each, features, elements) for each in terms)


def _notation(term: Term, is_nested: bool = False) -> str:
    match term:
        case FeatureTerm(name) | ElementTerm(name):
            return name
        case NotTerm(inner):
            return f"!{_notation(inner, is_nested=True)}"
    sign = " & " if isinstance(term, AndTerm) else " | "
    text = sign.join(_notation(each, is_nested=True) for each in term.terms)
    return f"({text})" if is_nested else text


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
        choice = str(self.choice or "")
        if self.condition is None:
            return _LETTER[self.presence] + choice
        condition = _notation(self.condition)
        if self.presence is Presence.MANDATORY:
            return f"{condition}{choice}"
        if self.presence is Presence.OPTIONAL:
            return f"[{condition}]{choice}"
        return f"{_LETTER[self.presence]}({condition}){choice}"


class Conformance(Struct, frozen=True):
    """Rules in order; the first whose condition holds applies. If none does: disallowed.

    Spec: Matter Core 1.3 "Otherwise Conformance"
    """

    rules: tuple[Rule, ...]

    def rule(self, features: Set[str], elements: Set[str] = _NONE) -> Rule | None:
        """Return the rule that applies, if any."""
        for rule in self.rules:
            if rule.condition is None or _holds(rule.condition, features, elements):
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
