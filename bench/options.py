"""The options of `make bench`."""

import argparse
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from bench.clusters import CLUSTERS
from bench.targets import ROOT, TARGETS

SERVERS = {**TARGETS, **CLUSTERS}
SECTIONS = (
    "throughput", "latency", "alone", "sockets", "fanout", "stored", "conversations",
)  # fmt: skip


def options_of(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench", formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add(
        "--peers", type=_names(SERVERS), default=",".join(SERVERS), help="servers, by commas",
    )  # fmt: skip
    add("--sections", type=_names(SECTIONS), default=",".join(SECTIONS), help="by commas")
    add("--rounds", type=int, default=3, help="of all servers in turn")
    add("--seconds", type=float, default=10.0, help="of each load, after its warm-up")
    add("--pairs", type=int, default=200, help="of people, both connected")
    add("--windows", type=_numbers, default="1,4", help="messages on the way for each sender")
    add("--sockets", type=int, default=2000, help="idle ones")
    add("--stored", type=_numbers, default="10000,1000000,10000000", help="messages stored")
    add("--conversations", type=_numbers, default="10,1000", help="of one user")
    add("--calls", type=int, default=300, help="of each operation on stored messages")
    add("--results", type=Path, default=ROOT / ".data" / "bench.json", help="figures as JSON")
    add("--from", type=Path, dest="source", help="measure nothing, show these results")
    add("--write", action="store_true", help="put all into docs/performance.md")
    return parser.parse_args(arguments)


def _names(known: Iterable[str]) -> Callable[[str], list[str]]:
    def names(text: str) -> list[str]:
        chosen = text.split(",")
        if unknown := set(chosen) - set(known):
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}")
        return [name for name in known if name in chosen]

    return names


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]
