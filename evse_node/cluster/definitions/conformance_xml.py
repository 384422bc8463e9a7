"""Conformance in ZAP XML: as elements, as comments, or as the `optional` attribute.

Elements are `mandatoryConform`, `optionalConform` and so on, with terms inside. A comment
before an element reads "Conformance feature PREF - for now optional", in the
specification's short notation: `PREF` mandatory with it, `[PREF]` optional with it.
"""

from __future__ import annotations

import re
from collections.abc import Set

from evse_node.cluster.definitions.conformance import (
    MANDATORY,
    OPTIONAL,
    AndTerm,
    Choice,
    Conformance,
    ElementTerm,
    FeatureTerm,
    NotTerm,
    OrTerm,
    Presence,
    Rule,
    Term,
)
from evse_node.cluster.definitions.xml_file import Node

_PRESENCE = {
    "mandatoryConform": Presence.MANDATORY,
    "optionalConform": Presence.OPTIONAL,
    "provisionalConform": Presence.PROVISIONAL,
    "disallowConform": Presence.DISALLOWED,
    "disallowedConform": Presence.DISALLOWED,
    "deprecateConform": Presence.DISALLOWED,
    "deprecatedConform": Presence.DISALLOWED,
    "describedConform": Presence.OPTIONAL,
}
CONFORMANCE_TAGS = frozenset({*_PRESENCE, "otherwiseConform"})

_TOKEN = re.compile(r"[A-Za-z_]\w*|[][(),!&|]")
_WORDS = {
    "M": Presence.MANDATORY,
    "Mandatory": Presence.MANDATORY,
    "O": Presence.OPTIONAL,
    "Optional": Presence.OPTIONAL,
    "P": Presence.PROVISIONAL,
    "Provisional": Presence.PROVISIONAL,
    "X": Presence.DISALLOWED,
    "D": Presence.DISALLOWED,
    "Deprecated": Presence.DISALLOWED,
}


def conformance_of(
    node: Node, features: Set[str], *, default_optional: bool = False
) -> Conformance:
    """Return the conformance of an attribute, command, event or feature.

    `features` are the cluster's feature codes. Elements take precedence over the comment,
    and the comment over the `optional` attribute; the comment on an element that is not
    optional is outdated and ignored. Raises ConfigError.
    """
    stated = [child for child in node.children if child.tag in CONFORMANCE_TAGS]
    if len(stated) > 1:
        raise stated[1].error(f"<{node.tag}> states its conformance twice")
    if stated:
        return _from_element(stated[0], features)
    if not node.flag("optional", default_optional):
        return MANDATORY
    if node.conformance_note is not None:
        return parse_conformance(node.conformance_note, features, node)
    return OPTIONAL


def states_conformance(node: Node) -> bool:
    """Return whether `node` states more than that it is optional."""
    return (
        any(child.tag in CONFORMANCE_TAGS for child in node.children)
        or not node.flag("optional")
        or node.conformance_note is not None
    )


def _from_element(node: Node, features: Set[str]) -> Conformance:
    if node.tag != "otherwiseConform":
        return Conformance((_rule(node, features),))
    if not node.children:
        raise node.error("<otherwiseConform> is empty")
    return Conformance(tuple(_rule(child, features) for child in node.children))


def _rule(node: Node, features: Set[str]) -> Rule:
    if node.tag not in _PRESENCE:
        raise node.error(f"<{node.tag}> is not a conformance")
    presence = _PRESENCE[node.tag]
    choice = None
    if group := node.attributes.get("choice"):
        minimum = node.number("min")
        choice = Choice(group, node.flag("more"), 1 if minimum is None else minimum)
    if not node.children:
        return Rule(presence, None, choice)
    if len(node.children) > 1:
        raise node.children[1].error(f"<{node.tag}> has more than one condition")
    if _compares(node.children[0]):
        # Depends on an attribute's value, which is not part of a definition.
        return Rule(Presence.OPTIONAL, None, choice)
    return Rule(presence, _term(node.children[0], features), choice)


