"""Tenants whom the host deletes in the middle of a run: what they wrote stays the others'."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Final

import asyncpg

from tests.chaos.checker.clients import API, UNCERTAIN, Answer, Client
from tests.chaos.checker.histories import History, Outcome, Write
from tests.chaos.checker.plans import Leaver
from tests.chaos.checker.sessions import Lost
from tests.chaos.checker.watches import Watch

PAUSE: Final = 0.2
"""Seconds between two attempts at whatever did not succeed, and between two messages."""

REFUSED_WITHIN: Final = 20.0
"""Seconds after the end of all faults within which the token of one who is gone is refused."""


@dataclass(slots=True)
class Departure:
    """A tenant who opens a conversation and writes in it by REST alone, until they are deleted.

    What is stored of it is held against the promise like all else: the devices of the owner
    have to have it, and the messages must be there that were acknowledged.
    """

    leaver: Leaver
    client: Client
    history: History
    watch: Watch
    database_url: str
    chats: dict[int, str]
    """The conversations that are open by now, by their numbers."""

    is_going: bool = False
    has_written: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def name(self) -> str:
        return self.leaver.person.name

    async def run(self) -> None:
        """Write from the beginning on, and be deleted `at` so many seconds after it.

        Not before the first message is stored, though."""
        await asyncio.gather(self._write(), self._go())

    async def check_refused(self) -> None:
        """To be called once nothing is broken any more."""
        deadline = time.monotonic() + REFUSED_WITHIN
        answer = Answer("", {})
        while time.monotonic() < deadline:
            try:
                answer = await self.client.rest("GET", f"{API}/conversations")
            except Lost:
                continue
            if answer.code == "unauthorized":
                self.history.count("vanish", Outcome.ACKNOWLEDGED)
                return
            await asyncio.sleep(PAUSE)
        self._complain(f"after the user was deleted a call was answered with {answer.code!r}")

    async def _go(self) -> None:
        """As the host does it; what forbids that is a fault."""
        await asyncio.sleep(self.leaver.at)
        await self.has_written.wait()
        self.is_going = True
        while True:
            try:
                connection = await asyncpg.connect(self.database_url.replace("+asyncpg", ""))
            except (OSError, asyncpg.PostgresError):
                await asyncio.sleep(PAUSE)
                continue
            try:
                await connection.execute(
                    "DELETE FROM core.users WHERE id = $1", self.leaver.person.id
                )
            except asyncpg.IntegrityConstraintViolationError as error:
                self._complain(f"the host cannot delete the user: {error}")
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await asyncio.sleep(PAUSE)
                continue
            finally:
                connection.terminate()
            return

    async def _write(self) -> None:
        chat_id = await self._open()
        for text, key in self.leaver.messages if chat_id else ():
            write = Write("send", self.name, self.leaver.person.id, chat_id, text, key)
            if not await self._send(write):
                return
            await asyncio.sleep(PAUSE)

    async def _open(self) -> str:
        chat = self.leaver.chat
        while True:
            try:
                answer = await self.client.rest(
                    "POST", f"{API}/conversations", {"listing_id": str(chat.listing_id)}
                )
            except Lost:
                answer = Answer("unavailable", {})
            if answer.is_ok:
                chat_id = str(answer.body["body"]["id"])
                self.watch.ids[chat_id] = chat
                self.chats[chat.number] = chat_id
                return chat_id
            self._check(answer)
            if answer.code == "unauthorized":
                return ""
            await asyncio.sleep(PAUSE)

    async def _send(self, write: Write) -> bool:
        """Repeated until it is answered; whether the next one may be sent."""
        body = {"content": write.text, "client_msg_id": str(write.key)}
        while True:
            self.history.begin(write)
            try:
                answer = await self.client.send("rest", write.chat, body)
            except Lost:
                answer = Answer("unavailable", {})
            if answer.is_ok:
                self.history.acknowledge(write, answer.body["message"])
                self.has_written.set()
                return True
            if answer.code == "not_found":
                self.history.complain(
                    1, "its conversation is gone", chat=write.chat, device=self.name
                )
            else:
                self._check(answer)
            if answer.code in ("unauthorized", "not_found"):
                self.history.refuse(write, answer.code)
                return False
            self.history.lose(write)
            await asyncio.sleep(PAUSE)

    def _check(self, answer: Answer) -> None:
        if answer.code == "unauthorized" and self.is_going:
            return
        if answer.code not in UNCERTAIN or answer.code == "internal_error":
            self._complain(f"a call was answered with {answer.code}: {answer.body}")

    def _complain(self, what: str) -> None:
        self.history.complain(0, what, device=self.name)
