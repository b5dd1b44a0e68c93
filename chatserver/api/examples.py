"""The examples of the OpenAPI document; a test loads each by its schema."""

from collections.abc import Mapping
from typing import Any, Final

from chatserver.api import config, operations
from chatserver.schemas import notices, objects, requests, revocations, sync
from chatserver.schemas.base import Schema

_TENANT: Final = "00000000-0000-4000-8000-000000000001"
_LANDLORD: Final = "00000000-0000-4000-8000-000000000002"
_AGENT: Final = "00000000-0000-4000-8000-000000000004"
_LISTING: Final = "00000000-0000-4000-9000-000000000001"
_CONVERSATION: Final = "019aa7e2-5b1c-7c3e-9d57-1f0a5c1b7e10"
_MESSAGE_ID: Final = "019aa7e3-02d4-7a61-8e0f-6b8f7c2a9d33"
_CLIENT_MSG_ID: Final = "6f1c1d2e-8f57-4b1e-9a53-0a4b6a0f3c77"
_TEXT: Final = "Is the flat still free in March?"
_AT: Final = "2026-01-31T12:00:00.000000Z"

_MESSAGE: Final[dict[str, Any]] = {
    "id": _MESSAGE_ID,
    "conversation_id": _CONVERSATION,
    "seq": 1,
    "rev": 1,
    "sender_id": _TENANT,
    "sender_role": "client",
    "sender": None,
    "message_type": "text",
    "content": _TEXT,
    "media_url": None,
    "attachment": None,
    "status": "sent",
    "created_at": _AT,
    "updated_at": _AT,
    "delivered_at": None,
    "read_at": None,
    "edited_at": None,
    "is_deleted": False,
    "client_msg_id": _CLIENT_MSG_ID,
    "reply_to_seq": None,
}


def _user(user_id: str, first_name: str, last_name: str) -> dict[str, Any]:
    return {
        "id": user_id,
        "first_name": first_name,
        "last_name": last_name,
        "profile_picture_url": None,
    }


def _participant(user_id: str, role: str, first_name: str, last_name: str) -> dict[str, Any]:
    return {
        "user_id": user_id,
        "role": role,
        "first_name": first_name,
        "last_name": last_name,
        "profile_picture_url": None,
        "delivered_seq": 0,
        "read_seq": 0,
        "joined_seq": 0,
        "joined_at": _AT,
    }


_CONVERSATION_SEEN: Final[Mapping[str, Any]] = {
    "id": _CONVERSATION,
    "listing_id": _LISTING,
    "client_user_id": _TENANT,
    "owner_user_id": _LANDLORD,
    "created_at": _AT,
    "updated_at": _AT,
    "last_message_at": _AT,
    "is_active": True,
    "archived_by_client": False,
    "archived_by_owner": False,
    "last_seq": 1,
    "rev": 1,
    "unread_count": 0,
    "read_seq": 0,
    "peer_read_seq": 0,
    "peer_delivered_seq": 0,
    "listing": {
        "id": _LISTING,
        "title": "Bright two-bedroom flat, Madrid",
        "price": 1250.0,
        "currency": "EUR",
    },
    "client": _user(_TENANT, "Lucía", "Fernández"),
    "owner": _user(_LANDLORD, "Javier", "Moreno"),
    "participants": [
        _participant(_TENANT, "client", "Lucía", "Fernández"),
        _participant(_LANDLORD, "owner", "Javier", "Moreno"),
    ],
    "assigned_user_id": None,
    "last_message": _MESSAGE,
    "peer_presence": {"is_online": True, "last_seen_at": _AT},
}

EXAMPLES: Final[Mapping[type[Schema], Mapping[str, Any]]] = {
    requests.OpenConversation: {"listing_id": _LISTING},
    requests.ConversationBody: {"is_active": False},
    requests.Archive: {"archived": True},
    requests.ParticipantBody: {"role": "agent"},
    requests.MessageBody: {"content": _TEXT, "client_msg_id": _CLIENT_MSG_ID},
    requests.EditBody: {"content": "Is the flat still free in April?"},
    objects.MessageSchema: _MESSAGE,
    objects.ConversationSchema: _CONVERSATION_SEEN,
    objects.ParticipantSchema: _participant(_AGENT, "agent", "Carmen", "Ibáñez"),
    objects.UserSchema: _user(_AGENT, "Carmen", "Ibáñez"),
    objects.PresenceSchema: {"user_id": _LANDLORD, "is_online": True, "last_seen_at": _AT},
    sync.SyncSchema: {
        "cursor": "djE6N2Y0YzY5YTI6MTA0Mg",
        "reset": False,
        "has_more": False,
        "conversations": [_CONVERSATION_SEEN],
        "removed": [],
    },
    objects.UnreadCountSchema: {"unread_count": 3},
    objects.StatusSchema: {"status": "success"},
    objects.ReadStatusSchema: {"status": "success", "message_id": _MESSAGE_ID},
    revocations.RevocationBody: {"user_id": _TENANT},
    revocations.RevocationSchema: {
        "id": "5f0c1f5e-0d0c-4c55-9c57-0f6f3f0f9a11",
        "jti": None,
        "user_id": _TENANT,
        "revoked_at": _AT,
        "expires_at": None,
    },
    notices.NoticeBody: {
        "content": "Payments are down for maintenance until 14:00.",
        "data": {"kind": "maintenance"},
    },
    notices.AcceptedSchema: {"status": "accepted"},
    config.ConfigSchema: {"max_length": 5000, "edit_window": 900.0, "max_packet_bytes": 131072},
    operations.HealthSchema: {"status": "ok"},
    operations.ReadinessSchema: {
        "status": "ready",
        "checks": {"database": True, "migrations": True, "backplane": True, "draining": False},
    },
}
