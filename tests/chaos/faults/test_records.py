"""The bounds of figures: what they allow where others are busy, or the machine stands still."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.faults.records import ENOUGH, FILE, LEEWAY, Figure, excuse, record
from tests.chaos.faults.witnesses import LATE, TICK, Witness, stood_still

STALL = 1.0

PROGRAM = """
import time
from tests.chaos.faults.witnesses import stood_still, watching
with watching():
    print("ready", flush=True)
    input()
    give_up_at = time.monotonic() + 30
    while not stood_still() and time.monotonic() < give_up_at:
        time.sleep(0.05)  # we may be woken before the witnesses
    print(stood_still())
"""


@pytest.fixture(autouse=True)
def _leniently(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in `make test`, and without a record in the table of `make faults`."""
    monkeypatch.delenv(FILE, raising=False)


def test_a_bound_in_seconds_has_room_and_another_has_none() -> None:
    late, many = Figure("late", 2.5, 1.0), Figure("many", 3, 2, unit="")
    assert not late.is_kept()
    assert not late.is_kept(LEEWAY)
    assert late.is_kept(LEEWAY, 0.6)
    assert not many.is_kept(LEEWAY, 0.6)
    assert Figure("only told", 1000.0).is_kept()


def test_a_record_is_held_to_its_bounds() -> None:
    record(0, "nothing", range(ENOUGH), Figure("in time", LEEWAY, 1.0))
    with pytest.raises(AssertionError, match="too late"):
        record(0, "nothing", range(ENOUGH), Figure("too late", 1000.0, 1.0))
    with pytest.raises(AssertionError, match="sends were under way"):
        record(0, "nothing", range(ENOUGH - 1))


def test_a_witness_notes_stalls_and_no_trifles() -> None:
    witness = Witness()
    witness.note(TICK + LATE / 2)
    assert witness.seconds == 0.0
    witness.note(TICK + 2.0)
    witness.note(TICK + 1.0)
    assert witness.seconds == pytest.approx(3.0)


def test_whoever_stands_still_knows_for_how_long() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGSTOP)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(STALL)
        process.send_signal(signal.SIGCONT)
        told, _ = process.communicate("\n")
    assert float(told) >= STALL - 2 * TICK


def test_nothing_is_excused_where_promises_are_held(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert excuse() <= stood_still()
    monkeypatch.setenv(FILE, str(tmp_path / "records"))
    assert excuse() == 0.0
    with pytest.raises(AssertionError, match="late"):
        record(0, "nothing", range(ENOUGH), Figure("late", 1.5, 1.0))
