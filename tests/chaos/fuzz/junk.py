"""Random values and JSON, some of it nearly right: all from one seeded generator."""

import json
from collections.abc import Callable
from random import Random
from typing import Any
from uuid import UUID

TEXTS = (
    "", " ", "0", "-1", "true", "null", "text", "system", "image", "a" * 300, "\0", "\ud800", "é",
    "\u202e", "\U0001f600", "<b>", "' OR 1=1 --", "../../etc/passwd", "%00", "e\u0301" * 50,
    "9" * 400, "1e999", "2026-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "{}", "[]",
)  # fmt: skip
NUMBERS = (0, 1, -1, 2, 100, 101, 2**31, 2**53, 2**63, -(2**63), 10**30, 0.5, -0.0, 1e308)


class Junk:
    """`ids` are those of things that exist."""

    def __init__(self, random: Random, ids: list[str]) -> None:
        self.random = random
        self._ids = ids

    def id(self) -> str:
        """Mostly of something that exists."""
        if self.random.random() < 0.7:
            return self.random.choice(self._ids)
        return str(UUID(int=self.random.getrandbits(128)))

    def text(self) -> str:
        if self.random.random() < 0.6:
            return self.random.choice(TEXTS)
        return "".join(
            chr(self.random.randrange(1, 0x2FFF)) for _ in range(self.random.randrange(20))
        )

    def value(self, depth: int = 3) -> Any:
        kinds: list[Callable[[], Any]] = [
            lambda: None,
            lambda: self.random.random() < 0.5,
            lambda: self.random.choice(NUMBERS),
            self.text,
            self.id,
        ]
        if depth:
            kinds += [
                lambda: [self.value(depth - 1) for _ in range(self.random.randrange(4))],
                lambda: {
                    self.text(): self.value(depth - 1) for _ in range(self.random.randrange(4))
                },
            ]
        return self.random.choice(kinds)()

    def deep(self) -> str:
        """JSON with up to 20,000 levels, ended or not."""
        levels = self.random.choice((10, 200, 1_000, 20_000))
        left, right = self.random.choice((("[", "]"), ('{"a":', "}")))
        return left * levels + self.random.choice(("", "1" + right * levels))

    def object(self, fields: dict[str, Callable[[], Any]]) -> dict[str, Any]:
        """Some of `fields`, each with what it makes, or, in half of the objects, with anything."""
        wrong = self.random.choice((0.0, 0.0, 0.1, 0.4))
        present = self.random.choice((0.2, 0.6, 0.9))
        made = {
            name: self.value() if self.random.random() < wrong else make()
            for name, make in fields.items()
            if self.random.random() < present
        }
        if self.random.random() < wrong / 2:
            made[self.text()] = self.value()
        return made

    def written(self, value: Any) -> str:
        """As JSON, now and then not quite."""
        text = json.dumps(value)
        chance = self.random.random()
        if chance < 0.02:
            return text[: self.random.randrange(len(text) + 1)]
        if chance < 0.05 and text:
            place = self.random.randrange(len(text))
            return text[:place] + self.random.choice('{}[]",:\\0Nx\x01') + text[place + 1 :]
        return text
