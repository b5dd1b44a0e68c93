"""Tokens: who gets in, who does not, and that every refusal is the same one."""

import asyncio
import base64
import dataclasses
import hmac
import json
import logging
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import HealthCheck, given
from hypothesis import settings as limits
from hypothesis import strategies as st

from chatserver.auth.jwks import Fetch
from chatserver.auth.tokens import MAX_TOKEN_LENGTH, TokenVerifier, issue
from chatserver.errors import TokenExpired, Unauthorized, Unavailable
from chatserver.models import Role
from chatserver.settings import JwtSettings, SettingsError
from tests.kit.jwks import JwksServer, SigningKey, forge, private_key, running_jwks_server, sign
from tests.kit.stalls import PATIENCE

SECRET = "a-secret-of-at-least-thirty-two-bytes"
USER = UUID("3f8b2f0e-5f0c-4c43-9a51-0a6a2f6f8d11")
NOW = int(time.time())
DAY = 24 * 60 * 60

Claims = dict[str, Any]
Host = tuple[JwksServer, Fetch]


def settings(**changes: Any) -> JwtSettings:
    defaults = JwtSettings(
        secret=SECRET,
        jwks_url="",
        algorithms=(),
        issuer="",
        audience="",
        leeway=30.0,
        max_lifetime=30 * DAY,
        jwks_refresh_interval=300.0,
        jwks_overlap=600.0,
    )
    return dataclasses.replace(defaults, **changes)


def claims(**changes: Any) -> Claims:
    """Good claims with `changes`; a change to `...` takes a claim away."""
    merged = {"sub": str(USER), "exp": NOW + 3600} | changes
    return {name: value for name, value in merged.items() if value is not ...}


def signed(algorithm: str = "HS256", secret: str = SECRET, **changes: Any) -> str:
    return sign(claims(**changes), secret, algorithm)


async def assert_refused(token: Any, verifier: TokenVerifier | None = None) -> None:
    """The one refusal, which says nothing about the reason or the token."""
    verifier = verifier or TokenVerifier(settings())
    with pytest.raises(Unauthorized) as caught:
        await verifier.verify(token)
    assert type(caught.value) is Unauthorized
    assert caught.value.to_dict() == Unauthorized().to_dict()
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    async with running_jwks_server() as (jwks, fetch):
        jwks.keys = [SigningKey("one").jwk(), SigningKey("two", "ES256").jwk()]
        yield jwks, fetch


MakeVerifier = Callable[..., TokenVerifier]


@pytest.fixture
async def with_keys(host: Host) -> AsyncIterator[MakeVerifier]:
    """Makes verifiers that know the host's key set, and no secret unless told."""
    made: list[TokenVerifier] = []

    def make(**changes: Any) -> TokenVerifier:
        jwks, fetch = host
        made.append(
            TokenVerifier(settings(**{"secret": "", "jwks_url": jwks.url} | changes), fetch)
        )
        return made[-1]

    yield make
    for verifier in made:
        await verifier.close()


# --- what a good token says


async def test_a_token_says_who_is_calling() -> None:
    token = signed(role="owner", jti="a-token", exp=NOW + 3600, iat=NOW - 0.5)
    principal = await TokenVerifier(settings()).verify(token)
    assert principal.user_id == USER
    assert principal.role is Role.OWNER
    assert principal.expires_at == datetime.fromtimestamp(NOW + 3600, UTC)
    assert principal.token_id == "a-token"
    assert principal.issued_at == datetime.fromtimestamp(NOW - 0.5, UTC)


async def test_without_a_role_the_caller_is_a_client() -> None:
    principal = await TokenVerifier(settings()).verify(signed())
    assert principal.role is Role.CLIENT
    assert principal.token_id is None
    assert principal.issued_at is None


@pytest.mark.parametrize("iat", ["now", True, None, [], -1, 1e300, float("nan")])
async def test_a_time_of_issue_that_is_none_does_not_make_a_token_bad(iat: Any) -> None:
    assert (await TokenVerifier(settings()).verify(signed(iat=iat))).issued_at is None


@pytest.mark.parametrize("role", list(Role))
async def test_every_role_of_the_contract_is_known(role: Role) -> None:
    assert (await TokenVerifier(settings()).verify(signed(role=str(role)))).role is role


