"""The host application's public keys, by a JWKS URL: cached, refreshed, rotated.

How the bytes are fetched is a constructor argument; the one that uses aiohttp is
`chatserver.api.jwks_fetch`.
"""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import PyJWTError
from jwt.algorithms import AllowedPublicKeys, ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from chatserver.aio.tasks import end
from chatserver.errors import Unavailable

Fetch = Callable[[str], Awaitable[bytes]]

MAX_KEY_SET_BYTES = 256 * 1024
FETCH_TIMEOUT = 5.0
MIN_RSA_BITS = 2048

# Which key an algorithm takes: its `kty` and, where there is more than one, its `crv`.
ALGORITHMS = {
    "RS256": ("RSA", None),
    "RS384": ("RSA", None),
    "RS512": ("RSA", None),
    "PS256": ("RSA", None),
    "PS384": ("RSA", None),
    "PS512": ("RSA", None),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
}
# The public members of each kind of key. No other is read, so a set that leaks its
# private keys still gives public ones, and a symmetric key ("oct") is never a key.
_MEMBERS = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}
_READERS: dict[str, Callable[[Any], Any]] = {
    "RSA": RSAAlgorithm.from_jwk,
    "EC": ECAlgorithm.from_jwk,
    "OKP": OKPAlgorithm.from_jwk,
}

_log = logging.getLogger(__name__)


class KeySetError(Exception):
    """Raised when the answer from the URL is no key set."""


@dataclass(frozen=True, slots=True)
class Key:
    """One public key; `expires_at` (monotonic) once it is no longer in the set."""

    key_id: str | None
    algorithm: str | None
    members: tuple[str, ...]
    public_key: AllowedPublicKeys
    expires_at: float | None = None

    @property
    def identity(self) -> tuple[object, ...]:
        return (self.key_id, self.algorithm, self.members)

    def suits(self, key_id: str | None, algorithm: str) -> bool:
        kind, curve = ALGORITHMS[algorithm]
        return (
            key_id in (None, self.key_id)
            and self.algorithm in (None, algorithm)
            and self.members[0] == kind
            and curve in (None, self.members[1])
        )


