"""Patience with Redis, for tests of what nodes know through it.

Where the machine stands still for a moment, a node would else go by what it knows itself,
as it is to do when Redis is away. A program that is patient:

    python -m tests.kit.patient chatserver serve …
"""

import runpy
import sys

from chatserver.backplane import redis_bus, redis_calls

PATIENT = 5.0
"""The deadline of a call where Redis is there, in seconds: the machine may be busy."""

PARTITIONED_AFTER = 20.0
"""Seconds after which a node that hears nothing takes itself for partitioned."""


def be_patient() -> None:
    """To be called before anybody takes any of these by its own name."""
    redis_calls.TIMEOUT = PATIENT  # type: ignore[misc]
    redis_bus.PARTITIONED_AFTER = PARTITIONED_AFTER  # type: ignore[misc]


if __name__ == "__main__":
    _, *sys.argv = sys.argv
    be_patient()
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
