"""`tutela admin`: the installation, through the API of the running server."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated, Any

import typer

from app.cli import CommandError, client
from app.cli import node as hosts
from app.cli.api import LEAST_PREFIX, as_json, call, connected, listed, table
from app.cli.password import read_password
from domain.access import Role
from domain.node import NodeState

app = typer.Typer(help="Users, keys, health, the queue, pauses, the audit log.", no_args_is_help=True)
users = typer.Typer(help="Who may come in, and as what.", no_args_is_help=True)
keys = typer.Typer(help="API keys: yours, or a user's.", no_args_is_help=True)
app.add_typer(users, name="users")
app.add_typer(keys, name="keys")

Json = Annotated[bool, typer.Option("--json", help="Machine-readable.")]
UserName = Annotated[str, typer.Argument(metavar="USER", help="The user's name.")]
OfUser = Annotated[str, typer.Option("--user", help="Whose; the admin's own when it is left out.")]
DAY = 24 * 3600
CANNOT_JOIN = "none that serves agents: `hosts cannot join here` in the log says why"


class Kind(StrEnum):
    """What can be paused and looked at."""

    ALL = "all"
    SERVICE = "service"
    NODE = "node"


AsRole = Annotated[Role, typer.Option(help="What it may do.")]
What = Annotated[Kind, typer.Argument(help="all, service or node.")]
Named = Annotated[str, typer.Argument(metavar="NAME", help="Which: a name or uuid; another user's service by uuid.")]


@users.command("list")
def list_users(machine: Json = False) -> None:
    """All users."""
    found = listed(connected(), "admin/user/")
    if machine:
        as_json(found)
        return
    head = ("NAME", "ROLE", "ENABLED", "PASSWORD", "CREATED")
    table(head, ((each["username"], each["role"], _yes(each["enabled"]), _yes(each["has_password"]), each["created"])
                 for each in found))  # fmt: skip


@users.command("add")
def add_user(
    name: UserName,
    role: AsRole = Role.MEMBER,
    password: Annotated[
        bool, typer.Option("--password", help="With a password: asked for on a terminal, else a line of stdin.")
    ] = False,
) -> None:
    """A new user. Give it a key with `admin keys add`, or a password."""
    body: dict[str, Any] = {"username": name, "role": role.value}
    if password:
        body["password"] = read_password(name, stdin=not sys.stdin.isatty())
    api = connected()
    call(lambda: api.post("admin/user/", body))
    typer.echo(f"{name} is a user with the role {role.value}")


@users.command("role")
def set_role(name: UserName, role: Annotated[Role, typer.Argument(help="Its new role.")]) -> None:
    """Another role; it counts from the user's next request on."""
    _change(name, role=role.value)
    typer.echo(f"{name} has the role {role.value} now")


@users.command("disable")
def disable(name: UserName) -> None:
    """Let it in no more; what it runs goes on."""
    _change(name, enabled=False)
    typer.echo(f"{name} is not let in until ./tutela admin users enable {name}")


@users.command("enable")
def enable(name: UserName) -> None:
    """Let it in again."""
    _change(name, enabled=True)
    typer.echo(f"{name} is let in again")


Limit = Annotated[str, typer.Option(metavar="N|none", help="The most it may have; left out: as it is.")]


@users.command("quota")
def quota(
    name: UserName,
    services: Limit = "",
    containers: Limit = "",
    memory: Annotated[str, typer.Option(metavar="MB|none", help="Of all its containers together.")] = "",
    cpu_shares: Annotated[str, typer.Option(metavar="N|none", help="The same; 1024 for a core.")] = "",
    machine: Json = False,
) -> None:
    """Its limits, changed where they are given. What it has already goes on; what is more than before is refused."""
    given = {"services": services, "containers": containers, "memory": memory, "cpu_shares": cpu_shares}
    asked = {key: _limit(text) for key, text in given.items() if text}
    if asked:
        _change(name, quota=asked)
    found = _user(connected(), name)["quota"]
    if machine:
        as_json(found)
        return
    for key, most in found.items():
        typer.echo(f"{key:<15} {'no limit' if most is None else most}")


def _limit(text: str) -> int | None:
    if text == "none":
        return None
    if not text.isdecimal():
        raise CommandError(f"{text} is no limit: give a number, or none", 2)
    return int(text)


@users.command("delete")
def delete(name: UserName) -> None:
    """Take it away with its keys; refused while it has services."""
    api = connected()
    call(lambda: api.delete(f"admin/user/{_user(api, name)['uuid']}/"))
    typer.echo(f"{name} is deleted")


