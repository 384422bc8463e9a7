"""Commands of a cluster instance: a handler with the codecs of its fields and its response."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec import Struct

from evse_node.cluster.binding import Handlers, check_fields
from evse_node.cluster.codec.codec import FieldsCodec, command_codec
from evse_node.cluster.definitions.definition import CommandDefinition, Selection, Value
from evse_node.errors import StatusError
from evse_node.matter.data_model import CommandReply, DeferredReply, InteractionContext
from evse_node.matter.interaction.status import Status
from evse_node.matter.tlv import TlvValue

_FIELDS_TAG = 1


class LaterReply:
    """A response that a handler returns before its fields are known.

    `resolve` is to be called once, after the handler has returned.
    """

    def __init__(self) -> None:
        self.on_resolved: Callable[[Mapping[str, Value] | None, float], None] | None = None

    def resolve(self, fields: Mapping[str, Value] | None, now: float) -> None:
        """Answer with the response's fields, or None for status success."""
        if self.on_resolved is None:
            raise RuntimeError("the handler has not returned yet")
        self.on_resolved(fields, now)


class ServerCommand(Struct, frozen=True):
    """A command with its handler. `nullable` are fields that are None when absent."""

    handler: Callable[..., Mapping[str, Value] | LaterReply | None]
    codec: FieldsCodec
    nullable: tuple[str, ...]
    response_id: int | None
    response_codec: FieldsCodec | None

    def invoke(
        self, fields: TlvValue, context: InteractionContext
    ) -> CommandReply | DeferredReply | None:
        """Decode the fields and call the handler. Raises StatusError."""
        arguments = self.codec.decode(fields)
        for key in self.nullable:
            arguments.setdefault(key, None)
        reply = self.handler(context, **arguments)
        if not isinstance(reply, LaterReply):
            return self._reply(reply)
        deferred = DeferredReply()
        reply.on_resolved = lambda fields, now: deferred.answer(self._reply(fields), now)
        return deferred

    def _reply(self, fields: Mapping[str, Value] | None) -> CommandReply | None:
        if fields is None:
            return None
        if self.response_codec is None or self.response_id is None:
            raise StatusError(Status.FAILURE, reason="response to a command that has none")
        return CommandReply(self.response_id, self.response_codec.encoded(fields, _FIELDS_TAG))


def bind_commands(
    server: object, handlers: Handlers, selection: Selection
) -> dict[int, ServerCommand]:
    """Return the commands of an instance by id. Raises TypeError for one without handler."""
    responses = {response.name: response for response in selection.generated_commands}
    return {
        definition.id: _bind(server, handlers, definition, responses.get(definition.response or ""))
        for definition in selection.accepted_commands
    }


def _bind(
    server: object,
    handlers: Handlers,
    definition: CommandDefinition,
    response: CommandDefinition | None,
) -> ServerCommand:
    where = type(server).__name__
    handler = handlers.commands.get(definition.key)
    if handler is None:
        raise TypeError(f"{where} does not handle {definition.name}")
    check_fields(where, handler, definition)
    return ServerCommand(
        handler=getattr(server, handler.method),
        codec=command_codec(definition),
        nullable=tuple(
            field.key
            for field in definition.fields
            if field.is_optional and field.key not in handler.defaults
        ),
        response_id=None if response is None else response.id,
        response_codec=None if response is None else command_codec(response),
    )
