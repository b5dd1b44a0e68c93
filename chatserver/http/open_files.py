"""File descriptors: how many the process may have, how many it has, and what is kept free."""

import resource
from pathlib import Path
from typing import Final

ENOUGH: Final = 1 << 20
"""Number of descriptors asked for where there is no limit."""


def raise_limit() -> int:
    """Allow this process all descriptors that it may allow itself; how many these are."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH if hard == resource.RLIM_INFINITY else hard
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return ENOUGH if soft == resource.RLIM_INFINITY else soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):  # macOS has another limit, which this one may not exceed
        return soft
    return wanted


def count_open() -> int:
    """Return the number of open descriptors of this process."""
    return sum(1 for _ in Path("/dev/fd").iterdir()) - 1  # less the one that reads the list