@keys.command("list")
def list_keys(user: OfUser = "", machine: Json = False) -> None:
    """Keys without their secrets, with their last use."""
    api = connected()
    found = listed(api, _keys(api, user))
    if machine:
        as_json(found)
        return
    head = ("ID", "NAME", "SCOPE", "CREATED", "EXPIRES", "LAST USED")
    table(head, ((each["uuid"], each["name"], each["scope"], each["created"], each["expires"] or "never",
                  each["last_used"] or "never") for each in found))  # fmt: skip


@keys.command("add")
def add_key(
    name: Annotated[str, typer.Argument(help="What it is for.")],
    user: OfUser = "",
    scope: Annotated[Role | None, typer.Option(help="The most it may do; its owner's role when left out.")] = None,
    days: Annotated[float | None, typer.Option(help="Until it ends; never when left out.")] = None,
    machine: Json = False,
) -> None:
    """A new key. It is shown once."""
    body: dict[str, Any] = {"name": name}
    if scope is not None:
        body["scope"] = scope.value
    if days is not None:
        body["expires_in"] = int(days * DAY)
    api = connected()
    path = _keys(api, user)
    made = call(lambda: api.post(path, body))
    if machine:
        as_json(made)
    else:
        typer.echo(made["key"])


@keys.command("revoke")
def revoke(key: Annotated[str, typer.Argument(help="Its id, or the beginning of it.")], user: OfUser = "") -> None:
    """End a key, with the streams that it has open."""
    api = connected()
    path = _keys(api, user)
    found = [each for each in listed(api, path) if len(key) >= LEAST_PREFIX and each["uuid"].startswith(key)]
    if len(found) != 1:
        found_are = "no" if not found else "more than one"
        raise CommandError(
            f"{found_are} key begins with {key!r} ({LEAST_PREFIX} characters at least): see admin keys list"
        )
    call(lambda: api.delete(f"{path}{found[0]['uuid']}/"))
    typer.echo(f"the key {found[0]['name']} has ended")


@app.command("health")
def health(machine: Json = False) -> None:
    """Versions, Postgres, control planes, agents, the queue. Exit code 1 when something is not well: a component, a
    pause of everything, a host that is quarantined or Unreachable, no control plane that serves agents.
    """
    api = connected()
    found = call(lambda: api.get("admin/health/"))
    if machine:
        as_json(found)
    else:
        _tell(found)
    if found["status"] != "ok":
        raise typer.Exit(1)


def _tell(found: dict[str, Any]) -> None:
    versions, postgres, queue = found["versions"], found["postgres"], found["reconciler"]
    oldest = f", the oldest for {queue['oldest_due_seconds']:.1f} s" if queue["due"] else ""
    agents = ", ".join(f"{count} {state}" for state, count in found["agents"].items() if count) or "none"
    rows = [
        *((name, state) for name, state in found["components"].items()),
        ("version", f"{versions['tutela']}, python {versions['python']}, since {found['started']}"),
        ("schema", f"{versions['schema']} of {versions['newest_schema']}"),
        ("postgres", f"{versions['postgres']}, {postgres['size_bytes'] / 2**20:.1f} MB, {postgres['connections']} of"
                     f" {postgres['most_connections']} connections"),
        ("control planes", ", ".join(each["agent_url"] for each in found["control_planes"]) or CANNOT_JOIN),
        ("agents", agents),
        ("queue", f"{queue['due']} due{oldest}; {queue['blocked']} blocked"),
        ("paused", _paused(queue)),
    ]  # fmt: skip
    rows += [
        ("unreachable", f"{each['name']}, last seen {each['last_seen'] or 'never'}")
        for each in found["nodes"]
        if each["state"] == NodeState.UNREACHABLE
    ]
    rows += [("quarantined", each["quarantine"]["reason"]) for each in found["nodes"] if each["quarantine"]]
    rows += [
        ("engine notes", f"{each['name']}: {hosts.codes(each)}") for each in found["nodes"] if each["engine_notes"]
    ]
    for name, text in rows:
        typer.echo(f"{name:<15} {text}")


def _paused(queue: dict[str, Any]) -> str:
    parts = [f"everything, by {queue['paused']['by']}"] if queue["paused"] else []
    parts += [f"{queue['paused_services']} services"] if queue["paused_services"] else []
    parts += [f"node {name}" for name in queue["paused_nodes"]]
    return "; ".join(parts) or "nothing"


