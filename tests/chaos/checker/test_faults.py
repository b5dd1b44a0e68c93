"""The checker itself: it finds every planted fault, and nothing in the server as it is."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.chaos.checker.faults import FAULTS
from tests.chaos.checker.reports import describe
from tests.chaos.checker.runs import run
from tests.chaos.checker.tours import BREAKING, DEPARTURE, make_tour
from tests.kit.postgres import Databases

TOURS = 8
"""After so many of them a fault that nothing was seen of was overlooked."""

TOGETHER = (
    ("history_of_anybody", "join_anything", "text_in_log", "token_in_log", "leaking_sockets",
     "leaking_sessions", "leaking_tasks", "refused_but_stored", "conflict_as_duplicate",
     "delete_keeps_text", "archive_stays", "delivered_is_forgotten", "unread_keeps_deleted"),
    ("event_to_outsider", "doubled_event", "automatic_delivered", "deletion_cascades"),
    ("own_echo", "keys_in_memory", "presence_stays_here", "lost_between_nodes"),
    ("strays_unread", "leases_for_ever"),
)  # fmt: skip
"""Faults that do not hide each other: one server makes them all."""

ALONE = [(name,) for name in FAULTS if not any(name in names for names in TOGETHER)]


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("names", [*TOGETHER, *ALONE], ids="+".join)
async def test_planted_faults_are_found(
    names: Sequence[str], databases: Databases, tmp_path: Path
) -> None:
    """Each by its own sign. The first tour shows it, unless the machine stands still just then."""
    faults = {name: FAULTS[name] for name in names}
    around = [fault.around for fault in faults.values() if fault.around]
    sought = faults
    for seed in range(TOURS):
        plan = make_tour(seed, nodes=max(fault.nodes for fault in faults.values()), around=around)
        async with databases.migrated() as url:
            result = await run(plan, url, tmp_path / "server.log", faults=names, sought=sought)
        if not result.not_found:
            return
        sought = {name: faults[name] for name in result.not_found}
    pytest.fail(f"nothing was seen of {[*sought]}\n{describe(result)}")


@pytest.mark.parametrize(
    ("nodes", "around"),
    [(1, ["slow", DEPARTURE]), (3, [each for each in BREAKING if each != "slow"])],
)
async def test_the_server_as_it_is_passes_the_same_tour(
    nodes: int, around: list[str], databases: Databases, tmp_path: Path
) -> None:
    plan = make_tour(0, nodes=nodes, around=around)
    async with databases.migrated() as url:
        result = await run(plan, url, tmp_path / "server.log")
    assert not result.violations, describe(result)
