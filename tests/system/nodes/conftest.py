"""A Redis, and nodes in this process that share it and a database."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from chatserver.backplane import redis_bus
from chatserver.backplane.redis_leases import RedisLeases
from chatserver.backplane.redis_limits import RedisRateLimits
from chatserver.dev.redis import EmbeddedRedis
from chatserver.sio import cluster_adapter
from tests.kit.patient import PARTITIONED_AFTER, PATIENT


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """To these nodes a machine that stands still for a moment is no Redis that is away."""
    monkeypatch.setattr(redis_bus, "PARTITIONED_AFTER", PARTITIONED_AFTER)
    monkeypatch.setattr(redis_bus, "MAX_AGE", 20.0)
    monkeypatch.setattr(cluster_adapter, "LISTEN_TIMEOUT", PATIENT)
    for kind in (RedisLeases, RedisRateLimits):
        create: Any = kind.__init__
        monkeypatch.setitem(create.__kwdefaults__, "timeout", PATIENT)


@pytest.fixture
async def redis() -> AsyncIterator[EmbeddedRedis]:
    """One that the test may kill or freeze."""
    async with EmbeddedRedis() as server:
        yield server
