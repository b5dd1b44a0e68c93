"""Short runs of the checker: everything breaks, and the promise holds. Long: `make chaos`."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.chaos.checker.__main__ import main
from tests.chaos.checker.plans import Shape, make_plan
from tests.chaos.checker.reports import describe
from tests.chaos.checker.runs import run
from tests.kit.postgres import Databases, running_postgres

SEED = 7
SHORT = Shape(seconds=8.0, rate=110.0, clients=4, owners=2, outsiders=1, chats=8)
SEVERAL = replace(SHORT, rate=70.0, nodes=3)


@pytest.mark.parametrize(("shape", "seed"), [(SHORT, SEED), (SEVERAL, 21), (SEVERAL, 80)])
async def test_the_promise_holds_while_everything_breaks(
    shape: Shape, seed: int, tmp_path: Path
) -> None:
    """Links, the servers, Redis and PostgreSQL, which is therefore one of its own."""
    plan = make_plan(seed, shape)
    with running_postgres() as postgres:
        async with Databases(postgres).migrated() as url:
            result = await run(plan, url, tmp_path / "server.log", postgres=postgres)
    assert not result.violations, describe(result)
    assert len(result.history.latencies) > 3 * shape.rate, describe(result)
    assert result.starts > shape.nodes, "no server was ever restarted: choose another seed"


def test_the_command_prints_the_seed_and_the_evidence_and_fails() -> None:
    options = ["--seed", "5", "--seconds", "1.5", "--faults", "none"]
    result = CliRunner().invoke(main, [*options, "--plant", "automatic_delivered"])
    assert result.exit_code == 1, result.output
    assert result.output.startswith("seed 5, plan ")
    assert "invariant 7, conversation " in result.output
    assert re.search(r"^    (applied|synced) .*rev \d+", result.output, re.MULTILINE)
