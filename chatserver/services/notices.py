"""Notices: what the host or an operator tells everybody who is connected, or some users."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from chatserver.errors import Forbidden
from chatserver.events import NoticeSent, Publisher
from chatserver.models import Principal
from chatserver.services.content import clean_text

MAX_LENGTH: Final = 2000
"""Characters of a notice."""


class NoticeService:
    """Best effort: who is not connected at that moment never hears of it. Nothing is stored."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    def send(
        self,
        principal: Principal,
        content: str,
        data: Mapping[str, Any] | None = None,
        user_ids: Sequence[UUID] | None = None,
    ) -> None:
        """Tell the devices of these users, or everybody's.

        Raises Forbidden for a caller who is not privileged, and as `clean_text`.
        """
        if not principal.is_privileged:
            raise Forbidden
        text = clean_text(content, MAX_LENGTH)
        to = None if user_ids is None else tuple(user_ids)
        self._publisher.publish(NoticeSent(text, data, datetime.now(UTC), to))