class KeySet:
    """The keys at `url`, fetched when they are first needed.

    - They are fetched again once they are older than `refresh_interval` seconds, in
      the background unless they have not been used for another interval.
    - A key that is not in the set causes one fetch before its time, at most once an
      interval, whoever asks. Everyone who waits shares one fetch.
    - A key that vanished from the set is found for `overlap` more seconds.
    - A fetch that fails, takes longer than `timeout` seconds or brings no key set
      leaves everything as it was, and is tried again after 1, 2, 4 … seconds, at most
      an interval.
    """

    def __init__(
        self,
        url: str,
        fetch: Fetch,
        *,
        refresh_interval: float,
        overlap: float,
        timeout: float = FETCH_TIMEOUT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url
        self._fetch = fetch
        self._interval = refresh_interval
        self._overlap = overlap
        self._timeout = timeout
        self._clock = clock
        self._keys: list[Key] = []
        self._is_loaded = False
        self._failures = 0
        self._due = float("-inf")
        self._next_early = float("-inf")
        self._refresh: asyncio.Task[None] | None = None

    async def find(self, key_id: str | None, algorithm: str) -> list[AllowedPublicKeys]:
        """The keys that may have signed; without `key_id`, all that suit the algorithm.

        Waits for at most one fetch. Raises Unavailable while no set was ever fetched.
        """
        now = self._clock()
        refresh = self._due_refresh(now)
        if refresh:
            await asyncio.wait([refresh])
        found = self._matching(key_id, algorithm)
        if not found and not refresh and (early := self._early_refresh(now)):
            await asyncio.wait([early])
            found = self._matching(key_id, algorithm)
        if not self._is_loaded:
            raise Unavailable(retry_after=1.0)
        return found

    async def close(self) -> None:
        """Ends a fetch that is under way."""
        if self._refresh:
            await end(self._refresh)

    def _matching(self, key_id: str | None, algorithm: str) -> list[AllowedPublicKeys]:
        now = self._clock()
        return [
            key.public_key
            for key in self._keys
            if key.suits(key_id, algorithm) and (key.expires_at is None or now < key.expires_at)
        ]

    def _due_refresh(self, now: float) -> asyncio.Task[None] | None:
        """Begins the fetch that is due; returns it if the keys are too old to go on with."""
        if now < self._due:
            return None
        was_idle = now >= self._due + self._interval
        refresh = self._begin_refresh()
        return refresh if was_idle else None

    def _early_refresh(self, began: float) -> asyncio.Task[None] | None:
        """The fetch that an unknown key may wait for, if there is one or may be one."""
        if self._refresh:
            return self._refresh
        if not self._is_loaded or began < self._next_early:
            return None
        self._next_early = began + self._interval
        return self._begin_refresh()

    def _begin_refresh(self) -> asyncio.Task[None]:
        if self._refresh is None:
            self._refresh = asyncio.create_task(self._load(), name="jwks-refresh")
            self._refresh.add_done_callback(self._end_refresh)
        return self._refresh

    def _end_refresh(self, _: asyncio.Task[None]) -> None:
        self._refresh = None

    async def _load(self) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                body = await self._fetch(self._url)
            keys = read_key_set(body)
        except Exception as error:  # whatever went wrong, the old keys go on
            self._failures += 1
            self._due = self._clock() + min(self._interval, 2.0 ** min(self._failures - 1, 30))
            _log.warning("jwks_fetch_failed", extra={"error": type(error).__name__})
            return
        self._failures = 0
        self._is_loaded = True
        self._due = self._clock() + self._interval
        self._replace(keys)

    def _replace(self, keys: list[Key]) -> None:
        now = self._clock()
        current = {key.identity for key in keys}
        for key in self._keys:
            expires_at = now + self._overlap if key.expires_at is None else key.expires_at
            if key.identity not in current and now < expires_at:
                keys.append(replace(key, expires_at=expires_at))
        self._keys = keys


def read_key_set(body: bytes) -> list[Key]:
    """The usable keys of a JWKS document (RFC 7517); others are passed over.

    Raises KeySetError if it is too large or no key set.
    """
    if len(body) > MAX_KEY_SET_BYTES:
        raise KeySetError("too large")
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise KeySetError("not JSON") from None
    if not isinstance(document, dict) or not isinstance(document.get("keys"), list):
        raise KeySetError("not a key set")
    keys = [key for jwk in document["keys"] if (key := _read_key(jwk))]
    if len(keys) < len(document["keys"]):
        useless = len(document["keys"]) - len(keys)
        _log.warning("jwks_keys_unusable", extra={"count": useless})
    return keys


def _read_key(jwk: Any) -> Key | None:
    if not isinstance(jwk, dict) or not _is_for_signatures(jwk):
        return None
    kind = jwk.get("kty")
    if not isinstance(kind, str) or kind not in _MEMBERS:
        return None
    public = {name: jwk.get(name) for name in ("kty", *_MEMBERS[kind])}
    if not all(isinstance(value, str) for value in public.values()):
        return None
    try:
        public_key = _READERS[kind](public)
    except (PyJWTError, ValueError, TypeError, UnsupportedAlgorithm):
        return None
    if isinstance(public_key, RSAPublicKey) and public_key.key_size < MIN_RSA_BITS:
        return None
    return Key(jwk.get("kid"), jwk.get("alg"), tuple(map(str, public.values())), public_key)


def _is_for_signatures(jwk: dict[str, Any]) -> bool:
    operations = jwk.get("key_ops", ["verify"])
    return (
        jwk.get("use", "sig") == "sig"
        and isinstance(operations, list)
        and "verify" in operations
        and isinstance(jwk.get("kid", ""), str)
        and isinstance(jwk.get("alg", ""), str)
    )
