"""The pool: what its failures become, and what they never tell."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ArgumentError, DBAPIError

from chatserver.db.engine import (
    Database,
    StatementRefused,
    create_engine,
    describe,
    driver_url,
    is_transient,
    one_line,
)
from chatserver.errors import NotFound, Unavailable
from tests.kit.proxy import Proxy, postgres_upstream, running_proxy
from tests.kit.services import connected
from tests.kit.stalls import PATIENCE


@pytest.fixture
async def proxy(database_url: str) -> AsyncIterator[Proxy]:
    async with running_proxy(postgres_upstream(database_url)) as proxy:
        yield proxy


@pytest.fixture
async def database(database_url: str, proxy: Proxy) -> AsyncIterator[Database]:
    """A pool of two connections, by way of the proxy."""
    engine = create_engine(
        proxy.url(database_url), pool_size=2, pool_timeout=8.0, statement_timeout=8.0
    )
    yield Database(engine)
    await engine.dispose()


@pytest.fixture
async def hasty(database_url: str, proxy: Proxy) -> AsyncIterator[Database]:
    """The same, with short timeouts: on a busy machine anything may be unavailable."""
    engine = create_engine(
        proxy.url(database_url), pool_size=2, pool_timeout=0.3, statement_timeout=0.5
    )
    yield Database(engine)
    await engine.dispose()


async def ask(database: Database, query: str = "SELECT 1", **values: object) -> object:
    async with database.transaction() as connection:
        return (await connection.execute(text(query), values)).scalar()


async def read(database: Database, query: str = "SELECT 1") -> object:
    async with database.reads() as connection:
        return (await connection.execute(text(query))).scalar()


async def answers(database: Database) -> None:
    """Until it does: a busy machine is slower than some timeouts."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with suppress(Unavailable):
                assert await ask(database) == 1
                return


def test_every_spelling_of_a_postgresql_url_is_taken() -> None:
    for scheme in ("postgresql", "postgres", "postgresql+asyncpg"):
        assert driver_url(f"{scheme}://u:p%40@h:1/n").drivername == "postgresql+asyncpg"
    url = driver_url("postgresql://h/n?sslmode=require&application_name=x")
    assert dict(url.query) == {"ssl": "require", "application_name": "x"}
    with pytest.raises(ArgumentError):
        driver_url("nothing")


async def test_an_sslmode_reaches_the_driver(database_url: str, proxy: Proxy) -> None:
    """PostgreSQL speaks no TLS on the socket behind the proxy, and that is what is heard."""
    engine = create_engine(f"{proxy.url(database_url)}?sslmode=require", pool_size=1)
    with pytest.raises(Unavailable) as caught:
        await ask(Database(engine))
    assert "SSL" in str(caught.value.__cause__)
    await engine.dispose()


async def test_an_exception_in_the_block_rolls_back_and_passes_through(database: Database) -> None:
    with pytest.raises(NotFound):
        async with database.transaction() as connection:
            await connection.execute(text("INSERT INTO core.users VALUES (gen_random_uuid())"))
            raise NotFound
    assert await ask(database, "SELECT count(*) FROM core.users") == 0
    assert database.connections_in_use() == 0


async def test_later_statements_see_what_others_committed_whatever_the_database_prefers(
    database: Database, database_url: str
) -> None:
    async with connected(database_url) as connection:
        await connection.execute(
            "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_isolation"
            " = ''serializable''', current_database()); END $$"
        )
    assert await ask(database, "SHOW transaction_isolation") == "read committed"


async def test_a_database_that_is_away_is_unavailable_and_comes_back(
    database: Database, proxy: Proxy
) -> None:
    assert await ask(database) == 1
    proxy.refuse()
    for _ in range(3):
        with pytest.raises(Unavailable) as caught:
            await ask(database)
        assert caught.value.retryable
        assert caught.value.retry_after == 1.0
    proxy.heal()
    assert await ask(database) == 1


async def test_a_connection_that_is_cut_in_a_transaction_is_unavailable(
    database: Database, proxy: Proxy
) -> None:
    with pytest.raises(Unavailable):
        async with database.transaction() as connection:
            await connection.execute(text("INSERT INTO core.users VALUES (gen_random_uuid())"))
            proxy.reset()
            await connection.execute(text("SELECT 1"))
    assert await ask(database, "SELECT count(*) FROM core.users") == 0


