"""From rounds to tables, goals and the page."""

from pathlib import Path
from typing import Any

from bench import documents, tables
from bench.figures import figure
from bench.goals import decide
from bench.loads import Load
from bench.options import options_of


def results() -> dict[str, Any]:
    def one(acknowledged: float, **more: Any) -> dict[str, Any]:
        return {
            "throughput": {
                "acknowledged": acknowledged, "delivered": 2 * acknowledged, "server_cpu": 100.0,
                "postgres_cpu": 70.0, "generator": 0.3,
            },
            **more,
        }  # fmt: skip

    def stored(messages: int, p50: float) -> dict[str, Any]:
        operations = {"history": {"p50": p50, "p95": 2 * p50}}
        return {"messages": messages, "conversations": 100, "operations": operations}

    slow = {"common": dict.fromkeys(Load.__annotations__, 9.0)}
    machine = dict.fromkeys(
        ["date", "commit", "cores", "processor", "memory", "python", "node", "postgres"], "x"
    )
    return {
        "machine": machine,
        "options": {"rounds": "3", "seconds": "10", "pairs": "200"},
        "rounds": {
            "chatserver": [one(6000), one(3000), one(5000)],
            "node-plain": [one(1600), one(1000, **slow), one(1500)],
            "seed": [],
        },
        "stored": [stored(10_000, 2.0), stored(10_000_000, 4.0)],
        "conversations": [],
    }


def test_a_figure_is_the_median_of_the_rounds() -> None:
    assert figure(results(), "chatserver", "throughput", "acknowledged") == 5000


def test_a_rate_that_was_too_high_in_one_round_has_no_figure() -> None:
    assert figure(results(), "node-plain", "common", "delivery_p99") is None


def test_goals_are_decided_by_the_figures_and_left_out_without_any() -> None:
    decided = {goal.text.split(":")[0]: (goal.measured, goal.is_met) for goal in decide(results())}
    assert decided == {
        "acknowledged messages a second": ("3.3 times", True),
        "server CPU for a message": ("100.0", True),
        "PostgreSQL CPU for a message": ("70.0", False),
        "history, from the fewest to the most messages stored": ("2.00 times", False),
    }


def test_goals_of_clusters_compare_the_cpu_of_all_their_nodes() -> None:
    with_nodes = results()
    for name, cpu in (("nodes-1", 150.0), ("nodes-2", 161.0), ("nodes-4", 190.0)):
        with_nodes["rounds"][name] = [{"throughput": {"server_cpu": cpu}}]
    decided = [(goal.measured, goal.is_met) for goal in decide(with_nodes)]
    assert decided[3:6] == [("150.0", True), ("1.61 times", False), ("1.18 times", True)]


def test_cpu_is_also_held_against_the_plain_application() -> None:
    with_stock = results()
    for name, cpu in (("stock", 250.0), ("nodes-1", 140.0)):
        with_stock["rounds"][name] = [{"throughput": {"server_cpu": cpu}}]
    decided = {goal.text: (goal.measured, goal.is_met) for goal in decide(with_stock)}
    share = "server CPU for a message, {}: at most {} times stock"
    assert decided[share.format("chatserver", 0.43)] == ("0.40 times", True)
    assert decided[share.format("nodes-1", 0.57)] == ("0.56 times", True)


def test_what_reads_all_conversations_of_a_user_has_a_limit() -> None:
    with_many = results()
    operations = {"conversations": {"p50": 5.0, "p95": 10.1}, "sync": {"p50": 5.0, "p95": 9.9}}
    with_many["conversations"] = [{"conversations": 1000, "operations": operations}]
    decided = [(goal.measured, goal.is_met) for goal in decide(with_many)]
    assert decided[-2:] == [("10.1 ms", False), ("9.9 ms", True)]


def test_a_table_has_a_column_for_each_server_that_was_measured() -> None:
    lines = tables.render(results()).splitlines()
    assert any(line.split() == ["|", "|", "chatserver", "|", "node-plain", "|"] for line in lines)
    (line,) = (line for line in lines if line.startswith("| acknowledged messages/s"))
    assert [cell.strip() for cell in line.split("|")[2:4]] == ["5,000", "1,500"]


def test_the_page_keeps_what_is_around_the_figures(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text(f"before\n{documents.BEGIN}\nold figures\n{documents.END}\nafter\n")
    picture = tmp_path / "images" / "bench-throughput.svg"
    for _ in range(2):
        documents.write(results(), [("Acknowledged", picture)], page)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith(f"{documents.END}\nafter\n")
    assert text.count("![Acknowledged](images/bench-throughput.svg)") == 1
    assert "old figures" not in text


def test_the_page_in_the_documents_has_both_marks() -> None:
    text = documents.PAGE.read_text()
    assert text.index(documents.BEGIN) < text.index(documents.END)


def test_options_are_lists_by_commas() -> None:
    options = options_of(["--peers", "stock,chatserver", "--stored", "10,1000"])
    assert options.peers == ["chatserver", "stock"]
    assert options.stored == [10, 1000]
    assert options_of([]).windows == [1, 4]
