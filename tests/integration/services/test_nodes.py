"""Nodes in the database: which live, the keys they share, and when a promise begins to hold."""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from uuid import UUID, uuid4

import pytest

from chatserver.backplane.signatures import Signatures
from chatserver.repositories.keys import StoredKey
from chatserver.services import nodes
from chatserver.services.nodes import NodeService, choose
from tests.kit.services import Node

CHANNEL = b"a channel"
NEW, OLD = nodes.SIGNS_AFTER - 1, nodes.SIGNS_AFTER + 1


@dataclass
class Hearing:
    """How it is with Redis, as the test says."""

    node_id: UUID = field(default_factory=uuid4)
    is_receiving: bool = True
    unsigned_at: float | None = None


@dataclass
class Watched:
    """A node's view of the others."""

    node: Node
    hearing: Hearing = field(default_factory=Hearing)
    signatures: Signatures = field(default_factory=Signatures)
    gaps: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.service = NodeService(self.node.database, self.signatures, self.hearing)
        self.service.on_gap(self.gaps.append)


@pytest.fixture
async def here(node: Node) -> AsyncIterator[Watched]:
    """None but this one is alive, and it has heard so for long."""
    for table in ("nodes", "keys", "promises", "cut_off_nodes"):
        await node.sql(f"DELETE FROM chat.{table}")
    yield Watched(node)


@pytest.fixture
def hears_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """To have listened for a moment is enough to know that no older node speaks."""
    monkeypatch.setattr(NodeService, "_hears_no_older", lambda _: True)


async def test_the_first_node_makes_a_key_and_the_next_one_shares_it(here: Watched) -> None:
    other = Watched(here.node)
    for watched in (here, other):
        await watched.service.look()
    assert await here.node.value("SELECT count(*) FROM chat.keys") == 1
    published = here.signatures.sign(CHANNEL, b"a message")
    assert published != b"a message"
    assert other.signatures.open(CHANNEL, published) == ("signed", b"a message")
    assert await here.node.value("SELECT count(*) FROM chat.nodes WHERE version = 2") == 2


async def test_a_new_row_is_a_new_key_that_signs_once_every_node_has_it(here: Watched) -> None:
    await here.service.look()
    first = here.signatures.sign(CHANNEL, b"a message")
    await here.node.sql("INSERT INTO chat.keys (purpose) VALUES ('bus')")
    await here.service.look()
    newer = await here.node.value("SELECT max(id) FROM chat.keys")
    record = b"signed:%d:" % newer
    assert record not in here.signatures.sign(CHANNEL, b"a message")
    age = "UPDATE chat.keys SET made_at = now() - :age * interval '1 second' WHERE id = :id"
    await here.node.sql(age, age=OLD, id=newer)
    await here.service.look()
    assert record in here.signatures.sign(CHANNEL, b"a message")
    assert here.signatures.open(CHANNEL, first)[0] == "signed"
    await here.node.sql(age, age=OLD + nodes.OVERLAP, id=newer)
    await here.service.look()
    assert here.signatures.open(CHANNEL, first)[0] == "unknown_key"


async def test_a_key_that_is_missed_is_read_at_once_and_what_it_signed_is_a_gap(
    here: Watched,
) -> None:
    other = Watched(here.node)
    await here.service.tick()
    await here.node.sql("DELETE FROM chat.keys")
    await other.service.look()
    published = other.signatures.sign(CHANNEL, b"a message")
    assert here.signatures.open(CHANNEL, published)[0] == "unknown_key"
    await here.service.tick()
    assert here.signatures.open(CHANNEL, published)[0] == "signed"
    assert min(here.gaps) < time.monotonic() - nodes.INTERVAL


async def test_a_key_that_does_not_exist_is_no_gap(here: Watched) -> None:
    await here.service.look()
    here.signatures.open(CHANNEL, b"a message\n\nsigned:4711:1:" + b"0" * 32)
    await here.service.tick()
    assert here.gaps == []


