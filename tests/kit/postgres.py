"""A real PostgreSQL for tests, and a fresh database in it for each."""

import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from chatserver.db import migrations
from chatserver.dev.directories import DataDirectory, DirectoryError
from chatserver.dev.postgres import EmbeddedPostgres

# Files need not survive the machine's end. A killed PostgreSQL still keeps every
# commit, because synchronous_commit stays on: fault tests rely on that.
FAST = {
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "max_wal_size": "128MB",
}

# Copying a database there takes 10 ms, on a disk 70; containers often have very little.
_MEMORY = Path("/dev/shm")
_ENOUGH_MEMORY = 2**31

_PREFIX = "chatserver-test-"
_TEMPLATE = "migrated"


@contextmanager
def running_postgres(*, tcp: bool = False, **options: str) -> Iterator[EmbeddedPostgres]:
    """A server of one's own, for tests that stop, kill or reconfigure it."""
    place = _fast_place() or Path(tempfile.gettempdir())
    remove_abandoned(place)
    directory = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
    try:
        with EmbeddedPostgres(directory, options={**FAST, **options}, tcp=tcp) as server:
            yield server
    finally:
        shutil.rmtree(directory)


def remove_abandoned(place: Path) -> None:
    """Remove what runs that were killed, over ten minutes ago, left in `place`."""
    for lock in place.glob(f"{_PREFIX}*/lock"):
        directory = DataDirectory(lock.parent)
        with suppress(OSError, DirectoryError):
            if time.time() - lock.stat().st_mtime > 600:
                directory.claim()
                shutil.rmtree(lock.parent)
        directory.release()


def _fast_place() -> Path | None:
    """Return the directory for files in memory; None where there is none."""
    if not os.access(_MEMORY, os.W_OK) or shutil.disk_usage(_MEMORY).free < _ENOUGH_MEMORY:
        return None
    return _MEMORY


class Databases:
    """Databases in a running server, made when asked for and removed after use."""

    def __init__(self, server: EmbeddedPostgres) -> None:
        self.server = server
        self._has_template = False

    @asynccontextmanager
    async def empty(self) -> AsyncIterator[str]:
        """The URL of a database with nothing in it."""
        async with self._database(template=None) as url:
            yield url

    @asynccontextmanager
    async def migrated(self) -> AsyncIterator[str]:
        """The URL of a database with all migrations: a copy of one template."""
        if not self._has_template:
            await self._make_template()
        async with self._database(_TEMPLATE) as url:
            yield url

    async def _make_template(self) -> None:
        await self.server.drop_database(_TEMPLATE)
        await self.server.create_database(_TEMPLATE)
        await migrations.upgrade(self.server.url(_TEMPLATE))
        self._has_template = True

    @asynccontextmanager
    async def _database(self, template: str | None) -> AsyncIterator[str]:
        name = f"test_{uuid4().hex}"
        await self.server.create_database(name, template)
        try:
            yield self.server.url(name)
        finally:
            await self.server.drop_database(name)