async def test_a_fraction_of_a_second_and_an_upper_case_uuid_are_fine() -> None:
    principal = await TokenVerifier(settings()).verify(
        signed(exp=NOW + 3600.5, sub=str(USER).upper())
    )
    assert principal.expires_at.timestamp() == NOW + 3600.5
    assert principal.user_id == USER


# --- which claims are bad


@pytest.mark.parametrize(
    "changes",
    [
        {"sub": ...},
        {"sub": None},
        {"sub": 5},
        {"sub": ""},
        {"sub": "me"},
        {"sub": USER.hex},
        {"sub": f"{{{USER}}}"},
        {"sub": f"{USER}\n"},
        {"sub": "0x_b2f0e-5f0c-4c43-9a51-0a6a2f6f8d11"},
        {"sub": ["x"]},
        {"exp": ...},
        {"exp": None},
        {"exp": True},
        {"exp": str(NOW + 3600)},
        {"exp": 10**30},
        {"exp": 10**4000},
        {"exp": 1e300},
        {"exp": float("nan")},
        {"exp": float("inf")},
        {"exp": -1},
        {"exp": []},
        {"exp": {}},
        {"exp": NOW - 31},
        {"exp": 0},
        {"nbf": NOW + 3600},
        {"nbf": None},
        {"nbf": True},
        {"nbf": "0"},
        {"nbf": float("nan")},
        {"nbf": 10**400},
        {"nbf": -(10**400)},
        {"role": "root"},
        {"role": "Admin"},
        {"role": ""},
        {"role": None},
        {"role": ["admin"]},
        {"role": {}},
        {"role": 1},
        {"jti": 5},
        {"jti": ""},
        {"jti": []},
        {"jti": "a\0b"},
        {"jti": "\ud800"},
        {"jti": "x" * 256},
    ],
    ids=lambda changes: next(iter(changes)),
)
async def test_a_claim_that_is_missing_or_wrong_is_refused(changes: Claims) -> None:
    await assert_refused(signed(**changes))


@pytest.mark.parametrize(
    "payload", [b"[]", b"null", b"5", b'"x"', b"", b"{", b"\xff\xfe", b"[" * 5000, b"1" * 5000]
)
async def test_a_payload_that_is_no_object_is_refused(payload: bytes) -> None:
    await assert_refused(sign(payload, SECRET, "HS256"))


async def test_clocks_may_differ_by_the_leeway() -> None:
    verifier = TokenVerifier(settings(), clock=lambda: float(NOW))
    await verifier.verify(signed(exp=NOW - 29, nbf=NOW + 30))
    await assert_refused(signed(exp=NOW - 30), verifier)
    await assert_refused(signed(nbf=NOW + 31), verifier)
    strict = TokenVerifier(settings(leeway=0.0), clock=lambda: float(NOW))
    await strict.verify(signed(exp=NOW + 1, nbf=NOW))
    await assert_refused(signed(exp=NOW), strict)


async def test_a_token_that_lives_too_long_is_refused() -> None:
    now = int(time.time())
    verifier = TokenVerifier(settings(max_lifetime=DAY, leeway=30.0))
    for good in (
        {"iat": now - DAY + 60, "exp": now + 60},
        {"iat": now, "exp": now + DAY},
        {"exp": now + DAY},
    ):
        await verifier.verify(sign(claims(**good), SECRET, "HS256"))
    for bad in (
        {"iat": now - DAY, "exp": now + 60},
        {"iat": now, "exp": now + DAY + 60},
        {"exp": now + DAY + 3600},
        # What was issued in the future, or at no time, was issued now.
        {"iat": now + 300 * DAY, "exp": now + 301 * DAY},
        {"iat": "long ago", "exp": now + 2 * DAY},
    ):
        await assert_refused(sign(claims(**bad), SECRET, "HS256"), verifier)
    endless = TokenVerifier(settings(max_lifetime=0.0))
    await endless.verify(signed(iat=now - 9 * DAY, exp=now + 9000 * DAY))


async def test_an_expired_token_gets_the_same_answer_as_any_other() -> None:
    with pytest.raises(Unauthorized) as caught:
        await TokenVerifier(settings()).verify(signed(exp=NOW - 60))
    assert not isinstance(caught.value, TokenExpired)