@pytest.mark.usefixtures("hears_at_once")
async def test_signatures_are_required_of_all_once_no_older_node_is_alive(here: Watched) -> None:
    older, other = uuid4(), Watched(here.node)
    await here.node.sql("INSERT INTO chat.nodes (id, version) VALUES (:id, 0)", id=older)
    for watched in (here, other):
        await watched.service.look()
        assert not watched.signatures.is_required
    await here.node.sql(
        "UPDATE chat.nodes SET seen_at = now() - :age * interval '1 second' WHERE id = :id",
        age=nodes.ALIVE + 1,
        id=older,
    )
    await here.service.look()
    assert here.signatures.is_required
    # An older one that comes back does not undo it, and everybody else keeps it, too.
    await here.node.sql("UPDATE chat.nodes SET seen_at = now() WHERE id = :id", id=older)
    await other.service.look()
    assert other.signatures.is_required
    # This is what an operator does who goes back to the older version.
    await here.node.sql("DELETE FROM chat.promises")
    await other.service.look()
    assert not other.signatures.is_required


async def test_members_are_promised_once_no_older_node_is_alive(here: Watched) -> None:
    """Also by a node that shares nothing, and without a wait where there was none."""
    alone = NodeService(here.node.database, Signatures(), None)
    promised = "SELECT count(*) FROM chat.promises WHERE name = 'members'"
    await here.node.sql("DELETE FROM chat.promises")
    older = uuid4()
    await here.node.sql("INSERT INTO chat.nodes (id, version) VALUES (:id, 1)", id=older)
    await alone.look()
    assert await here.node.value(promised) == 0
    await here.node.sql("DELETE FROM chat.nodes WHERE id = :id", id=older)
    await alone.look()
    assert await here.node.value(promised) == 1


@pytest.mark.usefixtures("hears_at_once")
async def test_an_older_node_that_is_cut_off_from_redis_counts(here: Watched) -> None:
    older = uuid4()
    await here.node.sql("INSERT INTO chat.cut_off_nodes (node_id) VALUES (:id)", id=older)
    await here.service.look()
    assert not here.signatures.is_required
    await here.node.sql("DELETE FROM chat.cut_off_nodes")
    await here.node.sql(
        "INSERT INTO chat.cut_off_nodes (node_id) VALUES (:id)", id=here.hearing.node_id
    )
    await here.service.look()
    assert here.signatures.is_required


async def test_an_older_node_is_heard_for_long_before_it_counts_as_gone(
    here: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic()
    for unsigned_at, is_receiving, later, is_required in (
        (None, True, 0.0, False),  # it has only begun to listen
        (now + 15, True, nodes.ALIVE + 1, False),
        (now + 15, True, nodes.ALIVE + 14, False),
        (now + 15, False, nodes.ALIVE + 20, False),  # partitioned: it begins anew
        (now + 15, True, nodes.ALIVE + 21, False),
        (now + 15, True, 2 * nodes.ALIVE + 22, True),
    ):
        here.hearing.unsigned_at, here.hearing.is_receiving = unsigned_at, is_receiving
        clock = SimpleNamespace(monotonic=lambda later=later: now + later)
        monkeypatch.setattr(nodes, "time", clock)
        await here.service.look()
        assert here.signatures.is_required is is_required, later


async def test_a_node_that_ends_is_forgotten_at_once(here: Watched) -> None:
    await here.service.look()
    await here.service.leave()
    assert await here.node.value("SELECT count(*) FROM chat.nodes") == 0


async def test_a_node_alone_says_that_it_lives_and_needs_no_key(here: Watched) -> None:
    service = NodeService(here.node.database, here.signatures, None)
    await service.look()
    assert await here.node.value("SELECT count(*) FROM chat.nodes") == 1
    assert await here.node.value("SELECT count(*) FROM chat.keys") == 0


@pytest.mark.parametrize(
    ("ages", "own", "kept"),
    [
        ([0], 1, [1]),
        ([1, 0], 1, [1, 2]),
        ([1000, NEW], 1, [1, 2]),
        ([1000, OLD], 2, [1, 2]),
        ([1000, OLD, NEW], 2, [1, 2, 3]),
        ([1000, OLD + nodes.OVERLAP], 2, [2]),
        ([1000, OLD + nodes.OVERLAP, OLD], 3, [2, 3]),
    ],
)
def test_which_key_signs_and_which_still_verify(
    ages: list[float], own: int, kept: list[int]
) -> None:
    stored = [StoredKey(n, b"k" * 32, 5000 - age, 5000.0) for n, age in enumerate(ages, 1)]
    keys, chosen = choose(stored)
    assert (chosen, [key.id for key in keys]) == (own, kept)
