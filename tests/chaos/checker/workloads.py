"""The workload: carries out the plan's actions on the devices, and by REST for the service."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from tests.chaos.checker.backends import Service
from tests.chaos.checker.clients import API
from tests.chaos.checker.devices import Device
from tests.chaos.checker.histories import History, Known, Outcome, Write
from tests.chaos.checker.operations import Operations
from tests.chaos.checker.outboxes import Outgoing
from tests.chaos.checker.plans import Action, ChatSpec, Plan
from tests.chaos.checker.probes import Probes
from tests.chaos.checker.sessions import Lost
from tests.chaos.checker.watches import Watch

TICK = 0.005
HEARD = 0.5
"""Seconds that people wait for what others were told: where it is lost it never comes."""


class Workload:
    """Everybody. `chats` are the ids of the conversations that are open by now."""

    def __init__(
        self,
        plan: Plan,
        devices: Mapping[str, Device],
        service: Service,
        history: History,
        watch: Watch,
    ) -> None:
        self.chats: dict[int, str] = {}
        self._specs = {chat.number: chat for chat in plan.chats}
        self._plan = plan
        self._devices = devices
        self._service = service
        self._history = history
        self._watch = watch
        self._operations = Operations(plan, history, watch)
        self._probes = Probes(history, watch)
        self._tasks: set[asyncio.Task[None]] = set()
        self._turns = {name: asyncio.Lock() for name in devices}

    async def open_first(self) -> None:
        """Half of the conversations are there from the beginning."""
        for chat in self._plan.chats[: self._plan.shape.chats // 2 + 1]:
            device = self._device_of(chat)
            while chat.number not in self.chats:
                try:
                    await self._open(device, chat)
                except Lost:
                    await asyncio.sleep(0.1)

    async def act(self) -> None:
        """Start each action when its time has come; returns once all have begun."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        for action in self._plan.actions:
            delay = began + action.at - loop.time()
            if delay > 0:
                await asyncio.sleep(delay)
            self._begin(action)
            if delay <= 0:
                await asyncio.sleep(0)

    def _begin(self, action: Action) -> None:
        task = asyncio.create_task(self._attempt(action))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def do_together(self, actions: Iterable[Action], patience: float) -> None:
        """All at once; until all is done, and everybody who is there has heard of it.

        Raises TimeoutError as `finish` does.
        """
        for action in actions:
            self._begin(action)
        await self._until_done(patience)
        give_up_at = time.monotonic() + HEARD
        while time.monotonic() < give_up_at and not self._have_received():  # noqa: ASYNC110
            await asyncio.sleep(TICK)

    def _have_received(self) -> bool:
        """Whether whoever listens holds all that anybody was told of."""
        return all(
            chat.rev >= self._history.known.get(chat.id, Known()).rev
            for device in self._devices.values()
            if device.spec.receives and device.is_synced
            for chat in device.replica.chats.values()
        )

    async def finish(self, patience: float) -> None:
        """Until every action is over and every outbox is empty; nobody stays away any more.

        Raises TimeoutError when nothing gets done for `patience` seconds.
        """
        self._operations.is_over = True
        for device in self._devices.values():
            device.come_back()
        await self._until_done(patience)

    async def _until_done(self, patience: float) -> None:
        loop = asyncio.get_running_loop()
        left, since = self._left(), loop.time()
        while left:
            await asyncio.sleep(TICK)
            if (now_left := self._left()) != left:
                left, since = now_left, loop.time()
            elif loop.time() - since > patience:
                raise TimeoutError

    def _left(self) -> int:
        return len(self._tasks) + sum(len(device.outbox) for device in self._devices.values())

    def waiting(self) -> str:
        """What is still to be done, for a run that does not finish."""
        outboxes = {name: len(device.outbox) for name, device in self._devices.items()}
        return (
            f"{len(self._tasks)} actions, outboxes { ({k: v for k, v in outboxes.items() if v}) }"
        )

    async def stop(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _device_of(self, chat: ChatSpec) -> Device:
        return next(
            device
            for device in self._devices.values()
            if device.spec.person is chat.client and device.spec.receives
        )

    async def _attempt(self, action: Action) -> None:
        """One action. Of a device they run one after the other, its outbox apart."""
        chat = self._specs[action.chat]
        if action.kind == "open" or (action.kind == "send" and chat.number not in self.chats):
            await self._open_again(chat)
        chat_id = self.chats.get(action.chat)
        if chat_id is None or action.kind == "open":
            return
        try:
            if not action.device:
                await self._service.send(action, chat_id)
            elif action.kind == "send":
                self._put(self._devices[action.device], action, chat_id)
            else:
                device = self._devices[action.device]
                async with self._turns[action.device]:
                    await self._perform(device, action, chat, chat_id)
        except Lost:
            self._history.count(action.kind, Outcome.UNKNOWN)
        except Exception as error:
            self._history.complain(0, f"{action} failed: {type(error).__name__}: {error}")
            raise

    async def _open_again(self, chat: ChatSpec) -> None:
        """Both devices of the client at once: there is one conversation."""
        devices = [device for device in self._devices.values() if device.spec.person is chat.client]
        await asyncio.gather(
            *(self._open(device, chat) for device in devices[:2]), return_exceptions=True
        )

    async def _open(self, device: Device, chat: ChatSpec) -> None:
        body = {"listing_id": str(chat.listing_id)}
        try:
            answer = await device.client.rest("POST", f"{API}/conversations", body)
        except Lost:
            self._history.count("open", Outcome.UNKNOWN)
            raise
        self._operations.settle("open", device, answer)
        if not answer.is_ok:
            raise Lost
        chat_id = answer.body["body"]["id"]
        if self.chats.setdefault(chat.number, chat_id) != chat_id:
            device.complain(2, "two conversations about one listing", chat_id)
        self._watch.ids[chat_id] = chat

    def _put(self, device: Device, action: Action, chat_id: str) -> None:
        key = None if action.twist == "unkeyed" else action.key
        write = Write("send", device.spec.name, device.spec.person.id, chat_id, action.text, key)
        body: dict[str, Any] = {"content": action.text}
        if key is not None:
            body["client_msg_id"] = str(key)
        if action.twist == "bad":
            body["reply_to_seq"] = 10**9
        elif action.twist == "blank":
            write.text = body["content"] = " \u200b "
        outgoing = Outgoing(write, body, action.transport, action.twist)
        device.outbox.put(outgoing)
        if action.twist == "again":
            device.outbox.put(replace(outgoing, twist=""))
        elif action.twist == "conflict":
            other = replace(write, text=action.text + " changed")
            device.outbox.put(
                Outgoing(other, {**body, "content": other.text}, action.transport, "")
            )

    async def _perform(self, device: Device, action: Action, chat: ChatSpec, chat_id: str) -> None:
        if action.kind == "back":
            device.come_back()
        await device.wait_ready()
        if action.kind == "probe":
            await self._probes.probe(device, action, chat_id, chat)
            return
        operation: Callable[[Device, Action, str], Awaitable[None]] = getattr(
            self._operations, action.kind
        )
        await operation(device, action, chat_id)
