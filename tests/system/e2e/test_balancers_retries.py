"""HAProxy and nginx with the configurations that we ship: what they send a second time."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import ClientSession, web

from tests.kit.balancer import running_haproxy, running_nginx
from tests.system.e2e.balanced import BALANCERS


class FallenNode:
    """Healthy by its own account, and gone with each request after it has arrived."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.port = 0

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path in ("/healthz", "/readyz"):
            return web.Response()
        await request.read()
        self.heard.append(request.method)
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        runner = web.ServerRunner(web.Server(self.answer, access_log=None))
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.port = runner.addresses[0][1]
            yield
        finally:
            await runner.cleanup()


@pytest.mark.parametrize("path", ["/api/chat/conversations", "/socket.io/?transport=polling&sid=x"])
@pytest.mark.parametrize("name", BALANCERS)
async def test_what_may_have_been_carried_out_is_not_sent_again_unless_it_is_a_get(
    name: str, path: str, tmp_path: Path
) -> None:
    nodes = [FallenNode(), FallenNode()]
    async with AsyncExitStack() as stack:
        for node in nodes:
            await stack.enter_async_context(node.running())
        running = running_haproxy if name == "haproxy" else running_nginx
        ports = [node.port for node in nodes]
        for method in ("POST", "PATCH", "GET"):
            # One that knows of no failure: nginx leaves a node that failed alone for a while.
            async with (
                running(ports, tmp_path) as balancer,
                ClientSession() as http,
                http.request(method, f"{balancer.base_url}{path}", data=b"{}") as response,
            ):
                assert response.status in (502, 503)
                assert (await response.json())["code"] == "unavailable"
    heard = [method for node in nodes for method in node.heard]
    assert {method: heard.count(method) for method in ("POST", "PATCH")} == {"POST": 1, "PATCH": 1}
    assert heard.count("GET") > 1
