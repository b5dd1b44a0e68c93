"""A short run, the same each time; `make fuzz` makes long ones."""

from pathlib import Path
from random import Random

from chatserver.api.openapi import build_openapi
from chatserver.api.table import ROUTES
from tests.chaos.fuzz.frames import Frames
from tests.chaos.fuzz.junk import Junk
from tests.chaos.fuzz.requests import Requests
from tests.chaos.fuzz.runs import errors, fuzz

ID = "00000000-0000-4000-8000-000000000001"


async def test_random_frames_and_requests_harm_nobody(database_url: str, tmp_path: Path) -> None:
    report = await fuzz(database_url, tmp_path, seed=7, frames=400, requests=400)
    assert not report.failures, str(report)
    assert report.frames >= 400
    assert report.statuses.total() == 400
    assert report.victims > 0


def test_a_seed_is_the_same_frames_and_requests_each_time() -> None:
    document = build_openapi(ROUTES, max_length=5000, max_body_bytes=2**18)

    def made(seed: int) -> list[object]:
        random = Random(seed)
        junk = Junk(random, [ID])
        frames, requests = Frames(random, junk), Requests(document, random, junk, ["token"])
        return [
            *(frames.frame(frames.packet()) for _ in range(50)),
            *(requests.request() for _ in range(50)),
        ]

    assert made(1) == made(1)
    assert made(1) != made(2)


def test_errors_in_the_log_are_found() -> None:
    lines = [
        '{"event": "serving", "level": "info"}',
        '{"event": "failed", "level": "error", "exception": "Traceback\\nKeyError: 7"}',
        '{"event": "failed", "level": "error", "exception": "Traceback\\nKeyError: 7"}',
        "Segmentation fault",
    ]
    found = errors("\n".join(lines))
    assert [each.split(": {")[0] for each in found] == [
        "2 in the log: failed KeyError: 7",
        "1 in the log: no JSON Segmentation fault",
    ]
