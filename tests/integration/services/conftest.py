"""Patience, for what the services wait for."""

from collections.abc import Iterator

import pytest

from chatserver.services import revocations
from chatserver.services.writer import CONNECTION_SETTINGS


@pytest.fixture(scope="module", autouse=True)
def patient() -> Iterator[None]:
    """A machine that stands still for a moment is no lock, and no database, that is away."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(CONNECTION_SETTINGS, "lock_timeout", "9s")
        patch.setattr(revocations, "POLL_TIMEOUT", 10.0)
        yield
