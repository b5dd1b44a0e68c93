"""Transports that carry the frames of a connection: a websocket, polls, or none yet."""

from collections.abc import Sequence
from typing import ClassVar, Protocol


class Transport(Protocol):
    """One way to a client. Calls are synchronous and never raise because it has gone.

    `polling.Polling` and `websocket.WebSocket` are the two that clients use.
    """

    @property
    def buffered(self) -> int:
        """Bytes that were written and have not left our memory yet."""

    def write(self, frames: Sequence[bytes]) -> int:
        """Take frames from the front of the queue, in their order; how many were taken."""

    def end(self, frames: Sequence[bytes], code: int, *, is_final: bool) -> None:
        """Send these last frames and end, a websocket with `code`.

        A poll hears of the end by CLOSE where it `is_final`: some clients never come
        back after that. Else it ends with NOOP, and the next finds the session unknown.
        """

    def abort(self) -> None:
        """End at once; the client may come back."""

    def leave(self) -> None:
        """Carry nothing more: another transport takes over."""

    def pause(self) -> None:
        """Read nothing more, and have the client wait, until `resume`."""

    def resume(self) -> None: ...


class Opening:
    """The transport of a connection whose websocket is not open yet: takes nothing."""

    buffered: ClassVar[int] = 0

    def write(self, _: Sequence[bytes]) -> int:
        return 0

    def end(self, frames: Sequence[bytes], code: int, *, is_final: bool) -> None: ...

    def abort(self) -> None: ...

    def leave(self) -> None: ...

    def pause(self) -> None: ...

    def resume(self) -> None: ...


OPENING = Opening()
