"""The chat page in a real Chromium: who wrote, what was read, and what limits say."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import ClientSession

from chatserver.models import Role
from tests.kit.app import Person, add_person
from tests.kit.clients import Rest
from tests.kit.services import connected
from tests.system.e2e.browser import WEB_ROOT, Screen, at, eventually, running_browser
from tests.system.e2e.house import House, running_house
from tests.system.e2e.node_client import NodeClient

# The browser lives in the module's loop, and so must the tests that use it.
UNREAD = 215

# The `seq` of the last message whose whole height is within the log.
LAST_VISIBLE = """(() => {
    const log = document.querySelector('[data-testid=log]').getBoundingClientRect();
    const shown = [...document.querySelectorAll('[data-testid=message]')].filter((row) => {
        const { top, bottom } = row.getBoundingClientRect();
        return top >= log.top - 1 && bottom <= log.bottom + 1;
    });
    return Number(shown.at(-1)?.querySelector('.message-text')?.innerText ?? 0);
})()"""

# A part of a screen further, and until that was on the screen: a busy machine shows it late.
SCROLL_ON = """new Promise((resolve) => {
    document.querySelector('[data-testid=log]').scrollBy(0, 250);
    requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(resolve)));
})"""


@pytest.fixture(scope="module")
async def chromium() -> AsyncIterator[NodeClient]:
    async with running_browser() as browser:
        yield browser


@pytest.fixture
async def house(chromium: NodeClient, database_url: str, tmp_path: Path) -> AsyncIterator[House]:
    """Its name comes after the browser's, so that nothing starts where there is none."""
    async with running_house(
        database_url, tmp_path, server__web_root=WEB_ROOT, rate_limit__messages="300/minute"
    ) as house:
        yield house
        await chromium.do("reset")


@pytest.fixture
def tenant(chromium: NodeClient) -> Screen:
    return Screen(chromium, "tenant")


@pytest.fixture
def landlord(chromium: NodeClient) -> Screen:
    return Screen(chromium, "landlord")


async def add_voice(house: House, role: Role, first_name: str, last_name: str) -> Person:
    """A user of the host who takes part in nothing."""
    person = await add_person(house.database_url, role)
    await name(house, person, first_name, last_name)
    return person


async def name(house: House, person: Person, first_name: str, last_name: str) -> None:
    async with connected(house.database_url) as connection:
        await connection.execute(
            "UPDATE core.users SET first_name = $2, last_name = $3 WHERE id = $1",
            person.id, first_name, last_name,
        )  # fmt: skip


async def texts(screen: Screen, selector: str) -> list[str]:
    found: list[str] = await screen.locate("allInnerTexts", selector)
    return [" ".join(text.split()) for text in found]


def shown_at(screen: Screen, selector: str) -> Callable[[], Awaitable[list[str]]]:
    return lambda: texts(screen, selector)


async def test_a_third_voice_is_itself_to_both_and_both_are_to_it(
    house: House, chromium: NodeClient, tenant: Screen, landlord: Screen
) -> None:
    admin = await add_voice(house, Role.ADMIN, "Álvaro", "Castro")
    service = await add_voice(house, Role.SERVICE, "EasyRent", "Avisos")
    await name(house, house.chat.tenant, "Lucía", "Fernández")
    await name(house, house.chat.landlord, "Javier", "Moreno")
    await house.send(house.chat.landlord, "Hello")
    async with ClientSession() as http:
        rest = Rest(http, house.base_url)
        sent = await rest.send(service, house.chat.id, content="Paid", message_type="system")
        assert sent.status == 201, sent
    await house.send(admin, "Is all well?")

    for screen, person in ((tenant, house.chat.tenant), (landlord, house.chat.landlord)):
        await screen.open(house.link(person))
        await eventually(shown_at(screen, at("byline")), lambda found: len(found) == 2)
        assert await texts(screen, at("byline")) == [
            "EasyRent Avisos Platform service",
            "Álvaro Castro Administration",
        ]
        assert await texts(screen, at("third-voices")) == [
            "Also writing: EasyRent Avisos · Platform service Álvaro Castro · Administration"
        ]
        assert await texts(screen, at("preview")) == ["Álvaro Castro: Is all well?"]
        assert await screen.count(f"{at('message')}[data-third] .ticks") == 0
        assert await screen.count(f"{at('preview')} .ticks") == 0
    moderator = Screen(chromium, "admin")
    await moderator.open(house.link(admin))
    await eventually(
        shown_at(moderator, at("message")), lambda found: any("all well" in text for text in found)
    )
    assert await texts(moderator, at("pane-title")) == ["Lucía Fernández and Javier Moreno"]
    assert await moderator.count(f"{at('message')}[data-own]") == 1
    await moderator.write("Anybody?")
    await eventually(
        shown_at(tenant, at("preview")), lambda found: found == ["Álvaro Castro: Anybody?"]
    )
    assert await texts(moderator, at("preview")) != ["Álvaro Castro: Anybody?"]
    assert await moderator.count(f"{at('message')}[data-own]") == 2
    for screen in (tenant, landlord, moderator):
        assert await screen.problems() == []


