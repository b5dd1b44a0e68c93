"""The checker's command: `python -m tests.chaos.checker --seed N --seconds S`, or many seeds.

`--nodes 3`: on three nodes behind HAProxy, with Redis between them.
"""

import asyncio
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
import pytest

from tests.chaos.checker import faults
from tests.chaos.checker.fault_schedules import INJECTIONS_OF_SEVERAL
from tests.chaos.checker.plans import Shape, make_plan
from tests.chaos.checker.reports import describe, table_head, table_row, table_total
from tests.chaos.checker.results import Result
from tests.chaos.checker.runs import run
from tests.chaos.checker.servers import BUDGETS
from tests.kit.balancer import find_program
from tests.kit.postgres import Databases, running_postgres

RATES = (150.0, 80.0)
"""With one node; with several, which share a machine with all that is between them."""


@click.command()
@click.option("--seed", default=1, show_default=True, help="The first seed.")
@click.option("--seeds", default=1, show_default=True, help="How many seeds, one after another.")
@click.option("--seconds", default=20.0, show_default=True, help="How long everybody acts.")
@click.option("--rate", type=float, default=None,
              help="Actions in a second: 150 with one node, 80 with several.")  # fmt: skip
@click.option("--nodes", default=1, show_default=True, help="How many nodes.")
@click.option("--faults", "kinds",
              type=click.Choice(["none", "slow", "links", "all", *INJECTIONS_OF_SEVERAL]),
              default="all", show_default=True, help="What breaks meanwhile.")  # fmt: skip
@click.option("--plant", type=click.Choice(["none", *faults.FAULTS]), default="none",
              help="Have the server make a mistake, which is to be found.")  # fmt: skip
@click.option("--budgets", is_flag=True, help="Keep the budgets of users and addresses on.")
@click.option("--user-budget", metavar="LIMIT",
              help="That, and a user's is this, such as '1200/6 seconds'.")  # fmt: skip
@click.option("--log", type=click.Path(dir_okay=False, path_type=Path),
              help="Keep the server's log of the last seed here.")  # fmt: skip
def main(
    seed: int,
    seeds: int,
    seconds: float,
    rate: float | None,
    nodes: int,
    kinds: str,
    plant: str,
    budgets: bool,
    user_budget: str | None,
    log: Path | None,
) -> None:
    """Check the promise with random people while things break; exits with 1 if it is broken.

    The same seed and options give the same plan: who does what when, and what breaks.
    How a real network interleaves all that is never the same twice.
    """
    if nodes > 1:
        _check_balancer()
    rate = rate or RATES[nodes > 1]
    shape = Shape(seconds=seconds, rate=rate, faults=kinds, nodes=nodes)
    settings = BUDGETS if budgets or user_budget else {}
    if user_budget:
        settings = {**settings, "CHAT_RATE_LIMIT_USER": user_budget}
    results = []
    if seeds > 1:
        click.echo(table_head())
    with tempfile.TemporaryDirectory(prefix="chatserver-checker-") as directory:
        for number in range(seed, seed + seeds):
            file = log or Path(directory) / "server.log"
            planted = [] if plant == "none" else [plant]
            result = asyncio.run(_run(number, shape, planted, file, settings))
            if seeds > 1:
                click.echo(table_row(result))
            if seeds == 1 or result.violations:
                click.echo(describe(result), err=seeds > 1)
            results.append(result)
    if seeds > 1:
        click.echo(table_total(results))
    sys.exit(any(result.violations for result in results))


def _check_balancer() -> None:
    """Several nodes need HAProxy; for pytest its absence is another matter."""
    try:
        find_program("haproxy")
    except (pytest.skip.Exception, pytest.fail.Exception) as reason:
        raise click.ClickException(str(reason)) from None


async def _run(
    seed: int, shape: Shape, faults: Sequence[str], log: Path, settings: Mapping[str, str]
) -> Result:
    """One run, on a PostgreSQL of its own that may be restarted and killed."""
    postgres = running_postgres()
    server = await asyncio.to_thread(postgres.__enter__)
    try:
        async with Databases(server).migrated() as url:
            return await run(
                make_plan(seed, shape), url, log, postgres=server, faults=faults, settings=settings
            )
    finally:
        await asyncio.to_thread(postgres.__exit__, None, None, None)


if __name__ == "__main__":
    main()
