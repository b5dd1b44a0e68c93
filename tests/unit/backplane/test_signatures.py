"""Signatures: what was altered, moved, recorded or never signed is told apart."""

import pytest

from chatserver.backplane.signatures import MAX_AGE, Key, Signatures, Verdict

CHANNEL = b"chat:user:1"
MESSAGES = b'node:1\n42["message",{}]\n\nnode:2\n42["unread",{}]'
NOW = 1_800_000_000.0
ONE, TWO = Key(1, b"k" * 32), Key(2, b"l" * 32)


def signatures(*keys: Key, own: int = 1, now: float = NOW) -> Signatures:
    known = Signatures()
    known.learn(keys or (ONE,), own, now)
    return known


def test_what_one_node_signs_another_believes() -> None:
    published = signatures().sign(CHANNEL, MESSAGES)
    assert signatures(now=NOW + 5).open(CHANNEL, published) == (Verdict.SIGNED, MESSAGES)


def test_a_node_without_signatures_sees_the_same_messages_and_one_of_no_form() -> None:
    """Older ones ignore what does not begin with 32 digits and a colon."""
    *messages, record = signatures().sign(CHANNEL, MESSAGES).split(b"\n\n")
    assert b"\n\n".join(messages) == MESSAGES
    assert b"\n" not in record
    assert len(record.partition(b":")[0]) != 32


def test_any_byte_that_is_another_is_seen() -> None:
    reader, published = signatures(), signatures().sign(CHANNEL, MESSAGES)
    for place in range(len(published)):
        altered = bytearray(published)
        altered[place] ^= 1
        verdict, messages = reader.open(CHANNEL, bytes(altered))
        assert verdict is not Verdict.SIGNED, place
        assert verdict is Verdict.UNSIGNED or messages == b"", place


@pytest.mark.parametrize(
    "record",
    [
        b"signed:",
        b"signed:1",
        b"signed:1:1",
        b"signed::::",
        b"signed:1:1800000000000:",
        b"signed:1:" + b"9" * 5000 + b":" + b"0" * 32,
        b"signed:1:-1:" + b"0" * 32,
        b"signed:1:1800000000000:" + "é".encode() * 16,
    ],
)
def test_a_record_that_is_none_is_forged(record: bytes) -> None:
    assert signatures().open(CHANNEL, MESSAGES + b"\n\n" + record)[0] is Verdict.FORGED


def test_it_holds_for_its_channel_alone() -> None:
    published = signatures().sign(CHANNEL, MESSAGES)
    assert signatures().open(b"chat:user:2", published) == (Verdict.FORGED, b"")


def test_what_was_recorded_is_stale_later_whatever_the_nodes_own_clock_says() -> None:
    published = signatures().sign(CHANNEL, MESSAGES)
    for now, verdict in (
        (NOW + MAX_AGE - 1, Verdict.SIGNED),
        (NOW + MAX_AGE + 1, Verdict.STALE),
        (NOW - MAX_AGE - 1, Verdict.STALE),
    ):
        assert signatures(now=now).open(CHANNEL, published)[0] is verdict


def test_an_old_key_verifies_while_it_is_known_and_a_missed_one_is_remembered() -> None:
    by_one, by_two = signatures().sign(CHANNEL, MESSAGES), signatures(TWO, own=2)
    both = signatures(ONE, TWO, own=2)
    assert both.open(CHANNEL, by_one)[0] is Verdict.SIGNED
    reader = signatures()
    assert not reader.misses_key
    assert reader.open(CHANNEL, by_two.sign(CHANNEL, MESSAGES)) == (Verdict.UNKNOWN_KEY, b"")
    assert reader.misses_key
    assert reader.learn((ONE, TWO), 2, NOW)
    assert not reader.misses_key
    assert reader.open(CHANNEL, by_two.sign(CHANNEL, MESSAGES))[0] is Verdict.SIGNED


def test_a_key_that_nobody_has_is_asked_for_once_and_does_not_count_as_learned() -> None:
    reader = signatures()
    reader.open(CHANNEL, MESSAGES + b"\n\nsigned:77:1:" + b"0" * 32)
    assert reader.misses_key
    assert not reader.learn((ONE,), 1, NOW)
    assert not reader.misses_key


def test_without_a_key_nothing_is_signed() -> None:
    assert Signatures().sign(CHANNEL, MESSAGES) == MESSAGES
    assert Signatures().open(CHANNEL, MESSAGES) == (Verdict.UNSIGNED, MESSAGES)
