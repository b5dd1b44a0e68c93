"""The fault schedule of a plan: what breaks when."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

LINK_INJECTIONS = {"reset": 30, "blackhole": 20, "delay": 20, "half_close": 15, "refuse": 10,
                "cut_answer": 15, "cut_request": 10}  # fmt: skip
DATABASE_INJECTIONS = {"reset": 20, "blackhole": 10, "delay": 10, "refuse": 10, "cut_answer": 40}
PROCESS_INJECTIONS = ("kill_server", "stop_server", "restart_database", "kill_server",
                 "crash_database", "kill_server", "stop_server")  # fmt: skip

INJECTIONS_OF_SEVERAL = {
    "kill_server": ("process", 0.0, 1.5),
    "stop_server": ("process", 0.0, 1.5),
    "roll_servers": ("process", 0.0, 0.0),
    "restart_database": ("process", 0.0, 0.0),
    "crash_database": ("process", 0.0, 1.5),
    "crash_redis": ("process", 0.0, 7.0),
    "freeze_redis": ("process", 0.5, 6.0),
    "lock_rows": ("process", 0.5, 3.0),
    "stop_reading": ("process", 2.0, 5.0),
    "hang_up": ("process", 1.0, 5.0),
    "send_rubbish": ("process", 1.0, 5.0),
    "poison": ("process", 0.5, 3.0),
    "wrong_clock": ("process", 2.0, 6.0),
    "careless_balancer": ("process", 2.0, 6.0),
    "no_partition": ("process", 1.0, 5.0),
    "blackhole": ("redis", 0.5, 8.0),
    "refuse": ("redis", 0.5, 8.0),
    "stop_receiving": ("redis", 0.5, 8.0),
    "stop_receiving_once": ("redis", 3.0, 3.0),
    "delay": ("redis", 1.0, 6.0),
}
"""Of several nodes: what it happens to, and for how many seconds at least and at most."""


@dataclass(frozen=True, slots=True)
class Injection:
    """Something that breaks: a link (by its device's name; "database" or "redis": that of
    `node`) or a process."""

    at: float
    kind: str
    target: str
    seconds: float
    node: int = 0

    @property
    def target_kind(self) -> str:
        return self.target if self.target in ("database", "redis", "process") else "link"


def make_schedule(
    rng: random.Random, *, faults: str, seconds: float, names: Sequence[str], nodes: int
) -> list[Injection]:
    """In the order of time; `names` are the devices'.

    `faults`: "none", "slow" (the database answers late), "links" (the devices' and the
    database's), "all" (processes and Redis too), or a kind of INJECTIONS_OF_SEVERAL, alone.
    """
    found: list[Injection] = []
    if faults == "slow":
        found += [Injection(0.0, "delay", "database", seconds, node) for node in range(nodes)]
    if faults in ("links", "all"):
        found += _device_links(rng, seconds, names)
        found += _database_links(rng, seconds, nodes)
    if faults == "all" and nodes == 1:
        found += _one_after_another(rng, seconds)
    elif faults == "all":
        found += _single_and_in_pairs(rng, seconds, nodes, tuple(INJECTIONS_OF_SEVERAL))
    elif faults in INJECTIONS_OF_SEVERAL:
        found += _single_and_in_pairs(rng, seconds, nodes, (faults,))
    return sorted(found, key=lambda injection: injection.at)


def _device_links(rng: random.Random, seconds: float, names: Sequence[str]) -> Iterator[Injection]:
    at = 0.0
    while (at := at + rng.expovariate(len(names) / 8.0)) < seconds - 1.0:
        yield Injection(round(at, 3), _choose(rng, LINK_INJECTIONS), rng.choice(names),
                     round(rng.uniform(0.1, 3.0), 3))  # fmt: skip


def _database_links(rng: random.Random, seconds: float, nodes: int) -> Iterator[Injection]:
    at = 0.0
    while (at := at + rng.uniform(1.0, 5.0)) < seconds - 1.0:
        kind = _choose(rng, DATABASE_INJECTIONS)
        lasting = round(rng.uniform(0.05, 1.5), 3)
        node = rng.randrange(nodes) if nodes > 1 else 0
        yield Injection(round(at, 3), kind, "database", lasting, node)


def _one_after_another(rng: random.Random, seconds: float) -> Iterator[Injection]:
    at, number = rng.uniform(1.5, 4.0), rng.randrange(len(PROCESS_INJECTIONS))
    while at < seconds - 1.0:
        kind = PROCESS_INJECTIONS[number % len(PROCESS_INJECTIONS)]
        yield Injection(round(at, 3), kind, "process", round(rng.uniform(0.0, 1.5), 3))
        number += 1
        at += rng.uniform(4.0, 8.0)


def _single_and_in_pairs(
    rng: random.Random, seconds: float, nodes: int, kinds: Sequence[str]
) -> Iterator[Injection]:
    """Each kind once before any comes again; half of the times one soon after another."""
    left: list[str] = []
    at = rng.uniform(0.8, 2.0)
    while at < seconds - 1.0:
        for _ in range(rng.choice((1, 2))):
            left = left or rng.sample(kinds, len(kinds))
            kind = left.pop()
            target, least, most = INJECTIONS_OF_SEVERAL[kind]
            lasting = round(rng.uniform(least, most), 3)
            later = rng.uniform(0.0, 1.0)
            yield Injection(round(at + later, 3), kind, target, lasting, rng.randrange(nodes))
        at += rng.uniform(3.5, 7.0)


def _choose(rng: random.Random, weights: Mapping[str, int]) -> str:
    return rng.choices(list(weights), list(weights.values()))[0]
