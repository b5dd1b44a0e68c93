"""`unread` events are told in the order of the changes, however they are published."""

from itertools import permutations
from typing import Any

import pytest

from chatserver.realtime.unread import MAX_CONVERSATIONS, MAX_USERS, LatestUnread

USER, ONE, OTHER = "user:1", "one", "other"
Change = dict[str, Any]


def change(conversation: str, count: int, total: int, *, version: int) -> Change:
    return {
        "conversation_id": conversation,
        "unread_count": count,
        "total_unread_count": total,
        "version": version,
    }


CHANGES = (
    change(ONE, 1, 1, version=1),
    change(OTHER, 1, 2, version=2),
    change(ONE, 2, 3, version=3),
    change(ONE, 0, 1, version=4),
)


def seen(order: tuple[Change, ...]) -> tuple[dict[str, int], int]:
    """What a client holds at the end that believes the last event it got."""
    latest, counts, total = LatestUnread(), dict[str, int](), 0
    for each in order:
        if told := latest.admit([USER], each):
            counts[told["conversation_id"]] = told["unread_count"]
            total = told["total_unread_count"]
    return counts, total


@pytest.mark.parametrize("order", list(permutations(CHANGES)))
def test_the_last_word_is_right_in_whatever_order_they_come(order: tuple[Change, ...]) -> None:
    assert seen(order) == ({ONE: 0, OTHER: 1}, 1)


def test_two_conversations_of_one_commit_are_both_told() -> None:
    latest = LatestUnread()
    first = change(ONE, 1, 2, version=1)
    second = change(OTHER, 1, 2, version=1)
    assert [latest.admit([USER], first), latest.admit([USER], second)] == [first, second]


def test_it_forgets_those_who_were_told_nothing_lately() -> None:
    latest = LatestUnread()
    for number in range(MAX_USERS + 10):
        latest.admit([f"user {number}"], change(ONE, 1, 1, version=1))
    for version in range(MAX_CONVERSATIONS + 10):
        latest.admit([USER], change(f"conversation {version}", 1, 1, version=version))
    assert len(latest._told) == MAX_USERS
    assert len(latest._told[USER].conversations) == MAX_CONVERSATIONS
