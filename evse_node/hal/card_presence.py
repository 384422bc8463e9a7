"""Presence of a card at a reader: one tap from its first sight until it was away for a while."""

from __future__ import annotations

_AWAY_S = 2.0


class CardPresence:
    """Debounce of one reader. A reader may lose a card that is still there for a moment."""

    def __init__(self) -> None:
        self._card: bytes | None = None
        self._seen_at = 0.0

    def update(self, card: bytes | None, now: float) -> bytes | None:
        """Return the card that was tapped, given the one in front of the reader, if any."""
        if card is None or not 1 <= len(card) <= 10:
            return None
        is_same = card == self._card and now - self._seen_at < _AWAY_S
        self._card, self._seen_at = card, now
        return None if is_same else card
