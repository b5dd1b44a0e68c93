"""`chatserver`, with mistakes in it: python -m tests.chaos.checker.faulty FAULT,… serve …

An empty list of faults changes nothing. In either case /metrics also tells how many
tasks the process has.
"""

import asyncio
import sys
from collections.abc import Sequence

from chatserver import cli
from chatserver.telemetry.metrics import Metrics
from tests.chaos.checker import faults


def count_tasks() -> None:
    render = Metrics.render

    def render_with_tasks(self: Metrics, accept: Sequence[str]) -> tuple[bytes, dict[str, str]]:
        content, headers = render(self, accept)
        return content + b"checker_tasks %d\n" % len(asyncio.all_tasks()), headers

    Metrics.render = render_with_tasks  # type: ignore[method-assign]


if __name__ == "__main__":
    count_tasks()
    faults.plant(sys.argv[1])
    cli.main(sys.argv[2:])
