"""Localization Configuration: the language in which the node speaks to people.

Spec: Matter Core 1.3 "Localization Configuration Cluster"
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from evse_node.cluster.codec.values import text
from evse_node.cluster.definitions.definition import ClusterDefinition, Value
from evse_node.cluster.server import ClusterServer, serves, writer
from evse_node.errors import StatusError
from evse_node.matter.data_model import InteractionContext
from evse_node.matter.interaction.status import Status

DEFAULT_LOCALES: Final = ("en-US", "en-GB", "de-DE", "es-ES", "fr-FR", "it-IT", "nl-NL")


@serves("Localization Configuration")
class LocalizationConfigurationServer(ClusterServer):
    """One of `locales` (language tags of BCP 47) is active; the first one to begin with."""

    def __init__(
        self, definition: ClusterDefinition, locales: Sequence[str] = DEFAULT_LOCALES
    ) -> None:
        super().__init__(
            definition,
            values={"active_locale": locales[0], "supported_locales": list(locales)},
        )
        self._locales = tuple(locales)

    def attached(self) -> None:
        """Leave a locale that was kept by a version that knew it."""
        if self.active_locale not in self._locales:
            self.set(active_locale=self._locales[0])

    @property
    def active_locale(self) -> str:
        """The language tag that counts."""
        return text(self.get("active_locale"))

    @writer("active_locale")
    def write_active_locale(self, context: InteractionContext, value: Value) -> None:
        """Choose a supported locale."""
        if value not in self._locales:
            raise StatusError(Status.CONSTRAINT_ERROR, reason=f"locale {value!r} is not supported")
        self.set(active_locale=value)