@app.command("queue")
def show_queue(
    due: Annotated[bool, typer.Option("--due", help="Only those that wait for a pass.")] = False,
    blocked: Annotated[bool, typer.Option("--blocked", help="Only those that wait for something else.")] = False,
    paused: Annotated[bool, typer.Option("--paused", help="Only those that are paused.")] = False,
    machine: Json = False,
) -> None:
    """Services that are due, blocked or paused, and why."""
    only = {"due": due, "blocked": blocked, "paused": paused}
    found = listed(connected(), "admin/queue/", {name: "true" for name, given in only.items() if given})
    if machine:
        as_json(found)
        return
    head = ("SERVICE", "UUID", "USER", "STATE", "DUE", "SINCE", "WAITS FOR")
    table(head, ((each["name"], each["uuid"], each["user"], each["state"],
                  f"{each['due_seconds']:.1f} s" if each["due"] else "no",
                  each["waits_since"] or "", _why(each)) for each in found))  # fmt: skip


def _why(each: dict[str, Any]) -> str:
    paused = f"paused by {each['paused']['by']}" if each["paused"] else ""
    return "; ".join(part for part in (paused, each["waits_for"]) if part)


@app.command("pause")
def pause(what: What, name: Named = "") -> None:
    """No more passes for a service or at all; no new orders for a node. Survives restarts."""
    _operate(what, name, "pause")
    typer.echo(f"{_called(what, name)} is paused until ./tutela admin resume {what.value} {name}".rstrip())


@app.command("resume")
def resume(what: What, name: Named = "") -> None:
    """Go on with what was paused."""
    _operate(what, name, "resume")
    typer.echo(f"{_called(what, name)} goes on")


@app.command("look")
def look(what: What, name: Named = "") -> None:
    """Have the reconciler look now."""
    _operate(what, name, "look")
    typer.echo(f"{_called(what, name)} is looked at")


@app.command("audit")
def audit(
    user: Annotated[str, typer.Option(help="Who did it.")] = "",
    about: Annotated[str, typer.Option("--object", help="To what: a URI, or the beginning of one.")] = "",
    since: Annotated[str, typer.Option("--from", help="From this date on: 2026-11-25, or with a time.")] = "",
    until: Annotated[str, typer.Option("--to", help="Until then.")] = "",
    most: Annotated[int, typer.Option("--limit", min=1, help="How many, newest first.")] = 50,
    machine: Json = False,
) -> None:
    """Who changed what, by which key, and with what result."""
    asked = {"user": user, "object__startswith": about, "date__gte": since, "date__lte": until}
    found = listed(connected(), "admin/audit/", {key: value for key, value in asked.items() if value}, most=most)
    if machine:
        as_json(found)
        return
    head = ("DATE", "USER", "VIA", "IP", "ACTION", "RESULT", "OBJECT")
    table(head, ((each["date"], each["user"], each["via"], each["ip"], each["action"] or each["method"],
                  str(each["status"]), each["object"]) for each in found))  # fmt: skip


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _user(api: client.Client, name: str) -> dict[str, Any]:
    found = listed(api, "admin/user/", {"username": name})
    if not found:
        raise CommandError(f"there is no user {name}: see ./tutela admin users list")
    return found[0]


def _change(name: str, **body: Any) -> None:
    api = connected()
    call(lambda: api.patch(f"admin/user/{_user(api, name)['uuid']}/", body))


def _keys(api: client.Client, user: str) -> str:
    return f"admin/user/{_user(api, user)['uuid']}/key/" if user else "auth/key/"


def _called(what: Kind, name: str) -> str:
    return "everything" if what is Kind.ALL else f"{what.value} {name}"


def _operate(what: Kind, name: str, verb: str) -> None:
    api = connected()
    if (what is Kind.ALL) == bool(name):
        raise CommandError("give `all`, or `service` or `node` with its name", 2)
    if what is Kind.ALL:
        path = "admin/reconciler/"
    elif what is Kind.NODE:
        path = f"admin/node/{hosts.find(api, name)['uuid']}/"
    else:
        path = f"admin/service/{_service(api, name)}/"
    call(lambda: api.post(f"{path}{verb}/"))


def _service(api: client.Client, name: str) -> str:
    found = listed(api, "service/", {"unique_name": name})
    if len(found) > 1:
        raise CommandError(f"several services are called {name}: give the uuid")
    return str(found[0]["uuid"]) if found else name
