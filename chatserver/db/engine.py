"""The connection pool, and what its failures mean."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any

import asyncpg
from sqlalchemy import URL, make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from chatserver.errors import Unavailable

CONNECT_TIMEOUT = 5.0
RETRY_AFTER = 1.0


def create_engine(
    url: str,
    *,
    pool_size: int,
    pool_timeout: float = 2.0,
    statement_timeout: float = 10.0,
    server_settings: dict[str, str] | None = None,
    **options: Any,
) -> AsyncEngine:
    """A pool of at most `pool_size` connections to the PostgreSQL at `url`.

    `url` may begin with `postgresql://` or `postgres://`, and may have libpq's
    `sslmode`. Nothing is connected yet. A statement that takes longer than
    `statement_timeout` seconds is ended by PostgreSQL, and by this side two seconds
    later where PostgreSQL does not answer.
    """
    milliseconds = str(int(statement_timeout * 1000))
    return create_async_engine(
        driver_url(url),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=pool_timeout,
        hide_parameters=True,
        connect_args={
            "timeout": CONNECT_TIMEOUT,
            "command_timeout": statement_timeout + 2,
            "server_settings": {
                "application_name": "chatserver",
                "jit": "off",
                "statement_timeout": milliseconds,
                "idle_in_transaction_session_timeout": milliseconds,
                "timezone": "UTC",
                # What the locks protect is read by a later statement.
                "default_transaction_isolation": "read committed",
                **(server_settings or {}),
            },
        },
        **options,
    )


def driver_url(url: str) -> URL:
    """`url` as SQLAlchemy and asyncpg take it. Raises ValueError or ArgumentError."""
    parsed = make_url(url).set(drivername="postgresql+asyncpg")
    if "sslmode" not in parsed.query:
        return parsed
    ssl = parsed.query["sslmode"]
    return parsed.difference_update_query(["sslmode"]).update_query_dict({"ssl": ssl})


# Reached, but not able to serve now: shutting down, starting up, out of
# connections, disk full, a lock or a statement that took too long.
_TRANSIENT = (
    asyncpg.PostgresConnectionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,
    asyncpg.CannotConnectNowError,
    asyncpg.LockNotAvailableError,
    asyncpg.TransactionRollbackError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InterfaceError,
    # A migration, or the host's own, has changed a table: the next time it is prepared anew.
    asyncpg.InvalidCachedStatementError,
    # What the next user of a connection gets on which PostgreSQL said goodbye, or anything
    # else that nobody had asked for.
    asyncpg.InternalClientError,
    InterfaceError,
    OperationalError,
    PoolTimeout,
    OSError,
    TimeoutError,
)


# Before 2.1, SQLAlchemy lets asyncpg's own through where a connection is being opened.
_FROM_DATABASE = (
    DBAPIError,
    PoolTimeout,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)


def is_transient(error: BaseException) -> bool:
    """Return whether the database is away or busy, not that a statement is wrong."""
    return any(isinstance(cause, _TRANSIENT) for cause in _causes(error))


def is_lock_conflict(error: BaseException) -> bool:
    """Return whether `error` is a lock that was not free in time, or a deadlock."""
    kinds = (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError)
    return any(isinstance(cause, kinds) for cause in _causes(error))


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or getattr(seen, "orig", None)


class StatementRefused(Exception):
    """PostgreSQL refused a statement. Says what was wrong, never with what values."""


def describe(error: BaseException) -> str:
    """Return PostgreSQL's message, for the log: without a DETAIL, which may hold a whole row."""
    *_, last = causes = list(_causes(error))
    kinds = (asyncpg.PostgresError, asyncpg.InterfaceError)
    root = next((cause for cause in causes if isinstance(cause, kinds)), last)
    places = (getattr(root, name, None) for name in ("sqlstate", "table_name", "constraint_name"))
    words = [type(root).__name__, *(str(place) for place in places if place)]
    # A DataError is about a value, and quotes it.
    if isinstance(root, asyncpg.PostgresError) and not isinstance(root, asyncpg.DataError):
        words.append(root.args[0])
    return " ".join(words)


def one_line(error: BaseException) -> str:
    """Describe what is wrong with the database, for an operator: one line, without SQL."""
    return " ".join(str(getattr(error, "orig", None) or error).split())[:200]


def unavailable() -> Unavailable:
    """Return the error that a caller is told while the database is away."""
    return Unavailable("The database is not available right now.", retry_after=RETRY_AFTER)


class _Bulkhead:
    """Lets `width` in at once; whoever has waited `patience` seconds gets a TimeoutError.

    From a bulkhead one goes on into the `outer` one, if there is one.
    """

    def __init__(self, width: int, patience: float, outer: "_Bulkhead | None") -> None:
        self.in_use = 0
        self._places = asyncio.Semaphore(width)
        self._patience = patience
        self._outer = outer

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        async with asyncio.timeout(self._patience):
            await self._places.acquire()
        self.in_use += 1
        try:
            async with nullcontext() if self._outer is None else self._outer.place():
                yield
        finally:
            self.in_use -= 1
            self._places.release()


class Database:
    """Gives out connections and transactions; a database that is away is `Unavailable`."""

    def __init__(self, engine: AsyncEngine, bulkhead: _Bulkhead | None = None) -> None:
        self.engine = engine
        self._autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._bulkhead = bulkhead

    def bulkhead(self, width: int, patience: float, **execution_options: Any) -> "Database":
        """The same pool for callers of whom there may be many: `width` of them at a time.

        The others wait for their turn, at most `patience` seconds, then they raise
        Unavailable. So they do not stand in the way of those who share the pool and depend
        on a free connection. A bulkhead of a bulkhead is a part of its width.
        """
        engine = self.engine.execution_options(**execution_options)
        return Database(engine, _Bulkhead(width, patience, self._bulkhead))

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """One transaction: committed at the end of the block, rolled back on an exception.

        Raises Unavailable when the database is away or no connection is free in
        time, and StatementRefused when a statement is at fault. When the COMMIT itself
        was cut off, the transaction may have happened.
        """
        async with self._begin(self.engine) as connection:
            yield connection

    @asynccontextmanager
    async def reads(self) -> AsyncIterator[AsyncConnection]:
        """For statements that read and lock nothing; raises as `transaction`.

        Each sees what was committed when it began. So it does in a transaction, of which
        BEGIN and COMMIT would be two round trips more.
        """
        async with self._begin(self._autocommit) as connection:
            yield connection

    @asynccontextmanager
    async def _begin(self, engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
        try:
            async with self._place(), engine.begin() as connection:
                yield connection
        except _FROM_DATABASE as error:
            if is_transient(error):
                raise unavailable() from error
            # In its place, for it quotes the statement's values: they belong in no log.
            refused = StatementRefused(describe(error))
            raise refused.with_traceback(error.__traceback__) from None

    def _place(self) -> AbstractAsyncContextManager[None]:
        return nullcontext() if self._bulkhead is None else self._bulkhead.place()

    def connections_in_use(self) -> int:
        """Number of connections in use in its bulkhead; without one, in the pool."""
        if self._bulkhead is not None:
            return self._bulkhead.in_use
        pool = self.engine.pool
        assert isinstance(pool, AsyncAdaptedQueuePool)
        return pool.checkedout()

    async def dispose(self) -> None:
        await self.engine.dispose()
