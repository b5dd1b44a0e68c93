"""What the database holds in the end, read past the server."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg


@dataclass(frozen=True, slots=True)
class ConversationRow:
    id: str
    client: str
    owner: str
    last_seq: int
    rev: int
    archived: tuple[bool, bool] = (False, False)
    """By the client, by the owner."""

    @property
    def people(self) -> tuple[str, str]:
        return self.client, self.owner

    @property
    def audience(self) -> tuple[str, ...]:
        """Who is shown it: its owner not before the first message."""
        return self.people if self.last_seq else (self.client,)


@dataclass(frozen=True, slots=True)
class MessageRow:
    id: str
    chat: str
    seq: int
    rev: int
    sender: str
    content: str
    key: str
    is_deleted: bool
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ParticipantRow:
    delivered_seq: int
    read_seq: int
    unread_count: int


@dataclass(frozen=True, slots=True)
class ReceiptRow:
    chat: str
    user: str
    kind: str
    seq: int
    rev: int


@dataclass(frozen=True, slots=True)
class Oracle:
    """`messages` of each conversation by `seq`; `replaced` are the texts of a message that
    edits and deletes took away; `participants` by conversation and user."""

    chats: Mapping[str, ConversationRow]
    messages: Mapping[str, Sequence[MessageRow]]
    replaced: Mapping[str, Sequence[str]]
    participants: Mapping[tuple[str, str], ParticipantRow]
    totals: Mapping[str, int]
    receipts: Sequence[ReceiptRow]

    def all_messages(self) -> list[MessageRow]:
        return [message for messages in self.messages.values() for message in messages]

    def recount(self, chat_id: str, user: str) -> int:
        """How many messages the user has not read, counted one by one."""
        read = self.participants[chat_id, user].read_seq
        return sum(
            message.seq > read and message.sender != user and not message.is_deleted
            for message in self.messages[chat_id]
        )


async def read_oracle(database_url: str) -> Oracle:
    """All of it, as of one moment."""
    connection = await asyncpg.connect(database_url.replace("+asyncpg", ""))
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            return await _read(connection)
    finally:
        await connection.close()


async def _read(connection: asyncpg.Connection) -> Oracle:
    chats = {
        str(row[0]): ConversationRow(
            str(row[0]), str(row[1]), str(row[2]), row[3], row[4], (row[5], row[6])
        )
        for row in await connection.fetch(
            """SELECT id, client_user_id, owner_user_id, last_seq, rev,
                      archived_by_client, archived_by_owner
               FROM chat.conversations"""
        )
    }
    messages: dict[str, list[MessageRow]] = {chat_id: [] for chat_id in chats}
    for row in await connection.fetch(
        """SELECT id, conversation_id, seq, rev, sender_user_id, content,
                  client_msg_id, is_deleted, created_at
           FROM chat.messages ORDER BY conversation_id, seq, created_at"""
    ):
        messages[str(row[1])].append(
            MessageRow(str(row[0]), str(row[1]), row[2], row[3], str(row[4]), row[5],
                       str(row[6] or ""), row[7], row[8])
        )  # fmt: skip
    replaced: dict[str, list[str]] = {}
    for row in await connection.fetch(
        "SELECT message_id, content FROM chat.message_edits ORDER BY conversation_id, rev"
    ):
        replaced.setdefault(str(row[0]), []).append(row[1])
    return Oracle(
        chats=chats,
        messages=messages,
        replaced=replaced,
        participants={
            (str(row[0]), str(row[1])): ParticipantRow(*row[2:])
            for row in await connection.fetch(
                """SELECT conversation_id, user_id, delivered_seq, read_seq, unread_count
                   FROM chat.participants"""
            )
        },
        totals={
            str(row[0]): row[1]
            for row in await connection.fetch(
                "SELECT user_id, unread_count FROM chat.unread_totals"
            )
        },
        receipts=[
            ReceiptRow(str(row[0]), str(row[1]), *row[2:])
            for row in await connection.fetch(
                """SELECT conversation_id, user_id, kind::text, seq, rev FROM chat.receipts
                   ORDER BY conversation_id, user_id, kind, rev"""
            )
        ],
    )
