"""The key set: when it is fetched, what it keeps, and which keys it takes."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from jwt.algorithms import ECAlgorithm, HMACAlgorithm, RSAAlgorithm

from chatserver.auth.jwks import MAX_KEY_SET_BYTES, Fetch, KeySet, KeySetError, read_key_set
from chatserver.errors import Unavailable
from tests.kit.jwks import JwksServer, SigningKey, private_key, public_jwk, running_jwks_server
from tests.kit.stalls import PATIENCE

INTERVAL = 300.0
OVERLAP = 600.0
FAR = 10_000.0


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Host:
    """A host application that publishes one key, and the server's view of its keys."""

    def __init__(self, jwks: JwksServer, fetch: Fetch) -> None:
        self.jwks = jwks
        self.fetch = fetch
        self.clock = Clock()
        self.jwks.keys = [SigningKey("one").jwk()]
        self.key_set = self.key_set_with(timeout=10.0)

    def key_set_with(self, timeout: float) -> KeySet:
        return KeySet(
            self.jwks.url,
            self.fetch,
            refresh_interval=INTERVAL,
            overlap=OVERLAP,
            clock=self.clock,
            timeout=timeout,
        )

    async def knows(self, key_id: str | None, algorithm: str = "RS256") -> bool:
        return len(await self.key_set.find(key_id, algorithm)) > 0

    async def settled(self) -> None:
        """Once no fetch is under way in the background any more."""
        while running := [t for t in asyncio.all_tasks() if t.get_name() == "jwks-refresh"]:
            await asyncio.wait(running)


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    async with running_jwks_server() as (jwks, fetch):
        host = Host(jwks, fetch)
        yield host
        await host.key_set.close()


# --- when it is fetched


async def test_nothing_is_fetched_before_a_key_is_asked_for(host: Host) -> None:
    assert host.jwks.requests == 0


async def test_a_key_is_found_with_one_fetch_for_a_whole_interval(host: Host) -> None:
    for _ in range(10):
        assert await host.knows("one")
        host.clock.now += INTERVAL / 11
    assert host.jwks.requests == 1


async def test_it_is_fetched_again_after_the_interval_without_anyone_waiting(host: Host) -> None:
    assert await host.knows("one")
    host.clock.now += INTERVAL
    host.jwks.gate.clear()
    async with asyncio.timeout(PATIENCE):
        assert await host.knows("one")
    host.jwks.gate.set()
    await host.settled()
    assert host.jwks.requests == 2


async def test_after_a_long_silence_a_key_is_judged_by_the_new_set(host: Host) -> None:
    assert await host.knows("one")
    host.jwks.keys = [SigningKey("two").jwk()]
    host.clock.now += FAR
    assert await host.knows("two")
    assert host.jwks.requests == 2


async def test_a_thousand_unknown_keys_cause_one_fetch_an_interval(host: Host) -> None:
    assert await host.knows("one")
    for number in range(1000):
        assert not await host.knows(f"hostile-{number}")
    assert host.jwks.requests == 2
    host.clock.now += INTERVAL - 1
    assert not await host.knows("hostile")
    assert host.jwks.requests == 2


async def test_unknown_keys_at_once_share_the_first_fetch(host: Host) -> None:
    answers = await asyncio.gather(*(host.knows(f"hostile-{number}") for number in range(200)))
    assert not any(answers)
    assert host.jwks.requests == 1


async def test_callers_at_once_share_one_fetch(host: Host) -> None:
    host.jwks.gate.clear()
    callers = [asyncio.create_task(host.knows("one")) for _ in range(50)]
    await asyncio.sleep(0.05)
    host.jwks.gate.set()
    assert all(await asyncio.gather(*callers))
    assert host.jwks.requests == 1


@pytest.mark.parametrize("is_loaded", [False, True])
async def test_a_caller_that_gives_up_does_not_end_the_fetch_of_the_others(
    host: Host, is_loaded: bool
) -> None:
    if is_loaded:
        assert await host.knows("one")
        host.jwks.keys.append(SigningKey("two").jwk())
    wanted = "two" if is_loaded else "one"
    host.jwks.gate.clear()
    first, second = (asyncio.create_task(host.knows(wanted)) for _ in range(2))
    await asyncio.sleep(0.05)
    first.cancel()
    host.jwks.gate.set()
    assert await second
    assert first.cancelled()
    assert host.jwks.requests == 1 + is_loaded


