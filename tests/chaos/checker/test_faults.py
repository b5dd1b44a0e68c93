"""The checker itself: it finds every planted fault, and nothing in the server as it is."""

from pathlib import Path

import pytest

from tests.chaos.checker.faults import FAULTS
from tests.chaos.checker.plans import Shape, make_plan
from tests.chaos.checker.runs import run
from tests.chaos.checker.strikes import SEVERAL_STRIKES
from tests.kit.postgres import Databases

SEEDS = {1: 3, 3: 20}
"""By the number of nodes; with 20, Redis is away until nobody keeps what it missed."""

ATTEMPTS = 6


def shape(around: str = "none", nodes: int = 1) -> Shape:
    """Few people in a hurry; something that breaks takes a little longer."""
    return Shape(
        seconds=3.0 if around in SEVERAL_STRIKES else 2.5,
        rate=120.0,
        clients=3,
        owners=2,
        outsiders=1,
        chats=6,
        faults=around,
        nodes=nodes,
    )


@pytest.mark.parametrize("name", FAULTS)
async def test_a_planted_fault_is_found(name: str, databases: Databases, tmp_path: Path) -> None:
    """Of a short run it depends on the machine, too, what happens at the same time."""
    fault = FAULTS[name]
    found = []
    for attempt in range(ATTEMPTS):
        plan = make_plan(SEEDS[fault.nodes] + attempt, shape(fault.around, fault.nodes))
        async with databases.migrated() as url:
            result = await run(
                plan, url, tmp_path / "server.log", fault=name, sought=fault.invariants
            )
        if fault.invariants & {violation.invariant for violation in result.violations}:
            return
        found += result.violations
    pytest.fail("\n".join(map(str, found)) or "nothing was found")


@pytest.mark.parametrize(
    ("around", "nodes"), sorted({(fault.around, fault.nodes) for fault in FAULTS.values()})
)
async def test_the_server_as_it_is_passes_the_same_run(
    around: str, nodes: int, databases: Databases, tmp_path: Path
) -> None:
    plan = make_plan(SEEDS[nodes], shape(around, nodes))
    async with databases.migrated() as url:
        result = await run(plan, url, tmp_path / "server.log")
    assert not result.violations, "\n".join(map(str, result.violations))
    assert len(result.history.latencies) > 50
