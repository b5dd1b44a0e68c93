"""A host application's keys, and the little server that publishes them as a JWKS."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import cache, partial
from typing import Any

from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt import PyJWS
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from chatserver.api.jwks_fetch import fetch_key_set
from chatserver.auth.jwks import Fetch


class SigningKey:
    """A private key with the algorithm that it signs with; made once for each pair."""

    def __init__(self, key_id: str | None = "one", algorithm: str = "RS256") -> None:
        self.key_id = key_id
        self.algorithm = algorithm
        self.private_key = private_key(algorithm, str(key_id))

    def jwk(self, **changes: Any) -> dict[str, Any]:
        """The public half; a change to None takes a member away."""
        members = public_jwk(self.private_key) | {"use": "sig", "alg": self.algorithm}
        members |= {"kid": self.key_id} | changes
        return {name: value for name, value in members.items() if value is not None}

    def sign(self, claims: Mapping[str, Any], **headers: Any) -> str:
        headers = {"kid": self.key_id} | headers
        return sign(claims, self.private_key, self.algorithm, **headers)


def sign(claims: Any, key: Any, algorithm: str | None, **headers: Any) -> str:
    """A token with these claims (an object, or the payload's bytes) and headers."""
    payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    present = {name: value for name, value in headers.items() if value is not None}
    return PyJWS().encode(payload, key, algorithm, headers=present)


def forge(header: Any, claims: Any, signature: bytes = b"") -> str:
    """A token out of any parts: no library would make it."""
    parts = (json.dumps(header).encode(), json.dumps(claims).encode(), signature)
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


@cache
def private_key(algorithm: str, _: str = "", *, bits: int = 2048) -> Any:
    if algorithm.startswith("ES"):
        curves = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
        return ec.generate_private_key(curves[algorithm])
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def public_jwk(key: Any) -> dict[str, Any]:
    if isinstance(key, rsa.RSAPrivateKey):
        jwk = dict(RSAAlgorithm.to_jwk(key.public_key(), as_dict=True))
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        jwk = dict(ECAlgorithm.to_jwk(key.public_key(), as_dict=True))
    else:
        jwk = dict(OKPAlgorithm.to_jwk(key.public_key(), as_dict=True))
    jwk.pop("key_ops", None)
    return jwk


class JwksServer:
    """Serves `keys` (or `body`, `status`) at `url`; counts what it was asked.

    While `gate` is cleared it accepts requests and does not answer.
    """

    def __init__(self) -> None:
        self.keys: list[Any] = []
        self.body: bytes | None = None
        self.status = 200
        self.headers: dict[str, str] = {}
        self.requests = 0
        self.other_requests = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        self.requests += 1
        await self.gate.wait()
        body = json.dumps({"keys": self.keys}).encode() if self.body is None else self.body
        return web.Response(body=body, status=self.status, headers=self.headers)

    async def answer_elsewhere(self, request: web.Request) -> web.Response:
        self.other_requests += 1
        return web.json_response({"keys": self.keys})


@asynccontextmanager
async def running_jwks_server() -> AsyncIterator[tuple[JwksServer, Fetch]]:
    """The server, on loopback, and a fetch that reaches it."""
    jwks = JwksServer()
    app = web.Application()
    app.router.add_get("/jwks.json", jwks.answer)
    app.router.add_get("/elsewhere", jwks.answer_elsewhere)
    async with TestServer(app) as server, ClientSession() as session:
        jwks.url = str(server.make_url("/jwks.json"))
        try:
            yield jwks, partial(fetch_key_set, session)
        finally:
            jwks.gate.set()
