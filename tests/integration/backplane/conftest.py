"""What the tests of a backplane have in common."""

import pytest

from chatserver.backplane import redis_bus
from tests.kit.patient import PARTITIONED_AFTER


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that was given no CPU for a while does not take itself for partitioned."""
    monkeypatch.setattr(redis_bus, "PARTITIONED_AFTER", PARTITIONED_AFTER)
