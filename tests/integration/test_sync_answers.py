"""The shapes of sync: what is taken, and that an answer is as documented."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from chatserver.errors import InvalidPayload
from chatserver.schemas.base import load
from chatserver.schemas.sync import (
    MAX_CURSOR,
    SyncedConversationSchema,
    SyncQuery,
    SyncRequest,
    SyncSchema,
    dump_sync,
    open_states,
)
from chatserver.services.sync import OpenState
from tests.kit.devices import sync_service
from tests.kit.services import Node

ID = "3f8b2f0e-5f0c-4c43-9a51-0a6a2f6f8d11"


def test_everything_in_a_request_is_optional() -> None:
    assert load(SyncRequest(), {}) == {"cursor": None, "limit": 100, "open": {}}
    assert load(SyncRequest(), {"cursor": None})["cursor"] is None
    assert load(SyncQuery(), {}) == {"cursor": None, "limit": 100}


def test_a_request_is_loaded_for_the_service() -> None:
    values = load(SyncRequest(), {"cursor": "abc", "limit": 5, "open": {ID: {"seq": 3, "rev": 0}}})
    assert values == {"cursor": "abc", "limit": 5, "open": {UUID(ID): {"seq": 3, "rev": 0}}}
    assert open_states(values["open"]) == {UUID(ID): OpenState(3, 0)}
    assert load(SyncQuery(), {"cursor": "abc", "limit": "5"}) == {"cursor": "abc", "limit": 5}


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        ({"cursor": ""}, "cursor"),
        ({"cursor": 5}, "cursor"),
        ({"cursor": "x" * (MAX_CURSOR + 1)}, "cursor"),
        ({"limit": 0}, "limit"),
        ({"limit": 501}, "limit"),
        ({"limit": "5"}, "limit"),
        ({"limit": True}, "limit"),
        ({"open": []}, "open"),
        ({"open": None}, "open"),
        ({"open": {"x": {"seq": 1, "rev": 1}}}, "open.x.key"),
        ({"open": {ID: {"seq": -1, "rev": 1}}}, f"open.{ID}.value.seq"),
        ({"open": {ID: {"seq": 1}}}, f"open.{ID}.value.rev"),
        ({"open": {ID: {"seq": 1, "rev": 1, "x": 1}}}, f"open.{ID}.value.x"),
        ({"open": {ID: 5}}, f"open.{ID}.value._schema"),
        ({"open": {str(uuid4()): {"seq": 1, "rev": 1} for _ in range(101)}}, "open"),
        ({"since": 5}, "since"),
    ],
)
def test_a_bad_request_names_its_field(payload: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidPayload) as caught:
        load(SyncRequest(), payload)
    assert caught.value.fields is not None
    assert list(caught.value.fields) == [field]


@pytest.mark.parametrize("query", [{"limit": "x"}, {"limit": "-1"}, {"cursor": ""}, {"open": "x"}])
def test_a_bad_query_is_invalid(query: dict[str, str]) -> None:
    with pytest.raises(InvalidPayload):
        load(SyncQuery(), query)


async def test_an_answer_is_dumped_as_its_schema_says(node: Node) -> None:
    chats = [await node.add_chat()]
    chats.append(await node.add_chat(owner=chats[0].owner))
    await node.send(chats[0].client, chats[0])
    service = await sync_service(node)
    result = await service.sync(
        chats[0].owner, cursor=None, limit=10, open={chats[0].id: OpenState(0, 0)}
    )
    body = dump_sync(result)
    assert SyncSchema().validate(body) == {}
    assert set(body) == set(SyncSchema().fields)
    opened, other = body["conversations"]
    assert set(opened) == set(SyncedConversationSchema().fields)
    assert opened["changes"] == [opened["last_message"]]
    assert opened["limited"] is False
    assert set(opened) - set(other) == {"changes", "limited"}


async def test_an_open_conversation_without_changes_says_so(node: Node) -> None:
    chat = await node.add_chat()
    service = await sync_service(node)
    result = await service.sync(chat.owner, cursor=None, limit=10, open={chat.id: OpenState(0, 0)})
    (opened,) = dump_sync(result)["conversations"]
    assert (opened["changes"], opened["limited"]) == ([], False)
