"""CPU time and memory of whole trees of processes, from /proc."""

import os
from dataclasses import dataclass
from pathlib import Path

TICK = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds since the processes began."""

    server: float
    postgres: float
    generator: float

    def __sub__(self, other: "Usage") -> "Usage":
        return Usage(
            self.server - other.server,
            self.postgres - other.postgres,
            self.generator - other.generator,
        )


def tree(pid: int) -> list[int]:
    """`pid` and all that descends from it."""
    parents = _parents()
    found = [pid]
    for parent in found:
        found.extend(child for child, of in parents.items() if of == parent)
    return found


def cpu_seconds(pid: int) -> float:
    """CPU time of the tree of `pid`, with that of its children that have ended."""
    return sum(map(_own_seconds, tree(pid)))


def memory_bytes(pid: int) -> int:
    """The proportional set size of the tree of `pid`: shared pages are counted once."""
    return sum(map(_own_bytes, tree(pid)))


def measure(servers: list[int], postgres: int) -> Usage:
    """`servers` are the roots of the server's trees, `postgres` is the postmaster."""
    return Usage(sum(map(cpu_seconds, servers)), cpu_seconds(postgres), sum(os.times()[:2]))


def _parents() -> dict[int, int]:
    """The parent of every process that there is."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _fields(int(entry.name))):
            parents[int(entry.name)] = int(fields[1])
    return parents


def _fields(pid: int) -> list[str]:
    """Return the fields of /proc/<pid>/stat after the name; empty if the process ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _own_seconds(pid: int) -> float:
    # utime, stime, and those of children that were waited for.
    return sum(map(int, _fields(pid)[11:15])) * TICK


def _own_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
