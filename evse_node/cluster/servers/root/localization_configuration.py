"""Localization Configuration: the language of texts shown to people.

Spec: Matter Core 1.3 "Localization Configuration Cluster"
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from evse_node.cluster.definitions.definition import ClusterDefinition
from evse_node.cluster.server import Attribute, ClusterServer, serves, writer
from evse_node.errors import StatusError
from evse_node.matter.data_model import InteractionContext
from evse_node.matter.interaction.status import Status

DEFAULT_LOCALES: Final = ("en-US", "en-GB", "de-DE", "es-ES", "fr-FR", "it-IT", "nl-NL")


@serves("Localization Configuration")
class LocalizationConfigurationServer(ClusterServer):
    """The active locale, one of `locales` (BCP 47 language tags) and initially the first."""

    active_locale: Attribute[str]
    supported_locales: Attribute[Sequence[str]]

    def __init__(
        self, definition: ClusterDefinition, locales: Sequence[str] = DEFAULT_LOCALES
    ) -> None:
        super().__init__(definition)
        self.active_locale = locales[0]
        self.supported_locales = locales

    def attached(self) -> None:
        """Replace a persisted locale that is no longer supported."""
        if self.active_locale not in self.supported_locales:
            self.active_locale = self.supported_locales[0]

    @writer("active_locale")
    def write_active_locale(self, context: InteractionContext, value: str) -> None:
        """Select a supported locale."""
        if value not in self.supported_locales:
            raise StatusError(Status.CONSTRAINT_ERROR, reason=f"locale {value!r} is not supported")
        self.active_locale = value
