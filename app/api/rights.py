"""The right that each route asks for. What is not listed here is refused: a new route is closed until it has a line.

The guard of all routers (`app.api.security.permitted`) and the streams (`app.streams.routes`) go by it; a test walks
the routes that are served (RELIABILITY S4).
"""

from __future__ import annotations

import re

from domain.access import Right

_V1 = "/api/v1"
_LISTED = ("service", "stack", "container", "action", "node", "image", "volume", "volumegroup", "registry")
_CLOUD = ("provider", "region", "nodetype", "az", "nodecluster", "repository")
_ONE = {"image": "{name}", "registry": "{host}"}

_DECLARED: dict[Right, tuple[str, ...]] = {
    Right.OPEN: (
        *(f"GET /{name}" for name in ("health", "healthz", "readyz")),
        "GET /openapi.json",
        # The address of a trigger is the secret.
        f"POST {_V1}/service/{{uuid}}/trigger/{{trigger}}/call/",
        f"POST {_V1}/service/{{uuid}}/trigger/{{trigger}}/call/{{count}}/",
    ),
    Right.READ: (
        *(f"GET {_V1}/{kind}/" for kind in (*_LISTED, *_CLOUD, "tag", "auth")),
        *(f"GET {_V1}/{kind}/{_ONE.get(kind, '{uuid}')}/" for kind in _LISTED),
        *(f"GET {_V1}/{kind}/{{name}}/" for kind in _CLOUD),
        f"GET {_V1}/auth/account/",
        f"GET {_V1}/service/{{uuid}}/logs/",
        f"GET {_V1}/service/{{uuid}}/explain/",
        f"GET {_V1}/service/{{uuid}}/tags/",
        f"GET {_V1}/node/{{uuid}}/tags/",
        f"GET {_V1}/container/{{uuid}}/logs/",
        f"GET {_V1}/stack/{{uuid}}/export/",
        f"GET {_V1}/image/{{name}}/tag/{{tag}}/",
        f"GET {_V1}/image/{{name}}/buildsetting/",
        f"GET {_V1}/image/{{name}}/buildsetting/{{setting}}/",
        "WS /v1/events/",
        "WS /v1/service/{uuid}/logs/",
        "WS /v1/container/{uuid}/logs/",
        "WS /v1/action/{uuid}/logs/",
    ),
    Right.WRITE: (
        *(f"POST {_V1}/{kind}/" for kind in ("service", "stack", "image", "nodecluster")),
        *(f"{method} {_V1}/{kind}/{{uuid}}/" for kind in ("service", "stack") for method in ("PATCH", "DELETE")),
        *(f"POST {_V1}/service/{{uuid}}/{verb}/" for verb in ("start", "stop", "scale", "redeploy")),
        *(f"POST {_V1}/{kind}/{{uuid}}/{verb}/" for kind in ("stack", "container")
          for verb in ("start", "stop", "redeploy")),
        f"DELETE {_V1}/container/{{uuid}}/",
        *(f"POST {_V1}/action/{{uuid}}/{verb}/" for verb in ("cancel", "retry")),
        f"POST {_V1}/service/{{uuid}}/tags/",
        f"DELETE {_V1}/service/{{uuid}}/tags/{{name}}/",
        # Reading a trigger is knowing its secret.
        *(f"{method} {_V1}/service/{{uuid}}/{kind}/" for kind in ("trigger", "webhook/handler")
          for method in ("GET", "POST")),
        *(f"{method} {_V1}/service/{{uuid}}/{kind}/{{trigger}}/" for kind in ("trigger", "webhook/handler")
          for method in ("GET", "DELETE")),
        *(f"{method} {_V1}/image/{{name}}/" for method in ("PATCH", "DELETE")),
        f"POST {_V1}/image/{{name}}/tag/{{tag}}/build/",
        f"POST {_V1}/image/{{name}}/buildsetting/",
        f"POST {_V1}/image/{{name}}/buildsetting/{{setting}}/",
        "WS /v1/container/{uuid}/exec/",
    ),
    Right.ACCOUNT: (
        f"POST {_V1}/auth/password/",
        f"GET {_V1}/auth/key/",
        f"POST {_V1}/auth/key/",
        f"DELETE {_V1}/auth/key/{{key}}/",
    ),
    Right.ADMIN: (
        f"POST {_V1}/token/",
        *(f"{method} {_V1}/node/{{uuid}}/" for method in ("PATCH", "DELETE")),
        *(f"POST {_V1}/node/{{uuid}}/{verb}/" for verb in ("health-check", "deploy", "docker-upgrade")),
        f"POST {_V1}/node/{{uuid}}/tags/",
        f"DELETE {_V1}/node/{{uuid}}/tags/{{name}}/",
        f"PATCH {_V1}/admin/node/{{uuid}}/",
        *(f"POST {_V1}/admin/node/{{uuid}}/{verb}/" for verb in
          ("cordon", "uncordon", "drain", "release", "keep", "accept-engine")),
        *(f"{method} {_V1}/admin/user/" for method in ("GET", "POST")),
        *(f"{method} {_V1}/admin/user/{{uuid}}/" for method in ("GET", "PATCH", "DELETE")),
        *(f"{method} {_V1}/admin/user/{{uuid}}/key/" for method in ("GET", "POST")),
        f"DELETE {_V1}/admin/user/{{uuid}}/key/{{key}}/",
        *(f"GET {_V1}/admin/{what}/" for what in ("audit", "queue", "reconciler", "health")),
        *(f"POST {_V1}/admin/{what}/{verb}/" for what in ("reconciler", "service/{uuid}", "node/{uuid}")
          for verb in ("pause", "resume", "look")),
    ),
    Right.METRICS: ("GET /metrics",),
}  # fmt: skip
RIGHTS: dict[str, Right] = {route: right for right, routes in _DECLARED.items() for route in routes}
_CONVERTER = re.compile(r"{(\w+):\w+}")


def template(path: str) -> str:
    """A route's path as it is listed: `{name:path}` without its converter."""
    return _CONVERTER.sub(r"{\1}", path)


def right_of(method: str, path: str) -> Right | None:
    """What the route asks for; None when it was not declared. `method` is `WS` for a stream."""
    return RIGHTS.get(f"{method} {template(path)}")
