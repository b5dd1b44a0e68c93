"""Sync: everything that a device missed, in one answer, however long it was away."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from chatserver.db.engine import Database
from chatserver.db.host import HostTables
from chatserver.errors import Unavailable
from chatserver.models import Conversation, Message, Participant, Position, Principal, User
from chatserver.repositories import conversations, sync
from chatserver.repositories.conversation_views import ConversationViews
from chatserver.repositories.conversations import Membership
from chatserver.repositories.sync import Changed, Changes, Held, Mark, Snapshot
from chatserver.services.access import may_access, note_access
from chatserver.services.presence import PresenceService
from chatserver.services.senders import SenderService
from chatserver.services.sync_cursors import Cursor, cursor_scope, decode_cursor, encode_cursor

RETRY_AFTER: Final = 1.0

PATIENCE: Final = 10.0
"""Seconds that a sync waits for its turn: when many devices come back, it is the longest."""

# An estimate of what these take as JSON, in bytes, beside their texts.
_CONVERSATION_BYTES: Final = 1200
_PARTICIPANT_BYTES: Final = 300
_MESSAGE_BYTES: Final = 800


@dataclass(frozen=True, slots=True)
class OpenState:
    """Position in a conversation: the client holds all messages to `seq`, changes to `rev`."""

    seq: int
    rev: int


@dataclass(frozen=True, slots=True)
class SyncedConversation:
    """A conversation as it is now.

    `changes`, where the client asked for them: the messages that are new, edited or
    deleted, by ascending `seq`. `limited`: there are more than these, which are the
    newest; the client pages history instead.
    """

    conversation: Conversation
    changes: Sequence[Message] | None = None
    limited: bool = False


@dataclass(frozen=True, slots=True)
class SyncResult:
    """A page of what changed. `cursor` goes into the next call, at once if `has_more`.

    `reset`: the given cursor is not from this database (or is another user's, or more
    was removed since than is listed), so this is the first page of everything, and
    nothing from before is valid. `removed` are the conversations that the caller was in
    at the cursor and no longer is.
    `unread_version`: the answer knows the caller's counters up to this version, so an
    `unread` event of a lower one is older. `known` counts all conversations of the caller.
    """

    cursor: str
    reset: bool
    has_more: bool
    conversations: Sequence[SyncedConversation]
    removed: Sequence[UUID]
    unread_version: int
    known: int


class SyncService:
    """Answers what changed since a cursor. It may repeat a change and never skips one.

    A client leaves no gap if it listens first (a connected socket is in its user's
    room) and then syncs, page by page while `has_more`, keeping the newest cursor:
    what is committed before the last page's snapshot is in an answer, what is
    committed after it comes as an event, and what comes in both is recognised by its
    `rev`. A walk that was broken off goes on with the cursor of its last page.

    `max_answer_bytes` is about how much JSON an answer may be, half of it for changes:
    one larger than a socket's queue would get the client dropped, again and again.
    At most `at_once` connections are used; the other calls wait for their turn.
    """

    def __init__(
        self,
        database: Database,
        host: HostTables,
        presence: PresenceService,
        senders: SenderService,
        *,
        max_answer_bytes: int,
        at_once: int,
    ) -> None:
        self._database = database.bulkhead(at_once, PATIENCE, **sync.SNAPSHOT_OPTIONS)
        self._views = ConversationViews(host)
        self._presence = presence
        self._senders = senders
        self._max_bytes = max_answer_bytes // 2

    async def sync(
        self,
        principal: Principal,
        *,
        cursor: str | None,
        limit: int,
        open: Mapping[UUID, OpenState],
    ) -> SyncResult:
        """At most `limit` of the caller's conversations that changed since `cursor`.

        Without one, all of them, a page at a time; latest activity first. In front of
        them those under `open` that are ahead of the client, with their changes, and
        behind them the others under `open`, each once; what the caller may not see is
        left out as if it did not exist. Where that is more than an answer may be, it
        ends earlier and `has_more` is set: the client then asks again for those under
        `open` that were not answered. A reset says nothing about `open`.

        Raises InvalidPayload for text that is no cursor, and Unavailable.
        """
        given = None if cursor is None else decode_cursor(cursor)
        async with self._database.transaction() as connection:
            found = await self._find(connection, principal, given, limit, open)
        answer = _Answer(found, self._max_bytes)
        following = answer.fill(limit)
        return SyncResult(
            cursor=encode_cursor(following),
            reset=found.is_reset,
            has_more=following.is_walking or answer.is_short or found.changed.has_later,
            conversations=await self._with_presence(answer.items),
            removed=() if found.is_reset else found.changed.removed,
            unread_version=found.changed.unread_version,
            known=found.changed.total,
        )

    async def _find(
        self,
        connection: AsyncConnection,
        principal: Principal,
        given: Cursor | None,
        limit: int,
        open: Mapping[UUID, OpenState],
    ) -> "_Found":
        snapshot = await _get_snapshot(connection)
        scope = cursor_scope(snapshot, principal.user_id)
        is_reset = given is not None and not given.belongs_to(scope, snapshot)
        asked = Cursor(scope, since=None) if given is None or is_reset else given
        user_id = principal.user_id
        changed = await _list_changed(connection, user_id, snapshot, asked, limit)
        if len(changed.removed) > sync.MAX_REMOVED:
            is_reset, asked = True, Cursor(scope, since=None)
            changed = await _list_changed(connection, user_id, snapshot, asked, limit)
        memberships = await _list_open(connection, principal, () if is_reset else open)
        ahead = [one for one in memberships if _is_ahead(one, open[one.id])]
        changes = {one.id: Changes() for one in memberships}
        changes |= await self._list_changes(connection, ahead, open)
        ids = {*changed.ids, *changes}
        views = await self._views.get(connection, principal.user_id, list(ids)) if ids else []
        views = await self._senders.fill_in_views(connection, views)
        return _Found(
            snapshot=snapshot,
            asked=asked,
            is_reset=is_reset,
            changed=changed,
            ahead=[one.id for one in ahead],
            changes=changes,
            views={view.id: view for view in views},
        )

    async def _list_changes(
        self,
        connection: AsyncConnection,
        ahead: Sequence[Membership],
        open: Mapping[UUID, OpenState],
    ) -> dict[UUID, Changes]:
        if not ahead:
            return {}
        held = [Held(one.id, open[one.id].seq, open[one.id].rev, one.lifetime) for one in ahead]
        changes = await sync.list_changes(connection, held, max_bytes=self._max_bytes)
        for found in changes.values():
            found.messages = await self._senders.fill_in(connection, found.messages)
        return changes

    async def _with_presence(self, items: Sequence[SyncedConversation]) -> list[SyncedConversation]:
        views = await self._presence.fill_in([item.conversation for item in items])
        return [replace(item, conversation=view) for item, view in zip(items, views, strict=True)]


async def _get_snapshot(connection: AsyncConnection) -> Snapshot:
    """The snapshot of a database that also takes changes.

    A standby lags behind: to it a cursor may seem to be from the future.
    """
    snapshot = await sync.get_snapshot(connection)
    if snapshot.is_standby:
        raise Unavailable("The database is a standby.", retry_after=RETRY_AFTER)
    return snapshot


async def _list_changed(
    connection: AsyncConnection, user_id: UUID, snapshot: Snapshot, asked: Cursor, limit: int
) -> Changed:
    """A page, and one more where it is not the last."""
    return await sync.list_changed(
        connection,
        user_id,
        snapshot,
        since=asked.since,
        after=asked.after,
        then=asked.then,
        limit=limit + 1,
    )


async def _list_open(
    connection: AsyncConnection, principal: Principal, ids: Collection[UUID]
) -> list[Membership]:
    """Return those of `ids` that the caller may see."""
    if not ids:
        return []
    memberships = await conversations.list_memberships(connection, list(ids))
    seen = [one for one in memberships if may_access(principal, one)]
    for membership in seen:
        note_access(principal, membership, "sync")
    return seen


def _is_ahead(membership: Membership, held: OpenState) -> bool:
    return membership.last_seq > held.seq or membership.rev > held.rev


@dataclass(frozen=True, slots=True)
class _Found:
    """Rows of a snapshot: a page of `changed` and one more where it is not the last;
    `ahead` of those asked for by `open`, of all of which there are `changes`.
    """

    snapshot: Snapshot
    asked: Cursor
    is_reset: bool
    changed: Changed
    ahead: Sequence[UUID]
    changes: Mapping[UUID, Changes]
    views: Mapping[UUID, Conversation]


class _Answer:
    """Part of the rows that goes into one answer. `is_short`: not all that is ahead did."""

    def __init__(self, found: _Found, max_bytes: int) -> None:
        self._found = found
        self._room = max_bytes
        self._taken: set[UUID] = set()
        self.items: list[SyncedConversation] = []
        self.is_short = False

    def fill(self, limit: int) -> Cursor:
        """Fill it with at most `limit` of the changed: the cursor to go on with."""
        found = self._found
        self.is_short = self._take(found.ahead) < len(found.ahead)
        page = found.changed.ids[:limit]
        walked = self._take(page)
        self._take(found.changes)
        then = found.asked.then or Mark.of(found.changed.newest, found.snapshot)
        if walked == len(found.changed.ids):
            return Cursor(found.asked.scope, since=then)
        last = found.views[page[walked - 1]]
        after = Position(last.last_message_at or last.created_at, last.id)
        return replace(found.asked, after=after, then=then)

    def _take(self, ids: Iterable[UUID]) -> int:
        """Add those that fit, the first in any case: how many in front are in it now."""
        count = 0
        for count, conversation_id in enumerate(ids, 1):
            if conversation_id in self._taken:
                continue
            size = _size(self._found.views[conversation_id])
            if size > self._room and count > 1:
                return count - 1
            self._room -= size
            self._add(conversation_id)
        return count

    def _add(self, conversation_id: UUID) -> None:
        self._taken.add(conversation_id)
        view = self._found.views[conversation_id]
        changes = self._found.changes.get(conversation_id)
        self.items.append(
            SyncedConversation(view)
            if changes is None
            else SyncedConversation(view, changes.messages, changes.is_limited)
        )


def _size(view: Conversation) -> int:
    """An estimate of the bytes as JSON; half of those of a text may need an escape."""
    texts = [view.listing.title, view.listing.currency]
    people: list[User | Participant] = [view.client, view.owner, *view.participants]
    for user in people:
        texts += [user.first_name, user.last_name, user.profile_picture_url]
    size = _CONVERSATION_BYTES + _PARTICIPANT_BYTES * len(view.participants)
    if view.last_message is not None:
        size += _MESSAGE_BYTES
        texts += [view.last_message.content, view.last_message.media_url]
        if (sender := view.last_message.sender) is not None:
            texts += [sender.first_name, sender.last_name, sender.profile_picture_url]
    return size + 2 * sum(len(text.encode()) for text in texts if text)
