"""A row for each operation: what it takes and what it answers. A test compares it with the routes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from app.openapi.schemas import Schema
from app.wire import lists
from app.wire.lists import Field

FLAG: Schema = {"type": "string", "enum": ["true", "false", "True", "False", "1", "0", "yes", "no"]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """`answer` is the name of a schema, None for an answer without a body; `also` are other codes that mean done.

    `open`: without credentials. `no_action`: it changes nothing that is recorded.
    """

    answer: str | None
    code: int = 200
    also: tuple[int, ...] = ()
    listed: bool = False
    filters: Mapping[str, Field] = field(default_factory=dict)
    body: str | None = None
    body_required: bool = False
    query: tuple[tuple[str, Schema], ...] = ()
    open: bool = False
    no_action: bool = False

    def errors(self, method: str, path: str) -> set[str]:
        """The codes of its refusals."""
        codes = {"400", "429", "503"}
        if not self.open:
            codes.add("401")
        if "{" in path:
            codes.add("404")
        if method != "GET":
            codes |= {"409", "413", "415"}
        return codes


def _page(name: str, filters: Mapping[str, Field]) -> Operation:
    return Operation(answer=name, listed=True, filters=filters)


REUSE = (("reuse_volumes", FLAG),)
TAIL: tuple[tuple[str, Schema], ...] = (("tail", {"type": "integer", "minimum": 1}),)

OPERATIONS: dict[tuple[str, str], Operation] = {
    ("GET", "/api/v1/service/"): _page("Service", lists.SERVICES),
    ("POST", "/api/v1/service/"): Operation(answer="Service", code=201, body="ServiceCreate", body_required=True),
    ("GET", "/api/v1/service/{uuid}/"): Operation(answer="Service"),
    ("PATCH", "/api/v1/service/{uuid}/"): Operation(answer="Service", also=(202,), body="ServicePatch"),
    ("DELETE", "/api/v1/service/{uuid}/"): Operation(answer="Service", code=202),
    ("GET", "/api/v1/service/{uuid}/logs/"): Operation(answer="Logs", query=TAIL),
    **{
        ("POST", f"/api/v1/service/{{uuid}}/{verb}/"): Operation(answer="Service", code=202)
        for verb in ("start", "stop", "scale")
    },
    ("POST", "/api/v1/service/{uuid}/redeploy/"): Operation(
        answer="Service", code=202, body="ServiceRedeploy", query=REUSE
    ),
    ("GET", "/api/v1/container/"): _page("Container", lists.CONTAINERS),
    ("GET", "/api/v1/container/{uuid}/"): Operation(answer="Container"),
    ("GET", "/api/v1/container/{uuid}/logs/"): Operation(answer="Logs", query=TAIL),
    **{
        ("POST", f"/api/v1/container/{{uuid}}/{verb}/"): Operation(answer="Container", code=202)
        for verb in ("start", "stop")
    },
    ("POST", "/api/v1/container/{uuid}/redeploy/"): Operation(answer="Container", code=202, query=REUSE),
    ("DELETE", "/api/v1/container/{uuid}/"): Operation(answer="Container", code=202),
    ("GET", "/api/v1/action/"): _page("Action", lists.ACTIONS),
    ("GET", "/api/v1/action/{uuid}/"): Operation(answer="Action"),
    **{
        ("POST", f"/api/v1/action/{{uuid}}/{verb}/"): Operation(answer="Action", code=202)
        for verb in ("cancel", "retry")
    },
    ("GET", "/api/v1/auth/"): _page("Login", {}),
    ("GET", "/api/v1/node/"): _page("Node", lists.NODES),
    ("GET", "/api/v1/node/{uuid}/"): Operation(answer="Node"),
}
