"""The port inside: metrics, for as long as the node lives, and nowhere else."""

from pathlib import Path

from aiohttp import ClientError, ClientSession

from chatserver.dev.ports import free_port
from tests.kit.processes import serving
from tests.kit.stalls import PATIENCE


async def status(http: ClientSession, port: int, path: str) -> int:
    """Of the answer; 0 where nobody listens."""
    try:
        async with http.get(f"http://127.0.0.1:{port}{path}") as response:
            body = await response.text()
    except ClientError:
        return 0
    assert (response.status == 200 and path == "/metrics") is ("chat_publish_queue" in body)
    return response.status


async def test_metrics_are_inside_alone_from_before_the_first_request_until_the_end(
    database_url: str, tmp_path: Path
) -> None:
    port, inside = free_port(), free_port()
    drain = {"server__drain_delay": 5 * PATIENCE, "server__internal_port": inside}
    own = {"server__public_metrics": False, **drain}
    async with (
        ClientSession() as http,
        serving(database_url, port, tmp_path, **own) as server,
        ClientSession() as kept,
    ):
        assert await status(http, inside, "/metrics") == 200
        assert await status(http, port, "/metrics") == 404
        assert await status(http, port, "/%6detrics") == 404
        for path in ("/healthz", "/readyz", "/api/chat/unread-count", "/"):
            assert await status(http, inside, path) == 404
        assert await status(kept, port, "/healthz") == 200
        server.terminate()
        await server.wait_draining()
        assert await status(kept, port, "/readyz") == 503
        assert await status(http, inside, "/metrics") == 200
        server.terminate()  # this was enough of the delay
        assert await server.exit_code() == 0


async def test_without_a_port_there_is_none(database_url: str, tmp_path: Path) -> None:
    port = free_port()
    async with (
        ClientSession() as http,
        serving(database_url, port, tmp_path, server__public_metrics=False),
    ):
        assert await status(http, port, "/metrics") == 404
