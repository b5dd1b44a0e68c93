"""The bounds of figures: `make test` holds what is no time, `make faults` all of it."""

from pathlib import Path

import pytest

from tests.chaos.faults.records import ENOUGH, FILE, Figure, record

LATE, MANY = Figure("late", 2.5, 1.0), Figure("many", 3, 2, unit="")
GOOD = Figure("in time", 0.5, 1.0), Figure("few", 2, 2, unit=""), Figure("only told", 1000.0)


@pytest.fixture
def _for_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(FILE, str(tmp_path / "records"))


def test_no_time_is_held_to_its_bound_beside_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FILE, raising=False)
    record(0, "nothing", [], *GOOD, LATE)
    with pytest.raises(AssertionError, match="many"):
        record(0, "nothing", [], *GOOD, MANY)


@pytest.mark.usefixtures("_for_table")
def test_all_is_held_to_its_bound_for_the_table() -> None:
    record(0, "nothing", range(ENOUGH), *GOOD)
    for broken in (LATE, MANY):
        with pytest.raises(AssertionError, match=broken.what):
            record(0, "nothing", range(ENOUGH), *GOOD, broken)
    with pytest.raises(AssertionError, match="sends were under way"):
        record(0, "nothing", range(ENOUGH - 1))
