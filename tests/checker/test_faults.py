"""The checker itself: it finds every planted fault, and nothing in the server as it is."""

from pathlib import Path

import pytest

from tests.checker.faults import FAULTS
from tests.checker.plans import Shape, make_plan
from tests.checker.runs import run
from tests.kit.postgres import Databases

SEED = 3


def shape(around: str = "none") -> Shape:
    """Few people in a hurry."""
    return Shape(seconds=2.5, rate=120.0, clients=3, owners=2, outsiders=1, chats=6, faults=around)


@pytest.mark.parametrize("name", FAULTS)
async def test_a_planted_fault_is_found(name: str, databases: Databases, tmp_path: Path) -> None:
    fault = FAULTS[name]
    plan = make_plan(SEED, shape(fault.around))
    async with databases.migrated() as url:
        result = await run(plan, url, tmp_path / "server.log", fault=name, is_brief=True)
    found = {violation.invariant for violation in result.violations}
    assert found & fault.invariants, "\n".join(map(str, result.violations)) or "nothing was found"


@pytest.mark.parametrize("around", ["none", "slow"])
async def test_the_server_as_it_is_passes_the_same_run(
    around: str, databases: Databases, tmp_path: Path
) -> None:
    plan = make_plan(SEED, shape(around))
    async with databases.migrated() as url:
        result = await run(plan, url, tmp_path / "server.log")
    assert not result.violations, "\n".join(map(str, result.violations))
    assert len(result.history.latencies) > 50
