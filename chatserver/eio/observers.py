"""Observer of the Socket.IO server: its events, to be counted."""

from typing import Protocol


class Observer(Protocol):
    """Told what an operator counts. Calls are synchronous and must not raise."""

    def socket_opened(self, transport: str) -> None: ...

    def socket_upgraded(self) -> None:
        """A socket that was counted as polling is a websocket from now on."""

    def socket_closed(self, transport: str, reason: str) -> None: ...

    def error(self, kind: str) -> None:
        """A client was refused or dropped, or a handler failed; `kind` is one of few names."""


class NullObserver:
    """Counts nothing."""

    def socket_opened(self, transport: str) -> None: ...

    def socket_upgraded(self) -> None: ...

    def socket_closed(self, transport: str, reason: str) -> None: ...

    def error(self, kind: str) -> None: ...
