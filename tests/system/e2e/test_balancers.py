"""HAProxy and nginx with the configurations that we ship, before real nodes and clients."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest
from aiohttp import ClientSession
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from chatserver.dev.ports import free_port
from chatserver.settings import config_directory
from tests.kit.balancer import CARELESS, Balancer, running_haproxy
from tests.kit.clients import TIMEOUT, Rest, open_chat
from tests.kit.postgres import Databases
from tests.kit.raw import RawDevice
from tests.kit.stalls import PATIENCE
from tests.system.e2e.balanced import (
    BALANCERS,
    Site,
    client_at,
    handshake,
    home_of,
    is_gone_after_its_poll,
    post,
    running_site,
)
from tests.system.e2e.node_client import NodeClient

TRANSPORTS = [["websocket"], ["polling"], ["polling", "websocket"]]
ADDRESSES = [f"127.0.0.{number}" for number in range(2, 14)]

SHARE = 20
"""Sockets that an address may have open; more than any other test here opens."""


@pytest.fixture(scope="module")
async def site(
    databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Site]:
    async with databases.migrated() as url:
        directory = tmp_path_factory.mktemp("site")
        async with running_site(url, directory, realtime__max_sockets_per_address=SHARE) as site:
            yield site


@pytest.fixture(params=BALANCERS)
def balancer(site: Site, request: pytest.FixtureRequest) -> Balancer:
    return site.balancers[request.param]


@pytest.mark.parametrize("keeps_cookies", [False, True], ids=["no cookies", "cookies"])
@pytest.mark.parametrize("transports", TRANSPORTS, ids="+".join)
async def test_the_real_client_works_by_every_transport(
    js: NodeClient, site: Site, balancer: Balancer, transports: list[str], keeps_cookies: bool
) -> None:
    options = {"transports": transports, "withCredentials": keeps_cookies}
    people = site.chat.people
    sockets = [await js.connected(balancer.base_url, each, **options) for each in people * 2]
    for socket in sockets:
        for _ in range(10):
            assert await socket.code("nonsense", {}) == "unknown_event"
    async with asyncio.timeout(TIMEOUT):
        while [await socket.transport() for socket in sockets] != [transports[-1]] * 4:
            await sockets[0].code("nonsense", {})
    payload = {"conversation_id": site.chat.id, "content": "hello"}
    for socket in sockets:
        await socket.ok("message", payload)
        assert not socket.of("disconnect")


async def test_a_raw_websocket_stays_open_and_is_closed_with_the_nodes_code(
    site: Site, balancer: Balancer
) -> None:
    """And its token is in no log."""
    async with ClientSession() as http:
        chat = await open_chat(Rest(http, balancer.base_url), site.database_url)
        token, stranger = chat.tenant.token(), site.chat.tenant
        raw = await RawDevice.open(http, balancer.base_url, chat, chat.tenant, token)
        await raw.send(type="message", content="hello")
        await raw.heard("message")
        other = await RawDevice.open(http, balancer.base_url, chat, stranger)
        frames, code = await other.ended()
        assert ([frame["data"]["code"] for frame in frames], code) == (["not_found"], 1008)
        await raw.send(type="message", content="bye")
        assert [frame["data"]["content"] for frame in await raw.heard("message", 2)] == [
            "hello", "bye",
        ]  # fmt: skip
        await raw.close()
    assert token not in await balancer.logged(f"/ws/chat/{chat.id}")


async def test_rest_is_answered_by_every_node(site: Site, balancer: Balancer) -> None:
    async with ClientSession() as http:
        rest = Rest(http, balancer.base_url)
        chat = await open_chat(rest, site.database_url)
        for number in range(1, 9):
            sent = await rest.send(chat.tenant, chat.id, content="hello")
            assert (sent.status, sent.body["seq"]) == (201, number)
            # No request of it needs a certain node, so none gets a cookie for that.
            assert "Set-Cookie" not in sent.headers
        listed = await rest.get(f"conversations/{chat.id}/messages", chat.landlord)
        assert len(listed.body) == 8
    for place in nodes_in(balancer, site):
        await balancer.logged(place)


def nodes_in(balancer: Balancer, site: Site) -> list[str]:
    """How its access log calls the nodes."""
    if "haproxy" in balancer.log_file.name:
        return [f"nodes/chat{number} 201 POST" for number in range(1, len(site.nodes) + 1)]
    return [f"127.0.0.1:{node.port} 201 POST" for node in site.nodes]


async def test_a_polling_session_stays_with_its_node_for_clients_of_all_addresses(
    site: Site, balancer: Balancer
) -> None:
    homes = set()
    for address in ADDRESSES:
        async with client_at(address) as http:
            sid = await handshake(http, balancer.base_url)
            assert [await post(http, balancer.base_url, sid, "6") for _ in range(4)] == [200] * 4
            homes.add(await home_of(site, sid))
    assert homes == {0, 1}


async def test_a_client_that_goes_away_from_its_poll_is_gone_at_its_node(
    site: Site, balancer: Balancer
) -> None:
    """At once, through the balancer too, and not when its heartbeat is missed."""
    for _ in range(3):  # on a machine that stands still the poll may not get to the node
        if await is_gone_after_its_poll(site, balancer):
            return
    raise AssertionError("the node holds sessions of clients that went away")


async def test_with_haproxy_the_cookie_wins_over_the_address(site: Site) -> None:
    base_url = site.haproxy.base_url
    homes = {}
    for node in ("chat1", "chat2"):
        async with client_at("127.0.0.1") as http:
            http.headers["Cookie"] = f"chat_node={node}"
            sid = await handshake(http, base_url)
            assert [await post(http, base_url, sid, "6") for _ in range(4)] == [200] * 4
            homes[node] = await home_of(site, sid)
    assert homes == {"chat1": 0, "chat2": 1}


async def test_with_haproxy_a_session_survives_a_change_of_address(site: Site) -> None:
    base_url = site.haproxy.base_url
    async with client_at("127.0.0.2", keeps_cookies=True) as at_home:
        sid = await handshake(at_home, base_url)
        jar = list(at_home.cookie_jar)
        for address in ADDRESSES:
            async with client_at(address) as abroad:
                abroad.headers["Cookie"] = "; ".join(f"{c.key}={c.value}" for c in jar)
                assert await post(abroad, base_url, sid, "6") == 200


async def test_without_stickiness_websockets_work_and_polling_gets_a_clear_answer(
    js: NodeClient, site: Site, tmp_path: Path
) -> None:
    ports = [node.port for node in site.nodes]
    async with running_haproxy(ports, tmp_path, CARELESS) as careless:
        for person in site.chat.people * 2:
            socket = await js.connected(careless.base_url, person, transports=["websocket"])
            assert await socket.code("nonsense", {}) == "unknown_event"
        async with ClientSession() as http:
            sid = await handshake(http, careless.base_url)
            url = f"{careless.base_url}/socket.io/?EIO=4&transport=polling&sid={sid}"
            async with http.post(url, data="6") as response:
                assert response.status == 400
                assert await response.json() == {"code": 1, "message": "Session ID unknown"}
        polling = await js.open(careless.base_url, site.chat.tenant, transports=["polling"])
        refusal = await polling.heard("connect_error")
        assert refusal["message"] in ("xhr poll error", "xhr post error")


async def test_nodes_hear_who_the_client_is_whatever_it_says(
    site: Site, balancer: Balancer
) -> None:
    network = f"127.1.{balancer.port % 200}"
    async with client_at(f"{network}.1") as http, client_at(f"{network}.2") as neighbour:
        for number in range(SHARE):
            await handshake(http, balancer.base_url, **forged(number))
        url = f"{balancer.base_url}/socket.io/?EIO=4&transport=polling"
        async with http.get(url, headers=forged(SHARE)) as response:
            assert response.status == 429
            assert (await response.json())["message"] == "Too many connections from this address"
        await handshake(neighbour, balancer.base_url)


def forged(number: int) -> dict[str, str]:
    return {
        "X-Forwarded-For": f"192.0.2.{number}",
        "Forwarded": f"for=192.0.2.{number}",
        "X-Real-IP": f"192.0.2.{number}",
    }


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://chat.example.org"}, 200),
        ({"Origin": "https://chat.example.org", "X-Forwarded-Proto": "https"}, 403),
        ({"Origin": "http://evil.example.org", "X-Forwarded-Host": "evil.example.org"}, 403),
        ({"Origin": "http://evil.example.org", "Forwarded": "host=evil.example.org"}, 403),
    ],
    ids=["own origin", "forged proto", "forged host", "forged forwarded"],
)
async def test_the_origin_is_judged_by_what_the_balancer_says(
    balancer: Balancer, headers: dict[str, str], status: int
) -> None:
    url = f"{balancer.base_url}/socket.io/?EIO=4&transport=polling"
    async with client_at("127.0.2.1") as http:
        headers = {"Host": "chat.example.org", **headers}
        async with http.get(url, headers=headers) as response:
            assert response.status == status


async def test_what_is_too_large_gets_the_answer_of_the_node(
    site: Site, balancer: Balancer
) -> None:
    async with ClientSession() as http:
        rest = Rest(http, balancer.base_url)
        refused = await rest.send(site.chat.tenant, site.chat.id, content="x" * 900_000)
    assert (refused.status, refused.body["code"]) == (413, "payload_too_large")


async def test_whoever_speaks_too_slowly_is_let_go(site: Site) -> None:
    token = site.chat.tenant.token()
    head = f"POST /api/chat/conversations HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
    body = f"{head}Content-Type: application/json\r\nContent-Length: 999\r\n\r\n{{"
    ports = [balancer.port for balancer in site.balancers.values()]
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*(drip(port, text) for port in ports for text in (head, body)))


async def drip(port: int, beginning: str) -> None:
    """Send that, and then a letter at a time, until the connection ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    ended = asyncio.create_task(reader.read())
    try:
        writer.write(beginning.encode())
        while not ended.done():
            writer.write(b"x")
            await asyncio.wait([ended], timeout=0.5)
        await ended
    except ConnectionError:
        pass
    finally:
        writer.close()
        ended.cancel()


