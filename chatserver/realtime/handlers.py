"""Handlers of events: what they are, and which of them have to wait for their turn."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from chatserver.realtime.sessions import Session
from chatserver.services.turns import Turns

Handler = Callable[[str, Session, dict[str, Any]], Awaitable[dict[str, Any]]]
"""Takes a socket's id, its session and the payload; returns what the acknowledgement adds."""

TAKING_TURNS: Final = frozenset({"join", "leave", "edit", "delete", "sync", "authenticate"})
"""Each of these takes a connection to PostgreSQL of its own; sends and receipts share one."""


def in_turn(event: str, handler: Handler, turns: Turns) -> Handler:
    """`handler`, which waits for its user's turn where the event is one that takes turns."""
    if event not in TAKING_TURNS:
        return handler

    async def handle(sid: str, session: Session, payload: dict[str, Any]) -> dict[str, Any]:
        async with turns.take(session.principal):
            return await handler(sid, session, payload)

    return handle
