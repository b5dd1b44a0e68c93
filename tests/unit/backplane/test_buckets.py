"""Token buckets: what fits, who is refused and for how long, and what is kept in memory."""

import pytest

from chatserver.backplane.buckets import Buckets, Refusal
from tests.kit.clocks import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def buckets(clock: Clock) -> Buckets[str]:
    """60 units at once, one more each second; 5 are free when a refusal is over."""
    return Buckets("60/minute", clock=clock)


def spend_all(buckets: Buckets[str], key: str = "ann", cost: float = 1.0) -> int:
    """Spend until refused: how many times that went."""
    count = 0
    while buckets.spend(key, cost) is None:
        count += 1
    return count


def refused(buckets: Buckets[str], key: str = "ann") -> Refusal:
    refusal = buckets.spend(key, 1)
    assert refusal is not None
    return refusal


def test_a_whole_bucket_can_be_spent_at_once_and_not_more(buckets: Buckets[str]) -> None:
    assert spend_all(buckets) == 60
    assert buckets.spend("bob", 1) is None


def test_it_refills_evenly(buckets: Buckets[str], clock: Clock) -> None:
    for _ in range(600):
        assert buckets.spend("ann", 1) is None
        clock.move(1)
    assert spend_all(buckets) == 60


def test_it_never_holds_more_than_a_whole_one(buckets: Buckets[str], clock: Clock) -> None:
    buckets.spend("ann", 1)
    clock.move(3600)
    assert spend_all(buckets) == 60


def test_costs_are_weights(buckets: Buckets[str]) -> None:
    assert spend_all(buckets, "ann", 0.25) == 240
    assert spend_all(buckets, "bob", 20) == 3


def test_the_last_one_may_cost_more_than_is_left(buckets: Buckets[str], clock: Clock) -> None:
    assert buckets.spend("ann", 50) is None
    assert buckets.spend("ann", 100) is None
    assert refused(buckets).retry_after == 150 - 60 + 5
    clock.move(95)
    assert buckets.spend("ann", 1) is None


def test_whoever_waits_as_told_has_five_seconds_worth(buckets: Buckets[str], clock: Clock) -> None:
    spend_all(buckets)
    assert refused(buckets).retry_after == 5
    clock.move(4.9)
    assert refused(buckets).retry_after == pytest.approx(0.1)
    clock.move(0.1)
    assert spend_all(buckets) == 5


def test_what_is_refused_costs_nothing_and_is_told_since_when(
    buckets: Buckets[str], clock: Clock
) -> None:
    spend_all(buckets)
    clock.move(5)
    spend_all(buckets)
    told = []
    for _ in range(5):
        told.append(refused(buckets).told_for)
        clock.move(1)
    assert told == [0, 1, 2, 3, 4]
    assert buckets.spend("ann", 1) is None


def test_a_limit_for_a_second_gives_a_part_of_a_second_back(clock: Clock) -> None:
    buckets = Buckets[str]("20/second", clock=clock)
    assert spend_all(buckets) == 20
    assert refused(buckets).retry_after == pytest.approx(0.25)


def test_what_has_been_done_is_charged_whether_it_is_left_or_not(buckets: Buckets[str]) -> None:
    buckets.charge("ann", 100)
    assert refused(buckets).retry_after == 45


def test_what_is_given_back_can_be_spent_again_and_no_more(
    buckets: Buckets[str], clock: Clock
) -> None:
    for _ in range(60):
        buckets.spend("ann", 1)
    buckets.refund("ann", 10)
    assert spend_all(buckets) == 10
    clock.move(60)
    buckets.refund("ann", 10)
    buckets.refund("nobody", 10)
    assert spend_all(buckets) == 60


def test_half_a_bucket_is_noticed_once_until_it_is_full(
    buckets: Buckets[str], clock: Clock
) -> None:
    def noticed() -> list[str]:
        buckets.take_spent()
        return buckets.take_half_spent()

    buckets.charge("ann", 29)
    buckets.charge("bob", 31)
    assert noticed() == ["bob"]
    buckets.charge("ann", 2)
    buckets.charge("bob", 2)
    assert noticed() == ["ann"]
    clock.move(60)
    buckets.charge("bob", 31)
    assert noticed() == ["bob"]


