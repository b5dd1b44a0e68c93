"""Messages of the peer `seed`: SQLAlchemy's ORM, a row at a time, a transaction each."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import DateTime, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    pass


class Conversation(Base):
    __tablename__ = "conversations"
    __table_args__ = {"schema": "chat"}  # noqa: RUF012

    id: Mapped[UUID] = mapped_column(primary_key=True)
    client_user_id: Mapped[UUID]
    owner_user_id: Mapped[UUID]
    last_seq: Mapped[int]
    last_message_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class Message(Base):
    __tablename__ = "messages"
    __table_args__ = {"schema": "chat"}  # noqa: RUF012

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    conversation_id: Mapped[UUID]
    seq: Mapped[int]
    sender_user_id: Mapped[UUID]
    content: Mapped[str]
    client_msg_id: Mapped[UUID]
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))

    def dump(self) -> dict[str, Any]:
        return {
            "id": str(self.id),
            "conversation_id": str(self.conversation_id),
            "seq": self.seq,
            "sender_id": str(self.sender_user_id),
            "content": self.content,
            "client_msg_id": str(self.client_msg_id),
            "created_at": self.created_at.isoformat(),
        }


class Messages:
    def __init__(self, sessions: async_sessionmaker[AsyncSession]) -> None:
        self._sessions = sessions

    async def is_participant(self, conversation_id: UUID, user_id: UUID) -> bool:
        async with self._sessions() as session:
            found = await session.get(Conversation, conversation_id)
        return found is not None and user_id in (found.client_user_id, found.owner_user_id)

    async def create(
        self, conversation_id: UUID, sender_id: UUID, content: str, client_msg_id: UUID
    ) -> tuple[Message, bool]:
        """The message, committed, and whether it is new.

        Raises LookupError when the sender is not (or no longer) in the conversation.
        """
        try:
            async with self._sessions.begin() as session:
                conversation = await session.get(
                    Conversation, conversation_id, with_for_update=True
                )
                if conversation is None or sender_id not in (
                    conversation.client_user_id,
                    conversation.owner_user_id,
                ):
                    raise LookupError
                now = datetime.now(UTC)
                conversation.last_seq += 1
                conversation.last_message_at = now
                message = Message(
                    conversation_id=conversation_id,
                    seq=conversation.last_seq,
                    sender_user_id=sender_id,
                    content=content,
                    client_msg_id=client_msg_id,
                    created_at=now,
                )
                session.add(message)
        except IntegrityError:
            return await self._first(conversation_id, sender_id, client_msg_id), False
        return message, True

    async def _first(self, conversation_id: UUID, sender_id: UUID, client_msg_id: UUID) -> Message:
        query = select(Message).where(
            Message.conversation_id == conversation_id,
            Message.sender_user_id == sender_id,
            Message.client_msg_id == client_msg_id,
        )
        async with self._sessions() as session:
            return (await session.execute(query)).scalar_one()
