"""[database]: PostgreSQL, and how many connections a node holds to it."""

from dataclasses import dataclass

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from chatserver.settings.section import PositiveFloat, PositiveInt, Secret, Section, SettingsError


@dataclass(frozen=True, slots=True)
class DatabaseSettings(Section):
    url: Secret
    pool_size: PositiveInt
    pool_timeout: PositiveFloat
    statement_timeout: PositiveFloat

    def check(self, *, is_production: bool) -> None:
        if not self.url:
            raise SettingsError(
                "CHAT_DATABASE_URL is not set: the server needs a PostgreSQL database"
            )
        scheme = self.url.partition(":")[0]
        if scheme not in ("postgresql", "postgres", "postgresql+asyncpg"):
            raise SettingsError("CHAT_DATABASE_URL must begin with postgresql://")
        try:
            make_url(self.url)
        except (ValueError, ArgumentError):
            raise SettingsError(
                "CHAT_DATABASE_URL must look like postgresql://user:password@host:port/name"
            ) from None