# Memory


def test_many_callers_who_come_once_leave_nothing(clock: Clock) -> None:
    buckets = Buckets[int]("60/minute", clock=clock)
    for number in range(10_000):
        buckets.spend(number, 1)
        clock.move(0.01)
    assert len(buckets) < 250


def test_however_many_are_in_debt_no_more_than_the_capacity_are_kept(clock: Clock) -> None:
    buckets = Buckets[int]("60/minute", clock=clock, capacity=100)
    for number in range(1000):
        buckets.charge(number, 50)
    assert len(buckets) == 100


def test_who_is_refused_is_not_forgotten_for_others_who_are_full_again(clock: Clock) -> None:
    buckets = Buckets[str]("60/minute", clock=clock, capacity=100)
    buckets.charge("ann", 1000)
    for number in range(1000):
        buckets.spend(str(number), 1)
        clock.move(0.1)
    assert buckets.spend("ann", 1) is not None


# Settling: what nodes tell each other, without saying how


def settle(debts: dict[str, float], *nodes: Buckets[str]) -> None:
    """As the ledger does, all at the same moment."""
    for node in nodes:
        spent = node.take_spent()
        for key, seconds in spent.items():
            debts[key] = debts.get(key, 0.0) + seconds
        node.settle({key: debts[key] for key in spent})


def test_what_was_spent_on_another_node_counts_once_it_is_settled(clock: Clock) -> None:
    one, two = (Buckets[str]("60/minute", clock=clock) for _ in range(2))
    debts: dict[str, float] = {}
    assert spend_all(one) == 60
    settle(debts, one)
    # A node that has not heard of the caller yet: a second's worth at most.
    assert two.spend("ann", 1) is None
    settle(debts, two)
    assert refused(two).retry_after == 6


def test_all_nodes_together_let_through_what_one_would(clock: Clock) -> None:
    nodes = [Buckets[str]("60/minute", clock=clock) for _ in range(3)]
    debts: dict[str, float] = {}
    passed = 0
    for _ in range(600):
        for node in nodes:
            passed += sum(node.spend("ann", 1) is None for _ in range(5))
        settle(debts, *nodes)
        clock.move(1)
        debts["ann"] = max(0.0, debts["ann"] - 1)
    # 60 at once and one a second; each node may overshoot by a second's worth (15).
    assert 600 <= passed <= 60 + 600 + 15


def test_what_is_spent_while_the_ledger_is_asked_is_not_lost(buckets: Buckets[str]) -> None:
    buckets.charge("ann", 20)
    spent = buckets.take_spent()
    buckets.charge("ann", 10)
    buckets.settle({"ann": spent["ann"] + 20})
    assert buckets.spent_part("ann") == pytest.approx(50 / 60)
    assert buckets.take_spent() == {"ann": 10}


def test_a_ledger_that_was_lost_forgives_nothing(buckets: Buckets[str]) -> None:
    spend_all(buckets)
    buckets.settle({"ann": 0.0})
    assert refused(buckets)


def test_a_little_is_not_told_at_once_and_never_forgotten(
    buckets: Buckets[str], clock: Clock
) -> None:
    for _ in range(5):
        buckets.spend("ann", 0.1)
        clock.move(10)
        assert buckets.take_spent() == {}
    buckets.spend("ann", 0.1)
    assert buckets.take_spent() == {"ann": pytest.approx(0.6)}


def test_what_could_not_be_told_is_told_later_but_not_what_is_paid(
    buckets: Buckets[str], clock: Clock
) -> None:
    """Whoever spends a little all the time owes nothing after an outage of an hour."""
    buckets.charge("bob", 40)
    for _ in range(3600):
        buckets.spend("ann", 0.9)
        buckets.put_back(buckets.take_spent())
        clock.move(1)
    buckets.charge("bob", 40)
    buckets.put_back(buckets.take_spent())
    assert buckets.take_spent() == {"bob": 40}