@pytest.mark.parametrize(
    "issuer",
    [..., None, "", "https://host.exampl", "https://host.example/", "x", ["https://host.example"]],
)
async def test_another_issuer_is_refused(issuer: Any) -> None:
    verifier = TokenVerifier(settings(issuer="https://host.example"))
    await verifier.verify(signed(iss="https://host.example"))
    payload = json.dumps(claims(iss=issuer)).encode()
    await assert_refused(sign(payload, SECRET, "HS256"), verifier)


@pytest.mark.parametrize(
    "audience", [..., None, "", "cha", "chats", [], ["cha"], [["chat"]], {"chat": 1}]
)
async def test_another_audience_is_refused(audience: Any) -> None:
    verifier = TokenVerifier(settings(audience="chat"))
    await verifier.verify(signed(aud="chat"))
    await verifier.verify(signed(aud=["web", "chat"]))
    await assert_refused(signed(aud=audience), verifier)


async def test_issuer_and_audience_do_not_matter_unless_configured() -> None:
    await TokenVerifier(settings()).verify(signed(iss="any", aud=["any"]))


# --- which tokens are bad


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "a.b.c",
        "....",
        "x" * 100_000,
        "é.é.é",
        "\ud800",
        "\0",
        None,
        5,
        b"bytes",
        [],
        forge([], claims()),
        forge({}, claims()),
        forge({"alg": None}, claims()),
        forge({"alg": ["HS256"]}, claims()),
        forge({"alg": {}}, claims()),
        forge({"alg": "HS256"}, claims(), b"x" * 32),
        forge({"alg": "XX999"}, claims(), b"x"),
        f"{forge({'alg': 'HS256'}, claims())}=",
        base64.urlsafe_b64encode(b"[" * 6000).decode() + ".e30.",
    ],
    ids=lambda token: str(token)[:20].encode("unicode_escape").decode(),
)
async def test_a_malformed_token_is_refused(token: Any) -> None:
    await assert_refused(token)


async def test_a_token_as_long_as_allowed_is_read_and_a_longer_one_is_not() -> None:
    def token_of(extra: int) -> str:
        return signed(pad="x" * extra)

    longest = max(range(5800, 6200), key=lambda n: len(token_of(n)) * (len(token_of(n)) <= 8192))
    assert MAX_TOKEN_LENGTH - 2 <= len(token_of(longest)) <= MAX_TOKEN_LENGTH
    await TokenVerifier(settings()).verify(token_of(longest))
    await assert_refused(token_of(longest + 3))


async def test_another_secret_and_a_changed_token_are_refused() -> None:
    await assert_refused(signed(secret=SECRET + "x"))
    header, _, signature = signed().split(".")
    _, payload, _ = signed(role="admin").split(".")
    await assert_refused(f"{header}.{payload}.{signature}")
    await assert_refused(f"{header}.{payload}.")
    await assert_refused(signed() + ".x")


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", ""])
async def test_no_signature_is_refused_in_any_case(algorithm: str) -> None:
    allowing_none = forge({"alg": algorithm, "typ": "JWT"}, claims())
    await assert_refused(allowing_none)
    await assert_refused(allowing_none + "x")


def test_none_cannot_be_configured() -> None:
    for name in ("none", "None", "HS1", "RSA"):
        with pytest.raises(SettingsError, match=name):
            TokenVerifier(settings(algorithms=("HS256", name)))


@pytest.mark.parametrize(
    "headers",
    [{"crit": ["exp"], "exp": 1}, {"crit": []}, {"crit": None}, {"b64": True, "crit": ["b64"]}],
)
async def test_a_critical_header_is_refused(headers: Claims) -> None:
    encoded = forge({"alg": "HS256"} | headers, claims()).rsplit(".", 1)[0]
    await assert_refused(_hs256(encoded))
    await TokenVerifier(settings()).verify(
        _hs256(forge({"alg": "HS256"}, claims()).rsplit(".", 1)[0])
    )


def _hs256(signing_input: str, key: bytes = SECRET.encode()) -> str:
    """Signs what no library would sign."""
    digest = hmac.digest(key, signing_input.encode(), "sha256")
    return f"{signing_input}.{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"