async def test_no_token_is_in_the_log_of_a_balancer(site: Site, balancer: Balancer) -> None:
    token = site.chat.tenant.token()
    url = f"{balancer.base_url}/socket.io/?EIO=4&transport=polling&token={token}"
    async with client_at("127.0.3.1") as http:
        async with http.get(url) as response:
            assert response.status == 200
        async with http.get(f"{balancer.base_url}/nothing?token={token}") as response:
            assert response.status == 404
    assert token not in await balancer.logged("/nothing")


SPELLINGS: Final = (
    "/metrics", "/%6detrics", "/%6D%65%74%72%69%63%73", "/metrics?x", "/metrics%3Fx", "/metrics/",
    "//metrics", "/./metrics", "/x/../metrics", "/%2e/metrics", "/%2fmetrics", "/metrics%00",
    "/%256detrics", "/METRICS", "/metrics;x", "/metrics#x",
)  # fmt: skip


async def test_no_spelling_of_metrics_passes_a_balancer(site: Site, balancer: Balancer) -> None:
    """Though the nodes behind it have them on the same port."""
    answered = {}
    for spelling in SPELLINGS:
        answers = []
        for port in (balancer.port, site.nodes[0].port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            head = f"GET {spelling} HTTP/1.1\r\nHost: chat\r\nConnection: close\r\n\r\n"
            writer.write(head.encode())
            answers.append(await reader.read())
            writer.close()
        outside, inside = (b"chat_publish_queue" in answer for answer in answers)
        assert not outside, spelling
        answered[spelling] = inside
    assert answered["/metrics"]
    assert answered["/%6detrics"]


async def test_over_tls_haproxys_cookie_is_for_front_ends_of_other_origins_too(
    js: NodeClient, site: Site, tmp_path: Path
) -> None:
    """With the line for TLS that the configuration has as a comment."""
    certificates = tmp_path / "certs"
    certificates.mkdir()
    (certificates / "chat.pem").write_bytes(certificate())
    port = free_port()
    shipped = (config_directory() / "haproxy.cfg").read_text("utf-8")
    template = shipped.replace(
        "# bind :443 ssl crt /etc/haproxy/certs/ ",
        f"bind 127.0.0.1:{port} ssl crt {certificates}/ ",
    )
    async with running_haproxy([node.port for node in site.nodes], tmp_path, template) as haproxy:
        for base_url, words in (
            (f"https://127.0.0.1:{port}", "path=/; HttpOnly; Secure; SameSite=None"),
            (haproxy.base_url, "path=/; HttpOnly"),
        ):
            url = f"{base_url}/socket.io/?EIO=4&transport=polling"
            async with client_at("127.0.4.1") as http, http.get(url, ssl=False) as response:
                name, _, attributes = response.headers["Set-Cookie"].partition("; ")
                assert name in ("chat_node=chat1", "chat_node=chat2")
                assert attributes == words
        for transports in TRANSPORTS:
            socket = await js.connected(
                f"https://127.0.0.1:{port}", site.chat.tenant, transports=transports,
                withCredentials=True, rejectUnauthorized=False,
            )  # fmt: skip
            assert await socket.code("nonsense", {}) == "unknown_event"


def certificate() -> bytes:
    """One for 127.0.0.1 that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    return signed.public_bytes(pem) + key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
