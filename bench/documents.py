"""Puts the tables and the pictures into docs/performance.md, so that no figure is typed."""

from pathlib import Path

from bench import tables
from bench.figures import Results
from bench.targets import ROOT

PAGE = ROOT / "docs" / "performance.md"
BEGIN = "<!-- Written by `make bench ARGS=--write`; what is typed here is lost. -->"
END = "<!-- The end of what was written. -->"


def write(results: Results, pictures: list[tuple[str, Path]], page: Path = PAGE) -> None:
    """Replace what is between the two marks of the page."""
    text = page.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    images = [f"![{title}]({path.relative_to(page.parent)})" for title, path in pictures]
    body = "\n\n".join([tables.render(results), *images])
    page.write_text(f"{before}{BEGIN}\n\n{body}\n\n{END}{after}")
