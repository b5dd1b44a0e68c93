"""Sessions: a good token of a user who exists, and how long that is believed."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import jwt
import pytest

from chatserver.auth.tokens import TokenVerifier
from chatserver.errors import Forbidden, Unauthorized, Unavailable
from chatserver.models import Principal, Role
from chatserver.services import sessions
from chatserver.services.sessions import SessionService
from tests.kit.proxy import Proxy
from tests.kit.services import Node, running_node

SECRET = "a-secret-for-tests-that-is-long-enough"


@pytest.fixture
async def node(database_url: str, proxy: Proxy) -> AsyncIterator[Node]:
    async with running_node(proxy.url(database_url), jwt__secret=SECRET) as node:
        await node.revocations.poll()
        yield node


def service(node: Node, ttl: float = 30) -> SessionService:
    verifier = TokenVerifier(node.settings.jwt)
    return SessionService(node.database, verifier, node.revocations, ttl)


def token(user_id: UUID | str, **claims: Any) -> str:
    body = {"sub": str(user_id), "exp": int(time.time()) + 60, **claims}
    return jwt.encode(body, SECRET, "HS256")


async def test_a_good_token_of_a_user_who_exists_is_a_caller(node: Node) -> None:
    user = await node.add_user()
    caller = await service(node).authenticate(token(user.user_id, role="owner"))
    assert (caller.user_id, caller.role) == (user.user_id, Role.OWNER)


async def test_every_bad_token_and_every_unknown_user_get_the_same_answer(node: Node) -> None:
    user = await node.add_user()
    bad = [None, "", "nonsense", token(user.user_id, exp=1), token("no uuid"), token(uuid4())]
    answers = []
    for each in bad:
        with pytest.raises(Unauthorized) as caught:
            await service(node).authenticate(each)
        answers.append(caught.value.to_dict())
    assert answers == [Unauthorized().to_dict()] * len(bad)


async def test_a_user_who_exists_is_believed_for_a_while(node: Node, proxy: Proxy) -> None:
    known, unknown = await node.add_user(), await node.add_user()
    long, short = service(node), service(node, ttl=0)
    for each in (long, short):
        await each.authenticate(token(known.user_id))
    proxy.refuse()
    assert (await long.authenticate(token(known.user_id))).user_id == known.user_id
    for each, user in ((short, known), (long, unknown)):
        with pytest.raises(Unavailable):
            await each.authenticate(token(user.user_id))


async def test_a_deleted_user_is_refused_when_the_while_is_over(node: Node) -> None:
    user = await node.add_user()
    session = service(node, ttl=0)
    await session.authenticate(token(user.user_id))
    await node.sql("DELETE FROM core.users WHERE id = :id", id=user.user_id)
    with pytest.raises(Unauthorized):
        await session.authenticate(token(user.user_id))


async def test_a_user_who_was_found_to_be_deleted_is_refused_at_once(node: Node) -> None:
    here, gone = await node.add_user(), await node.add_user()
    session = service(node)
    for user in (here, gone):
        await session.authenticate(token(user.user_id))
    await node.sql("DELETE FROM core.users WHERE id = :id", id=gone.user_id)
    assert await session.find_vanished([here.user_id, gone.user_id]) == {gone.user_id}
    await session.authenticate(token(here.user_id))
    with pytest.raises(Unauthorized):
        await session.authenticate(token(gone.user_id))


async def test_an_unknown_user_is_looked_up_again(node: Node) -> None:
    session, user_id = service(node), uuid4()
    with pytest.raises(Unauthorized):
        await session.authenticate(token(user_id))
    await node.sql("INSERT INTO core.users (id) VALUES (:id)", id=user_id)
    assert (await session.authenticate(token(user_id))).user_id == user_id


async def test_a_renewal_is_for_the_same_user(node: Node) -> None:
    session = service(node)
    one, two = await node.add_user(), await node.add_user()
    caller = await session.authenticate(token(one.user_id))
    later = int(time.time()) + 600
    renewed = await session.renew(caller, token(one.user_id, exp=later))
    assert renewed.expires_at.timestamp() == later
    with pytest.raises(Forbidden):
        await session.renew(caller, token(two.user_id))
    with pytest.raises(Unauthorized):
        await session.renew(caller, "nonsense")


async def test_only_so_many_users_are_remembered(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "MAX_CACHED_USERS", 3)
    session = service(node)
    for _ in range(5):
        await session.authenticate(token((await node.add_user()).user_id))
    assert len(session._known) == 3


async def test_a_crowd_of_callers_is_looked_up_over_one_connection(
    database_url: str,
) -> None:
    """Each gets the answer about themselves, those who do not exist among them."""
    async with running_node(
        database_url, jwt__secret=SECRET, database__pool_size=1, database__pool_timeout=0.001
    ) as node:
        await node.revocations.poll()
        users = [(await node.add_user()).user_id for _ in range(20)]
        asked = [each for user in users for each in (user, uuid4(), user)]
        session = service(node)
        answers = await asyncio.gather(
            *(session.authenticate(token(each)) for each in asked), return_exceptions=True
        )
        for user_id, answer in zip(asked, answers, strict=True):
            if user_id in users:
                assert isinstance(answer, Principal)
                assert answer.user_id == user_id
            else:
                assert isinstance(answer, Unauthorized)
