"""The shapes of what operators ask and are told: users, keys, the queue, the audit log, the installation's health."""

from __future__ import annotations

from app.openapi.schemas import (
    DATE,
    FLAG,
    IDENTITY,
    PAUSE,
    TEXT,
    TEXT_IN,
    URI,
    UUID,
    WHOLE,
    Schema,
    asked,
    many,
    maybe,
    shown,
    states,
)
from domain.access import Role, Via
from domain.service import ServiceState

NUMBER: Schema = {"type": "number"}
_USER: dict[str, Schema] = {
    **IDENTITY,
    "username": TEXT,
    "role": states(Role),
    "enabled": FLAG,
    "has_password": FLAG,
    "created": DATE,
    "disabled": maybe(DATE),
}
_KEY: dict[str, Schema] = {
    **IDENTITY,
    "name": TEXT,
    "scope": states(Role),
    "created": DATE,
    "expires": maybe(DATE),
    "last_used": maybe(DATE),
}

OBJECTS: dict[str, Schema] = {
    "UserAccount": shown(**_USER),
    "Me": shown(**_USER, effective_role=states(Role), via=states(Via), key=maybe(UUID)),
    "ApiKey": shown(**_KEY),
    "ApiKeyMade": shown(**_KEY, key=TEXT),
    "Reconciler": shown(
        paused=PAUSE,
        due=WHOLE,
        blocked=WHOLE,
        paused_services=WHOLE,
        paused_nodes=many(TEXT),
        oldest_due_seconds=NUMBER,
        next_look_seconds=maybe(NUMBER),
    ),
    "Waiting": shown(
        **IDENTITY,
        name=TEXT,
        user=TEXT,
        state=states(ServiceState),
        due=FLAG,
        due_seconds=NUMBER,
        look_at=maybe(DATE),
        waits_for=maybe(TEXT),
        waits_since=maybe(DATE),
        paused=PAUSE,
    ),
    "AuditRow": shown(
        **dict.fromkeys(("user", "via", "ip", "action", "object", "method", "path", "request_id", "detail"), TEXT),
        uuid=UUID,
        date=DATE,
        key=maybe(UUID),
        status=WHOLE,
        action_uri=maybe(URI),
    ),
}
BODIES: dict[str, Schema] = {
    "UserCreate": asked("username", username=TEXT, role=states(Role), password=TEXT_IN),
    "UserPatch": asked(role=maybe(states(Role)), enabled=maybe(FLAG)),
    "KeyCreate": asked(
        "name", name=TEXT, scope=maybe(states(Role)), expires_in=maybe({"type": "integer", "minimum": 60})
    ),
}