# --- the secret


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
async def test_longer_hashes_work_once_they_are_listed(algorithm: str) -> None:
    token = signed(algorithm, secret=SECRET * 2)
    await assert_refused(token, TokenVerifier(settings(secret=SECRET * 2)))
    listed = settings(secret=SECRET * 2, algorithms=("HS256", algorithm))
    await TokenVerifier(listed).verify(token)


async def test_a_secret_shorter_than_the_hash_is_enough() -> None:
    token = issue("short", USER, Role.CLIENT, 60)
    await TokenVerifier(settings(secret="short")).verify(token)


def test_a_secret_that_is_a_public_key_stops_the_start() -> None:
    public = private_key("RS256", "one").public_key()
    pem = public.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()
    for key in (pem, json.dumps(SigningKey("one").jwk())):
        with pytest.raises(SettingsError, match=r"jwt\.secret"):
            TokenVerifier(settings(secret=key))


def test_settings_with_which_nothing_could_be_verified_stop_the_start() -> None:
    with pytest.raises(SettingsError, match=r"jwt\.algorithms"):
        TokenVerifier(settings(algorithms=("RS256",)))
    with pytest.raises(SettingsError, match=r"jwt\.algorithms"):
        TokenVerifier(settings(secret=""))
    with pytest.raises(ValueError, match="fetch"):
        TokenVerifier(settings(jwks_url="http://127.0.0.1/jwks.json"))


async def test_a_token_that_was_good_is_refused_once_it_has_expired() -> None:
    now = float(NOW)
    verifier = TokenVerifier(settings(leeway=5.0), clock=lambda: now)
    token = signed(exp=NOW + 10)
    first = await verifier.verify(token)
    assert await verifier.verify(token) is first
    now += 14.9
    assert await verifier.verify(token) is first
    now += 0.2
    await assert_refused(token, verifier)
    await assert_refused(token, verifier)


async def test_remembered_tokens_are_bounded_and_the_oldest_use_goes_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("chatserver.auth.tokens.CACHED_TOKENS", 2)
    verifier = TokenVerifier(settings())
    one, two, three = (signed(jti=name) for name in ("one", "two", "three"))
    kept = await verifier.verify(one)
    lost = await verifier.verify(two)
    assert await verifier.verify(one) is kept
    await verifier.verify(three)
    assert await verifier.verify(one) is kept
    assert await verifier.verify(two) is not lost


# --- the key set


@pytest.mark.parametrize("key", [SigningKey("one"), SigningKey("two", "ES256")], ids=["RSA", "EC"])
async def test_a_token_signed_with_a_published_key_is_good(
    with_keys: MakeVerifier, host: Host, key: SigningKey
) -> None:
    verifier = with_keys()
    for _ in range(3):
        principal = await verifier.verify(key.sign(claims(role="agent")))
    assert principal.user_id == USER
    assert principal.role is Role.AGENT
    assert host[0].requests == 1


@pytest.mark.parametrize("algorithm", ["RS512", "PS256", "ES384", "ES512", "EdDSA"])
async def test_other_algorithms_work_once_they_are_listed(
    with_keys: MakeVerifier, host: Host, algorithm: str
) -> None:
    key = SigningKey("other", algorithm)
    host[0].keys.append(key.jwk())
    await assert_refused(key.sign(claims()), with_keys())
    await with_keys(algorithms=(algorithm,)).verify(key.sign(claims()))


async def test_a_token_without_a_key_id_is_tried_with_each_key(
    with_keys: MakeVerifier, host: Host
) -> None:
    verifier = with_keys()
    host[0].keys.insert(0, SigningKey("three").jwk())
    await verifier.verify(SigningKey("one").sign(claims(), kid=None))
    await assert_refused(SigningKey("foreign").sign(claims(), kid=None), verifier)


async def test_a_foreign_key_under_a_known_id_is_refused(with_keys: MakeVerifier) -> None:
    await assert_refused(SigningKey("foreign").sign(claims(), kid="one"), with_keys())


