"""A PostgreSQL of the benchmark's kind: all its servers connect over TCP."""

from collections.abc import Iterator

import pytest

from chatserver.dev.postgres import EmbeddedPostgres
from tests.kit.postgres import running_postgres


@pytest.fixture(scope="package")
def bench_postgres() -> Iterator[EmbeddedPostgres]:
    with running_postgres(tcp=True) as server:
        yield server
