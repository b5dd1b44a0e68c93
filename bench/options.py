"""The options of `make bench`."""

import argparse
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from bench.clusters import CLUSTERS
from bench.targets import ROOT, TARGETS

SERVERS = {**TARGETS, **CLUSTERS}
AGAINST_RESULTS = ROOT / ".data" / "bench-against.json"
USUAL = [name for name, server in SERVERS.items() if server.is_usual]
SECTIONS = (
    "throughput", "latency", "alone", "sockets", "fanout", "stored", "conversations",
)  # fmt: skip


def options_of(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench", formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add(
        "--peers", type=_names(SERVERS), default=",".join(USUAL), help="servers, by commas",
    )  # fmt: skip
    add("--sections", type=_names(SECTIONS), default=",".join(SECTIONS), help="by commas")
    add("--rounds", type=int, default=3, help="of all servers in turn; 10 with --against")
    add("--seconds", type=float, default=10.0, help="of each load, after 2 s; 4 with --against")
    add("--pairs", type=int, default=200, help="of people, both connected")
    add("--windows", type=_numbers, default="1,4", help="messages on the way for each sender")
    add("--sockets", type=int, default=2000, help="idle ones")
    add("--stored", type=_numbers, default="10000,1000000,10000000", help="messages stored")
    add("--conversations", type=_numbers, default="10,1000", help="of one user")
    add("--calls", type=int, default=300, help="of each operation on stored messages")
    add("--results", type=Path, default=ROOT / ".data" / "bench.json", help="figures as JSON")
    add("--from", type=Path, dest="source", help="measure nothing, show these results")
    add("--write", action="store_true", help="put all into docs/performance.md")
    add("--against", metavar="COMMIT", help="measure only this server, beside that of a commit")
    add("--rate", type=float, default=0.0, help="messages/s with --against; 0: all that it takes")
    if "--against" in {argument.partition("=")[0] for argument in arguments}:
        parser.set_defaults(rounds=10, seconds=4.0, windows=[1], results=AGAINST_RESULTS)
    options = parser.parse_args(arguments)
    if options.against and (options.source or options.write):
        parser.error("--against has a table of its own: neither --from nor --write goes with it")
    return options


def _names(known: Iterable[str]) -> Callable[[str], list[str]]:
    def names(text: str) -> list[str]:
        chosen = text.split(",")
        if unknown := set(chosen) - set(known):
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}")
        return [name for name in known if name in chosen]

    return names


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]
