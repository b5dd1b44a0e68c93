"""The peer `stock`: python-socketio as it comes on aiohttp, one transaction for each message."""

import asyncio
import os
import sys
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg
import jwt
import socketio  # type: ignore[import-untyped]
import uvloop
from aiohttp import web

MAX_LENGTH = 5000

# Checks the membership, locks the conversation and gives the number.
NUMBER = """
    UPDATE chat.conversations SET last_seq = last_seq + 1, last_message_at = clock_timestamp()
    WHERE id = $1 AND $2 IN (client_user_id, owner_user_id)
    RETURNING last_seq, client_user_id, owner_user_id
"""
INSERT = """
    INSERT INTO chat.messages
        (id, conversation_id, seq, sender_user_id, content, client_msg_id, created_at)
    VALUES (gen_random_uuid(), $1, $2, $3, $4, $5, clock_timestamp())
    ON CONFLICT (conversation_id, sender_user_id, client_msg_id) DO NOTHING
    RETURNING id, conversation_id, seq, sender_user_id, content, client_msg_id, created_at
"""
FIRST = """
    SELECT id, conversation_id, seq, sender_user_id, content, client_msg_id, created_at
    FROM chat.messages
    WHERE conversation_id = $1 AND sender_user_id = $2 AND client_msg_id = $3
"""


class Refused(Exception):
    """An error that the client is told."""


@dataclass(frozen=True, slots=True)
class Draft:
    conversation_id: UUID
    sender_id: UUID
    content: str
    client_msg_id: UUID


class Duplicate(Exception):
    """The key was used before; undoes the transaction."""


def checked(body: Any, sender_id: UUID) -> Draft:
    try:
        conversation_id, key = UUID(body["conversation_id"]), UUID(body["client_msg_id"])
        content = body["content"]
    except (KeyError, TypeError, ValueError, AttributeError):
        raise Refused("invalid_payload") from None
    if not isinstance(content, str) or not content.strip() or len(content) > MAX_LENGTH:
        raise Refused("invalid_payload")
    return Draft(conversation_id, sender_id, content, key)


async def store(pool: asyncpg.Pool, draft: Draft) -> tuple[dict[str, Any], list[UUID]]:
    """The message, committed, and whom to send it to: nobody if it was there before."""
    key = (draft.conversation_id, draft.sender_id, draft.client_msg_id)
    async with pool.acquire() as connection:
        try:
            async with connection.transaction():
                found = await connection.fetchrow(NUMBER, *key[:2])
                if found is None:
                    raise Refused("not_found")
                row = await connection.fetchrow(
                    INSERT, key[0], found["last_seq"], key[1], draft.content, key[2]
                )
                if row is None:
                    raise Duplicate  # noqa: TRY301
        except Duplicate:
            return dump(await connection.fetchrow(FIRST, *key)), []
    return dump(row), [found["client_user_id"], found["owner_user_id"]]


def dump(row: Any) -> dict[str, Any]:
    return {
        "id": str(row["id"]),
        "conversation_id": str(row["conversation_id"]),
        "seq": row["seq"],
        "sender_id": str(row["sender_user_id"]),
        "content": row["content"],
        "client_msg_id": str(row["client_msg_id"]),
        "created_at": row["created_at"].isoformat(),
    }


class Chat(socketio.AsyncNamespace):  # type: ignore[misc]
    def __init__(self, pool: asyncpg.Pool, secret: str) -> None:
        super().__init__("/")
        self.pool = pool
        self.secret = secret

    async def on_connect(self, sid: str, environ: Any, auth: Any) -> None:
        try:
            claims = jwt.decode(auth["token"], self.secret, algorithms=["HS256"])
            user_id = UUID(claims["sub"])
        except (jwt.PyJWTError, KeyError, TypeError, ValueError):
            raise socketio.exceptions.ConnectionRefusedError("unauthorized") from None
        await self.save_session(sid, {"user_id": user_id})
        await self.enter_room(sid, f"user:{user_id}")

    async def on_message(self, sid: str, body: Any) -> Any:
        session = await self.get_session(sid)
        try:
            message, participants = await store(self.pool, checked(body, session["user_id"]))
        except Refused as error:
            return {"ok": False, "error": {"code": str(error)}}
        rooms = [f"user:{user_id}" for user_id in participants]
        if rooms:
            # Once the acknowledgement is on its way, which is when this handler returns.
            self.server.start_background_task(self.emit, "message", message, room=rooms)
        return {"ok": True, "message": message, "duplicate": not rooms}


async def main() -> None:
    pool = await asyncpg.create_pool(
        os.environ["DATABASE_URL"], min_size=0, max_size=int(os.environ["POOL_SIZE"])
    )
    server = socketio.AsyncServer(async_mode="aiohttp", transports=["websocket"])
    server.register_namespace(Chat(pool, os.environ["JWT_SECRET"]))
    app = web.Application()
    server.attach(app)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", int(os.environ["PORT"]), backlog=4096).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    sys.exit(uvloop.run(main()))