async def test_bad_claims_are_refused_under_a_good_key_too(with_keys: MakeVerifier) -> None:
    verifier = with_keys(audience="chat")
    await assert_refused(SigningKey("one").sign(claims(exp=NOW - 60, aud="chat")), verifier)
    await assert_refused(SigningKey("one").sign(claims()), verifier)


async def test_the_public_key_is_never_a_secret(with_keys: MakeVerifier, host: Host) -> None:
    public = private_key("RS256", "one").public_key()
    formats = (serialization.Encoding.PEM, serialization.Encoding.DER)
    both = with_keys(secret=SECRET, algorithms=("HS256", "RS256"))
    for verifier in (with_keys(), both):
        for form in formats:
            key = public.public_bytes(form, serialization.PublicFormat.SubjectPublicKeyInfo)
            header, payload, _ = forge({"alg": "HS256", "kid": "one"}, claims()).split(".")
            await assert_refused(_hs256(f"{header}.{payload}", key), verifier)
    await assert_refused(signed(), with_keys())
    assert host[0].requests == 0


async def test_a_symmetric_key_in_the_set_is_never_used(
    with_keys: MakeVerifier, host: Host
) -> None:
    host[0].keys.append(
        {"kty": "oct", "kid": "sym", "k": "eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHg"}
    )
    token = sign(claims(), "x" * 32, "HS256", kid="sym")
    await assert_refused(token, with_keys())
    await assert_refused(token, with_keys(secret=SECRET))


async def test_with_a_secret_and_a_key_set_both_kinds_of_token_are_good(
    with_keys: MakeVerifier,
) -> None:
    verifier = with_keys(secret=SECRET)
    await verifier.verify(signed())
    await verifier.verify(SigningKey("one").sign(claims()))
    await verifier.verify(SigningKey("two", "ES256").sign(claims()))


async def test_an_algorithm_of_another_kind_of_key_is_refused(with_keys: MakeVerifier) -> None:
    verifier = with_keys()
    await assert_refused(SigningKey("two", "ES256").sign(claims(), kid="one"), verifier)
    await assert_refused(SigningKey("one").sign(claims(), kid="two"), verifier)


async def test_a_key_that_a_token_brings_along_is_ignored_and_nothing_is_fetched_for_it(
    with_keys: MakeVerifier, host: Host
) -> None:
    jwks, _ = host
    hostile = SigningKey("hostile")
    elsewhere = jwks.url.replace("jwks.json", "elsewhere")
    headers = {"jku": elsewhere, "x5u": elsewhere, "jwk": hostile.jwk(), "x5c": ["AAAA"]}
    await assert_refused(hostile.sign(claims(), **headers), with_keys())
    await assert_refused(hostile.sign(claims(), **headers, kid="one"), with_keys())
    assert jwks.other_requests == 0
    await with_keys().verify(SigningKey("one").sign(claims(), **headers))


@pytest.mark.parametrize("key_id", [5, [], {}, True, None])
async def test_a_key_id_that_is_no_text_is_refused(
    with_keys: MakeVerifier, host: Host, key_id: Any
) -> None:
    await assert_refused(forge({"alg": "RS256", "kid": key_id}, claims(), b"x" * 256), with_keys())
    assert host[0].requests == 0


async def test_a_thousand_hostile_key_ids_cause_one_refetch(
    with_keys: MakeVerifier, host: Host
) -> None:
    verifier = with_keys()
    await verifier.verify(SigningKey("one").sign(claims()))
    for number in range(1000):
        token = forge({"alg": "RS256", "kid": f"../{number}"}, claims(), b"x" * 256)
        with pytest.raises(Unauthorized):
            await verifier.verify(token)
    assert host[0].requests == 2


@pytest.mark.parametrize("overlap", [600.0, 0.0])
async def test_after_a_rotation_both_keys_work_until_the_overlap_is_over(
    with_keys: MakeVerifier, host: Host, overlap: float
) -> None:
    verifier = with_keys(jwks_overlap=overlap, jwks_refresh_interval=600.0)
    old, new = SigningKey("one"), SigningKey("three")
    host[0].keys = [old.jwk()]
    await verifier.verify(old.sign(claims()))
    host[0].keys = [new.jwk()]
    await verifier.verify(new.sign(claims()))
    if overlap:
        await verifier.verify(old.sign(claims()))
    else:
        await assert_refused(old.sign(claims()), verifier)


