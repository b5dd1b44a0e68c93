"""Events that other programs emit, with python-socketio's own manager: which are obeyed."""

from collections.abc import Mapping
from typing import Any, Final

from chatserver.schemas.events import EVENTS

RESERVED: Final = EVENTS.keys() | {"connect", "connect_error", "disconnect", "disconnecting"}
"""Events that no other program may emit: clients believe that these are the server's."""


def refusal_of(message: Mapping[str, Any]) -> str | None:
    """Why a message of another program is not obeyed; None where it is."""
    event = message.get("event")
    if message.get("method") != "emit":
        return "other programs emit and do nothing else"
    if not isinstance(event, str) or event in RESERVED:
        return "the event is one of the server's"
    if message.get("callback") is not None:
        return "no acknowledgement is sent to other programs"
    if message.get("namespace") != "/" or message.get("binary") or "data" not in message:
        return "the data is not JSON for the namespace /"
    return None
