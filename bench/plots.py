"""The results as pictures in docs/images, one for each section."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from bench.figures import Results, figure, servers, spread
from bench.targets import ROOT

IMAGES = ROOT / "docs" / "images"
OURS, PEERS = "#1f6feb", "#9aa4b2"
SHADES = ("#1f6feb", "#7aa7f0", "#c2d6f8")

# The same results make the same files.
mpl.rcParams["svg.hashsalt"] = "bench"
mpl.rcParams["font.size"] = 9


def draw(results: Results) -> list[tuple[str, Path]]:
    """Title and file of each picture for which there are figures."""
    made = []
    for name, title, paint in PICTURES:
        picture = Figure(figsize=(7, 3), layout="constrained")
        axes = picture.add_subplot()
        if not paint(axes, results):
            continue
        axes.set_title(title, loc="left")
        axes.spines[["top", "right"]].set_visible(False)
        path = IMAGES / f"bench-{name}.svg"
        picture.savefig(path, metadata={"Date": None})
        made.append((title, path))
    return made


def _bars(section: str, name: str, unit: float = 1) -> Callable[[Any, Results], bool]:
    """A bar for each server, with the spread of its rounds."""

    def paint(axes: Any, results: Results) -> bool:
        found = _measured(results, section, name)
        for place, (server, value) in enumerate(found):
            low, high = spread(results, server, section, name)
            axes.barh(place, value / unit, color=OURS if server == "chatserver" else PEERS,
                      xerr=[[(value - low) / unit], [(high - value) / unit]])  # fmt: skip
        _label(axes, [server for server, _ in found])
        return bool(found)

    return paint


def _stacks(section: str, names: Sequence[tuple[str, str]]) -> Callable[[Any, Results], bool]:
    """For each server one figure behind the other."""

    def paint(axes: Any, results: Results) -> bool:
        found = [server for server, _ in _measured(results, section, names[0][0])]
        for place, server in enumerate(found):
            left = 0.0
            for (name, label), color in zip(names, SHADES, strict=False):
                value = figure(results, server, section, name) or 0.0
                axes.barh(place, value, left=left, color=color, label=label if not place else None)
                left += value
        _label(axes, found)
        if found:
            axes.legend(frameon=False)
        return bool(found)

    return paint


def _groups(section: str, names: Sequence[tuple[str, str]]) -> Callable[[Any, Results], bool]:
    """For each server several figures beside each other, on a logarithmic scale."""

    def paint(axes: Any, results: Results) -> bool:
        found = [server for server, _ in _measured(results, section, names[0][0])]
        height = 0.8 / len(names)
        for number, (name, label) in enumerate(names):
            values = [figure(results, server, section, name) or 0.0 for server in found]
            places = [place + (number - 1) * height for place in range(len(found))]
            axes.barh(places, values, height, color=SHADES[number], label=label)
        axes.set_xscale("log")
        _label(axes, found)
        if found:
            axes.legend(frameon=False)
        return bool(found)

    return paint


def _lines(key: str, title: str) -> Callable[[Any, Results], bool]:
    """A line for each operation."""

    def paint(axes: Any, results: Results) -> bool:
        points = results[key]
        if len(points) < 2:
            return False
        for name in points[0]["operations"]:
            axes.plot(
                [point[title] for point in points],
                [point["operations"][name]["p50"] for point in points],
                marker="o", label=name,
            )  # fmt: skip
        axes.set_xscale("log")
        axes.set_ylim(bottom=0)
        axes.set_xlabel(title)
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
        return True

    return paint


def _measured(results: Results, section: str, name: str) -> list[tuple[str, float]]:
    values = [(server, figure(results, server, section, name)) for server in servers(results)]
    return [(server, value) for server, value in values if value is not None]


def _label(axes: Any, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()


_DELIVERY = (("delivery_p50", "p50"), ("delivery_p99", "p99"), ("delivery_p999", "p99.9"))
_CPU = (("server_cpu", "server"), ("postgres_cpu", "PostgreSQL"))

PICTURES: Sequence[tuple[str, str, Callable[[Any, Results], bool]]] = (
    ("throughput", "Acknowledged messages a second", _bars("throughput", "acknowledged")),
    ("cpu", "µs of CPU for a message, at the best rate", _stacks("throughput", _CPU)),
    ("latency-half", "Delivery at half of each server's best rate, ms", _groups("half", _DELIVERY)),
    ("latency", "Delivery at 1,000 messages a second, ms", _groups("common", _DELIVERY)),
    ("memory", "KiB for an idle websocket", _bars("sockets", "memory", 1024)),
    ("sockets", "Sockets opened a second", _bars("sockets", "opened")),
    ("stored", "p50 in ms by messages stored", _lines("stored", "messages")),
    (
        "conversations",
        "p50 in ms by conversations of one user",
        _lines("conversations", "conversations"),
    ),
)
