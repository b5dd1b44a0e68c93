"""[jwt]: by which keys and rules a token is believed."""

from dataclasses import dataclass
from typing import Final

from chatserver.settings.secret_strength import is_guessable
from chatserver.settings.section import PositiveFloat, Secret, Section, SettingsError, split_url

MIN_SECRET_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class JwtSettings(Section):
    secret: Secret
    jwks_url: str
    algorithms: tuple[str, ...]
    issuer: str
    audience: str
    leeway: float
    max_lifetime: float
    jwks_refresh_interval: PositiveFloat
    jwks_overlap: float

    def check(self, *, is_production: bool) -> None:
        if not self.secret and not self.jwks_url:
            raise SettingsError(
                "neither CHAT_JWT_SECRET nor CHAT_JWT_JWKS_URL is set: no token could be verified"
            )
        if self.jwks_url and split_url(self.jwks_url) is None:
            raise SettingsError("CHAT_JWT_JWKS_URL must look like https://host/path")
        if not is_production:
            return
        if self.secret and len(self.secret.encode()) < MIN_SECRET_BYTES:
            raise SettingsError(f"CHAT_JWT_SECRET is shorter than {MIN_SECRET_BYTES} bytes")
        if self.secret and is_guessable(self.secret):
            raise SettingsError(
                "CHAT_JWT_SECRET could be guessed: have one made with `openssl rand -hex 32`"
            )
        if self.jwks_url and not self.audience:
            raise SettingsError(
                "CHAT_JWT_AUDIENCE is not set: with CHAT_JWT_JWKS_URL, a token that was issued "
                "for another service would be taken"
            )
