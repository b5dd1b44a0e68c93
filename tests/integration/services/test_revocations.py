"""Revocations: what they refuse, how nodes hear of them, and what they do without a database."""

import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from chatserver.errors import Forbidden, InvalidPayload, NotFound, Unavailable
from chatserver.models import Principal, Revocation, Role
from chatserver.repositories import revocations as repository
from chatserver.services import revocations
from chatserver.services.revocations import RevocationService
from tests.kit.proxy import Proxy
from tests.kit.services import Node, connected, principal, running_node

ADMIN = principal(uuid4(), Role.ADMIN)
LEEWAY = 30.0
POLL_TIMEOUT = revocations.POLL_TIMEOUT


@pytest.fixture
async def node(database_url: str, proxy: Proxy) -> AsyncIterator[Node]:
    async with running_node(proxy.url(database_url), database__pool_timeout=5.0) as node:
        await node.sql("DELETE FROM chat.revocations")
        await node.revocations.poll()
        yield node


@pytest.fixture
async def other(node: Node) -> RevocationService:
    """That of another node on the same database."""
    service = RevocationService(node.database, LEEWAY)
    await service.poll()
    return service


def caller(token_id: str | None = "") -> Principal:
    """Somebody new with a token of a minute ago, which has an id of its own."""
    return replace(
        principal(uuid4()),
        token_id=str(uuid4()) if token_id == "" else token_id,
        issued_at=datetime.now(UTC) - timedelta(minutes=1),
    )


def soon(seconds: float = 3600) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


# What is refused


async def test_a_revoked_token_is_refused_and_no_other_one_of_that_user(node: Node) -> None:
    one = caller()
    another, nameless = replace(one, token_id="another"), replace(one, token_id=None)
    revocation, is_new = await node.revocations.revoke(ADMIN, jti=one.token_id)
    assert (revocation.jti, revocation.user_id, is_new) == (one.token_id, None, True)
    assert node.revocations.refuses(one)
    assert not node.revocations.refuses(another)
    assert not node.revocations.refuses(nameless)


async def test_a_revoked_user_is_refused_with_every_token_issued_before(node: Node) -> None:
    one, someone_else = caller(token_id=None), caller()
    revocation, _ = await node.revocations.revoke(ADMIN, user_id=one.user_id)
    at = revocation.revoked_at
    for issued_at in (None, at - timedelta(days=400), at - timedelta(microseconds=1)):
        assert node.revocations.refuses(replace(one, issued_at=issued_at))
    for issued_at in (at, at + timedelta(seconds=1)):
        assert not node.revocations.refuses(replace(one, issued_at=issued_at))
    assert not node.revocations.refuses(someone_else)


async def test_a_user_id_as_a_token_id_is_another_thing(node: Node) -> None:
    one = caller()
    await node.revocations.revoke(ADMIN, jti=str(one.user_id))
    assert not node.revocations.refuses(one)
    assert node.revocations.refuses(replace(one, token_id=str(one.user_id)))


async def test_a_repeat_is_the_first_one_and_lasts_the_longer_of_both_lives(node: Node) -> None:
    early, late = soon(60), soon(600)
    first, is_new = await node.revocations.revoke(ADMIN, jti="it", expires_at=late)
    assert is_new
    for expires_at, then in ((early, late), (None, None), (early, None)):
        again, is_new = await node.revocations.revoke(ADMIN, jti="it", expires_at=expires_at)
        assert (again, is_new) == (replace(first, expires_at=then), False)
    assert await node.value("SELECT count(*) FROM chat.revocations") == 1


async def test_a_users_repeat_includes_what_was_issued_since(node: Node) -> None:
    one = caller()
    first, _ = await node.revocations.revoke(ADMIN, user_id=one.user_id)
    fresh = replace(one, issued_at=datetime.now(UTC))
    assert not node.revocations.refuses(fresh)
    again, is_new = await node.revocations.revoke(ADMIN, user_id=one.user_id)
    assert (again.id, is_new) == (first.id, False)
    assert again.revoked_at > first.revoked_at
    assert node.revocations.refuses(fresh)


async def test_it_stands_for_the_leeway_beyond_its_end_as_the_token_does(node: Node) -> None:
    one = caller()
    await node.sql(
        "INSERT INTO chat.revocations (jti, expires_at) VALUES (:jti, now() - interval '1 s')",
        jti=one.token_id,
    )
    await node.revocations.poll()
    assert node.revocations.refuses(one)
    strict = RevocationService(node.database, leeway=0)
    await strict.poll()
    assert not strict.refuses(one)


