"""Mistakes in what devices are told: events and sync."""

from dataclasses import replace
from typing import Any
from uuid import UUID

from chatserver.events import Event, MessageSent
from chatserver.realtime.publisher import SocketPublisher
from chatserver.repositories import sync
from tests.chaos.checker.faults.planting import before_sending, every, fault, in_text, patch


@fault(3)
def dropped_events() -> None:
    """One event in ten is lost on its way to the sockets."""
    is_lost = every(10)
    before_sending(lambda _, event: [] if is_lost() else [event])


@fault(3, sign="came twice|changed, but is another|follows on|two messages have seq|was sent again")
def doubled_event() -> None:
    """Now and then a message is sent twice, the second time as a change of its own."""
    is_doubled = every(5)

    def double(_: SocketPublisher, event: Event) -> list[Event]:
        if not isinstance(event, MessageSent) or not is_doubled():
            return [event]
        return [event, replace(event, message=replace(event.message, rev=event.message.rev + 1))]

    before_sending(double)


@fault(5)
def event_to_outsider() -> None:
    """Now and then everybody gets a message."""
    is_leaked = every(5)

    def leak(self: SocketPublisher, event: Event) -> list[Event]:
        if not isinstance(event, MessageSent) or not is_leaked():
            return [event]
        rooms = self._adapter._members
        users = tuple(UUID(room[5:]) for room in rooms if room[:5] == "user:")
        return [replace(event, member_ids=(*event.member_ids, *users))]

    before_sending(leak)


@fault(3, 9)
def sync_loses_message() -> None:
    """Off by one: the first message that a device lacks is not in the answer."""
    in_text(sync, "_CHANGES", "m.seq > h.seq", "m.seq > h.seq + 1")


@fault(9)
def sync_loses_edit() -> None:
    """Off by one: an edit that is the very next change is not in the answer."""
    in_text(sync, "_CHANGES", "e.rev > h.rev", "e.rev > h.rev + 1")


@fault(3, 9)
def sync_skips_page() -> None:
    """Each page but the first begins one too late."""
    list_changed = sync.list_changed

    async def skip_one(*arguments: Any, **options: Any) -> sync.Changed:
        found = await list_changed(*arguments, **options)
        return replace(found, ids=found.ids[1:]) if options["after"] else found

    patch(sync, "list_changed", skip_one)


@fault(0, 3, 6, 9, around="slow")
def sync_forgets_pending() -> None:
    """The cursor counts what was not committed yet as known."""

    def too_far(_: int, snapshot: sync.Snapshot) -> sync.Mark:
        return sync.Mark(snapshot.xmax - 1)

    patch(sync.Mark, "of", too_far)
