"""The chat page in a real Chromium, on a real server: what two people see."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.kit.proxy import Proxy, running_proxy
from tests.system.e2e.browser import PHONE, WEB_ROOT, Screen, at, eventually, running_browser
from tests.system.e2e.house import House, running_house
from tests.system.e2e.node_client import NodeClient

# The browser lives in the module's loop, and so must the tests that use it.
HISTORY = 120
PAGE = 50
"""Messages that the page loads at a time."""

# The service worker has put the page aside, so that a reload needs no network.
KEPT_PAGES = "caches.keys().then((names) => names.length)"


@pytest.fixture(scope="module")
async def chromium() -> AsyncIterator[NodeClient]:
    async with running_browser() as browser:
        yield browser


@pytest.fixture
async def house(chromium: NodeClient, database_url: str, tmp_path: Path) -> AsyncIterator[House]:
    """Its name comes after the browser's, so that nothing starts where there is none."""
    async with running_house(database_url, tmp_path, server__web_root=WEB_ROOT) as house:
        yield house
        await chromium.do("reset")


@pytest.fixture
def tenant(chromium: NodeClient) -> Screen:
    return Screen(chromium, "tenant")


@pytest.fixture
def landlord(chromium: NodeClient) -> Screen:
    return Screen(chromium, "landlord")


async def open_both(
    house: House, tenant: Screen, landlord: Screen, cable: Proxy | None = None
) -> None:
    """The conversation on both screens, both connected; the tenant's by way of `cable`."""
    await asyncio.gather(
        tenant.open(house.link(house.chat.tenant, cable), locale="es-ES"),
        landlord.open(house.link(house.chat.landlord)),
    )
    await tenant.says("peer-status", "En línea")
    await landlord.says("peer-status", "Online")


async def test_ticks_and_badges_follow_a_message_until_it_is_read(
    house: House, tenant: Screen, landlord: Screen
) -> None:
    await tenant.open(house.link(house.chat.tenant))
    await tenant.locate("waitFor", at("composer"))
    await tenant.write("Hello, is it still free?")
    await tenant.shows(("Hello, is it still free?", "sent"))

    await landlord.open(house.link(house.chat.landlord, is_open=False))
    await landlord.says("unread-badge", "1")
    await tenant.shows(("Hello, is it still free?", "delivered"))

    await landlord.click(at("conversation-row"))
    await tenant.shows(("Hello, is it still free?", "read"))
    await landlord.lacks("unread-badge")

    await tenant.sees_typing(landlord)
    await landlord.write("Yes, it is")
    await agree(house, "Hello, is it still free?", "Yes, it is", on=(tenant, landlord))
    await tenant.lacks("typing")
    assert await tenant.problems() == await landlord.problems() == []


async def test_an_edit_and_a_delete_show_on_both_screens(
    house: House, tenant: Screen, landlord: Screen
) -> None:
    await open_both(house, tenant, landlord)
    await tenant.write("The 31st?")
    await landlord.write("No")
    await landlord.shows(("The 31st?", "read"), ("No", "read"))

    await tenant.choose("The 31st?", "Editar")
    await tenant.write("The 30th?")
    await landlord.choose("No", "Delete")
    await landlord.click("dialog button[data-danger]")

    await tenant.shows_texts("The 30th?", "Mensaje eliminado")
    await landlord.shows_texts("The 30th?", "Message deleted")
    assert [text for text, _ in await house.stored()] == ["The 30th?", ""]
    assert await tenant.problems() == await landlord.problems() == []


@pytest.mark.parametrize("first", ["server", "network"])
async def test_what_was_written_offline_outlives_a_reload_and_the_server(
    house: House, tenant: Screen, landlord: Screen, first: str
) -> None:
    async with running_proxy(("127.0.0.1", house.port)) as cable:
        await open_both(house, tenant, landlord, cable)
        await tenant.write("hola")
        await landlord.shows_texts("hola")
        await eventually(lambda: tenant.evaluate(KEPT_PAGES), lambda count: count == 1)

        cable.refuse()  # Chromium's own switch leaves open websockets alone.
        await tenant.go_offline()
        for text in ("uno", "dos", "tres"):
            await tenant.write(text)
        await tenant.reload()
        await tenant.says("banner", "Sin conexión")
        await tenant.shows(*((text, "sending") for text in ("uno", "dos", "tres")))
        await landlord.write("are you there?")
        await landlord.shows(("hola", "read"), ("are you there?", "sent"))
        house.server.kill()
        await landlord.locate("waitFor", at("banner"))

        if first == "network":
            await come_back(tenant, cable)
        async with house.restarted():
            await come_back(tenant, cable)
            await agree(
                house, "hola", "are you there?", "uno", "dos", "tres", on=(tenant, landlord)
            )
            for screen in (tenant, landlord):
                await screen.lacks("banner")
                assert await screen.problems(without_network=True) == []


