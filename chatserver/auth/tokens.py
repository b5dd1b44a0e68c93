"""Tokens: what the host application signs becomes a Principal, or Unauthorized.

The rules are those of RFC 8725: the algorithm is one that the settings allow, the
key is chosen by the algorithm's family (a secret for HS*, the JWKS for the rest),
and nothing that a token brings along (`jwk`, `jku`, `x5u`) is ever used.
"""

import base64
import hashlib
import json
import logging
import math
import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from jwt import PyJWS, PyJWTError
from jwt.algorithms import AllowedPublicKeys, HMACAlgorithm

from chatserver.aio.caches import Cache
from chatserver.auth.jwks import ALGORITHMS, Fetch, KeySet
from chatserver.errors import Unauthorized
from chatserver.models import Principal, Role
from chatserver.settings import JwtSettings, SettingsError

MAX_TOKEN_LENGTH = 8192
MAX_TOKEN_ID_LENGTH = 255
CACHED_TOKENS = 4096

_LAST_SECOND = 253402300799.0  # the end of the year 9999, the last that datetime knows
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)

_log = logging.getLogger(__name__)


class _Hmac(HMACAlgorithm):
    """HMAC with a secret that was checked at the start and not on each token."""

    def prepare_key(self, key: str | bytes) -> bytes:
        return key.encode() if isinstance(key, str) else key

    def check_key_length(self, key: bytes) -> str | None:
        return None


_HASHES = {
    "HS256": HMACAlgorithm.SHA256,
    "HS384": HMACAlgorithm.SHA384,
    "HS512": HMACAlgorithm.SHA512,
}


def _signatures() -> PyJWS:
    jws = PyJWS(algorithms=list(ALGORITHMS))
    for name, function in _HASHES.items():
        jws.register_algorithm(name, _Hmac(function))
    return jws


