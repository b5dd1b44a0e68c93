"""What was measured of each fault: held to its bound, and written down for the table."""

import asyncio
import json
import os
from collections.abc import Iterable, Sequence, Sized
from dataclasses import asdict, dataclass
from pathlib import Path

FILE = "FAULTS_RECORDS"
"""The environment variable that names the file of records; without it none is kept."""

ENOUGH = 50
"""Sends that have to be under way during a fault, or it shows nothing."""

BEGIN = "<!-- faults: written by `python -m tests.chaos.faults --write` -->\n"
END = "<!-- end of faults -->\n"


@dataclass(frozen=True, slots=True)
class Figure:
    """Something measured, which may be at most `bound`; None: it is only told."""

    what: str
    value: float
    bound: float | None = None
    unit: str = "s"

    @property
    def is_kept(self) -> bool:
        """In seconds only by `make faults`: `make test` shares its cores with other tests."""
        is_held = self.bound is not None and (self.unit != "s" or is_for_table())
        return not is_held or self.value <= (self.bound or 0.0)

    def __str__(self) -> str:
        told = f"{self.what} {_amount(self.value, self.unit)}"
        return told if self.bound is None else f"{told} (≤ {_amount(self.bound, self.unit)})"


@dataclass(frozen=True, slots=True)
class Record:
    """`number` as in the list of faults; a fault may have several records."""

    number: int
    fault: str
    sends: int
    figures: Sequence[Figure]

    def row(self) -> str:
        figures = ", ".join(str(figure) for figure in self.figures)
        return f"| {self.number} | {self.fault} | {self.sends:,} | {figures} |"


def is_for_table() -> bool:
    """True in `make faults`: everything is as in production there and takes its time.

    In `make test` a fault lasts for as long as ENOUGH sends need, and no longer; how fast
    anything was is nothing that a test would say there.
    """
    return bool(os.environ.get(FILE))


def record(number: int, fault: str, overlapping: Sized, *figures: Figure) -> None:
    """Hold the figures to their bounds, and keep them where that is wanted.

    `overlapping` are the sends that were under way during the fault.
    """
    found = Record(number, fault, len(overlapping), figures)
    if is_for_table():
        with Path(os.environ[FILE]).open("a") as file:
            file.write(json.dumps(asdict(found)) + "\n")
        assert found.sends >= ENOUGH, f"only {found.sends} sends were under way"
    print(found.row())
    broken = [str(figure) for figure in figures if not figure.is_kept]
    assert not broken, broken


async def linger(seconds: float) -> None:
    """Measure for so long; `make test` does not."""
    if is_for_table():
        await asyncio.sleep(seconds)


def read(file: Path) -> list[Record]:
    """By number, and those of one number in the order in which they were made."""
    records = []
    for line in file.read_text().splitlines():
        parts = json.loads(line)
        figures = [Figure(**figure) for figure in parts.pop("figures")]
        records.append(Record(figures=figures, **parts))
    return sorted(records, key=lambda each: each.number)


def table(records: Iterable[Record]) -> str:
    head = ["| # | Fault | Sends during it | Measured (promised) |", "|---|---|---|---|"]
    return "\n".join([*head, *(each.row() for each in records)]) + "\n"


def write(page: Path, records: Iterable[Record]) -> None:
    """Put the table into the page, between the two marks, in place of what is there."""
    text = page.read_text()
    before, _, rest = text.partition(BEGIN)
    _, mark, after = rest.partition(END)
    assert mark, f"{page} has no place for the table"
    page.write_text(f"{before}{BEGIN}\n{table(records)}\n{END}{after}")


def _amount(value: float, unit: str) -> str:
    if unit == "s":
        return f"{value:.2f} s" if value < 10 else f"{value:.0f} s"
    return f"{value:,.0f} {unit}".rstrip()
