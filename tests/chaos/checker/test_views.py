"""Invariants 5, 6, 9 and 10: each check sees what it is for, without a server."""

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from tests.chaos.checker import views
from tests.chaos.checker.histories import Archive
from tests.chaos.checker.oracle import (
    Oracle,
    ParticipantRow,
)
from tests.chaos.checker.samples import (
    CHAT,
    LANDLORD,
    TENANT,
    fetched,
    found,
    history,
    holder,
    message,
    oracle,
    write,
)
from tests.chaos.checker.views import Fresh, Resources

# 5: nobody else's


def test_a_text_or_a_token_in_the_log_is_seen() -> None:
    token = "head.body.signature"
    assert found(views.check_log('{"body": "zq3x17z hello"}', [])) == {5}
    assert found(views.check_log("token: head.body.signature", [token])) == {5}
    assert found(views.check_log("eyJhbGciOi", [])) == {5}
    assert not found(views.check_log('{"event": "serving"}', [token]))
    assert not found(views.check_log('{"socket_id": "l-Z1cAOfjUDFeyJXAABN"}', [token]))


def test_a_list_with_somebody_elses_conversation_is_seen() -> None:
    stored = oracle()
    stranger = str(UUID(int=3))
    assert found(views.check_fetched({stranger: fetched(stored, TENANT)}, stored)) == {5}


# 6: counted


def test_a_count_that_is_no_recount_is_seen() -> None:
    wrong = dict(oracle().participants)
    wrong[CHAT, LANDLORD] = ParticipantRow(0, 0, 1)
    stored = oracle(participants=wrong)
    assert found(views.check_unread([], {}, stored)) == {6}
    assert not found(views.check_unread([holder(oracle())], {}, oracle()))


def test_a_deleted_message_counts_no_more() -> None:
    stored = oracle(message(1, is_deleted=True, content=""), message(2))
    assert found(views.check_unread([], {}, stored)) == {6}


def test_a_count_that_a_device_or_a_fetch_has_otherwise_is_seen() -> None:
    device = holder(oracle())
    device.replica.chats[CHAT].told_unread = 7
    assert found(views.check_unread([device], {}, oracle())) == {6}
    answer = {LANDLORD: fetched(oracle(), LANDLORD, unread_count=9)}
    assert found(views.check_unread([], answer, oracle())) == {6}


def test_a_total_that_is_no_sum_is_seen() -> None:
    assert found(views.check_unread([], {}, oracle(totals={LANDLORD: 5}))) == {6}


# 9: as a fresh fetch


@pytest.mark.parametrize(
    "difference",
    [{"rev": 3}, {"read_seq": 1}, {"peer_read_seq": 1}, {"archived_by_owner": True}],
    ids=str,
)
def test_a_device_that_differs_from_a_fresh_fetch_is_seen(difference: dict[str, Any]) -> None:
    device, stored = holder(oracle()), oracle()
    assert not found(views.check_views([device], {LANDLORD: fetched(stored, LANDLORD)}))
    answer = fetched(stored, LANDLORD, **difference)
    assert found(views.check_views([device], {LANDLORD: answer})) == {9}


def test_a_text_that_differs_and_a_conversation_that_is_missing_are_seen() -> None:
    changed = fetched(oracle(message(1), message(2, content="changed")), LANDLORD)
    assert found(views.check_views([holder(oracle())], {LANDLORD: changed})) == {9}
    assert found(views.check_views([holder(oracle())], {LANDLORD: Fresh({}, 0)})) == {9}


def test_a_fetch_that_is_not_what_is_stored_is_seen() -> None:
    answer = {TENANT: fetched(oracle(message(1)), TENANT)}
    assert found(views.check_fetched(answer, oracle())) == {9}
    assert not found(views.check_fetched({TENANT: fetched(oracle(), TENANT)}, oracle()))


def archived(by_owner: bool) -> Oracle:
    row = oracle().chats[CHAT]
    return oracle(chats={CHAT: replace(row, archived=(False, by_owner))})


def test_a_conversation_that_a_message_does_not_bring_back_is_seen() -> None:
    done = history(write(1), write(2, began=5.0, ended=6.0))
    done.archives = [Archive(CHAT, LANDLORD, True, 2.0, 3.0)]
    assert found(views.check_archived(done, archived(True))) == {9}
    assert not found(views.check_archived(done, archived(False)))


def test_an_archiving_that_is_lost_is_seen() -> None:
    done = history()
    done.archives = [Archive(CHAT, LANDLORD, True, 2.0, 3.0)]
    assert found(views.check_archived(done, archived(False))) == {9}
    assert not found(views.check_archived(done, archived(True)))


def test_what_the_last_event_said_and_is_not_so_is_seen() -> None:
    device = holder(oracle())
    assert not found(views.check_told([device], oracle()))
    assert found(views.check_told([device], archived(True))) == {9}
    device.replica.chats[CHAT].told_unread = 0
    device.replica.total_unread = 0
    assert len(list(views.check_told([device], oracle()))) == 2


# 10: nothing left over

BEFORE = Resources(0, 0, 10, 30, 100 * 2**20, 2, 0)


@pytest.mark.parametrize(
    "change",
    [{"sockets": 1}, {"sessions": 1}, {"tasks": 20}, {"files": 50}, {"memory": 200 * 2**20},
     {"connections": 15}, {"transactions": 1}],
    ids=str,
)  # fmt: skip
def test_whatever_is_left_over_is_seen(change: dict[str, float]) -> None:
    assert not found(views.check_resources(BEFORE, BEFORE))
    assert found(views.check_resources(BEFORE, replace(BEFORE, **change))) == {10}
