"""[redis]: what several nodes share."""

import re
from dataclasses import dataclass

from chatserver.settings.section import Secret, Section, SettingsError

_SCHEMES = tuple(
    f"redis{tls}{kind}://" for tls in ("", "s") for kind in ("", "+sentinel", "+cluster")
)
_PREFIX = re.compile(r"[A-Za-z0-9._-]{1,32}")


@dataclass(frozen=True, slots=True)
class RedisSettings(Section):
    url: Secret
    prefix: str
    external_emitters: bool

    def check(self, *, is_production: bool) -> None:
        if self.url and not self.url.startswith(_SCHEMES):
            raise SettingsError(
                "CHAT_REDIS_URL must begin with redis://, rediss://, redis+sentinel:// "
                "or redis+cluster://"
            )
        if not _PREFIX.fullmatch(self.prefix):
            raise SettingsError("redis.prefix must be made of letters, digits, '.', '_' and '-'")
