"""`unread` events are told in the order of the changes, however they are published."""

from itertools import permutations
from uuid import UUID, uuid4

import pytest

from chatserver.events import UnreadChanged
from chatserver.realtime.unread import MAX_CONVERSATIONS, MAX_USERS, LatestUnread

USER, ONE, OTHER = uuid4(), uuid4(), uuid4()

CHANGES = (
    UnreadChanged(USER, ONE, 1, 1, version=1),
    UnreadChanged(USER, OTHER, 1, 2, version=2),
    UnreadChanged(USER, ONE, 2, 3, version=3),
    UnreadChanged(USER, ONE, 0, 1, version=4),
)


def seen(order: tuple[UnreadChanged, ...]) -> tuple[dict[UUID, int], int]:
    """What a client holds at the end that believes the last event it got."""
    latest, counts, total = LatestUnread(), dict[UUID, int](), 0
    for change in order:
        if told := latest.admit(change):
            counts[told.conversation_id], total = told.unread_count, told.total_unread_count
    return counts, total


@pytest.mark.parametrize("order", list(permutations(CHANGES)))
def test_the_last_word_is_right_in_whatever_order_they_come(
    order: tuple[UnreadChanged, ...],
) -> None:
    assert seen(order) == ({ONE: 0, OTHER: 1}, 1)


def test_two_conversations_of_one_commit_are_both_told() -> None:
    latest = LatestUnread()
    first = UnreadChanged(USER, ONE, 1, 2, version=1)
    second = UnreadChanged(USER, OTHER, 1, 2, version=1)
    assert [latest.admit(first), latest.admit(second)] == [first, second]


def test_it_forgets_those_who_were_told_nothing_lately() -> None:
    latest = LatestUnread()
    for _ in range(MAX_USERS + 10):
        latest.admit(UnreadChanged(uuid4(), ONE, 1, 1, version=1))
    for version in range(MAX_CONVERSATIONS + 10):
        latest.admit(UnreadChanged(USER, uuid4(), 1, 1, version=version))
    assert len(latest._told) == MAX_USERS
    assert len(latest._told[USER].conversations) == MAX_CONVERSATIONS
