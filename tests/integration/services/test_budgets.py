"""The budgets: who is counted on what, what operators see, and that honest clients never meet them.

On a clock that the tests move. What an honest client asks for is taken from `client/src`:
a change of its page sizes shows here.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from structlog.testing import capture_logs

from chatserver.backplane.buckets import Buckets, Key
from chatserver.errors import RateLimited
from chatserver.models import Principal, Role
from chatserver.services.budgets import LOG_INTERVAL, PROVEN_FOR, Budgets
from chatserver.services.sync import SyncResult
from chatserver.settings import Settings
from chatserver.telemetry.metrics import Metrics
from tests.kit.clocks import Clock

SETTINGS = Settings.load(
    "dev", {}, overrides={"database.url": "postgresql://", "jwt.secret": "of these tests alone"}
)
CLIENT = Path(__file__).parents[3] / "client" / "src"
HOME = "198.51.100.7"
ANN, BOB = UUID(int=1), UUID(int=2)


def principal(user_id: UUID = ANN, role: Role = Role.CLIENT) -> Principal:
    return Principal(user_id, role, datetime.now(UTC) + timedelta(hours=1))


class World:
    """The budgets of a node at the default limits, unless a test says otherwise."""

    def __init__(self, clock: Clock, **limits: str) -> None:
        self.clock = clock
        self.metrics = Metrics()
        changed = {f"rate_limit__{name}": limit for name, limit in limits.items()}
        settings = SETTINGS.override(**changed) if changed else SETTINGS
        self.budgets = Budgets(settings.rate_limit, settings.costs, self.metrics, clock=clock)

    def metric(self, name: str) -> float:
        content, _ = self.metrics.render(["text/plain"])
        found = [line for line in content.decode().splitlines() if line.startswith(name)]
        return sum(float(line.rpartition(" ")[2]) for line in found)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def world(clock: Clock) -> World:
    """Ten units at once, and one each minute."""
    return World(clock, user="10/hour", address="10/hour")


def refusal(world: World, who: Principal | str, cost: float = 1.0) -> RateLimited:
    with pytest.raises(RateLimited) as caught:
        if isinstance(who, str):
            world.budgets.spend_unproven(who, cost)
        else:
            world.budgets.spend(who, cost)
    return caught.value


def test_a_user_is_told_for_how_long(world: World, clock: Clock) -> None:
    world.budgets.spend(principal(), 10)
    error = refusal(world, principal())
    assert (error.retry_after, error.told_for) == (5.0, 0.0)
    clock.move(2.25)
    error = refusal(world, principal())
    assert (error.retry_after, error.told_for) == (2.8, 2.25)  # rounded up to a tenth
    assert error.to_dict()["code"] == "rate_limited"
    world.budgets.spend(principal(BOB), 1)
    assert world.metric('chat_budget_refused_total{budget="user"}') == 2


def test_the_hosts_own_service_is_not_limited_and_an_admin_is(world: World) -> None:
    service, admin = principal(BOB, Role.SERVICE), principal(ANN, Role.ADMIN)
    for _ in range(3):
        world.budgets.spend(service, 10)
        world.budgets.charge(service, 10)
    world.budgets.spend(admin, 10)
    assert refusal(world, admin)


def test_an_empty_limit_limits_nothing(clock: Clock) -> None:
    world = World(clock, user="", address="")
    for _ in range(100):
        world.budgets.spend(principal(), 1000)
        world.budgets.charge(principal(), 1000)
        world.budgets.spend_unproven(HOME, 1000)
        world.budgets.spend_handshake(HOME)
        world.budgets.prove(principal(), HOME)


def test_an_address_that_cannot_be_told_is_not_limited(world: World) -> None:
    for _ in range(100):
        world.budgets.spend_unproven("", 1000)
        world.budgets.spend_handshake("")
    world.budgets.prove(principal(), "")
    assert world.metric("chat_budget_buckets") == 0


# Addresses that are shared


def spend_all(world: World, address: str = HOME) -> None:
    world.budgets.spend_unproven(address, 10)
    refusal(world, address)


def test_a_valid_token_moves_its_handshake_from_the_address_to_the_user(world: World) -> None:
    costs = world.budgets.costs
    for _ in range(4):
        world.budgets.spend_handshake(HOME)
        world.budgets.prove(principal(), HOME)
    world.budgets.spend_unproven(HOME, 9.9)
    world.budgets.spend_unproven(HOME, 0.1)
    assert 4 * costs.handshake == 8
    world.budgets.spend(principal(), 2)
    assert refusal(world, principal())


def test_an_attacker_does_not_lock_out_the_people_at_the_same_address(
    world: World, clock: Clock
) -> None:
    world.budgets.spend_handshake(HOME)
    world.budgets.prove(principal(), HOME)
    clock.move(PROVEN_FOR - 1)
    spend_all(world)
    for number in range(50):
        world.budgets.spend_handshake(HOME)
        world.budgets.prove(principal(UUID(int=number)), HOME)
    with pytest.raises(RateLimited):
        world.budgets.spend_unproven(HOME, world.budgets.costs.bad_token)


def test_an_address_where_nobody_has_proven_anything_is_refused_handshakes(
    world: World, clock: Clock
) -> None:
    spend_all(world)
    with pytest.raises(RateLimited):
        world.budgets.spend_handshake(HOME)
    world.budgets.spend_handshake("198.51.100.8")
    world.budgets.prove(principal(), "198.51.100.8")
    clock.move(PROVEN_FOR + 1)
    spend_all(world, "198.51.100.8")
    with pytest.raises(RateLimited):
        world.budgets.spend_handshake("198.51.100.8")


def test_a_user_who_has_nothing_left_opens_no_socket(world: World) -> None:
    world.budgets.spend(principal(), 10)
    world.budgets.spend_handshake(HOME)
    with pytest.raises(RateLimited):
        world.budgets.prove(principal(), HOME)
    world.budgets.prove(principal(BOB), HOME)


# What operators see


async def test_the_log_names_who_is_near_and_who_was_refused(world: World, clock: Clock) -> None:
    with capture_logs() as logs:
        world.budgets.spend(principal(), 6)
        world.budgets.spend_unproven(HOME, 10)
        for _ in range(3):
            refusal(world, HOME)
        await world.budgets.settle()
        assert logs == []
        clock.move(LOG_INTERVAL)
        await world.budgets.settle()
        clock.move(LOG_INTERVAL)
        await world.budgets.settle()
    lines = [{key: line[key] for key in line if key != "log_level"} for line in logs]
    assert lines == [
        {"event": "budget_half_spent", "user_id": str(ANN)},
        {"event": "budget_half_spent", "address": HOME},
        {"event": "budget_spent", "address": HOME, "refused": 3},
    ]
    assert world.metric('chat_budget_half_spent_total{budget="user"}') == 1
    assert world.metric('chat_budget_refused_total{budget="address"}') == 3


async def test_a_flood_of_many_fills_no_log(world: World, clock: Clock) -> None:
    for number in range(3000):
        world.budgets.spend_unproven(f"address {number}", 10)
        refusal(world, f"address {number}")
    await world.budgets.settle()
    clock.move(LOG_INTERVAL)
    with capture_logs() as logs:
        await world.budgets.settle()
    assert len(logs) == 20
    assert world.metric("chat_budget_refused_total") == 3000


# Honest clients, at the default limits


def constant(file: str, name: str) -> int:
    """A number of the client package."""
    found = re.search(rf"const {name} = ([\d_]+);", (CLIENT / file).read_text())
    assert found, f"{name} is no longer in {file}"
    return int(found[1].replace("_", ""))


SYNC_PAGE = constant("sync.ts", "PAGE")
HISTORY_PAGE = constant("history.ts", "PAGE")
PREFETCH = constant("client.ts", "PREFETCH")
WINDOWS = constant("conversations.ts", "MAX_WINDOWS")
LIVE = 20
"""How many conversations a list joins: the default of `useConversations`."""


class Browser:
    """The calls of the page and the client package, without a pause between them.

    Nothing is kept from the last visit, and in `waiting` conversations is a message
    that no device has confirmed: at most PREFETCH of them are fetched.
    """

    def __init__(
        self,
        world: World,
        user: Principal,
        conversations: int,
        address: str = HOME,
        waiting: int = PREFETCH,
    ) -> None:
        self.budgets = world.budgets
        self.waiting = waiting
        self.costs = world.budgets.costs
        self.user = user
        self.conversations = conversations
        self.address = address

    def load(self) -> None:
        """The page: its files, a socket, everything from the beginning."""
        for _ in ("index", "script", "style", "icon", "sw.js", "config"):
            self.budgets.spend_unproven(self.address, self.costs.public)
        self.connect()
        self.sync(self.conversations)
        self.join(min(LIVE, self.conversations))
        self.prefetch(min(PREFETCH, self.waiting))
        self.open_conversation()

    def come_back(self) -> None:
        """A new socket: what changed since the cursor, and into the rooms again."""
        self.connect()
        self.sync(min(WINDOWS, self.conversations), changes=2)
        self.join(min(LIVE, self.conversations))
        self.prefetch(min(PREFETCH, self.waiting))

    def connect(self) -> None:
        self.budgets.spend_handshake(self.address)
        self.budgets.prove(self.user, self.address)

    def sync(self, changed: int, changes: int = 0) -> None:
        """Pages of the list; with `changes` messages in each conversation."""
        while True:
            answered = min(SYNC_PAGE, changed)
            self.event("sync")
            self.budgets.synced(self.user, answer(answered, changes, self.conversations))
            changed -= answered
            if changed <= 0:
                return

    def join(self, count: int) -> None:
        for _ in range(count):
            self.event("join")

    def prefetch(self, count: int) -> None:
        """A page of history of each, and the word that this device holds it."""
        for _ in range(count):
            self.budgets.spend(self.user, self.costs.request)
            self.budgets.listed(self.user, HISTORY_PAGE)
            self.event("delivered")

    def open_conversation(self) -> None:
        self.event("join")
        self.budgets.spend(self.user, self.costs.request)
        self.budgets.listed(self.user, HISTORY_PAGE)
        self.event("read")

    def chat(self) -> None:
        """A minute of somebody who writes and reads as fast as the limit of messages allows."""
        for _ in range(60):
            self.event("message")
            for _ in range(2):
                self.event("typing")
            for _ in range(2):
                self.event("read")

    def event(self, name: str) -> None:
        self.budgets.spend(self.user, self.costs.of_event(name))


def answer(count: int, changes: int, known: int) -> SyncResult:
    """An answer of that size; what is in it does not matter."""
    one: Any = type("Synced", (), {"changes": [None] * changes})()
    return SyncResult("", False, False, [one] * count, [], 0, known)


def most_spent(buckets: Buckets[Key] | None) -> float:
    assert buckets is not None
    return max(buckets.spent_part(key) for key in list(buckets._buckets))


@pytest.fixture
def defaults(clock: Clock) -> Iterator[World]:
    """The default limits; nobody was refused, or came to more than 80 % of a budget."""
    world = World(clock)
    yield world
    assert world.metric("chat_budget_refused_total") == 0
    assert most_spent(world.budgets._users) < 0.8
    assert most_spent(world.budgets._addresses) < 0.8


def test_an_agent_with_three_thousand_conversations_opens_the_page(defaults: World) -> None:
    Browser(defaults, principal(), 3000).load()


def test_twenty_tabs_of_one_user_open_at_once(defaults: World) -> None:
    for _ in range(20):
        Browser(defaults, principal(), 30, waiting=5).load()


def test_all_tabs_of_a_user_come_back_after_the_restart_of_a_node(
    defaults: World, clock: Clock
) -> None:
    tabs = [Browser(defaults, principal(), 100, waiting=2) for _ in range(10)]
    for tab in tabs:
        tab.come_back()


def test_the_agent_comes_back_after_the_restart_of_a_node(defaults: World, clock: Clock) -> None:
    agent = Browser(defaults, principal(), 3000)
    agent.load()
    clock.move(30)
    for _ in range(3):
        agent.come_back()
        clock.move(10)


def test_an_office_of_fifty_behind_one_address_begins_its_day(defaults: World) -> None:
    for _ in range(50):
        Browser(defaults, principal(uuid4()), 300).load()


def test_an_office_of_fifty_whose_tokens_have_all_expired_comes_back(defaults: World) -> None:
    people = [Browser(defaults, principal(uuid4()), 300) for _ in range(50)]
    for person in people:
        person.budgets.spend_handshake(HOME)
        person.budgets.spend_unproven(HOME, person.costs.bad_token)
    for person in people:
        person.come_back()


def test_somebody_who_never_stops_writing_is_limited_by_the_messages_alone(
    defaults: World, clock: Clock
) -> None:
    busy = Browser(defaults, principal(), 30)
    busy.load()
    for _ in range(60):
        busy.chat()
        clock.move(60)
