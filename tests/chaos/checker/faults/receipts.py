"""Mistakes in receipts and in the counts of what is unread."""

import asyncio
from collections.abc import Mapping
from typing import Any

from chatserver.repositories import receipts as receipt_rows
from chatserver.services import receipts as receipt_service
from chatserver.services.receipts import ReceiptService
from chatserver.services.writer import MessageWriter
from tests.chaos.checker.faults.planting import fault, in_text, patch


@fault(7, sign="said|nobody said so")
def automatic_delivered() -> None:
    """A message counts as delivered as soon as it is stored."""
    services: list[ReceiptService] = []
    initialise, publish = ReceiptService.__init__, MessageWriter._publish
    tasks: set[asyncio.Task[Any]] = set()

    def remember(self: ReceiptService, *arguments: Any) -> None:
        initialise(self, *arguments)
        services.append(self)

    def publish_and_deliver(self: MessageWriter, batch: Any, results: Any) -> None:
        publish(self, batch, results)
        for result in results:
            if not isinstance(result, Exception) and result[1] is not None:
                appended, message = result
                (other, *_) = set(appended.member_ids) - {message.sender_id}
                request = receipt_service._Request(
                    message.conversation_id, other, message.seq, is_read=False
                )
                task = asyncio.ensure_future(services[0]._group.submit(request))
                tasks.add(task)
                task.add_done_callback(tasks.discard)

    patch(ReceiptService, "__init__", remember)
    patch(MessageWriter, "_publish", publish_and_deliver)


@fault(7)
def receipts_go_back() -> None:
    """The last report counts, not the highest."""

    def plan_last(batch: Any, cursors: Mapping[Any, Any]) -> dict[Any, Any]:
        moves: dict[Any, Any] = {}
        for request in batch:
            at = cursors.get(request.owner)
            if at is not None and request.seq <= at.last_seq:
                read = max(at.read_seq, request.seq) if request.is_read else at.read_seq
                moves[request.owner] = receipt_rows.Move(
                    at.conversation_id,
                    at.user_id,
                    max(request.seq, read),
                    read,
                    at.rev + 1,
                    at.rev + 1,
                )
        return moves

    patch(receipt_service, "_plan", plan_last)


@fault(7, sign="delivered .* was acknowledged, but is")
def delivered_is_forgotten() -> None:
    """Reports are acknowledged and thrown away."""
    plan = receipt_service._plan

    def plan_reads(batch: Any, cursors: Any) -> Any:
        return plan([one for one in batch if one.is_read], cursors)

    patch(receipt_service, "_plan", plan_reads)


@fault(6)
def unread_off_by_one() -> None:
    """The message at the read cursor counts as unread."""
    in_text(receipt_rows, "_MOVE", "m.seq > greatest(", "m.seq >= greatest(")


@fault(6)
def unread_keeps_deleted() -> None:
    """A deleted message still counts as unread."""

    async def forget_nothing(*_: Any, **__: Any) -> list[Any]:
        return []

    patch(receipt_rows, "forget_unread", forget_nothing)
