"""Answers: JSON made once, with the headers that belong to every one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from fastapi import Request, Response


def reply(request: Request, content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer; on a request that made an action, with its URI (spec 1.11)."""
    return reply_made(request, encoded(content), status, headers)


def encoded(content: Any) -> bytes:
    """The content as it is sent."""
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")


def reply_made(request: Request, data: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """The same, of JSON that is made already."""
    out = {**(headers or {}), **_action(request)}
    return Response(content=data, status_code=status, media_type="application/json", headers=out)


def nothing(request: Request) -> Response:
    """204: done, and there is nothing to say but the action's URI."""
    return Response(status_code=204, headers=_action(request))


def _action(request: Request) -> dict[str, str]:
    action: UUID | None = getattr(request.state, "action_id", None)
    if action is None:
        return {}
    return dict.fromkeys(("X-Tutum-Action-URI", "X-DockerCloud-Action-URI"), f"/api/v1/action/{action}/")
