"""A program whose clock is wrong: python -m tests.kit.wrong_clocks SECONDS chatserver serve …

The process has the time of day so many seconds later than the machine, in all that it
asks for it, the ids of messages included. How fast time passes is left alone.
"""

import ctypes
import gc
import runpy
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta, tzinfo
from typing import Any
from uuid import UUID

from uuid_utils import compat


def set_clock(seconds: int) -> None:
    """To be called before anybody takes any of these by its own name."""
    tell_time, tell_now, make_id = time.time, datetime.now, compat.uuid7

    def now(tz: tzinfo | None = None) -> datetime:
        return tell_now(tz) + timedelta(seconds=seconds)

    def uuid7() -> UUID:
        """The first 48 bits are the time, in milliseconds."""
        return UUID(int=make_id().int + (1000 * seconds << 80))

    time.time = lambda: tell_time() + seconds
    time.time_ns = lambda: int(1e9 * time.time())
    compat.uuid7 = uuid7  # type: ignore[assignment]
    replace(datetime, "now", now)


def replace(built_in: type, name: str, function: Callable[..., Any]) -> None:
    """The class of every `datetime` stays the same: only so does all that asks for it work.

    Python lets nobody change a type that is written in C, except through its dictionary.
    """
    (members,) = gc.get_referents(built_in.__dict__)
    members[name] = staticmethod(function)
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(built_in))


if __name__ == "__main__":
    _, seconds, *sys.argv = sys.argv
    set_clock(int(seconds))
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
