"""Two checkouts beside each other: what is told of them, and that both are measured."""

import itertools
import subprocess
from pathlib import Path

import pytest

from bench.against import Comparison, Plan, render
from bench.checkouts import Checkout, CheckoutError, checked_out, known_settings, ours
from bench.options import options_of
from bench.ratios import ratio_of
from bench.targets import NO_LIMITS, ROOT
from chatserver.dev.postgres import EmbeddedPostgres


def test_the_interval_leaves_out_what_chance_may_explain() -> None:
    ten = ratio_of([9, 1.01, 1.02, 1.03, 1.04, 1.05, 1.06, 1.07, 1.08, 0.1], [1] * 10)
    # The two strange rounds at the ends move nothing.
    assert (ten.low, ten.high) == (1.01, 1.08)
    assert ten.median == pytest.approx(1.045)
    assert ten.confidence == pytest.approx(1 - 2 * 11 / 1024)


def test_a_few_rounds_say_how_little_they_tell() -> None:
    three = ratio_of([3.0, 2.0, 4.0], [2.0, 2.0, 2.0])
    assert (three.median, three.low, three.high, three.confidence) == (1.5, 1.0, 2.0, 0.75)
    assert ratio_of([2.0], [1.0]).confidence == 0


def test_a_ratio_is_that_of_one_round() -> None:
    # The machine became ten times slower in the middle, for both.
    assert ratio_of([100, 1000, 101], [100, 1000, 100]).median == 1.0


@pytest.mark.parametrize("count", [6, 8, 9, 12])
def test_the_confidence_is_how_often_the_interval_holds_the_median(count: int) -> None:
    """Each value lies above the true median (1.0) or below it, independently, like a coin."""
    held = 0
    for signs in itertools.product((-1, 1), repeat=count):
        values = [1 + sign * (0.1 + place / 100) for place, sign in enumerate(signs)]
        ratio = ratio_of(values, [1.0] * count)
        held += ratio.low <= 1.0 <= ratio.high
    assert ratio.confidence == pytest.approx(held / 2**count)
    assert ratio.confidence >= 0.95


def test_another_commit_has_defaults_of_its_own() -> None:
    options = options_of(["--against", "abc", "--rounds", "4"])
    assert (options.rounds, options.seconds, options.windows) == (4, 4.0, [1])
    assert options_of(["--against=abc"]).results != options_of([]).results
    assert options_of([]).rounds == 3


@pytest.mark.parametrize("other", [["--write"], ["--from", "old.json"]])
def test_another_commit_has_a_table_of_its_own(
    other: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        options_of(["--against", "abc", *other])
    assert "neither --from nor --write" in capsys.readouterr().err


def test_a_checkout_is_told_no_setting_that_it_does_not_know(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "base.toml").write_text('[rate_limit]\nmessages = "60/minute"\n')
    assert known_settings(tmp_path, NO_LIMITS) == {"CHAT_RATE_LIMIT_MESSAGES": ""}
    assert known_settings(ROOT, NO_LIMITS).items() <= NO_LIMITS.items()
    assert "CHAT_RATE_LIMIT_MESSAGES" in known_settings(ROOT, NO_LIMITS)


def git(repository: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org", *arguments]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """One commit with a package `chatserver`, and a change that is not committed."""
    root = tmp_path / "repository"
    (root / "chatserver").mkdir(parents=True)
    (root / "chatserver" / "__init__.py").write_text("name = 'old'\n")
    git(root, "init", "--quiet")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--message", "first")
    (root / "chatserver" / "__init__.py").write_text("name = 'new'\n")
    return root


def test_a_commit_runs_with_its_own_code_and_leaves_nothing(
    repository: Path, tmp_path: Path
) -> None:
    name = ("-c", "import chatserver; print(chatserver.name)")
    with checked_out(repository, "HEAD", tmp_path) as checkout:
        assert checkout.python(*name) == "old"
        assert ours(repository).python(*name) == "new"
        assert ours(repository).title == f"{checkout.title} and changes"
    assert not checkout.root.exists()
    assert len(git(repository, "worktree", "list").splitlines()) == 1


def test_what_is_no_commit_or_no_server_is_told_in_a_line(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckoutError, match="rev-parse"), checked_out(repository, "x", tmp_path):
        pass
    git(repository, "rm", "--quiet", "--force", "-r", "chatserver")
    git(repository, "commit", "--quiet", "--allow-empty", "--message", "no server")
    with (
        pytest.raises(CheckoutError, match="its server would be"),
        checked_out(repository, "HEAD", tmp_path),
    ):
        pass
    assert len(git(repository, "worktree", "list").splitlines()) == 1


async def test_both_checkouts_are_measured(
    bench_postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    plan = Plan(rounds=1, seconds=0.3, pairs=10, window=1, growing=0.2)
    said: list[str] = []
    both = [Checkout("here", ROOT), Checkout("there", ROOT)]
    rounds = await Comparison(both, bench_postgres, tmp_path, plan).run(said.append)
    assert said == ["round 1 of 1"]
    for costs in rounds[0]:
        assert costs["server_cpu"] > 0
        assert costs["postgres_cpu"] > 0
        assert costs["both_cpu"] == costs["server_cpu"] + costs["postgres_cpu"]
        assert costs["acknowledged"] > 0
    shown = render({"titles": ["here", "there"], "rounds": rounds})
    assert "| server CPU, µs for a message " in shown
    assert "0% interval" in shown
