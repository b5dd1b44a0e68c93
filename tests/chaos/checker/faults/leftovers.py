"""Mistakes that leave something behind for each connection."""

import asyncio
import os
from typing import Any

from chatserver.eio.websocket import WebSocket
from chatserver.realtime.namespace import ChatNamespace
from tests.chaos.checker.faults.planting import fault, patch


@fault(10, sign="^files:")
def leaking_sockets() -> None:
    """The connection of every websocket stays open for ever."""
    connect = ChatNamespace.on_connect

    async def connect_and_keep(self: ChatNamespace, sid: str, *arguments: Any) -> None:
        await connect(self, sid, *arguments)
        client = self.server.sockets.adapter.get_client(sid)
        if client is not None and isinstance(client.socket.transport, WebSocket):
            os.dup(client.socket.transport._transport.get_extra_info("socket").fileno())

    patch(ChatNamespace, "on_connect", connect_and_keep)


@fault(10, sign="^sessions:")
def leaking_sessions() -> None:
    """Nobody notices that a socket has gone."""

    async def ignore(self: ChatNamespace, sid: str, reason: str) -> None: ...

    patch(ChatNamespace, "on_disconnect", ignore)


@fault(10, sign="^tasks:")
def leaking_tasks() -> None:
    """Each connection leaves a task behind."""
    connect = ChatNamespace.on_connect
    tasks = []

    async def connect_and_linger(self: ChatNamespace, *arguments: Any) -> None:
        await connect(self, *arguments)
        tasks.append(asyncio.create_task(asyncio.sleep(3600)))

    patch(ChatNamespace, "on_connect", connect_and_linger)