async def test_closing_ends_a_fetch_under_way(host: Host) -> None:
    host.jwks.gate.clear()
    caller = asyncio.create_task(host.knows("one"))
    await asyncio.sleep(0.05)
    async with asyncio.timeout(PATIENCE):
        await host.key_set.close()
        with pytest.raises(Unavailable):
            await caller
    assert not [t for t in asyncio.all_tasks() if t.get_name() == "jwks-refresh"]


# --- rotation


async def test_a_new_key_works_at_once_and_the_old_one_for_its_overlap(host: Host) -> None:
    assert await host.knows("one")
    host.jwks.keys = [SigningKey("two").jwk()]
    assert await host.knows("two")
    host.clock.now += OVERLAP - 1
    assert await host.knows("one")
    await host.settled()
    host.clock.now += 1
    assert not await host.knows("one")
    assert await host.knows("two")


async def test_further_fetches_do_not_prolong_the_overlap(host: Host) -> None:
    assert await host.knows("one")
    host.jwks.keys = [SigningKey("two").jwk()]
    for _ in range(3):
        host.clock.now += INTERVAL
        await host.knows("two")
        await host.settled()
    assert not await host.knows("one")


async def test_a_key_that_came_back_is_kept(host: Host) -> None:
    assert await host.knows("one")
    host.jwks.keys = []
    host.clock.now += INTERVAL
    assert await host.knows("one")
    await host.settled()
    host.jwks.keys = [SigningKey("one").jwk()]
    host.clock.now += INTERVAL
    assert await host.knows("one")
    await host.settled()
    host.clock.now += OVERLAP
    assert await host.knows("one")
    assert len(await host.key_set.find("one", "RS256")) == 1


async def test_another_key_under_the_same_id_goes_beside_the_old_one(host: Host) -> None:
    assert await host.knows("one")
    host.jwks.keys = [SigningKey("two").jwk(kid="one")]
    host.clock.now += FAR
    found = await host.key_set.find("one", "RS256")
    expected = [SigningKey(name).private_key.public_key() for name in ("two", "one")]
    assert found == expected


# --- failure


NO_SETS = [b"", b"<html>", b"\xff", b"[]", b"null", b"{}", b'{"keys": 1}', b"[" * 100_000]


@pytest.mark.parametrize("body", NO_SETS, ids=lambda _: "body")
def test_a_body_that_is_no_key_set_is_an_error(body: bytes) -> None:
    with pytest.raises(KeySetError):
        read_key_set(body)


@pytest.mark.parametrize("body", NO_SETS, ids=lambda _: "body")
async def test_a_body_that_is_no_key_set_leaves_the_old_keys(host: Host, body: bytes) -> None:
    assert await host.knows("one")
    host.jwks.body = body
    host.clock.now += FAR
    assert await host.knows("one")
    assert host.jwks.requests == 2


