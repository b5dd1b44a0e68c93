"""The people of the benchmark's databases, with tokens."""

from uuid import UUID

from bench.databases import CLIENT, CONVERSATION, OWNER, identity
from bench.dialects import Person
from bench.targets import SECRET
from chatserver.auth.tokens import issue
from chatserver.models import Role

TOKEN_TTL = 4 * 3600.0


def token(user_id: UUID, role: Role = Role.CLIENT) -> str:
    return issue(SECRET, user_id, role, TOKEN_TTL)


def pairs(count: int) -> list[tuple[Person, Person]]:
    """Client and owner of each of the first `count` conversations."""
    return [
        (_person(CLIENT, number, Role.CLIENT), _person(OWNER, number, Role.OWNER))
        for number in range(count)
    ]


def _person(kind: int, number: int, role: Role) -> Person:
    user_id = identity(kind, number)
    return Person(user_id, identity(CONVERSATION, number), token(user_id, role))
