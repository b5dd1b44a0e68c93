"""Invariants 1 to 4 and 7: each check sees what it is for, without a server."""

import pytest

from tests.chaos.checker import invariants
from tests.chaos.checker.histories import Outcome
from tests.chaos.checker.oracle import (
    MessageRow,
    Oracle,
    ParticipantRow,
    ReceiptRow,
)
from tests.chaos.checker.samples import (
    CHAT,
    LANDLORD,
    MOMENT,
    found,
    history,
    holder,
    message,
    oracle,
    write,
)

# 1: stored


def test_what_was_acknowledged_and_is_stored_is_right() -> None:
    assert not found(invariants.check_stored(history(), oracle()))


def test_an_acknowledged_send_that_is_not_stored_is_seen() -> None:
    assert found(invariants.check_stored(history(write(1), write(2), write(3)), oracle())) == {1}


def test_a_refused_send_that_is_stored_is_seen() -> None:
    refused = write(2, outcome=Outcome.REFUSED, code="invalid_payload")
    assert found(invariants.check_stored(history(write(1), refused), oracle())) == {1}


def test_an_unknown_send_may_be_stored_or_not() -> None:
    unknown = [write(n, outcome=Outcome.UNKNOWN, message_id="", seq=0) for n in (2, 3)]
    assert not found(invariants.check_stored(history(write(1), *unknown), oracle()))


def test_a_message_that_nobody_wrote_is_seen() -> None:
    assert found(invariants.check_stored(history(write(1)), oracle())) == {1}


def test_a_message_stored_with_another_number_than_acknowledged_is_seen() -> None:
    swapped = history(write(1, seq=2), write(2))
    assert found(invariants.check_stored(swapped, oracle())) == {1}


def test_a_message_stored_as_another_senders_is_seen() -> None:
    stored = oracle(message(1), message(2, sender=LANDLORD))
    assert found(invariants.check_stored(history(), stored)) == {1}


def test_an_acknowledged_edit_that_is_nowhere_is_seen() -> None:
    edit = write(1, kind="edit", text="changed", target="id1")
    assert found(invariants.check_stored(history(write(1), write(2), edit), oracle())) == {1}


def test_an_edit_that_a_later_one_replaced_is_found() -> None:
    stored = oracle(message(1, content="third"), message(2), replaced={"id1": ["text 1", "second"]})
    edits = [write(1, kind="edit", text=text, target="id1") for text in ("second", "third")]
    assert not found(invariants.check_stored(history(write(1), write(2), *edits), stored))


def test_a_delete_that_was_acknowledged_but_did_nothing_is_seen() -> None:
    done = history()
    done.deletes["id1"].add(Outcome.ACKNOWLEDGED)
    assert found(invariants.check_deletes(done, oracle())) == {1}


def test_a_delete_by_nobody_and_a_text_that_survived_it_are_seen() -> None:
    stored = oracle(message(1, is_deleted=True), message(2))
    assert len(list(invariants.check_deletes(history(), stored))) == 2


# 2: once


def test_two_rows_of_one_key_are_seen() -> None:
    assert found(invariants.check_keys(oracle(message(1), message(2, key="key1")))) == {2}


def test_a_text_that_is_stored_twice_is_seen_even_without_a_key() -> None:
    stored = oracle(message(1, key=""), message(2, key="", content="text 1"))
    assert found(invariants.check_keys(stored)) == {2}
    assert not found(invariants.check_keys(oracle()))


def test_a_repeated_send_with_another_answer_is_seen() -> None:
    done, sent = history(), write(1)
    done.acknowledge(sent, {"id": "id2", "seq": 2, "rev": 2})
    assert found(done.violations) == {2}


# 3: numbered


@pytest.mark.parametrize(
    "messages",
    [
        (message(1), message(3)),
        (message(1), message(1, id="other")),
        (message(1), message(2, created_at=MOMENT)),
        (message(1), message(2, rev=1)),
        (message(1), message(2, rev=9)),
    ],
    ids=["gap", "double", "time", "rev twice", "rev beyond"],
)
def test_bad_numbers_are_seen(messages: tuple[MessageRow, ...]) -> None:
    assert found(invariants.check_numbers(oracle(*messages))) == {3}
    assert not found(invariants.check_numbers(oracle()))


def test_a_device_that_misses_a_message_is_seen() -> None:
    device = holder(oracle(message(1)))
    assert found(invariants.check_logs([device], oracle())) == {3}
    assert not found(invariants.check_logs([holder(oracle())], oracle()))


def test_a_device_that_applied_in_another_order_is_seen() -> None:
    device = holder(oracle())
    device.replica.chats[CHAT].log.reverse()
    assert found(invariants.check_logs([device], oracle())) == {3}


# 4: in real-time order


def test_a_later_send_with_a_smaller_number_is_seen() -> None:
    late = history(write(2, began=0.0, ended=1.0), write(1, began=1.5, ended=2.0))
    assert found(invariants.check_real_time(late)) == {4}


def test_sends_at_the_same_time_may_have_any_order() -> None:
    both = history(write(2, began=0.0, ended=1.0), write(1, began=0.5, ended=2.0))
    assert not found(invariants.check_real_time(both))


def test_a_send_counts_from_its_first_attempt() -> None:
    done = history()
    done.writes.clear()
    retried, other = write(1, outcome=None, began=None), write(2, outcome=None, began=None)
    done.clock = iter((1.0, 2.0, 3.0, 4.0)).__next__
    done.begin(retried)  # at 1, and it is lost
    done.begin(other)  # at 2, acknowledged at 3
    done.acknowledge(other, {"id": "id2", "seq": 2, "rev": 2})
    done.begin(retried)
    done.acknowledge(retried, {"id": "id1", "seq": 1, "rev": 1})  # at 4
    assert not found(invariants.check_real_time(done))


# 7: receipts


def cursors(delivered: int, read: int) -> Oracle:
    rows = dict(oracle().participants)
    rows[CHAT, LANDLORD] = ParticipantRow(delivered, read, 0)
    return oracle(participants=rows)


def test_delivered_without_a_devices_word_is_seen() -> None:
    done = history()
    assert found(invariants.check_cursors(done, cursors(1, 0))) == {7}
    done.begin_report("delivered", CHAT, LANDLORD, 1)
    assert not found(invariants.check_cursors(done, cursors(1, 0)))
    assert found(invariants.check_cursors(done, cursors(1, 1))) == {7}


def test_reading_says_that_it_was_delivered() -> None:
    done = history()
    done.begin_report("read", CHAT, LANDLORD, 2)
    assert not found(invariants.check_cursors(done, cursors(2, 2)))


def test_an_acknowledged_report_that_is_forgotten_is_seen() -> None:
    done = history()
    done.begin_report("delivered", CHAT, LANDLORD, 2)
    done.end_report("delivered", CHAT, LANDLORD, 2)
    assert found(invariants.check_cursors(done, cursors(1, 0))) == {7}


@pytest.mark.parametrize("place", [(1, 2), (3, 3)], ids=["read first", "beyond the last"])
def test_cursors_out_of_order_are_seen(place: tuple[int, int]) -> None:
    done = history()
    done.begin_report("read", CHAT, LANDLORD, 3)
    assert found(invariants.check_cursors(done, cursors(*place))) == {7}


def test_a_receipt_that_goes_back_is_seen() -> None:
    log = [ReceiptRow(CHAT, LANDLORD, "delivered", seq, rev) for seq, rev in ((2, 3), (1, 4))]
    assert found(invariants.check_cursors(history(), oracle(receipts=log))) == {7}
