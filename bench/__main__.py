"""`make bench`: runs what is asked for, prints the table, and writes it down if told to."""

import argparse
import gc
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import orjson
import uvloop

from bench import against, documents, machines, tables
from bench.checkouts import CheckoutError
from bench.databases import VoidRun
from bench.options import SERVERS, options_of
from bench.rounds import Plan, Round
from bench.scaling import Scaling
from bench.targets import TargetError
from chatserver.dev.postgres import EmbeddedPostgres

SERVER_SECTIONS = frozenset[str]().union(*(target.sections for target in SERVERS.values()))
CONVERSATIONS_OF_LANDLORD = 100
MESSAGES_BESIDE = 100_000
"""Stored while the number of one user's conversations grows."""

POSTGRES = {"shared_buffers": "512MB", "max_wal_size": "4GB", "max_connections": "100"}
"""The same for every server; the rest is as PostgreSQL comes, so COMMIT waits for the disk."""

Results = dict[str, Any]


async def run(options: argparse.Namespace, postgres: EmbeddedPostgres, directory: Path) -> Results:
    """Measure all that was asked for; raises VoidRun when a server broke its promise."""
    results: Results = {
        "machine": machines.describe(),
        "options": {name: str(value) for name, value in vars(options).items()},
        "rounds": {name: [] for name in options.peers},
        "stored": [],
        "conversations": [],
    }
    await _run_rounds(options, postgres, directory, results)
    scaling = Scaling(postgres, directory, options.calls)
    if "stored" in options.sections:
        for count in options.stored:
            _say(f"{count:,} messages stored")
            results["stored"].append(await scaling.run(count, CONVERSATIONS_OF_LANDLORD))
    if "conversations" in options.sections:
        for count in options.conversations:
            _say(f"{count:,} conversations of one user")
            results["conversations"].append(await scaling.run(MESSAGES_BESIDE, count))
    return results


async def _against(
    options: argparse.Namespace, postgres: EmbeddedPostgres, directory: Path
) -> Results:
    return {
        "machine": machines.describe(),
        **await against.run(options, postgres, directory, _say),
    }


async def _run_rounds(
    options: argparse.Namespace, postgres: EmbeddedPostgres, directory: Path, results: Results
) -> None:
    sections = SERVER_SECTIONS & set(options.sections)
    plan = Plan(sections, options.seconds, options.pairs, options.windows, options.sockets)
    for number in range(options.rounds if sections else 0):
        # In turn, so that what the machine does meanwhile does not hit one server alone.
        for name in options.peers:
            _say(f"round {number + 1} of {options.rounds}: {name}")
            gc.collect()
            one = Round(SERVERS[name], postgres, directory, plan)
            results["rounds"][name].append(await one.run())


def _say(what: str) -> None:
    print(f"bench: {time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)


def measure(options: argparse.Namespace) -> Results:
    directory = Path(tempfile.mkdtemp(prefix="chatserver-bench-"))
    # A collection in the generator would look like a slow server.
    gc.disable()
    try:
        with EmbeddedPostgres(directory / "postgres", options=POSTGRES, tcp=True) as postgres:
            if options.against:
                return uvloop.run(_against(options, postgres, directory))
            return uvloop.run(run(options, postgres, directory))
    except (VoidRun, TargetError, CheckoutError) as error:
        sys.exit(f"bench: {error} (logs: {_kept_logs(directory)})")
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _kept_logs(directory: Path) -> Path:
    kept = Path(tempfile.mkdtemp(prefix="chatserver-bench-logs-"))
    for log in directory.glob("*.log"):
        shutil.copy(log, kept)
    return kept


def main() -> None:
    options = options_of(sys.argv[1:])
    if options.source is not None:
        results = orjson.loads(options.source.read_bytes())
    else:
        results = measure(options)
        options.results.parent.mkdir(parents=True, exist_ok=True)
        options.results.write_bytes(orjson.dumps(results, option=orjson.OPT_INDENT_2))
        _say(f"results are in {options.results}")
    print(against.render(results) if options.against else tables.render(results))
    if options.write:
        from bench import plots  # noqa: PLC0415  # the one part that needs matplotlib

        documents.write(results, plots.draw(results))


if __name__ == "__main__":
    main()
