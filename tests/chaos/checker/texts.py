"""Texts that say to which conversation they belong, wherever they turn up."""

import random
import re
from collections.abc import Iterator

MARKER = re.compile(r"zq(\d+)x(\d+)z")

_SENTENCES = (
    "the flat is still free on Friday evening or do we meet at the station",
    '¿cuánto cuesta? mañana 👍 grüße 東京 a < b <3 1&2 "quoted" it\'s\ttab',
)
_WORDS = [word for sentence in _SENTENCES for word in sentence.split(" ")]


def marker(chat: int, number: int) -> str:
    """What no other text of the run has: the conversation's and the text's number."""
    return f"zq{chat}x{number}z"


def write_text(rng: random.Random, chat: int, number: int) -> str:
    """A text that is stored exactly as it is sent; one in thirty is long."""
    count = rng.randint(150, 400) if rng.random() < 1 / 30 else rng.randint(0, 8)
    words = [rng.choice(_WORDS) for _ in range(count)]
    words.insert(rng.randint(0, count), marker(chat, number))
    return " ".join(words)


def chats_in(text: str) -> Iterator[int]:
    """The conversations whose texts, or pieces of them, are in `text`."""
    return (int(match[1]) for match in MARKER.finditer(text))
