"""Revocations: what is asked, and how one is dumped."""

from collections.abc import Callable
from typing import Any, Final

from marshmallow import ValidationError, fields, validates_schema

from chatserver.auth.tokens import MAX_TOKEN_ID_LENGTH, is_token_id
from chatserver.models import Revocation
from chatserver.schemas.base import Schema, Timestamp
from chatserver.schemas.dumps import dump_function
from chatserver.schemas.requests import UtcTimestamp


def _check_token_id(value: str) -> None:
    if not is_token_id(value):
        raise ValidationError(f"Must be 1 to {MAX_TOKEN_ID_LENGTH} printable characters.")


class RevocationBody(Schema):
    """Exactly one of a token's `jti` and a user."""

    jti = fields.String(
        load_default=None,
        allow_none=True,
        validate=_check_token_id,
        metadata={"description": "This token alone", "maxLength": MAX_TOKEN_ID_LENGTH},
    )
    user_id = fields.UUID(
        load_default=None,
        allow_none=True,
        metadata={"description": "All tokens of this user that were issued before now"},
    )
    expires_at = UtcTimestamp(
        load_default=None,
        allow_none=True,
        metadata={
            "description": "When the last of these tokens has expired: in the future. "
            "Without it the revocation stands until it is lifted"
        },
    )

    @validates_schema
    def check_one_target(self, data: dict[str, Any], **_: Any) -> None:
        given = [name for name in ("jti", "user_id") if data.get(name) is not None]
        if len(given) != 1:
            problem = ["Exactly one of jti and user_id."]
            raise ValidationError({"jti": problem, "user_id": problem})


class RevocationSchema(Schema):
    id = fields.UUID(required=True)
    jti = fields.String(required=True, allow_none=True)
    user_id = fields.UUID(required=True, allow_none=True)
    revoked_at = Timestamp(required=True)
    expires_at = Timestamp(required=True, allow_none=True)


dump_revocation: Final[Callable[[Revocation], dict[str, Any]]] = dump_function(RevocationSchema)