class TokenVerifier:
    """Verifies tokens as `jwt` says; `fetch` gets the key set where there is a JWKS URL.

    Raises SettingsError for an unknown algorithm, a secret that is a public key, or
    settings with which no token could be verified.
    """

    def __init__(
        self,
        jwt: JwtSettings,
        fetch: Fetch | None = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._jwt = jwt
        self._clock = clock
        self._jws = _signatures()
        self._secret = _checked_secret(jwt.secret) if jwt.secret else b""
        self._keys = _key_set(jwt, fetch)
        self._secret_algorithms, self._key_algorithms = _allowed_algorithms(jwt)
        # Only tokens signed with the secret: nothing but time can make those bad.
        self._verified = Cache[bytes, Principal](CACHED_TOKENS)

    async def verify(self, token: str) -> Principal:
        """Verify the token and return its caller.

        Raises Unauthorized, always with the same detail, for whatever is wrong with the
        token, its expiry included; Unavailable while the key set was never fetched.
        `expires_at` is the token's `exp`; the token is accepted until the leeway is over.
        """
        if not isinstance(token, str) or len(token) > MAX_TOKEN_LENGTH or not token.isascii():
            raise _refused("malformed")
        digest = hashlib.sha256(token.encode()).digest()
        principal = self._verified.get(digest)
        if principal and not self._is_expired(principal.expires_at.timestamp()):
            self._verified.put(digest, principal)  # The least recently used goes first.
            return principal
        header = _read_header(token)
        algorithm = header.get("alg")
        if algorithm in self._secret_algorithms:
            principal = self._principal(self._claims(token, self._secret, algorithm))
            self._verified.put(digest, principal)
            return principal
        if algorithm in self._key_algorithms:
            return self._principal(await self._claims_by_key(token, header.get("kid"), algorithm))
        raise _refused("algorithm")

    async def close(self) -> None:
        """Ends a fetch of the key set that is under way."""
        if self._keys:
            await self._keys.close()

    async def _claims_by_key(self, token: str, key_id: Any, algorithm: str) -> dict[str, Any]:
        assert self._keys is not None
        for key in await self._keys.find(key_id, algorithm):
            try:
                return self._claims(token, key, algorithm)
            except Unauthorized:
                continue
        raise _refused("no key for it")

    def _claims(self, token: str, key: bytes | AllowedPublicKeys, algorithm: str) -> dict[str, Any]:
        try:
            claims = json.loads(self._jws.decode(token, key, algorithms=[algorithm]))
        except (PyJWTError, ValueError, TypeError, RecursionError):
            raise _refused("signature or form") from None
        if not isinstance(claims, dict):
            raise _refused("claims are no object")
        return claims

    def _principal(self, claims: Mapping[str, Any]) -> Principal:
        expires_at = _seconds(claims, "exp")
        if self._is_expired(expires_at):
            raise _refused("expired")
        if "nbf" in claims and _seconds(claims, "nbf") > self._clock() + self._jwt.leeway:
            raise _refused("not yet valid")
        self._check_lifetime(expires_at, _issued_at(claims.get("iat")))
        self._check_origin(claims)
        return Principal(
            user_id=_subject(claims.get("sub")),
            role=_role(claims.get("role", Role.CLIENT)),
            expires_at=datetime.fromtimestamp(expires_at, UTC),
            token_id=_token_id(claims.get("jti")),
            issued_at=_issued_at(claims.get("iat")),
        )

    def _is_expired(self, expires_at: float) -> bool:
        return expires_at + self._jwt.leeway <= self._clock()

    def _check_lifetime(self, expires_at: float, issued_at: datetime | None) -> None:
        """From its issue, or from now where it says none or one that is still to come."""
        if not self._jwt.max_lifetime:
            return
        now = self._clock()
        begin = now if issued_at is None else min(issued_at.timestamp(), now)
        if expires_at - begin > self._jwt.max_lifetime + self._jwt.leeway:
            raise _refused("lives too long")

    def _check_origin(self, claims: Mapping[str, Any]) -> None:
        if self._jwt.issuer and claims.get("iss") != self._jwt.issuer:
            raise _refused("issuer")
        audience = claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        if self._jwt.audience and self._jwt.audience not in audiences:
            raise _refused("audience")


def issue(
    secret: str,
    user_id: UUID,
    role: Role,
    ttl: float,
    *,
    issuer: str | None = None,
    audience: str | None = None,
    token_id: str | None = None,
) -> str:
    """A token signed with HS256, valid for at least `ttl` seconds and less than one more.

    Raises SettingsError for a secret that is empty or a public key.
    """
    now = time.time()
    claims = {
        "sub": str(user_id),
        "role": str(role),
        "iat": int(now),
        "exp": math.ceil(now + ttl),
        "iss": issuer,
        "aud": audience,
        "jti": token_id,
    }
    payload = json.dumps({name: value for name, value in claims.items() if value is not None})
    return _signatures().encode(payload.encode(), _checked_secret(secret), algorithm="HS256")


def _checked_secret(secret: str) -> bytes:
    """Refuses what is public by nature (PEM, SSH, DER, JWK) or empty: anyone could sign."""
    try:
        return HMACAlgorithm(HMACAlgorithm.SHA256).prepare_key(secret)
    except PyJWTError as error:
        raise SettingsError(f"jwt.secret cannot be used: {error}") from None


def _key_set(jwt: JwtSettings, fetch: Fetch | None) -> KeySet | None:
    if not jwt.jwks_url:
        return None
    if fetch is None:
        raise ValueError("a JWKS URL needs a way to fetch it")
    return KeySet(
        jwt.jwks_url,
        fetch,
        refresh_interval=jwt.jwks_refresh_interval,
        overlap=jwt.jwks_overlap,
    )


def _allowed_algorithms(jwt: JwtSettings) -> tuple[frozenset[str], frozenset[str]]:
    """Return the algorithms that the shared secret verifies, and those that the key set does."""
    listed = frozenset(jwt.algorithms)
    if unknown := listed - _HASHES.keys() - ALGORITHMS.keys():
        raise SettingsError(f"jwt.algorithms: {min(unknown)!r} is not supported")
    by_secret = (listed or frozenset({"HS256"})) & _HASHES.keys()
    by_key = (listed or frozenset({"RS256", "ES256"})) & ALGORITHMS.keys()
    allowed = (
        by_secret if jwt.secret else frozenset[str](),
        by_key if jwt.jwks_url else frozenset[str](),
    )
    if not any(allowed):
        raise SettingsError("jwt.algorithms lists none that the secret or the JWKS could verify")
    return allowed


def _refused(reason: str) -> Unauthorized:
    """The one answer to every bad token; the reason is for the operator's log alone."""
    _log.debug("token_refused", extra={"reason": reason})
    return Unauthorized()


def _read_header(token: str) -> dict[str, Any]:
    """The header, not yet verified: good for nothing but the choice of a key."""
    segment = token.partition(".")[0]
    try:
        header = json.loads(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
    except (ValueError, RecursionError):
        raise _refused("malformed") from None
    if not isinstance(header, dict) or "crit" in header:
        raise _refused("header")
    if not isinstance(header.get("alg"), str) or not isinstance(header.get("kid", ""), str):
        raise _refused("header")
    return header


def _seconds(claims: Mapping[str, Any], name: str) -> float:
    value: Any = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _refused(name)
    if not 0 <= value <= _LAST_SECOND:  # NaN is neither
        raise _refused(name)
    return float(value)


def _subject(value: Any) -> UUID:
    if not isinstance(value, str) or not _UUID.fullmatch(value):
        raise _refused("sub")
    return UUID(value)


def _role(value: Any) -> Role:
    if value not in Role.__members__.values():
        raise _refused("role")
    return Role(value)


def _token_id(value: Any) -> str | None:
    """It is looked up in the database, so it must be something that text can hold."""
    if value is None:
        return None
    if not is_token_id(value):
        raise _refused("jti")
    return str(value)


def is_token_id(value: Any) -> bool:
    """Return whether a verified token may have `value` as its `jti`."""
    return isinstance(value, str) and 0 < len(value) <= MAX_TOKEN_ID_LENGTH and value.isprintable()


def _issued_at(value: Any) -> datetime | None:
    """None for what is no time: then the token is as old as can be."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return datetime.fromtimestamp(value, UTC) if 0 <= value <= _LAST_SECOND else None
