"""Which path is which stream. Refusals are told by frame under /v1/, at the handshake elsewhere (spec 1.3, 5.7)."""

from __future__ import annotations

from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from app.api.rights import RIGHTS
from app.streams.actions import action_logs
from app.streams.events import event_stream
from app.streams.execs import exec_command
from app.streams.logs import container_logs, service_logs
from app.streams.peer import Work, converse
from domain.access import Right

_STREAMS = (
    ("audit", "/events/", event_stream),
    ("app", "/service/{uuid}/logs/", service_logs),
    ("app", "/container/{uuid}/logs/", container_logs),
    ("app", "/container/{uuid}/exec/", exec_command),
    ("audit", "/action/{uuid}/logs/", action_logs),
)


def routes() -> list[WebSocketRoute]:
    """All of them."""
    out = []
    for subsystem, path, work in _STREAMS:
        alias = f"/api/{subsystem}/v1"
        right = RIGHTS[f"WS /v1{path}"]
        out += [
            _route(f"/v1{path}", work, right, at_handshake=False),
            _route(f"{alias}{path}", work, right, at_handshake=True),
            _route(f"{alias}/{{namespace}}{path}", work, right, at_handshake=True),
        ]
    return out


def _route(path: str, work: Work, right: Right, *, at_handshake: bool) -> WebSocketRoute:
    async def endpoint(socket: WebSocket) -> None:
        await converse(socket, work, right, listens=work is exec_command, at_handshake=at_handshake)

    return WebSocketRoute(path, endpoint)
