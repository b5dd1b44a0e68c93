"""Secrets (line 13 of the bad input): what a generator makes is taken, what people type is not."""

import base64
import random
import string
import uuid
from collections.abc import Callable

import pytest

from chatserver.settings.secret_strength import is_guessable

DICE = random.Random(13)
"""The same secrets in each run: one that is refused by chance would fail one run in many."""


def of(letters: str, length: int) -> str:
    return "".join(DICE.choices(letters, k=length))


@pytest.mark.parametrize(
    "secret",
    [
        "x" * 64,
        "my-super-secret-jwt-signing-key-2024",
        "Sup3rS3cr3tK3yF0rJWTS1gn1ngEasyR3nt",
        "P@ssw0rd!P@ssw0rd!2024EasyRent!!",
        "ab" * 20,
        "0123456789abcdef" * 3,
        "abcdefghijklmnopqrstuvwxyz012345",
        "98765432109876543210987654321098",
        "qwertyuiopasdfghjklzxcvbnm123456",
        "00000000000000000000000000000001",
        "deadbeef" * 4,
        "password" * 4,
        "P@ssw0rd-" * 4,
        "CHANGE-ME-" * 4,
        "development-secret-never-for-production",
        "a-string-secret-at-least-256-bits-long",
        "my-super-secret-jwt-key-for-production-2024",
        "thisisaverysecretkeyforproductionuse",
        "correct horse battery staple forever",
        "change_me_to_a_long_random_string_please",
        "una-clave-secreta-para-el-servidor-de-chat",
        "SuperSecretKey1234567890!SuperSecret",
    ],
)
def test_what_people_type_is_guessable_13(secret: str) -> None:
    assert len(secret) >= 32
    assert is_guessable(secret)


@pytest.mark.parametrize(
    "make",
    [
        lambda: DICE.randbytes(16).hex(),
        lambda: DICE.randbytes(32).hex(),
        lambda: base64.b64encode(DICE.randbytes(24)).decode(),
        lambda: base64.urlsafe_b64encode(DICE.randbytes(32)).decode(),
        lambda: base64.b32encode(DICE.randbytes(20)).decode(),
        lambda: str(uuid.UUID(int=DICE.getrandbits(128), version=4)),
        lambda: of(string.ascii_letters + string.digits, 32),
        lambda: of(string.ascii_letters + string.digits + string.punctuation, 32),
    ],
    ids=["hex 16", "hex 32", "base64", "urlsafe", "base32", "uuid", "alphanumeric", "printable"],
)
def test_what_a_generator_makes_is_not(make: Callable[[], str]) -> None:
    assert [secret for secret in (make() for _ in range(200)) if is_guessable(secret)] == []
