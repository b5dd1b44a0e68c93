"""Mistakes that nobody notices as long as there is one node, or as long as none of them falls."""

import asyncio
from collections.abc import Collection
from typing import Any
from uuid import UUID

from chatserver.backplane.redis_bus import RedisBus
from chatserver.backplane.redis_leases import RedisLeases
from chatserver.errors import IdempotencyConflict
from chatserver.models import Principal
from chatserver.repositories import sync
from chatserver.services.messages import Draft, MessageService, Sent
from chatserver.services.reconciliation import ReconciliationService
from chatserver.sio.cluster_adapter import ClusterAdapter
from tests.chaos.checker.faults.planting import every, fault, in_append, in_text, patch

YEAR = 365 * 24 * 3600.0


@fault(3, sign="no event told of", nodes=3)
def lost_between_nodes() -> None:
    """One event in ten does not get to the other nodes, and nobody is in doubt."""
    publish, is_lost = RedisBus.publish, every(10)

    def publish_mostly(self: RedisBus, channels: Collection[str], body: bytes) -> None:
        if not is_lost():
            publish(self, channels, body)

    patch(RedisBus, "publish", publish_mostly)


@fault(3, sign="came twice", nodes=3)
def own_echo() -> None:
    """A node takes what it said itself for another node's."""

    take = RedisBus._take

    def take_any(self: RedisBus, channel: bytes, published: bytes) -> None:
        own, self._own = self._own, b"nobody"
        take(self, channel, published)
        self._own = own

    patch(RedisBus, "_take", take_any)


@fault(3, sign="nothing leads it from", around="stop_receiving_once", nodes=3)
def no_sweep() -> None:
    """Nobody looks for what Redis did not carry."""
    patch(ReconciliationService, "require", lambda *_: None)


@fault(8, sign="says True of", around="kill_server", nodes=3)
def leases_for_ever() -> None:
    """A socket's lease ends when it closes, not when its node is killed."""
    acquire, renew = RedisLeases.acquire, RedisLeases.renew

    async def acquire_for_ever(
        self: RedisLeases, user_id: UUID, socket_id: str, ttl: float, cap: int = 0
    ) -> bool:
        return await acquire(self, user_id, socket_id, YEAR, cap)

    async def renew_for_ever(self: RedisLeases, sockets: Any, ttl: float) -> None:
        await renew(self, sockets, YEAR)

    patch(RedisLeases, "acquire", acquire_for_ever)
    patch(RedisLeases, "renew", renew_for_ever)


@fault(8, sign="it was not told that", nodes=3)
def presence_stays_here() -> None:
    """That somebody came or went is told to the sockets of one node alone."""
    emit = ClusterAdapter.emit_now

    def emit_some(self: ClusterAdapter, event: str, *arguments: Any, **options: Any) -> int:
        send = self.emit_local if event == "presence" else emit.__get__(self)
        return send(event, *arguments, **options)

    patch(ClusterAdapter, "emit_now", emit_some)


@fault(1, 2, nodes=3)
def keys_in_memory() -> None:
    """Each node remembers the keys that it has seen, and does not ask the database."""
    in_append(
        ("AND client_msg_id = i.client_msg_id", "AND false"),
        (
            "AND client_msg_id IS NOT NULL\n",
            "AND client_msg_id IS NOT NULL ON CONFLICT DO NOTHING\n",
        ),
    )
    send = MessageService.send
    seen: dict[Any, tuple[Draft, asyncio.Task[Sent]]] = {}

    async def send_once(
        self: MessageService, principal: Principal, conversation_id: UUID, draft: Draft
    ) -> Sent:
        sending = send(self, principal, conversation_id, draft)
        if draft.client_msg_id is None:
            return await sending
        key = (principal.user_id, conversation_id, draft.client_msg_id)
        if key in seen and not has_failed(seen[key][1]):
            sending.close()
        else:
            seen[key] = draft, asyncio.ensure_future(sending)
        first, task = seen[key]
        if first != draft:
            raise IdempotencyConflict
        return await asyncio.shield(task)

    def has_failed(sent: asyncio.Task[Sent]) -> bool:
        return sent.done() and (sent.cancelled() or sent.exception() is not None)

    patch(MessageService, "send", send_once)


@fault(3, 9, sign="last_seq is|after sync it has|is missing", around="no_partition", nodes=3)
def strays_unread() -> None:
    """Sync takes what lies in no monthly partition for something else."""
    stray = "m.tableoid::regclass::text = 'chat.messages_default'"
    in_text(sync, "_CHANGES", "AND m.seq > h.seq", f"AND m.seq > h.seq AND NOT {stray}")
