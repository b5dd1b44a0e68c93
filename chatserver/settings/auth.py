"""[auth]: where a token may stand, and how long a user is believed to exist."""

from dataclasses import dataclass

from chatserver.settings.section import Section


@dataclass(frozen=True, slots=True)
class AuthSettings(Section):
    query_token: bool
    raw_query_token: bool
    user_cache_ttl: float
