"""Names in an expression of PromQL: its metrics, and the labels of each selector."""

import re
from collections.abc import Iterator

_GROUPING = re.compile(r"\b(by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*)\s*(\{[^{}]*\})?")
_WORDS = {"and", "or", "unless", "bool", "offset", "inf", "nan"}


def grouped_by(expression: str) -> set[str]:
    """The labels that aggregations and matches of vectors name."""
    return {
        label.strip()
        for _, labels in _GROUPING.findall(_without_strings(expression))
        for label in labels.split(",")
        if label.strip()
    }


def selectors(expression: str) -> Iterator[tuple[str, set[str]]]:
    """Each metric of `expression`, with the labels by which its series are chosen."""
    text = _GROUPING.sub(" ", re.sub(r"\[[^\]]*\]", " ", _without_strings(expression)))
    for match in _SELECTOR.finditer(text):
        name, chosen = match.groups()
        is_function = text[match.end() :].lstrip().startswith("(") and chosen is None
        is_number = match.start() > 0 and text[match.start() - 1].isdigit()
        if is_function or is_number or name.lower() in _WORDS:
            continue
        yield name, set(re.findall(r"(\w+)\s*(?:=|!)", chosen or ""))


def _without_strings(expression: str) -> str:
    return re.sub(r'"(?:[^"\\]|\\.)*"', '""', expression)