async def test_what_is_lifted_is_accepted_again_and_may_be_revoked_again(
    node: Node, other: RevocationService
) -> None:
    one = caller()
    for target in ({"jti": one.token_id}, {"user_id": one.user_id}):
        revocation, _ = await node.revocations.revoke(ADMIN, **target)
        await other.poll()
        assert other.refuses(one)
        await node.revocations.lift(ADMIN, revocation.id)
        assert not node.revocations.refuses(one)
        await other.poll()
        assert not other.refuses(one)
        with pytest.raises(NotFound):
            await node.revocations.lift(ADMIN, revocation.id)
        again, _ = await node.revocations.revoke(ADMIN, expires_at=soon(), **target)
        assert again.id == revocation.id
        assert again.expires_at is not None
        assert node.revocations.refuses(one)
        await node.revocations.lift(ADMIN, revocation.id)
    with pytest.raises(NotFound):
        await node.revocations.lift(ADMIN, uuid4())


@pytest.mark.parametrize("role", [Role.CLIENT, Role.OWNER, Role.AGENT])
async def test_only_the_host_and_operators_may(node: Node, role: Role) -> None:
    revocation, _ = await node.revocations.revoke(principal(uuid4(), Role.SERVICE), jti="it")
    stranger = principal(uuid4(), role)
    for attempt in (
        node.revocations.revoke(stranger, user_id=uuid4()),
        node.revocations.revoke(stranger, jti="it"),
        node.revocations.lift(stranger, revocation.id),
        node.revocations.lift(stranger, uuid4()),
    ):
        with pytest.raises(Forbidden):
            await attempt
    assert await node.value("SELECT count(*) FROM chat.revocations WHERE lifted_at IS NULL") == 1


async def test_a_time_that_is_over_revokes_nothing(node: Node) -> None:
    with pytest.raises(InvalidPayload) as caught:
        await node.revocations.revoke(ADMIN, jti="it", expires_at=soon(-1))
    assert set(caught.value.fields or ()) == {"expires_at"}
    assert await node.value("SELECT count(*) FROM chat.revocations") == 0


async def test_the_log_says_who_revoked_whom_and_never_a_token(node: Node) -> None:
    with capture_logs() as logs:
        revocation, _ = await node.revocations.revoke(ADMIN, jti="secret-token-id")
        await node.revocations.lift(ADMIN, revocation.id)
    assert [log["event"] for log in logs] == ["revoked", "revocation_lifted"]
    assert all(log["by"] == str(ADMIN.user_id) for log in logs)
    assert "secret-token-id" not in str(logs)


# How others hear


async def test_another_node_hears_by_its_next_poll_and_tells_its_listeners_once(
    node: Node, other: RevocationService
) -> None:
    told: list[int] = []
    other.on_change(lambda: told.append(1))
    one = caller()
    await node.revocations.revoke(ADMIN, jti=one.token_id)
    assert not other.refuses(one)
    for _ in range(3):
        await other.poll()
    assert other.refuses(one)
    assert told == [1]


async def test_the_hosts_own_sql_is_heard_too(node: Node, other: RevocationService) -> None:
    one, two = caller(), caller()
    await node.sql("INSERT INTO chat.revocations (user_id) VALUES (:id)", id=one.user_id)
    await node.sql(
        "INSERT INTO chat.revocations (jti, expires_at) VALUES (:jti, 'infinity')",
        jti=two.token_id,
    )
    await other.poll()
    assert other.refuses(one)
    assert other.refuses(two)


async def test_rows_that_commit_in_another_order_than_they_began_are_all_heard(
    node: Node, other: RevocationService, database_url: str
) -> None:
    early, late = caller(), caller()
    async with connected(database_url) as slow:
        await slow.execute("BEGIN")
        await slow.execute("INSERT INTO chat.revocations (jti) VALUES ($1)", early.token_id)
        await node.revocations.revoke(ADMIN, jti=late.token_id)
        # More polls than a mark is kept for.
        for _ in range(revocations.OVERLAP + 2):
            await other.poll()
        assert other.refuses(late)
        assert not other.refuses(early)
        await slow.execute("COMMIT")
    await other.poll()
    assert other.refuses(early)


async def test_a_new_node_knows_all_however_many(node: Node) -> None:
    people = [caller() for _ in range(3)]
    await node.sql(
        "INSERT INTO chat.revocations (jti) SELECT 'token-' || n FROM generate_series(1, 2500) n"
    )
    for one in people:
        await node.revocations.revoke(ADMIN, user_id=one.user_id)
    lifted, _ = await node.revocations.revoke(ADMIN, jti="lifted")
    await node.revocations.lift(ADMIN, lifted.id)
    new = RevocationService(node.database, LEEWAY)
    await new.poll()
    assert all(new.refuses(one) for one in people)
    assert all(new.refuses(caller(token_id=f"token-{n}")) for n in range(1, 2501))
    assert not new.refuses(caller(token_id="lifted"))
    assert len(new) == 2503


