"""Mistakes that a server might make, each of which the checker has to find.

They run only in a server process started for that, by `tests.chaos.checker.faulty`.
"""

from tests.chaos.checker.faults import access, leftovers, receipts, several, storing, telling
from tests.chaos.checker.faults.planting import FAULTS

__all__ = ["FAULTS", "access", "leftovers", "plant", "receipts", "several", "storing", "telling"]


def plant(names: str) -> None:
    """Make the mistakes of these names, with commas between them, from now on."""
    for name in filter(None, names.split(",")):
        FAULTS[name].plant()