async def test_a_failing_server_leaves_the_old_keys_for_ever(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    assert await host.knows("one")
    host.jwks.status = 500
    for _ in range(5):
        host.clock.now += FAR
        assert await host.knows("one")
    assert host.jwks.requests == 6
    assert [record.__dict__["error"] for record in caplog.records] == ["JwksFetchError"] * 5


async def test_a_server_that_hangs_holds_nobody_longer_than_the_timeout(host: Host) -> None:
    host.key_set = host.key_set_with(timeout=0.2)
    host.jwks.gate.clear()
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(Unavailable):
            await host.knows("one")
    host.jwks.gate.set()
    async with asyncio.timeout(PATIENCE):  # one fetch may come too late again
        while True:
            host.clock.now += FAR
            with suppress(Unavailable):
                assert await host.knows("one")
                break


async def test_without_any_key_set_the_answer_is_unavailable_and_soon_tried_again(
    host: Host,
) -> None:
    host.jwks.status = 503
    for _ in range(20):
        with pytest.raises(Unavailable) as caught:
            await host.knows("one")
        assert caught.value.retry_after
    assert host.jwks.requests == 1
    host.jwks.status = 200
    host.clock.now += 1
    assert await host.knows("one")


async def test_failures_are_tried_again_more_and_more_seldom(host: Host) -> None:
    host.jwks.status = 503
    for seconds in range(60):
        with pytest.raises(Unavailable):
            await host.knows("one")
        host.clock.now = 1001.0 + seconds
    assert host.jwks.requests == 6  # after 0, 1, 3, 7, 15 and 31 seconds


async def test_after_a_success_the_next_failure_is_tried_again_at_once(host: Host) -> None:
    for status, seconds in ((503, 1), (503, 2), (503, 4), (200, INTERVAL), (503, 1), (200, 0)):
        host.jwks.status = status
        try:
            await host.knows("one")
        except Unavailable:
            assert status == 503
        await host.settled()
        host.clock.now += seconds
    assert host.jwks.requests == 6


async def test_an_unknown_key_while_the_server_fails_is_just_unknown(host: Host) -> None:
    assert await host.knows("one")
    host.jwks.status = 500
    assert not await host.knows("two")
    assert await host.knows("one")


async def test_an_empty_set_is_a_set(host: Host) -> None:
    host.jwks.keys = []
    assert not await host.knows("one")


# --- which key


@pytest.mark.parametrize(
    "algorithm", ["RS256", "RS512", "PS256", "ES256", "ES384", "ES512", "EdDSA"]
)
def test_a_key_of_each_kind_is_found_for_its_algorithm_only(algorithm: str) -> None:
    (key,) = read_key_set(json.dumps({"keys": [SigningKey("one", algorithm).jwk()]}).encode())
    others = {"RS256", "RS384", "PS256", "ES256", "ES384", "ES512", "EdDSA"} - {algorithm}
    assert key.suits("one", algorithm)
    assert not any(key.suits("one", other) for other in others)


def test_a_key_without_an_algorithm_suits_all_of_its_kind() -> None:
    document = {"keys": [SigningKey("one").jwk(alg=None), SigningKey("two", "ES256").jwk(alg=None)]}
    rsa, ec = read_key_set(json.dumps(document).encode())
    assert rsa.suits("one", "RS256")
    assert rsa.suits("one", "PS512")
    assert not rsa.suits("one", "ES256")
    assert ec.suits("two", "ES256")
    assert not ec.suits("two", "ES384")
    assert not ec.suits("two", "RS256")


def test_without_a_key_id_every_key_of_the_algorithm_suits() -> None:
    (key,) = read_key_set(json.dumps({"keys": [SigningKey("one").jwk()]}).encode())
    assert key.suits(None, "RS256")
    assert not key.suits("", "RS256")
    assert not key.suits("two", "RS256")


WEAK = public_jwk(private_key("RS256", "weak", bits=1024))
SECRET = HMACAlgorithm.to_jwk(b"x" * 32, as_dict=True)


@pytest.mark.parametrize(
    "useless",
    [
        None,
        "key",
        [],
        {},
        {"kty": []},
        {"kty": "RSA"},
        {"kty": "XYZ", "n": "AQAB", "e": "AQAB"},
        SECRET | {"kid": "one"},
        SECRET | {"kid": "one", "alg": "RS256"},
        WEAK,
        SigningKey().jwk(use="enc"),
        SigningKey().jwk(key_ops=["encrypt"]),
        SigningKey().jwk(key_ops="verify"),
        SigningKey().jwk(kid=1),
        SigningKey().jwk(alg=["RS256"]),
        SigningKey().jwk(n=1),
        SigningKey().jwk(n="!"),
        SigningKey().jwk(n="ñ"),
        SigningKey().jwk(e=""),
        SigningKey("one", "ES256").jwk(crv="P-999"),
        SigningKey("one", "ES256").jwk(crv=["P-256"]),
        SigningKey("one", "ES256").jwk(x="AQAB"),
        SigningKey("one", "ES256").jwk(x="A" * 43),
    ],
    ids=lambda _: "key",
)
def test_a_key_of_no_use_is_passed_over_and_costs_the_others_nothing(
    useless: Any, caplog: pytest.LogCaptureFixture
) -> None:
    document = {"keys": [useless, SigningKey("good").jwk()]}
    with caplog.at_level(logging.WARNING):
        assert [key.key_id for key in read_key_set(json.dumps(document).encode())] == ["good"]
    assert [record.__dict__["count"] for record in caplog.records] == [1]


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_a_set_that_leaks_private_keys_gives_public_ones(algorithm: str) -> None:
    private = private_key(algorithm, "one")
    kind = RSAAlgorithm if algorithm == "RS256" else ECAlgorithm
    leaked = dict(kind.to_jwk(private, as_dict=True))
    leaked.pop("key_ops", None)
    (key,) = read_key_set(json.dumps({"keys": [leaked]}).encode())
    assert key.public_key == private.public_key()
    assert not hasattr(key.public_key, "sign")


def test_a_set_over_the_size_limit_is_refused() -> None:
    with pytest.raises(KeySetError, match="too large"):
        read_key_set(b'{"keys": []}' + b" " * MAX_KEY_SET_BYTES)
