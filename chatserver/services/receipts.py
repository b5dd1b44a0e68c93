"""Receipts: how far each participant holds and has read a conversation."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from chatserver.aio.batcher import Batcher
from chatserver.db.engine import Database
from chatserver.errors import Forbidden, InvalidPayload, NotFound, Unavailable
from chatserver.events import DeliveryReceipt, Event, Publisher, ReadReceipt, UnreadChanged
from chatserver.models import Principal
from chatserver.repositories import receipts
from chatserver.repositories.receipts import Cursors, Move, Moved, Owner
from chatserver.services.access import access_conversation, access_message
from chatserver.services.hints import HeadHints
from chatserver.settings import WriterSettings


@dataclass(frozen=True, slots=True)
class _Request:
    """A participant holds everything up to `seq`, and has read it if `is_read`."""

    conversation_id: UUID
    user_id: UUID
    seq: int
    is_read: bool

    @property
    def owner(self) -> Owner:
        return self.conversation_id, self.user_id


@dataclass(frozen=True, slots=True)
class _Done:
    """Result of a request; `moved` is None where the cursor was there already."""

    before: Cursors
    move: Move | None
    moved: Moved | None

    @property
    def unread_count(self) -> int:
        return self.before.unread_count if self.moved is None else self.moved.unread_count


class ReceiptService:
    """Moves cursors, many in one transaction, and tells the members.

    A cursor never goes back, `read` takes `delivered` with it, and neither passes the last
    message; an observer's stand still. Requests of one participant that wait together
    become one move. Reads use the bulkhead `requests`. Cursor moves are batched on one
    dedicated connection, because a device's next event waits for its previous one.
    """

    def __init__(
        self,
        database: Database,
        requests: Database,
        publisher: Publisher,
        heads: HeadHints,
        settings: WriterSettings,
    ) -> None:
        self._database = database
        self._requests = requests
        self._publisher = publisher
        self._heads = heads
        self._group = Batcher[_Request, _Done](
            self._flush,
            after=self._publish,
            max_batch=settings.max_batch,
            max_waiting=settings.max_waiting,
            timeout=settings.timeout,
        )

    async def mark_delivered(self, principal: Principal, conversation_id: UUID, seq: int) -> None:
        """A device of the caller holds every message up to `seq`.

        Raises NotFound, InvalidPayload for a `seq` beyond the last message, and
        Forbidden for a privileged caller who takes no part.
        """
        await self._move(principal, _Request(conversation_id, principal.user_id, seq, False))

    async def mark_read(self, principal: Principal, conversation_id: UUID, seq: int) -> int:
        """The caller has read every message up to `seq`: their unread count there.

        Raises as `mark_delivered`.
        """
        done = await self._move(principal, _Request(conversation_id, principal.user_id, seq, True))
        return done.unread_count

    async def mark_message_read(self, principal: Principal, message_id: UUID) -> int:
        """Like `mark_read`, up to the message with this id."""
        async with self._requests.reads() as connection:
            message = await access_message(connection, principal, message_id)
        return await self.mark_read(principal, message.conversation_id, message.seq)

    async def unread_total(self, principal: Principal) -> int:
        """Return how many messages the caller has not read, in all conversations."""
        async with self._requests.reads() as connection:
            return await receipts.get_unread_total(connection, principal.user_id)

    async def close(self) -> None:
        """Finish what waits."""
        await self._group.drain()

    async def _move(self, principal: Principal, request: _Request) -> _Done:
        try:
            return await self._group.submit(request)
        except NotFound:
            async with self._requests.reads() as connection:
                await access_conversation(connection, principal, request.conversation_id)
            raise Forbidden("The caller takes no part in the conversation.") from None

    async def _flush(self, batch: list[_Request]) -> list[_Done | Exception]:
        try:
            return await self._move_all(batch)
        except Unavailable:
            self._heads.request(request.conversation_id for request in batch)
            raise

    async def _move_all(self, batch: list[_Request]) -> list[_Done | Exception]:
        async with self._database.transaction() as connection:
            owners = sorted({request.owner for request in batch})
            cursors = await receipts.lock_cursors(connection, owners)
            moves = _plan(batch, cursors)
            moved = await receipts.move_cursors(connection, list(moves.values())) if moves else {}
        return [_result(request, cursors, moves, moved) for request in batch]

    def _publish(self, _: list[_Request], results: Sequence[_Done | Exception]) -> None:
        """Each move once, however many asked for it, in the order of the numbers."""
        made = {
            (done.move.conversation_id, done.move.read_rev): (done.before, done.move, done.moved)
            for done in results
            if not isinstance(done, Exception) and done.move and done.moved
        }
        for _rev, (before, move, moved) in sorted(made.items()):
            for event in _events(before, move, moved):
                self._publisher.publish(event)


def _events(before: Cursors, move: Move, moved: Moved) -> Iterator[Event]:
    if move.delivered_seq > max(before.delivered_seq, move.read_seq) and moved.delivered_id:
        yield DeliveryReceipt(
            conversation_id=move.conversation_id,
            message_id=moved.delivered_id,
            seq=move.delivered_seq,
            delivered_to=move.user_id,
            delivered_at=moved.at,
            rev=move.delivered_rev,
            member_ids=before.member_ids,
        )
    if move.read_seq > before.read_seq and moved.read_id:
        yield ReadReceipt(
            conversation_id=move.conversation_id,
            message_id=moved.read_id,
            seq=move.read_seq,
            read_by=move.user_id,
            read_at=moved.at,
            rev=move.read_rev,
            member_ids=before.member_ids,
        )
    if moved.total_unread_count is not None and moved.unread_version is not None:
        yield UnreadChanged(
            user_id=move.user_id,
            conversation_id=move.conversation_id,
            unread_count=moved.unread_count,
            total_unread_count=moved.total_unread_count,
            version=moved.unread_version,
        )


def _plan(batch: list[_Request], cursors: dict[Owner, Cursors]) -> dict[Owner, Move]:
    """One move for each participant who really gets further, with the `rev`s they get.

    Two `rev`s where both cursors move, each to another message: that is two events.
    """
    targets: dict[Owner, tuple[int, int]] = {}
    for request in batch:
        at = cursors.get(request.owner)
        if at is None or not at.is_counted or request.seq > at.last_seq:
            continue
        delivered, read = targets.get(request.owner, (at.delivered_seq, at.read_seq))
        targets[request.owner] = (
            max(delivered, request.seq),
            max(read, request.seq) if request.is_read else read,
        )
    moves: dict[Owner, Move] = {}
    revs: dict[UUID, int] = {}
    for owner, (delivered, read) in sorted(targets.items()):
        at = cursors[owner]
        changes = (delivered > max(at.delivered_seq, read)) + (read > at.read_seq)
        if not changes:
            continue
        conversation_id, user_id = owner
        rev = revs.get(conversation_id, at.rev)
        revs[conversation_id] = rev + changes
        moves[owner] = Move(conversation_id, user_id, delivered, read, rev + 1, rev + changes)
    return moves


def _result(
    request: _Request,
    cursors: dict[Owner, Cursors],
    moves: dict[Owner, Move],
    moved: dict[Owner, Moved],
) -> _Done | Exception:
    before = cursors.get(request.owner)
    if before is None:
        return NotFound()
    if request.seq > before.last_seq:
        return InvalidPayload(fields={"seq": ["There is no such message in the conversation."]})
    return _Done(before, moves.get(request.owner), moved.get(request.owner))
