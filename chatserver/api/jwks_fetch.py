"""Fetches a JWKS document over HTTP, for `chatserver.auth.jwks.KeySet`."""

from aiohttp import ClientSession

from chatserver.auth.jwks import MAX_KEY_SET_BYTES

_HEADERS = {"Accept": "application/jwk-set+json, application/json", "Accept-Encoding": "identity"}


class JwksFetchError(Exception):
    """The server of the key set answered something that is no key set."""


async def fetch_key_set(session: ClientSession, url: str) -> bytes:
    """The body at `url`, at most MAX_KEY_SET_BYTES; follows no redirect.

    It sets no time limit: the key set that calls it does. Raises JwksFetchError or
    aiohttp.ClientError.
    """
    async with session.get(url, allow_redirects=False, headers=_HEADERS) as response:
        if response.status != 200:
            raise JwksFetchError(f"status {response.status}")
        body = bytearray()
        async for chunk in response.content.iter_chunked(16 * 1024):
            body += chunk
            if len(body) > MAX_KEY_SET_BYTES:
                response.close()
                raise JwksFetchError("too large")
        return bytes(body)