async def test_a_commit_whose_reply_is_cut_off_is_unavailable_and_has_happened(
    database: Database, proxy: Proxy
) -> None:
    cut = proxy.cut_after(b"COMMIT")
    with pytest.raises(Unavailable):
        await ask(database, "INSERT INTO core.users VALUES (gen_random_uuid()) RETURNING 1")
    assert cut.done.is_set()
    assert await ask(database, "SELECT count(*) FROM core.users") == 1


async def test_a_commit_that_never_arrives_has_not_happened(
    database: Database, proxy: Proxy
) -> None:
    proxy.cut_before(b"COMMIT")
    with pytest.raises(Unavailable):
        await ask(database, "INSERT INTO core.users VALUES (gen_random_uuid()) RETURNING 1")
    assert await ask(database, "SELECT count(*) FROM core.users") == 0


async def test_a_database_that_hangs_is_given_up(hasty: Database, proxy: Proxy) -> None:
    await answers(hasty)
    proxy.blackhole()
    with pytest.raises(Unavailable):
        await ask(hasty)
    proxy.heal()
    await answers(hasty)


async def test_a_slow_statement_is_unavailable(hasty: Database) -> None:
    with pytest.raises(Unavailable):
        await ask(hasty, "SELECT pg_sleep(5)")


async def test_an_exhausted_pool_is_unavailable(hasty: Database) -> None:
    async with hasty.transaction(), hasty.transaction():
        assert hasty.connections_in_use() == 2
        with pytest.raises(Unavailable) as caught:
            await ask(hasty)
        assert (caught.value.retry_after or 9) <= 2
    await answers(hasty)


async def test_a_server_without_free_connections_is_unavailable(database_url: str) -> None:
    """What asyncpg says while it connects arrives without SQLAlchemy's wrapping."""
    async with connected(database_url) as admin:
        await admin.execute("CREATE ROLE crowded LOGIN CONNECTION LIMIT 0")
        engine = create_engine(database_url.replace("postgres@", "crowded@"), pool_size=1)
        try:
            with pytest.raises(Unavailable):
                await ask(Database(engine))
        finally:
            await engine.dispose()
            await admin.execute("DROP ROLE crowded")


@pytest.mark.parametrize(
    ("query", "values", "said"),
    [
        ("SELECT CAST(:text AS bigint)", {"text": "secret"}, "DataError"),
        ("SELECT CAST(CAST(:text AS text) AS bigint)", {"text": "secret"}, "22P02"),
        (
            "INSERT INTO core.listings VALUES (gen_random_uuid(), gen_random_uuid(), :text)",
            {"text": "secret"},
            "23503 listings listings_owner_user_id_fkey",
        ),
        ("SELECT :text || CAST(2^70 AS bigint)", {"text": "secret"}, "22003"),
        (
            "INSERT INTO chat.unread_totals SELECT gen_random_uuid(), -length(:text)",
            {"text": "secret"},
            "23514 unread_totals unread_totals_unread_count_check new row",
        ),
        ("SELECT nothing FROM chat.messages WHERE content = :text", {"text": "secret"}, "42703"),
    ],
)
async def test_a_refused_statement_says_what_was_wrong_and_never_with_what(
    database: Database, query: str, values: dict[str, object], said: str
) -> None:
    with pytest.raises(StatementRefused) as caught:
        await ask(database, query, **values)
    assert said in str(caught.value)
    assert caught.value.__suppress_context__
    assert "secret" not in str(caught.value)
    assert await ask(database) == 1


async def test_an_error_of_sqlalchemy_itself_holds_no_values(database: Database) -> None:
    with pytest.raises(DBAPIError) as caught:
        async with database.engine.connect() as connection:
            await connection.execute(text("SELECT nothing, :text"), {"text": "secret"})
    assert "secret" not in str(caught.value)


def test_only_the_outside_is_transient() -> None:
    assert is_transient(TimeoutError())
    assert is_transient(ConnectionRefusedError())
    assert not is_transient(ValueError())
    assert describe(ValueError("x")) == "ValueError"


async def test_one_line_is_for_an_operator(proxy: Proxy, database: Database) -> None:
    proxy.refuse()
    with pytest.raises(Unavailable) as caught:
        await ask(database)
    line = one_line(caught.value.__cause__ or caught.value)
    assert line
    assert "\n" not in line


