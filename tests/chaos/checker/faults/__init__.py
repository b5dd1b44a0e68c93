"""Mistakes that a server might make, each of which the checker has to find.

They run only in a server process started for that, by `tests.chaos.checker.faulty`.
"""

from tests.chaos.checker.faults import access, leftovers, receipts, several, storing, telling
from tests.chaos.checker.faults.planting import FAULTS

__all__ = ["FAULTS", "access", "leftovers", "plant", "receipts", "several", "storing", "telling"]


def plant(name: str) -> None:
    """Make the mistake of that name from now on; "none" makes none."""
    if name != "none":
        FAULTS[name].plant()
