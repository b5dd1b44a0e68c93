"""Traffic of a cluster's nodes through Redis, by their own metrics."""

import asyncio
import urllib.request
from dataclasses import dataclass

PUBLISHED, RECEIVED = "chat_backplane_published_total", "chat_backplane_received_total"


@dataclass(frozen=True, slots=True)
class Heard:
    """Messages through Redis since the nodes began, of all of them."""

    published: float
    received: float

    def __sub__(self, other: "Heard") -> "Heard":
        return Heard(self.published - other.published, self.received - other.received)


async def listen(ports: list[int]) -> Heard:
    """Sum what the nodes on these ports have published and received, own echoes included."""
    found = [await asyncio.to_thread(_scrape, port) for port in ports]
    return Heard(*(sum(each[name] for each in found) for name in (PUBLISHED, RECEIVED)))


def _scrape(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    lines = [line.replace("{", " ").split() for line in text.splitlines()]
    return {
        name: sum(float(line[-1]) for line in lines if line and line[0] == name)
        for name in (PUBLISHED, RECEIVED)
    }
