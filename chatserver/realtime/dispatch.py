"""Events of clients on their way to the handlers that were registered as python-socketio does."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from chatserver.sio.client import Client


class Handlers:
    """The `sio.server.Application` whose handlers are those of a python-socketio server."""

    def __init__(
        self, server: Any, trigger: Callable[..., Awaitable[Any]], refused: type[Exception]
    ) -> None:
        """`trigger` runs the handler of an event of a namespace. `refused` is what a connect
        handler raises to refuse; it has `error_args`."""
        self._server = server
        self._trigger = trigger
        self._refused = refused

    async def connect(
        self, client: Client, auth: dict[str, Any] | None
    ) -> Mapping[str, Any] | None:
        trigger, args = self._trigger, (client.sid, client.environ)
        try:
            try:
                answer = await trigger("connect", "/", *args, auth)
            except TypeError as error:
                if auth:
                    raise
                try:  # the older form of the handler, without `auth`
                    answer = await trigger("connect", "/", *args)
                except TypeError:
                    raise error from None
        except self._refused as error:
            return _refusal(error)
        return _refusal(self._refused()) if answer is False else None

    async def handle(self, client: Client, event: str, args: list[Any]) -> Sequence[Any] | None:
        server = self._server
        if event in server.reserved_events:
            # No client's event may run what is called when one comes or goes.
            event = f"{event}: reserved"
        namespace = server.namespace_handlers.get("/")
        if namespace is not None and not server.handlers:  # what would come of looking it up
            answer = await namespace.trigger_event(event, client.sid, *args)
        else:
            answer = await self._trigger(event, "/", client.sid, *args)
        if answer is server.not_handled:
            return None
        if isinstance(answer, tuple):
            return answer
        return [] if answer is None else [answer]

    async def disconnect(self, client: Client, reason: str) -> None:
        await self._trigger("disconnect", "/", client.sid, reason)

    def acknowledge(self, client: Client, ack_id: int, values: list[Any]) -> bool:
        is_expected: bool = self._server.manager.acknowledge(client, ack_id, values)
        return is_expected

    def forget(self, client: Client) -> None:
        self._server.manager.callbacks.pop(client.sid, None)


def _refusal(error: Any) -> dict[str, Any]:
    return dict(error.error_args)
