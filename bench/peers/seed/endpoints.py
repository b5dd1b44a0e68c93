"""The websocket endpoint of the peer `seed`: one socket for one conversation."""

from typing import Any
from uuid import UUID

import jwt
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from bench.peers.seed.connections import Connections
from bench.peers.seed.messages import Messages

POLICY_VIOLATION = 1008
MAX_LENGTH = 5000


class Endpoint:
    def __init__(self, messages: Messages, connections: Connections, secret: str) -> None:
        self._messages = messages
        self._connections = connections
        self._secret = secret

    async def chat(self, websocket: WebSocket, conversation_id: UUID, token: str) -> None:
        user_id = self._user(token)
        if user_id is None or not await self._messages.is_participant(conversation_id, user_id):
            await websocket.close(code=POLICY_VIOLATION)
            return
        await websocket.accept()
        self._connections.add(websocket, user_id, conversation_id)
        await self._presence(user_id, conversation_id, is_online=True)
        try:
            while True:
                await self._receive(
                    websocket, conversation_id, user_id, await websocket.receive_json()
                )
        except WebSocketDisconnect:
            pass
        finally:
            self._connections.remove(websocket, user_id, conversation_id)
        await self._presence(user_id, conversation_id, is_online=False)

    def _user(self, token: str) -> UUID | None:
        try:
            return UUID(jwt.decode(token, self._secret, algorithms=["HS256"])["sub"])
        except (jwt.PyJWTError, KeyError, ValueError):
            return None

    async def _presence(self, user_id: UUID, conversation_id: UUID, *, is_online: bool) -> None:
        payload = {"type": "presence", "user_id": str(user_id), "is_online": is_online}
        await self._connections.broadcast(payload, conversation_id, but=user_id)

    async def _receive(
        self, websocket: WebSocket, conversation_id: UUID, user_id: UUID, body: Any
    ) -> None:
        """Store, then send to both: the sender's own copy is the acknowledgement."""
        try:
            content, key = _checked(body)
            message, is_new = await self._messages.create(conversation_id, user_id, content, key)
        except (KeyError, TypeError, ValueError, LookupError):
            await websocket.send_json({"type": "error"})
            return
        payload = {"type": "message", "data": message.dump()}
        if is_new:
            await self._connections.broadcast(payload, conversation_id)
        else:
            await websocket.send_json(payload)


def _checked(body: Any) -> tuple[str, UUID]:
    content, key = body["content"], UUID(body["client_msg_id"])
    if body["type"] != "message" or not 0 < len(content) <= MAX_LENGTH:
        raise ValueError
    return content, key


def create_app(database_url: str, secret: str, pool_size: int) -> FastAPI:
    engine = create_async_engine(
        database_url.replace("postgresql://", "postgresql+asyncpg://"),
        pool_size=pool_size,
        max_overflow=0,
    )
    # Without this each attribute would be fetched anew after the commit.
    sessions = async_sessionmaker(engine, expire_on_commit=False)
    endpoint = Endpoint(Messages(sessions), Connections(), secret)
    app = FastAPI()
    app.add_api_websocket_route("/ws/chat/{conversation_id}", endpoint.chat)
    return app
