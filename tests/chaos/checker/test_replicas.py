"""The reference client's rules: by `rev`, once, in order, and complaining where that fails."""

from typing import Any

from tests.chaos.checker.replicas import Chat, Replica

CHAT, TENANT, LANDLORD = "chat", "tenant", "landlord"


def view(rev: int = 0, last_seq: int = 0, **parts: Any) -> dict[str, Any]:
    return {
        "id": CHAT, "client_user_id": TENANT, "owner_user_id": LANDLORD, "rev": rev,
        "last_seq": last_seq, "updated_at": "1", "unread_count": 0, "read_seq": 0,
        "peer_read_seq": 0, "peer_delivered_seq": 0, "archived_by_client": False,
        "archived_by_owner": False, **parts,
    }  # fmt: skip


def message(seq: int, rev: int | None = None, content: str = "hello") -> dict[str, Any]:
    return {
        "id": f"id{seq}",
        "conversation_id": CHAT,
        "seq": seq,
        "rev": rev or seq,
        "sender_id": TENANT,
        "content": content,
        "is_deleted": False,
    }


class Landlord:
    """The landlord's device, with an empty conversation."""

    def __init__(self) -> None:
        self.complaints: list[tuple[int, str, str]] = []
        self.replica = Replica(LANDLORD, lambda *complaint: self.complaints.append(complaint))
        self.replica.receive("conversation", view())

    @property
    def chat(self) -> Chat:
        return self.replica.chats[CHAT]

    @property
    def seqs(self) -> list[int]:
        return [seq for seq, _ in self.chat.log]

    def receive(self, *messages: dict[str, Any]) -> str | None:
        return [self.replica.receive("message", one) for one in messages][-1]

    def receipt(self, kind: str, rev: int, seq: int, who: str = LANDLORD) -> None:
        payload = {"conversation_id": CHAT, "seq": seq, "rev": rev}
        who_key = "read_by" if kind == "read_receipt" else "delivered_to"
        self.replica.receive(kind, {**payload, who_key: who})


def test_events_that_overtake_each_other_are_applied_in_order() -> None:
    device = Landlord()
    assert device.receive(message(2)) == CHAT
    assert device.seqs == []
    assert device.receive(message(1)) is None
    assert device.seqs == [1, 2]
    assert not device.complaints


def test_what_came_already_is_dropped() -> None:
    device = Landlord()
    device.receive(message(1), message(1), message(2), message(1))
    assert device.seqs == [1, 2]
    assert not device.complaints


def test_a_gap_is_healed_by_sync_and_what_waited_follows() -> None:
    device = Landlord()
    device.receive(message(1), message(3))
    assert device.replica.behind() == [CHAT]
    changes = [message(2)]
    device.replica.take({**view(2, 2), "changes": changes, "limited": False})
    assert device.seqs == [1, 2, 3]
    assert device.replica.behind() == []
    assert not device.complaints


def test_too_many_changes_are_paged_while_events_wait() -> None:
    device = Landlord()
    device.replica.take({**view(3, 3), "changes": [message(3)], "limited": True})
    device.receive(message(5), message(4))
    assert device.seqs == []
    pages = [message(n) for n in range(1, 5)]
    device.replica.take_page(device.chat, pages, is_last=True)
    assert device.seqs == [1, 2, 3, 4, 5]
    assert device.chat.rev == 5
    assert not device.complaints


def test_a_message_that_comes_again_with_a_new_rev_is_complained_of() -> None:
    device = Landlord()
    device.receive(message(1), message(1, rev=2))
    assert [complaint[0] for complaint in device.complaints] == [3]


def test_a_hole_in_the_numbers_is_complained_of() -> None:
    device = Landlord()
    device.receive(message(1), message(3, rev=2))
    assert [complaint[0] for complaint in device.complaints] == [3]


def test_a_sync_that_leaves_out_a_message_is_complained_of() -> None:
    device = Landlord()
    device.replica.take({**view(2, 2), "changes": [message(1)], "limited": False})
    assert [complaint[0] for complaint in device.complaints] == [3]


def test_a_receipt_that_goes_back_or_beyond_is_complained_of() -> None:
    device = Landlord()
    device.receive(message(1), message(2))
    device.receipt("delivery_receipt", 3, 2)
    device.receipt("delivery_receipt", 4, 1)
    device.receipt("read_receipt", 5, 3)
    assert [complaint[0] for complaint in device.complaints] == [7, 7]


def test_unread_is_what_others_wrote_behind_the_read_cursor() -> None:
    device = Landlord()
    device.receive(message(1), message(2), message(3))
    assert device.chat.unread == 3
    device.receipt("read_receipt", 4, 1)
    deleted = message(2, rev=5, content="") | {"is_deleted": True}
    device.replica.receive("message_deleted", deleted)
    assert device.chat.unread == 1


def test_a_message_brings_an_archived_conversation_back() -> None:
    device = Landlord()
    device.replica.receive("conversation", view(archived_by_owner=True, updated_at="2"))
    assert device.chat.archived == (False, True)
    device.receive(message(1))
    assert device.chat.archived == (False, False)


def test_a_view_from_before_a_message_does_not_put_it_away_again() -> None:
    device = Landlord()
    device.receive(message(1))
    device.replica.receive("conversation", view(archived_by_owner=True, updated_at="2"))
    assert device.chat.archived == (False, False)


def test_a_head_says_that_something_is_missing() -> None:
    device = Landlord()
    payload = {"conversation_id": CHAT, "last_seq": 1, "rev": 1}
    assert device.replica.receive("head", payload) == CHAT
