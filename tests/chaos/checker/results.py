"""What comes of a run."""

from collections.abc import Sequence
from dataclasses import dataclass

from tests.chaos.checker.histories import History, Violation
from tests.chaos.checker.plans import Plan


@dataclass(frozen=True, slots=True)
class Result:
    """What a run found. `seconds` is all of it, `healing` the time until all was well
    again, `starts` how often a server was started, `errors` what they logged as such."""

    plan: Plan
    history: History
    seconds: float
    healing: float
    starts: int
    errors: Sequence[str]
    not_found: Sequence[str] = ()
    """The faults that were sought in vain."""

    @property
    def violations(self) -> list[Violation]:
        return self.history.violations


def is_error(line: str) -> bool:
    """A failure that the log calls one, but for background work that is repeated anyway."""
    return '"level":"error"' in line and "background_task_failed" not in line
