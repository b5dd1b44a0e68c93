"""schemathesis holds the running server against its OpenAPI document."""

import asyncio
import re
import threading
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import CheckFunction
from schemathesis.specs.openapi import checks

from chatserver.api.openapi import build_openapi
from chatserver.api.routes import CONTROL
from chatserver.api.table import ROUTES
from chatserver.dev.demo import ADMIN, DEMO_LISTINGS, LANDLORD, TENANT
from tests.integration.api.rest import Rest, running_rest
from tests.kit.postgres import Databases
from tests.kit.services import settings_for

SETTINGS = settings_for("postgresql://nowhere/nothing")

schema = schemathesis.openapi.from_dict(
    build_openapi(
        ROUTES,
        max_length=SETTINGS.messages.max_length,
        max_body_bytes=SETTINGS.server.max_body_bytes,
    )
)

# What violates a maximum length may be too long to be read at all.
schema.config.checks.negative_data_rejection.expected_statuses = [
    *("401", "403", "404", "413", "422", "431")
]

CHECKS: list[CheckFunction] = [
    schemathesis.checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
    checks.unsupported_method,
    checks.allow_header_conformance,
]

# The generated requests of one user would spend its budget, and the rest be answered 429.
WITHOUT_BUDGETS = {"rate_limit__user": "", "rate_limit__address": ""}

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Target:
    """A node in a thread of its own, and things in it for generated requests to hit."""

    def __init__(self, databases: Databases) -> None:
        self.url = ""
        self.token = ""
        self.admin_token = ""
        self.ids: dict[str, list[str]] = {
            "user_id": [str(LANDLORD.id)],
            "listing_id": [str(listing.id) for listing in DEMO_LISTINGS],
        }
        self._databases = databases
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._is_ready = threading.Event()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._run()))

    def __enter__(self) -> "Target":
        self._thread.start()
        assert self._is_ready.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)
        self._loop.close()

    async def _run(self) -> None:
        async with (
            self._databases.migrated() as url,
            running_rest(url, **WITHOUT_BUDGETS) as rest,
        ):
            await self._seed(rest)
            self.url, self.token = rest.origin, rest.token(TENANT)
            self.admin_token = rest.token(ADMIN)
            self._is_ready.set()
            await self._stop.wait()

    async def _seed(self, rest: Rest) -> None:
        conversations = [await rest.open(str(listing.id)) for listing in DEMO_LISTINGS]
        messages = [
            await rest.send(conversation, "hello", user=user)
            for conversation in conversations[:2]
            for user in (TENANT, LANDLORD)
            for _ in range(3)
        ]
        self.ids["conversation_id"] = [path.rpartition("/")[2] for path in conversations]
        self.ids["message_id"] = [message["id"] for message in messages]

    def token_for(self, case: schemathesis.Case[Any]) -> str:
        """One with which the operation may be called."""
        is_control = CONTROL in case.operation.definition.raw["tags"]
        return self.admin_token if is_control else self.token

    def aim(self, case: schemathesis.Case[Any]) -> None:
        """Let two of three valid ids be those of things that exist."""
        for values in (case.path_parameters, case.body):
            if not isinstance(values, dict):
                continue
            for name in self.ids.keys() & values.keys():
                number = zlib.crc32(str(values[name]).encode())
                if number % 3 and UUID.fullmatch(str(values[name])):
                    values[name] = self.ids[name][number % len(self.ids[name])]


@pytest.fixture(scope="module")
def target(databases: Databases) -> Iterator[Target]:
    with Target(databases) as running:
        yield running


@schema.parametrize()
# The same requests in every run; raise the number, and drop derandomize, to search for more.
@settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
def test_generated_requests_get_documented_answers(
    case: schemathesis.Case[Any], target: Target
) -> None:
    target.aim(case)
    headers = {"Authorization": f"Bearer {target.token_for(case)}"}
    response = case.call(base_url=target.url, headers=headers)
    case.validate_response(response, checks=CHECKS)
