"""[rate_limit]: how many of something one user or address may do in a time."""

import dataclasses
import re
from dataclasses import dataclass

from chatserver.settings.section import Section, SettingsError

_RATE = re.compile(r"[1-9]\d{0,8}/(second|minute|hour|day|[1-9]\d{0,3} (second|minute|hour|day)s)")


@dataclass(frozen=True, slots=True)
class RateLimitSettings(Section):
    messages: str
    conversations: str
    user: str
    address: str

    def check(self, *, is_production: bool) -> None:
        for key, limit in dataclasses.asdict(self).items():
            if limit and not _RATE.fullmatch(limit):
                raise SettingsError(f"rate_limit.{key} must look like 60/minute, or be empty")