@pytest.mark.parametrize("ask", [ask, read])
async def test_a_cancelled_request_leaves_the_next_one_its_own_answer(
    database: Database, ask: Callable[[Database, str], Coroutine[None, None, object]]
) -> None:
    async def cancelled(number: int) -> None:
        task = asyncio.create_task(
            ask(database, f"SELECT {number} FROM (SELECT pg_sleep(0.01)) AS slept")
        )
        await asyncio.sleep(number / 1000)
        task.cancel()
        await asyncio.wait([task])

    for number in range(15):
        await cancelled(number)
        assert await ask(database, f"SELECT {number + 1000}") == number + 1000
    assert database.connections_in_use() == 0


async def test_a_migration_under_a_prepared_statement_passes(
    database: Database, database_url: str
) -> None:
    """Asked again, it is prepared anew."""
    query = "SELECT * FROM core.users"
    async with database.transaction() as held:
        await held.execute(text(query))
    async with connected(database_url) as connection:
        await connection.execute("ALTER TABLE core.users ADD COLUMN added text")
    with pytest.raises(Unavailable):
        await ask(database, query)
    assert await ask(database, query) is None


async def test_reads_are_sent_without_a_transaction_around_them(
    database: Database, proxy: Proxy
) -> None:
    assert await ask(database) == 1, "connected, which takes transactions"
    cuts = [proxy.cut_before(word) for word in (b"BEGIN", b"COMMIT", b"ROLLBACK")]
    assert await read(database) == 1
    assert not any(cut.done.is_set() for cut in cuts)


async def test_each_of_several_reads_sees_what_was_committed_before_it(
    database: Database,
) -> None:
    count = text("SELECT count(*) FROM core.users")
    async with database.reads() as connection:
        assert (await connection.execute(count)).scalar() == 0
        await ask(database, "INSERT INTO core.users VALUES (gen_random_uuid()) RETURNING 1")
        assert (await connection.execute(count)).scalar() == 1


async def test_a_transaction_after_a_read_of_the_same_connection_rolls_back_again(
    database: Database,
) -> None:
    process = "SELECT pg_backend_pid()"
    read_by = await read(database, process)
    with pytest.raises(NotFound):
        async with database.transaction() as connection:
            assert (await connection.execute(text(process))).scalar() == read_by
            await connection.execute(text("INSERT INTO core.users VALUES (gen_random_uuid())"))
            raise NotFound
    assert await read(database, "SELECT count(*) FROM core.users") == 0


async def test_a_failed_read_is_told_as_a_failed_transaction_is(
    database: Database, proxy: Proxy
) -> None:
    with pytest.raises(StatementRefused):
        await read(database, "SELECT nothing")
    with pytest.raises(Unavailable):
        async with database.reads() as connection:
            proxy.reset()
            await connection.execute(text("SELECT 1"))
    assert await ask(database) == 1
    assert database.connections_in_use() == 0


async def test_a_lane_lets_few_in_and_the_others_wait_for_their_turn(database: Database) -> None:
    bulkhead = database.bulkhead(1, patience=PATIENCE)
    async with bulkhead.transaction():
        waiting = asyncio.create_task(ask(bulkhead))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        assert (bulkhead.connections_in_use(), database.connections_in_use()) == (1, 1)
        assert await ask(database) == 1, "the pool has more, for others"
    assert await waiting == 1
    assert bulkhead.connections_in_use() == 0


async def test_whoever_waits_too_long_for_a_lane_is_refused_and_leaves_it_whole(
    database: Database,
) -> None:
    bulkhead = database.bulkhead(1, patience=0.05)
    async with bulkhead.transaction():
        with pytest.raises(Unavailable):
            await ask(bulkhead)
        gone = asyncio.create_task(ask(bulkhead))
        await asyncio.sleep(0)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
    with pytest.raises(NotFound):
        async with bulkhead.transaction():
            raise NotFound
    assert await ask(bulkhead) == 1


async def test_a_lane_of_a_lane_is_a_part_of_its_width(database: Database) -> None:
    outer = database.bulkhead(1, patience=0.05)
    inner = outer.bulkhead(1, patience=5.0)
    async with outer.transaction():
        with pytest.raises(Unavailable):
            await ask(inner)
    async with inner.transaction():
        assert (inner.connections_in_use(), outer.connections_in_use()) == (1, 1)
        with pytest.raises(Unavailable):
            await ask(outer)
    assert (await ask(inner), await ask(outer)) == (1, 1)
