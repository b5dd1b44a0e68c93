"""[costs]: what each thing that a caller may ask for costs, in the units of the budgets.

A unit is about a millisecond of CPU, of the node and of PostgreSQL together.
"""

from dataclasses import dataclass

from chatserver.settings.section import Section


@dataclass(frozen=True, slots=True)
class CostSettings(Section):
    """`config/base.toml` says what each is for."""

    event: float
    typing: float
    message: float
    edit: float
    join: float
    sync: float
    sync_answered: float
    sync_known: float
    request: float
    listed: float
    open_conversation: float
    member: float
    standing_agent: float
    handshake: float
    bad_token: float
    public: float
    document: float

    def of_event(self, name: str) -> float:
        """The cost of a client's event, before any work."""
        costs = {
            "typing": self.typing,
            "message": self.message,
            "edit": self.edit,
            "join": self.join,
            "sync": self.sync,
        }
        return costs.get(name, self.event)