async def test_a_message_that_the_servers_end_interrupts_is_there_once(
    house: House, tenant: Screen, landlord: Screen
) -> None:
    await open_both(house, tenant, landlord)
    texts = [f"{number}" for number in range(10)]
    for text in texts:
        await tenant.write(text)
    house.server.kill()
    async with house.restarted():
        await agree(house, *texts, on=(tenant, landlord))


async def come_back(screen: Screen, cable: Proxy) -> None:
    cable.heal()
    await screen.go_online()


async def agree(house: House, *texts: str, on: tuple[Screen, ...]) -> None:
    """Both screens come to show these messages, all of them read, and so has the database."""
    wanted = [(text, "read") for text in texts]
    await asyncio.gather(*(screen.shows(*wanted) for screen in on))
    assert await house.stored() == wanted


async def test_scrolling_up_shows_a_long_conversation_to_its_beginning(
    house: House, tenant: Screen
) -> None:
    texts = [f"message {number}" for number in range(1, HISTORY + 1)]
    # Their own are not unread: the page opens at the newest one, not at the first.
    await house.send(house.chat.tenant, *texts)
    await tenant.open(house.link(house.chat.tenant))
    newest = await eventually(tenant.messages, lambda shown: len(shown) > 0)
    assert [text for text, _ in newest] == texts[-PAGE:]

    async def scroll_up() -> int:
        await tenant.evaluate("document.querySelector('[data-testid=log]').scrollTop = 0")
        return len(await tenant.messages())

    await eventually(scroll_up, lambda count: count == HISTORY)
    assert [text for text, _ in await tenant.messages()] == texts
    assert await tenant.problems() == []


async def test_a_phone_shows_the_list_or_the_conversation_and_a_desktop_both(
    house: House, tenant: Screen
) -> None:
    async def visible() -> tuple[bool, bool]:
        row = await tenant.locate("isVisible", at("conversation-row"))
        return row, await tenant.locate("isVisible", at("composer"))

    link = house.link(house.chat.tenant, is_open=False)
    await tenant.open(link, viewport=PHONE, hasTouch=True, isMobile=True)
    await eventually(visible, lambda shown: shown == (True, False))
    await tenant.click(at("conversation-row"))
    await eventually(visible, lambda shown: shown == (False, True))
    assert await tenant.evaluate("document.documentElement.scrollWidth") == PHONE["width"]

    await tenant.resize(1280, 800)
    await eventually(visible, lambda shown: shown == (True, True))
    await tenant.resize(**PHONE)
    await tenant.click(".pane-back")
    await eventually(visible, lambda shown: shown == (True, False))
    assert await tenant.problems() == []


async def test_the_page_speaks_the_browsers_language_until_another_is_chosen(
    house: House, tenant: Screen
) -> None:
    await tenant.open(house.link(house.chat.tenant), locale="es-ES")
    composer = f"{at('composer')}[placeholder='Escribe un mensaje']"
    await tenant.locate("waitFor", composer)
    await tenant.click(".list-header [data-menu-button]")
    await tenant.click("[role=menuitemradio]:has-text('English')")
    await tenant.locate("waitFor", f"{at('composer')}[placeholder='Write a message']")
    await tenant.reload()
    await tenant.locate("waitFor", f"{at('composer')}[placeholder='Write a message']")
    assert await tenant.evaluate("document.documentElement.lang") == "en"
    assert await tenant.problems() == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_page_has_no_serious_obstacle_for_anybody(
    house: House, tenant: Screen, scheme: str
) -> None:
    await house.send(house.chat.landlord, "Welcome", "See https://example.com/plan")
    await tenant.open(house.link(house.chat.tenant), colorScheme=scheme)
    await tenant.shows_texts("Welcome", "See https://example.com/plan")
    await tenant.write("Thanks")
    await eventually(tenant.messages, lambda shown: len(shown) == 3 and shown[2].state == "sent")
    assert await tenant.violations() == []