async def test_while_the_key_set_cannot_be_had_the_answer_is_unavailable(
    with_keys: MakeVerifier, host: Host
) -> None:
    host[0].status = 500
    verifier = with_keys(secret=SECRET)
    with pytest.raises(Unavailable):
        await verifier.verify(SigningKey("one").sign(claims()))
    await verifier.verify(signed())
    await assert_refused(forge({"alg": "none"}, claims()), verifier)


async def test_closing_ends_a_fetch_under_way(with_keys: MakeVerifier, host: Host) -> None:
    host[0].gate.clear()
    verifier = with_keys()
    caller = asyncio.create_task(verifier.verify(SigningKey("one").sign(claims())))
    await asyncio.sleep(0.05)
    async with asyncio.timeout(PATIENCE):
        await verifier.close()
        with pytest.raises(Unavailable):
            await caller


# --- secrecy


async def test_no_token_reaches_the_log(
    with_keys: MakeVerifier, caplog: pytest.LogCaptureFixture
) -> None:
    verifier = with_keys(secret=SECRET)
    good = SigningKey("one").sign(claims())
    tokens = [signed(), signed(exp=1), good, good[:-8] + "AAAAAAAA", forge({"alg": "x"}, claims())]
    with caplog.at_level(logging.DEBUG):
        for token in tokens:
            try:
                await verifier.verify(token)
            except Unauthorized as error:
                assert token not in repr(error.to_dict())
    reasons = [record.__dict__.get("reason") for record in caplog.records]
    assert "expired" in reasons
    for token in tokens:
        assert not any(part in f"{caplog.text} {reasons}" for part in token.split(".") if part)
    assert SECRET not in caplog.text


# --- any input

# On a fresh machine the first example takes seconds: Hypothesis indexes Unicode.
ANY_SPEED = limits(deadline=None, suppress_health_check=[HealthCheck.too_slow])

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
NAMES = st.sampled_from(["sub", "exp", "nbf", "iss", "aud", "role", "jti", "iat"])


@ANY_SPEED
@given(st.dictionaries(NAMES, JSON))
async def test_any_claims_are_a_principal_or_the_refusal(changes: Claims) -> None:
    verifier = TokenVerifier(settings())
    try:
        principal = await verifier.verify(sign(claims() | changes, SECRET, "HS256"))
    except Unauthorized:
        return
    assert principal.user_id == UUID(changes.get("sub", str(USER)))
    assert principal.expires_at.timestamp() > NOW - 60


@ANY_SPEED
@given(st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jwk"]), JSON), JSON)
async def test_any_header_is_refused_without_a_signature(header: Claims, payload: Any) -> None:
    await assert_refused(forge({"alg": "HS256"} | header, payload, b"x" * 32))


@ANY_SPEED
@given(st.text())
async def test_any_text_is_refused(token: str) -> None:
    await assert_refused(token)


# --- issuing


async def test_an_issued_token_is_a_good_one() -> None:
    begun = time.time()
    token = issue(SECRET, USER, Role.ADMIN, 60, issuer="me", audience="chat", token_id="one")
    ended = time.time()
    principal = await TokenVerifier(settings(issuer="me", audience="chat")).verify(token)
    assert principal.user_id == USER
    assert principal.role is Role.ADMIN
    assert principal.token_id == "one"
    assert begun + 60 <= principal.expires_at.timestamp() < ended + 61


async def test_a_token_issued_without_more_carries_no_more() -> None:
    token = issue(SECRET, USER, Role.CLIENT, 60)
    assert (await TokenVerifier(settings()).verify(token)).token_id is None
    await assert_refused(token, TokenVerifier(settings(issuer="me")))
    await assert_refused(token, TokenVerifier(settings(audience="chat")))


async def test_a_token_issued_for_the_past_has_expired() -> None:
    await assert_refused(issue(SECRET, USER, Role.CLIENT, -60))


def test_no_token_is_issued_with_a_public_key_or_without_a_secret() -> None:
    for secret in ("", json.dumps(SigningKey("one").jwk())):
        with pytest.raises(SettingsError):
            issue(secret, USER, Role.CLIENT, 60)
