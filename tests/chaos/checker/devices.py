"""A device: it connects again and again, applies, syncs, and sends what is in its outbox."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from tests.chaos.checker.clients import API, UNCERTAIN, Answer, Client
from tests.chaos.checker.deliveries import Deliveries
from tests.chaos.checker.histories import History, Known
from tests.chaos.checker.outboxes import RETRY, Outbox
from tests.chaos.checker.plans import TOKEN_TTL, DeviceSpec
from tests.chaos.checker.replicas import NUMBERED, Replica
from tests.chaos.checker.sessions import Lost, Refused, SocketSession
from tests.chaos.checker.watches import Watch

GAP_PATIENCE = 0.25
"""How long a device waits for the events that are missing before it asks, in seconds."""

PATIENCE = 5.0
"""How long a person waits for a connection before they give up doing something."""


class Device:
    """The reference client. `replica` is what its person would see.

    Everything that it does in the background runs from start() to stop().
    """

    def __init__(
        self,
        spec: DeviceSpec,
        client: Client,
        history: History,
        watch: Watch,
        seed: int,
        patience: float | None = None,
    ) -> None:
        """`patience`: seconds that a connection and an answer may take, as in SocketSession."""
        self.spec = spec
        self.client = client
        self.history = history
        self.user = str(spec.person.id)
        self.joined: set[str] = set()
        self.replica = self._new_replica()
        self.cursor: str | None = None
        self.is_synced = False
        self.connections = 0
        self.doing = ""
        self.told_online: dict[str, bool] = {}
        """What the last event said of whom, since this connection began."""
        self.move_on: Callable[[], None] = lambda: None
        """Called whenever a connection has ended: the next may lead elsewhere."""
        self.on_change: Callable[[], None] = lambda: None
        """Called whenever the replica may have changed."""
        self.on_ready: Callable[[bool], None] = lambda _: None
        """Called when it is connected and in sync, and when it no longer is."""
        self.was_a_clock_ahead: Callable[[], bool] = lambda: False
        """Whether some node may have taken a token that ends soon for one that has ended."""
        self._ready = asyncio.Event()
        self._back = asyncio.Event()
        self._watch = watch
        self._patience = patience
        self._rng = random.Random(seed)
        self._tasks: set[asyncio.Task[None]] = set()
        self._syncing = asyncio.Lock()
        self.outbox = Outbox(client, history, self._rng)
        self._deliveries = Deliveries(client, history, lambda: self.replica, self._refused)
        self._heal_handle: asyncio.TimerHandle | None = None
        self._pause = 0.0
        self._heard: set[tuple[str, int]] = set()
        self._floor: dict[str, int] | None = None

    def _new_replica(self) -> Replica:
        return Replica(self.user, self.complain)

    def complain(self, invariant: int, what: str, chat_id: str = "") -> None:
        chat = self.replica.chats.get(chat_id)
        evidence = list(chat.journal)[-12:] if chat else ()
        self.history.complain(
            invariant, what, chat=chat_id, device=self.spec.name, evidence=evidence
        )

    # Life

    def start(self) -> None:
        self.spawn(self._live)
        self.spawn(self.outbox.run)
        if not self.spec.receives:
            self.spawn(self._sync_often)

    async def stop(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self._heal_handle is not None:
            self._heal_handle.cancel()
        if self.client.session is not None:
            self.client.session.close()

    def spawn(self, work: Callable[..., Awaitable[None]], *arguments: Any) -> None:
        task = asyncio.create_task(self._attempt(work, *arguments))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _attempt(self, work: Callable[..., Awaitable[None]], *arguments: Any) -> None:
        """A lost answer ends the work; anything else is a fault of the checker or worse."""
        try:
            await work(*arguments)
        except Lost:
            self.history.figures["background work lost"] += 1
        except Exception as error:
            self.complain(0, f"the device failed: {type(error).__name__}: {error}")
            raise

    def disconnect(self, pause: float = 0.0) -> None:
        """Drop the connection; the device comes back by itself after `pause` seconds."""
        self._pause = pause
        self._ready.clear()
        if self.client.session is not None:
            self.client.session.close()

    async def wait_ready(self) -> None:
        """Until it is connected and in sync, as a person would; Lost after some seconds."""
        try:
            async with asyncio.timeout(PATIENCE):
                await self._ready.wait()
        except TimeoutError:
            raise Lost from None

    def come_back(self) -> None:
        """End a pause."""
        self._back.set()

    def condition(self) -> str:
        """What it is doing, for a run that does not end."""
        behind = [
            f"{chat_id[-4:]} rev {chat.rev} of {chat.heard_of}"
            for chat_id, chat in self.replica.chats.items()
            if chat.is_behind
        ]
        parts = {
            "connected": self.client.is_connected,
            "synced": self.is_synced,
            "syncing": self._syncing.locked(),
            "connections": self.connections,
            "doing": self.doing,
            "behind": behind,
        }
        return ", ".join(f"{name} {value}" for name, value in parts.items())

    def forget(self) -> None:
        """As after a new installation: nothing is held, and the outbox survives."""
        self.replica = self._new_replica()
        self.cursor = None
        self._deliveries.forget()
        self.disconnect()

    async def _live(self) -> None:
        while True:
            try:
                await self._connect()
            except (OSError, TimeoutError):
                self.history.figures["connections failed"] += 1
            except Refused as error:
                self.history.figures[f"handshakes refused: {error}"] += 1
                if str(error) not in UNCERTAIN and not self._ended_early(str(error)):
                    self.complain(0, f"the handshake was refused: {error}")
            if self.is_synced:
                self.is_synced = False
                self.on_ready(False)
            self._ready.clear()
            self.move_on()
            pause, self._pause = self._pause, 0.0
            self.doing = f"away for {pause:.1f} s"
            with suppress(TimeoutError):
                async with asyncio.timeout(pause or self._rng.uniform(*RETRY)):
                    await self._back.wait()
            self._back.clear()

    def _ended_early(self, code: str) -> bool:
        """Whether the node may have refused a token for no other reason than its clock."""
        ends_soon = self.spec.token_ttl < TOKEN_TTL
        return code == "unauthorized" and ends_soon and self.was_a_clock_ahead()

    async def _connect(self) -> None:
        """One connection, to its end: first listen, then sync, then join again."""
        self._heard.clear()
        self.replica.total_unread = None
        self._floor = None
        self.told_online.clear()
        self.doing = "connecting"
        session = SocketSession(self._hear, self.client.on_text, self._patience)
        token = self.client.keys.token(self.spec.person, self.spec.token_ttl)
        await session.open(self.client.http, self.client.socket_port, self.spec.transport, token)
        self.client.session = session
        self.doing = "connected"
        self.connections += 1
        self.history.figures["connections"] += 1
        self.spawn(self._catch_up, session)
        try:
            await session.wait_ended()
        finally:
            session.close()

    async def _catch_up(self, session: SocketSession) -> None:
        while self.client.session is session and session.is_open:
            try:
                await self.sync(list(self.joined)[:5])
                for chat_id in list(self.joined):
                    await self.client.emit("join", {"conversation_id": chat_id})
            except Lost:
                await asyncio.sleep(self._rng.uniform(*RETRY))
            else:
                self.is_synced = True
                self._ready.set()
                self.on_ready(True)
                self._floor = {chat.id: chat.rev for chat in self.replica.chats.values()}
                self._report_delivered()
                return

    # Hearing

    def _hear(self, event: str, payload: Any) -> None:
        if event == "error":
            if payload["code"] != "token_expired":
                self.complain(0, f"an error event came: {payload}")
            return
        self._watch.received(self, event, payload)
        if event == "presence":
            self.told_online[payload["user_id"]] = payload["is_online"]
        if event in NUMBERED:
            self._check_one_copy(event, payload)
        if not self.spec.receives:
            return
        self.history.figures[f"event {event}"] += 1
        behind = self.replica.receive(event, payload)
        self.on_change()
        if behind is not None:
            self._heal_soon()
        if event == "message":
            self._report_delivered()

    def _check_one_copy(self, event: str, payload: Any) -> None:
        chat_id, rev = payload["conversation_id"], payload["rev"]
        if (chat_id, rev) in self._heard:
            self.complain(3, f"{event} of seq {payload['seq']}, rev {rev}, came twice", chat_id)
        self._heard.add((chat_id, rev))

    def check_received(self) -> None:
        """Complain of changes that no event told of while the device was connected."""
        if self._floor is None:
            return
        for chat in self.replica.chats.values():
            first = self._floor.get(chat.id, 0) + 1
            missed = [r for r in range(first, chat.rev + 1) if (chat.id, r) not in self._heard]
            if missed:
                what = f"no event told of the changes {missed[:10]} ({len(missed)} in all)"
                self.complain(3, what, chat.id)

    def _heal_soon(self) -> None:
        if self._heal_handle is None:
            loop = asyncio.get_running_loop()
            self._heal_handle = loop.call_later(GAP_PATIENCE, self._heal)

    def _heal(self) -> None:
        self._heal_handle = None
        if self.client.is_connected and self.is_synced:
            behind = self.replica.behind()
            self.history.figures["gaps healed by sync"] += bool(behind)
            self.spawn(self.sync, behind)

    # Sync

    async def sync(self, opened: Sequence[str] = ()) -> None:
        """Ask for what changed until nothing is missing. Raises Lost."""
        async with self._syncing:
            began, replica = self._watch.mark(), self.replica
            await self._walk(opened)
            while behind := self.replica.behind():
                for chat_id in behind:
                    await self._page(chat_id)
                behind = [chat_id for chat_id in behind if chat_id in self.replica.behind()]
                if behind:
                    self.history.figures["syncs for messages"] += 1
                    await self._walk(behind[:100])
            if replica is self.replica:
                self._watch.synced(self, replica, began)
        self._report_delivered()

    async def _walk(self, opened: Sequence[str]) -> None:
        has_more = True
        while has_more:
            replica = self.replica
            state = replica.sync_state(opened)
            payload: dict[str, Any] = {"limit": self.spec.page, "open": state}
            if self.cursor is not None:
                payload["cursor"] = self.cursor
            began = self._watch.mark()
            answer = await self.client.emit("sync", payload)
            if not answer.is_ok:
                self._refused("sync", answer)
            if replica is not self.replica:
                raise Lost
            has_more = self._take(answer.body, began)
            answered = {one["id"] for one in answer.body["conversations"]}
            opened = [chat_id for chat_id in opened if chat_id not in answered]

    def _take(self, body: dict[str, Any], began: Mapping[str, Known]) -> bool:
        self.history.figures["sync answers"] += 1
        if body["reset"]:
            self.complain(0, "sync said that the cursor is not from this database")
            self.replica = self._new_replica()
        for synced in body["conversations"]:
            self._watch.saw(self, synced, began)
            self.replica.take(synced)
        self.on_change()
        self.cursor = body["cursor"]
        return bool(body["has_more"])

    async def _page(self, chat_id: str) -> None:
        """Fetch the whole history of a conversation with too many changes for `sync`."""
        chat = self.replica.chats[chat_id]
        if chat.unfinished is None:
            return
        self.history.figures["histories paged"] += 1
        path = f"{API}/conversations/{chat_id}/messages?after_seq=0&limit=100"
        messages = await self.client.pages(path)
        if self.replica.chats.get(chat_id) is chat:
            self.replica.take_page(chat, messages, is_last=True)
            self.on_change()

    async def _sync_often(self) -> None:
        while True:
            await asyncio.sleep(self.spec.interval)
            if self.client.is_connected and self.is_synced:
                self.spawn(self.sync)

    def _refused(self, kind: str, answer: Answer) -> None:
        """An answer that can only mean that the server is away. Raises Lost."""
        if answer.code != "unavailable":
            self.complain(0, f"{kind} was answered with {answer.code}: {answer.body}")
        raise Lost

    def _report_delivered(self) -> None:
        if self.spec.reports:
            self.spawn(self._deliveries.run)
