"""The shapes of what operators ask and are told: users, keys, the queue, the audit log, the installation's health."""

from __future__ import annotations

from app.openapi.schemas import (
    DATE,
    ENGINE_NOTES,
    FLAG,
    IDENTITY,
    PAUSE,
    QUARANTINE,
    TEXT,
    TEXT_IN,
    URI,
    UUID,
    WHOLE,
    Schema,
    asked,
    many,
    maybe,
    ref,
    shown,
    states,
)
from app.wire.users import LIMITS
from domain.access import Role, Via
from domain.node import NodeState
from domain.service import ServiceState

_WELL: Schema = {"type": "string", "enum": ["ok", "not ok"]}
_LIMITS: dict[str, Schema] = {
    name: maybe({"type": "integer", "minimum": 0, "maximum": most}) for name, most in LIMITS.items()
}
NUMBER: Schema = {"type": "number"}
_USER: dict[str, Schema] = {
    **IDENTITY,
    "username": TEXT,
    "role": states(Role),
    "enabled": FLAG,
    "has_password": FLAG,
    "quota": shown(**dict.fromkeys(LIMITS, maybe(WHOLE))),
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
    "Health": shown(
        status=_WELL,
        components=shown(database=_WELL, migrations=_WELL, reconciler=_WELL),
        versions=shown(**dict.fromkeys(("tutela", "python", "postgres", "schema", "newest_schema"), TEXT)),
        started=DATE,
        postgres=shown(
            **dict.fromkeys(
                ("size_bytes", "connections", "most_connections", "pool_size", "pool_idle", "pool_most"), WHOLE
            )
        ),
        control_planes=many(shown(uuid=UUID, agent_url=TEXT, last_seen=DATE)),
        agents={"type": "object", "additionalProperties": WHOLE},
        nodes=many(
            shown(
                name=TEXT,
                state=states(NodeState),
                last_seen=maybe(DATE),
                containers=WHOLE,
                paused=FLAG,
                quarantine=QUARANTINE,
                engine_notes=ENGINE_NOTES,
            )
        ),
        reconciler=ref("Reconciler"),
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
    "UserPatch": asked(
        role=maybe(states(Role)),
        enabled=maybe(FLAG),
        quota=maybe(asked(**_LIMITS)),
    ),
    "KeyCreate": asked(
        "name", name=TEXT, scope=maybe(states(Role)), expires_in=maybe({"type": "integer", "minimum": 60})
    ),
}
