"""client/src/protocol.ts says what the server's schemas say: the two cannot drift."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import marshmallow as ma
import pytest
from marshmallow import fields

from chatserver import errors
from chatserver.api.config import ConfigSchema
from chatserver.models import MemberRole, MessageStatus, MessageType, SenderRole
from chatserver.schemas import events, objects, sync
from chatserver.schemas.base import Boolean, Integer, Timestamp
from tests.kit.app import running_server

PROTOCOL = Path(__file__).parents[3] / "client" / "src" / "protocol.ts"

OBJECTS: Mapping[str, type[ma.Schema]] = {
    "Attachment": objects.AttachmentSchema,
    "Message": objects.MessageSchema,
    "Listing": objects.ListingSchema,
    "User": objects.UserSchema,
    "PeerPresence": objects.PeerPresenceSchema,
    "Participant": objects.ParticipantSchema,
    "Conversation": objects.ConversationSchema,
    "ChatError": objects.ErrorSchema,
    "ServerConfig": ConfigSchema,
    "Position": sync.OpenStateSchema,
    "ConversationSync": sync.SyncedConversationSchema,
    "SyncAnswer": sync.SyncSchema,
}

NAMES = {schema: name for name, schema in OBJECTS.items()}
ENUMS = {kind: kind.__name__ for kind in (MemberRole, MessageType, MessageStatus, SenderRole)}


@dataclass(frozen=True)
class Member:
    """A member of an interface: `name?: type | null`."""

    type: str
    is_optional: bool
    is_nullable: bool


Members = dict[str, Member]


class Protocol:
    """What the file declares, read with what little TypeScript it uses."""

    def __init__(self, text: str) -> None:
        self._text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)

    def members(self, name: str) -> Members:
        match = re.search(
            rf"export interface {name}(?: extends (\w+))? {{(.*?)\n}}", self._text, re.DOTALL
        )
        assert match, f"protocol.ts has no interface {name}"
        inherited = self.members(match[1]) if match[1] else {}
        return inherited | dict(_members(match[2]))

    def map(self, name: str) -> dict[str, str]:
        """An interface whose members are types of other things, as text."""
        return {key: member.type for key, member in self.members(name).items()}

    def union(self, name: str) -> set[str]:
        match = re.search(rf"export type {name} =(.*?);", self._text, re.DOTALL)
        assert match, f"protocol.ts has no type {name}"
        return set(re.findall(r'"(\w+)"', match[1]))

    def alternatives(self, name: str) -> list[Members]:
        """The members of each interface that a type may be; an interface is its own only one."""
        match = re.search(rf"export type {name} = (.*?);\n\n", self._text, re.DOTALL)
        if not match:
            return [self.members(name)]
        parts = (part.strip() for part in match[1].split(" | "))
        return [
            dict(_members(part.strip("{} ") + ";")) if part.startswith("{") else self.members(part)
            for part in parts
        ]


def _members(body: str) -> Iterator[tuple[str, Member]]:
    for name, mark, kind in re.findall(r"(\w+)(\??): (.*?);(?=\s|$)", body):
        is_nullable = kind.endswith(" | null")
        yield name, Member(kind.removesuffix(" | null"), bool(mark), is_nullable)


def typescript(field: "fields.Field[Any]") -> str:
    """The type that a schema's field has in protocol.ts."""
    if isinstance(field, fields.Enum):
        return ENUMS[field.enum]
    if isinstance(field, fields.Nested):
        return NAMES[type(field.schema)]
    if isinstance(field, fields.List):
        return f"{typescript(field.inner)}[]"
    if isinstance(field, fields.Dict):
        assert field.value_field is not None
        return f"Record<string, {typescript(field.value_field)}>"
    kinds = {
        "string": (fields.String, fields.UUID, Timestamp),
        "number": (Integer, fields.Float),
        "boolean": (Boolean,),
        "unknown": (fields.Raw,),
    }
    return next(name for name, kind in kinds.items() if isinstance(field, kind))


def described(schema: ma.Schema) -> Members:
    return {
        field.data_key or name: Member(
            typescript(field), not field.required, bool(field.allow_none and field.required)
        )
        for name, field in schema.fields.items()
    }


@pytest.fixture(scope="module")
def protocol() -> Protocol:
    return Protocol(PROTOCOL.read_text("utf-8"))


@pytest.mark.parametrize("name", OBJECTS)
def test_an_object_has_the_members_of_its_schema(protocol: Protocol, name: str) -> None:
    assert protocol.members(name) == described(OBJECTS[name]())


def test_the_enumerations_have_the_same_values(protocol: Protocol) -> None:
    for kind, name in ENUMS.items():
        assert protocol.union(name) == set(kind), name


def test_every_code_of_an_error_is_known(protocol: Protocol) -> None:
    def codes(kind: type[errors.ChatError]) -> Iterator[str]:
        for error in kind.__subclasses__():
            if error.__module__ == errors.__name__:
                yield error.code
                yield from codes(error)

    assert protocol.union("ErrorCode") == set(codes(errors.ChatError))


def test_every_event_of_the_server_has_its_payload(protocol: Protocol) -> None:
    payloads = protocol.map("Events")
    assert payloads.keys() == events.EVENTS.keys()
    for event, schema in events.EVENTS.items():
        assert protocol.members(payloads[event]) == described(schema()), event


async def test_every_event_of_clients_has_its_payload(
    protocol: Protocol, database_url: str
) -> None:
    async with running_server(database_url) as server:
        schemas = server.node.namespace.schemas
    requests = protocol.map("Requests")
    assert requests.keys() == schemas.keys()
    for event, types in requests.items():
        payload = types.strip("[]").split(", ")[0]
        alternatives = protocol.alternatives(payload)
        known = described(schemas[event])
        assert set().union(*alternatives) == known.keys(), event
        for members in alternatives:
            for name, member in members.items():
                assert member.type == known[name].type, (event, name)
        if len(alternatives) == 1:
            required = {name for name, member in known.items() if not member.is_optional}
            assert {n for n, m in alternatives[0].items() if not m.is_optional} == required, event
