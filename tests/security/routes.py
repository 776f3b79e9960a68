"""Every way in, with what it asks for and who gets through: made from the routes that are served.

`python -m tests.security.routes` writes docs/security/routes.md; a test holds it fresh.
"""

from __future__ import annotations

import re
from pathlib import Path

from starlette.routing import Route

from agents import frames
from app.api import health, metrics
from app.api.rights import right_of, template
from app.main import all_routers
from app.streams.routes import routes
from domain.access import Right, Role, Via, refusal

PAGE = Path(__file__).resolve().parents[2] / "docs" / "security" / "routes.md"
CALLERS = (
    ("read-only", Role.READ_ONLY, Via.KEY),
    ("container", Role.MEMBER, Via.CONTAINER),
    ("member", Role.MEMBER, Via.KEY),
    ("admin", Role.ADMIN, Via.KEY),
)
DOOR = {
    frames.JOIN_PATH: "a join token, which the host sends after it has seen the authority that the token names",
    frames.SESSION_PATH: "a node's certificate of this installation, not taken out",
    frames.STREAM_PATH: "the certificate of the node that was asked, and the ticket it was given, once",
}


def http() -> list[tuple[str, str]]:
    """Method and path of each route of the API."""
    return sorted(
        ((method, template(route.path)) for router in all_routers() for route in router.routes
         if isinstance(route, Route) for method in route.methods or ()),
        key=lambda each: (each[1], each[0]),
    )  # fmt: skip


def streams() -> list[tuple[str, str, str]]:
    """Path of each stream with the path that its right is declared for, and how a refusal is told."""
    return [
        (each.path, re.sub(r"^/api/\w+/v1(/{namespace})?", "/v1", each.path),
         "frame" if each.path.startswith("/v1/") else "handshake")
        for each in routes()
    ]  # fmt: skip


def monitor() -> list[str]:
    """Paths of a process that does not serve the API."""
    return sorted(each.path for router in (health.router, metrics.router) for each in router.routes
                  if isinstance(each, Route))  # fmt: skip


def _row(method: str, path: str, right: Right | None) -> str:
    if right is None:
        return f"| {method} | `{path}` | **none declared** | | | | | |"
    may = ["yes" if right is Right.OPEN else ""]
    may += ["yes" if refusal(role, via, right) is None else "" for _, role, via in CALLERS]
    return f"| {method} | `{path}` | {right.value} | {' | '.join(may)} |"


def render() -> str:
    """The page."""
    head = ["| | path | right | nobody | " + " | ".join(name for name, *_ in CALLERS) + " |", "|---" * 8 + "|"]
    lines = [
        "# Who gets in where",
        "",
        "Made from the routes that are served (`python -m tests.security.routes`); a test holds it fresh, and fails",
        "for a route without a declared right. Objects of other accounts are 404 for everybody, admins too.",
        "",
        "## HTTP",
        "",
        *head,
        *(_row(method, path, right_of(method, path)) for method, path in http()),
        "",
        "The metrics are for admins, unless `TUTELA_METRICS_OPEN` opens them to this machine. The paths of",
        "docker-cloud (`/api/app/v1/...`) are these under another name. The door for containers serves the same",
        "application, to addresses of their networks only. A process without the API serves",
        ", ".join(f"`{path}`" for path in monitor()) + " by the same rights.",
        "",
        "## WebSocket",
        "",
        *head,
        *(_row("WS", path, right_of("WS", declared)) for path, declared, _ in streams()),
        "",
        "## The agents' door",
        "",
        "| path | what it asks for |",
        "|---|---|",
        *(f"| `{path}` | {what} |" for path, what in DOOR.items()),
        "",
        "Everything else there is 404 before a handshake is answered.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
