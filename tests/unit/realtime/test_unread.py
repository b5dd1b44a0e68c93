"""`unread` events are told in the order of the changes, however they are published."""

from collections.abc import Iterable
from itertools import permutations
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID, uuid4

import pytest

from chatserver.realtime.unread import MAX_CONVERSATIONS, MAX_USERS, LatestUnread

if TYPE_CHECKING:
    from chatserver.sio.client import Client

USER_ID = uuid4()
USER = cast("Client", SimpleNamespace(session={"user_id": USER_ID}))
ONE, OTHER = (str(uuid4()) for _ in range(2))
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


class Latest(LatestUnread):
    """Of one user; `stale` are the conversations whose counters were stale, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.stale: list[str] = []
        self.on_stale(self._keep)

    def _keep(self, stale: Iterable[tuple[UUID, UUID]]) -> None:
        for user_id, conversation_id in stale:
            assert user_id == USER_ID
            self.stale.append(str(conversation_id))

    def tell(self, conversation: str, version: int) -> bool:
        """Whether an event is delivered."""
        return self.admit([USER], change(conversation, 1, 1, version=version)) is not None

    def sync(self, version: int) -> None:
        """A sync during which nothing is told."""
        self.synced(USER_ID, version, self.versions(USER_ID))


def seen(order: tuple[Change, ...]) -> tuple[dict[str, int], int]:
    """What a client holds at the end that believes the last event it got."""
    latest, counts, total = Latest(), dict[str, int](), 0
    for each in order:
        if told := latest.admit([USER], each):
            counts[told["conversation_id"]] = told["unread_count"]
            total = told["total_unread_count"]
    assert latest.stale == []
    return counts, total


@pytest.mark.parametrize("order", list(permutations(CHANGES)))
def test_the_last_word_is_right_in_whatever_order_they_come(order: tuple[Change, ...]) -> None:
    assert seen(order) == ({ONE: 0, OTHER: 1}, 1)


def test_two_conversations_of_one_commit_are_both_told() -> None:
    latest = LatestUnread()
    first = change(ONE, 1, 2, version=1)
    second = change(OTHER, 1, 2, version=1)
    assert [latest.admit([USER], first), latest.admit([USER], second)] == [first, second]


def test_what_is_older_than_an_answer_is_told_anew_instead_and_once_for_each_conversation() -> None:
    latest = Latest()
    latest.sync(7)
    late = [(ONE, 3), (OTHER, 4), (ONE, 5), (ONE, 6)]
    assert [latest.tell(*event) for event in late] == [False] * 4
    assert latest.stale == [ONE, OTHER]


def test_what_is_told_anew_is_delivered_and_so_is_what_follows() -> None:
    latest = Latest()
    latest.sync(7)
    latest.tell(ONE, 3)
    assert latest.tell(ONE, 7)
    assert latest.tell(OTHER, 7), "the answer knows this one, too"
    assert latest.tell(OTHER, 8)
    assert latest.stale == [ONE]


def test_a_database_that_went_back_is_not_asked_without_end() -> None:
    """After a restore even what is told anew is older than what was once answered."""
    latest = Latest()
    latest.sync(7)
    for _ in range(3):
        assert not latest.tell(ONE, 2)
    assert latest.stale == [ONE]


def test_an_answer_that_comes_late_takes_nothing_back() -> None:
    latest = Latest()
    latest.sync(7)
    latest.sync(4)
    assert not latest.tell(ONE, 5)
    assert latest.stale == [ONE]


def test_after_an_answer_an_event_that_was_overtaken_is_still_only_dropped() -> None:
    latest = Latest()
    assert latest.tell(ONE, 5)
    latest.sync(7)
    assert not latest.tell(ONE, 4)
    assert latest.stale == []


def test_what_was_told_while_a_sync_was_under_way_is_told_anew_where_the_answer_is_newer() -> None:
    """The client takes the event for newer: it came after the question."""
    latest = Latest()
    newest = str(uuid4())
    latest.tell(ONE, 1)
    before = latest.versions(USER_ID)
    latest.tell(OTHER, 3)
    latest.tell(newest, 7)
    latest.synced(USER_ID, 7, before)
    assert latest.stale == [OTHER]


def test_the_total_is_that_of_the_newest_event_after_an_answer_too() -> None:
    latest = LatestUnread()
    latest.synced(USER_ID, 5, {})
    latest.admit([USER], change(ONE, 2, 9, version=8))
    assert latest.admit([USER], change(OTHER, 1, 4, version=6)) == change(OTHER, 1, 9, version=6)


def test_an_old_event_of_no_conversation_is_an_error_of_its_own() -> None:
    latest = Latest()
    latest.sync(7)
    with pytest.raises(ValueError, match="hexadecimal"):
        latest.tell("no id", 3)
    assert latest.stale == []


def test_it_forgets_those_who_were_told_nothing_lately() -> None:
    latest = LatestUnread()
    for number in range(MAX_USERS + 10):
        user = cast("Client", SimpleNamespace(session={"user_id": number}))
        latest.admit([user], change(ONE, 1, 1, version=1))
        latest.synced(uuid4(), 1, {})
    for version in range(MAX_CONVERSATIONS + 10):
        latest.admit([USER], change(f"conversation {version}", 1, 1, version=version))
    assert len(latest._told) == MAX_USERS
    assert len(latest._told[USER_ID].conversations) == MAX_CONVERSATIONS


def test_what_may_be_older_than_something_forgotten_is_told_anew() -> None:
    latest = Latest()
    latest.tell(ONE, 3)
    for version in range(4, 4 + MAX_CONVERSATIONS):
        latest.tell(str(uuid4()), version)
    assert latest.tell(OTHER, 3)
    assert not latest.tell(ONE, 2)
    assert latest.stale == [ONE]