async def read_seq(house: House, person: Person) -> int:
    async with connected(house.database_url) as connection:
        found: int = await connection.fetchval(
            "SELECT read_seq FROM chat.participants WHERE conversation_id = $1 AND user_id = $2",
            house.chat.id, person.id,
        )  # fmt: skip
        return found


async def test_of_many_unread_only_what_was_on_the_screen_is_read(
    house: House, tenant: Screen, landlord: Screen
) -> None:
    await house.send(house.chat.landlord, *(f"{number}" for number in range(1, UNREAD + 1)))
    await landlord.open(house.link(house.chat.landlord))
    await tenant.open(house.link(house.chat.tenant))
    await tenant.says("unread-mark", f"{UNREAD} new messages")

    async def settled() -> tuple[int, int]:
        return await tenant.evaluate(LAST_VISIBLE), await read_seq(house, house.chat.tenant)

    shown, read = await eventually(settled, lambda both: 0 < both[0] == both[1])
    assert shown < 40
    assert await tenant.text("unread-mark") == f"{UNREAD} new messages"

    # A screen further: that much, and no more.
    await tenant.evaluate("document.querySelector('[data-testid=log]').scrollBy(0, 300)")
    shown, read = await eventually(settled, lambda both: shown < both[0] == both[1])

    label = await tenant.locate("getAttribute", at("to-newest"), "aria-label")
    assert label == f"Go to the newest message ({UNREAD - read} unread)"

    # The newest are on the screen now, but not those in between.
    await tenant.click(at("to-newest"))
    await eventually(lambda: tenant.evaluate(LAST_VISIBLE), lambda seq: seq == UNREAD)
    await tenant.says("to-unread", f"{UNREAD - read} new messages")
    assert await read_seq(house, house.chat.tenant) == read
    await eventually(landlord.messages, lambda rows: {row.state for row in rows} == {"delivered"})

    # Back at the first unread one, and down without leaving one out, until those are
    # reached that were on the screen before.
    await tenant.click(at("to-unread"))
    await tenant.says("unread-mark", f"{UNREAD - read} new messages")

    async def scroll_down() -> int:
        await tenant.evaluate(SCROLL_ON)
        return await read_seq(house, house.chat.tenant)

    await eventually(scroll_down, lambda seq: seq == UNREAD)
    await tenant.lacks("to-unread")
    await eventually(landlord.messages, lambda rows: {row.state for row in rows} == {"read"})
    for screen in (tenant, landlord):
        assert await screen.problems() == []


async def test_a_rate_limit_is_said_in_words_and_costs_no_text(
    chromium: NodeClient, database_url: str, tmp_path: Path, tenant: Screen
) -> None:
    async with running_house(
        database_url, tmp_path, server__web_root=WEB_ROOT, rate_limit__messages="2/minute"
    ) as house:
        await tenant.open(house.link(house.chat.tenant))
        await tenant.locate("waitFor", at("composer"))
        for text in ("one", "two", "three"):
            await tenant.write(text)
        await tenant.locate("fill", at("composer"), "four")
        await tenant.says("composer-held", "You write very fast; try again in ")
        await tenant.locate("press", at("composer"), "Enter")
        assert await tenant.locate("inputValue", at("composer")) == "four"
        await tenant.shows(("one", "sent"), ("two", "sent"), ("three", "sending"))
        assert await tenant.problems() == []
        await chromium.do("reset")