async def test_what_vanished_from_the_table_is_forgotten_when_all_is_read_anew(
    node: Node, other: RevocationService, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = caller()
    await node.revocations.revoke(ADMIN, jti=one.token_id)
    await other.poll()
    await node.sql("DELETE FROM chat.revocations")
    await other.poll()
    assert other.refuses(one)
    monkeypatch.setattr(revocations, "RELOAD_INTERVAL", 0.0)
    await other.poll()
    assert not other.refuses(one)


@pytest.mark.parametrize("reading", ["list_changes", "list_standing"])
async def test_a_poll_that_read_before_a_revocation_does_not_undo_it(
    node: Node, monkeypatch: pytest.MonkeyPatch, reading: str
) -> None:
    """The rows are read, then this node revokes, and only then the poll goes on."""
    one, two = caller(), caller()
    old, _ = await node.revocations.revoke(ADMIN, jti=two.token_id)
    read = getattr(repository, reading)

    async def read_and_revoke(*args: Any) -> Any:
        found = await read(*args)
        await node.revocations.revoke(ADMIN, jti=one.token_id)
        await node.revocations.lift(ADMIN, old.id)
        return found

    monkeypatch.setattr(repository, reading, read_and_revoke)
    monkeypatch.setattr(
        revocations, "RELOAD_INTERVAL", 0.0 if reading == "list_standing" else 600.0
    )
    await node.revocations.poll()
    assert node.revocations.refuses(one)
    assert not node.revocations.refuses(two)


# Without the database


async def test_before_anything_is_known_nobody_is_let_in(node: Node, proxy: Proxy) -> None:
    proxy.refuse()
    new = RevocationService(node.database, LEEWAY)
    await new.poll()
    with pytest.raises(Unavailable):
        new.refuses(caller())
    proxy.heal()
    await new.poll()
    assert not new.refuses(caller())


@pytest.mark.parametrize("fault", ["refuse", "blackhole"])
async def test_what_was_revoked_while_the_database_was_away_is_heard_after(
    node: Node, proxy: Proxy, database_url: str, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, missed = caller(), caller()
    await node.revocations.revoke(ADMIN, jti=known.token_id)
    getattr(proxy, fault)()
    with capture_logs() as logs, monkeypatch.context() as patch:
        patch.setattr(revocations, "POLL_TIMEOUT", POLL_TIMEOUT)
        for _ in range(2):
            started = time.monotonic()
            await node.revocations.poll()
            took = time.monotonic() - started
    assert [log["event"] for log in logs] == ["revocations_poll_failed"]
    assert node.revocations.age > took
    assert node.revocations.refuses(known)
    assert not node.revocations.refuses(missed)
    async with connected(database_url) as connection:
        await connection.execute("INSERT INTO chat.revocations (jti) VALUES ($1)", missed.token_id)
        # As by a host that does not stamp its changes: found because all is read anew.
        await connection.execute("UPDATE chat.revocations SET changed_xid = '3'")
    proxy.heal()
    healed = time.monotonic()
    await node.revocations.poll()
    assert node.revocations.age <= time.monotonic() - healed
    assert node.revocations.refuses(missed)


# The end


async def test_what_is_over_is_deleted_a_day_later(node: Node) -> None:
    async def add(jti: str, **times: str) -> None:
        columns = "".join(f", {name}" for name in times)
        values = "".join(f", now() + interval '{time}'" for time in times.values())
        await node.sql(
            f"INSERT INTO chat.revocations (jti{columns}) VALUES (:jti{values})", jti=jti
        )

    await add("stands")
    await add("stands with an end", expires_at="1 minute")
    await add("over", expires_at="-25 hours")
    await add("just over", expires_at="-23 hours")
    await add("lifted", lifted_at="-25 hours")
    await add("lifted with an end", lifted_at="-25 hours", expires_at="1 day")
    await add("just lifted", lifted_at="-23 hours")
    await node.revocations.delete_over()
    left = {row.jti for row in await node.sql("SELECT jti FROM chat.revocations")}
    assert left == {"stands", "stands with an end", "just over", "just lifted"}


async def test_a_row_names_exactly_one_target_and_times_that_can_be_read(node: Node) -> None:
    for columns, values in (
        ("revoked_at", "now()"),
        ("jti, user_id", "'it', gen_random_uuid()"),
        ("jti, expires_at", "'it', '20000-01-01'"),
        ("jti, expires_at", "'it', '-infinity'"),
        ("jti, revoked_at", "'it', 'infinity'"),
    ):
        with pytest.raises(Exception, match="CheckViolation"):
            await node.sql(f"INSERT INTO chat.revocations ({columns}) VALUES ({values})")


def test_revocations_of_others_are_no_news() -> None:
    known = revocations.Revocations(LEEWAY)
    now = datetime.now(UTC)
    one = Revocation(uuid4(), "one", None, now, None, is_lifted=False)
    assert known.learn([one])
    assert not known.learn([one])
    assert not known.learn([replace(one, is_lifted=True)])
    assert known.learn([one])
    assert not known.replace([one])
    assert not known.replace([])
    assert len(known) == 0