def _compares(node: Node) -> bool:
    return node.tag == "greaterTerm" or any(_compares(child) for child in node.children)


def _term(node: Node, features: Set[str]) -> Term:
    if node.tag == "feature":
        return _feature(node.required("name"), features, node)
    if node.tag in ("attribute", "command", "event", "condition", "field"):
        return ElementTerm(node.required("name"))
    terms = tuple(_term(child, features) for child in node.children)
    if not terms:
        raise node.error(f"<{node.tag}> is not a condition, or is empty")
    match node.tag, terms:
        case "notTerm", (term,):
            return NotTerm(term)
        case "andTerm", _:
            return AndTerm(terms)
        case "orTerm", _:
            return OrTerm(terms)
    raise node.error(f"<{node.tag}> is not a condition, or has too many of them")


def _feature(code: str, features: Set[str], node: Node) -> FeatureTerm:
    if code not in features:
        known = ", ".join(sorted(features)) or "none"
        raise node.error(f"conformance has unknown feature {code}; known are: {known}")
    return FeatureTerm(code)


def parse_conformance(text: str, features: Set[str], node: Node) -> Conformance:
    """Parse the short notation: `A`, `[A]`, `A & B`, `A | B`, `!A`, `P, O`, `(A | B) & !C`.

    Raises ConfigError with the place of `node`.
    """
    text = text.strip().replace(r"\|", "|")
    tokens = _TOKEN.findall(text)
    if unknown := _TOKEN.sub("", text).split():
        raise node.error(f"conformance {text!r} cannot be read at {unknown[0]!r}")
    return _Parser(tokens, text, features, node).conformance()


class _Parser:
    """Recursive-descent parser for the short notation."""

    def __init__(self, tokens: list[str], text: str, features: Set[str], node: Node) -> None:
        self.tokens = tokens
        self.text = text
        self.features = features
        self.node = node
        self.position = 0

    def peek(self) -> str:
        return self.tokens[self.position] if self.position < len(self.tokens) else ""

    def take(self, token: str) -> bool:
        if self.peek() == token:
            self.position += 1
            return True
        return False

    def expect(self, token: str) -> None:
        if not self.take(token):
            found = self.peek() or "the end"
            raise self.node.error(f"conformance {self.text!r}: {token!r} expected, not {found!r}")

    def conformance(self) -> Conformance:
        rules = [self.rule()]
        # Some upstream files have "A | [B]" instead of the specification's "A, [B]".
        while self.take(",") or self.peek() == "[":
            rules.append(self.rule())
        if self.peek():
            raise self.node.error(f"conformance {self.text!r}: {self.peek()!r} not expected")
        return Conformance(tuple(rules))

    def rule(self) -> Rule:
        if self.take("["):
            condition = self.any_of()
            self.expect("]")
            return Rule(Presence.OPTIONAL, condition)
        word = self.peek()
        if word in _WORDS and word not in self.features:
            self.position += 1
            return Rule(_WORDS[word])
        return Rule(Presence.MANDATORY, self.any_of())

    def any_of(self) -> Term:
        terms = [self.all_of()]
        while self.take("|") and self.peek() != "[":
            terms.append(self.all_of())
        return terms[0] if len(terms) == 1 else OrTerm(tuple(terms))

    def all_of(self) -> Term:
        terms = [self.single()]
        while self.take("&"):
            terms.append(self.single())
        return terms[0] if len(terms) == 1 else AndTerm(tuple(terms))

    def single(self) -> Term:
        if self.take("!"):
            return NotTerm(self.single())
        if self.take("("):
            inner = self.any_of()
            self.expect(")")
            return inner
        word = self.peek()
        if not word or not (word[0].isalpha() or word[0] == "_"):
            raise self.node.error(f"conformance {self.text!r}: a feature expected")
        self.position += 1
        return _feature(word, self.features, self.node)
