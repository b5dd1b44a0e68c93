"""Every route of the REST edge, in the order in which they are documented."""

from typing import Final

from chatserver.api import (
    config,
    control,
    conversations,
    messages,
    operations,
    participants,
    users,
)
from chatserver.api.routes import Route

ROUTES: Final[tuple[Route, ...]] = (
    *conversations.ROUTES,
    *participants.ROUTES,
    *messages.ROUTES,
    *users.ROUTES,
    *config.ROUTES,
    *control.ROUTES,
    *operations.ROUTES,
)
