"""`tutela node`: the hosts, through the API of the running server."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from app.cli import CommandError, client
from app.cli.api import LEAST_PREFIX, as_json, call, connected, listed, table

app = typer.Typer(help="The hosts: list, notes, cordon, drain, release, rename, tag, remove.", no_args_is_help=True)
WAIT_SECONDS = 0.5
Name = Annotated[str, typer.Argument(help="Name, uuid, or the beginning of one.")]


def _nodes(api: client.Client) -> list[dict[str, Any]]:
    return listed(api, "node/")


def find(api: client.Client, name: str) -> dict[str, Any]:
    """The one node of that name, nickname or uuid prefix. Raises CommandError."""
    nodes = _nodes(api)
    exact = [node for node in nodes if name in {node["name"], node["nickname"], node["uuid"]}]
    found = exact or [node for node in nodes if len(name) >= LEAST_PREFIX and node["uuid"].startswith(name)]
    if len(found) != 1:
        known = ", ".join(sorted(node["name"] for node in nodes)) or "none"
        called = "no" if not found else "more than one"
        raise CommandError(
            f"{called} node is called {name!r}; there are: {known} (of a uuid {LEAST_PREFIX} characters are enough)"
        )
    return found[0]


@app.command("list")
def list_nodes(machine: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False) -> None:
    """All hosts with their state."""
    nodes = _nodes(connected())
    if machine:
        as_json(nodes)
        return
    table(("NAME", "UUID", "STATE", "CONTAINERS", "CPU", "MEMORY MB", "DOCKER", "TAGS"), map(_row, nodes))
    for why in (node["quarantine"] for node in nodes if node["quarantine"]):
        typer.echo(f"\n{why['reason']}.\nWhat to do: {why['remedy']}.")
    for node in nodes:
        if node["engine_notes"]:
            name = node["name"]
            typer.echo(f"\nThe engine of {name}: {codes(node)}. What that is: ./tutela node notes {name}")


def codes(node: dict[str, Any]) -> str:
    """The notes on a node's engine in short."""
    return ", ".join(each["code"] for each in node["engine_notes"])


@app.command("notes")
def notes(name: Name, machine: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False) -> None:
    """What is to be said of how its Docker engine is set up, and what helps."""
    found = find(connected(), name)["engine_notes"]
    if machine:
        as_json(found)
    elif not found:
        unknown = "its agent has not said how it is set up (those of earlier releases do not)"
        typer.echo(f"the engine of {name}: {unknown if found is None else 'nothing to be said'}")
    else:
        typer.echo("\n\n".join(f"{each['code']}: {each['says']}.\nWhat helps: {each['remedy']}." for each in found))


def _row(node: dict[str, Any]) -> tuple[str, ...]:
    state = node["state"] + (" (draining)" if node["draining"] else " (cordoned)" if node["cordoned"] else "")
    state += " (paused)" if node["paused"] else ""
    state += " (quarantined)" if node["quarantine"] else ""
    return (
        node["name"],
        node["uuid"][:8],
        state,
        str(node["current_num_containers"]),
        str(node["cpu"]),
        str(node["memory"]),
        node["docker_version"],
        ",".join(tag["name"] for tag in node["tags"]),
    )


@app.command("cordon")
def cordon(name: Name) -> None:
    """Let it take no new containers; those on it stay."""
    _operate(name, "cordon")
    typer.echo(f"{name} takes no new containers until ./tutela node uncordon {name}")


@app.command("uncordon")
def uncordon(name: Name) -> None:
    """Let it take containers again; a drain under way ends."""
    _operate(name, "uncordon")
    typer.echo(f"{name} takes containers again")


@app.command("release")
def release(name: Name) -> None:
    """Of a quarantined node: go on, and remove the containers that nothing asks for."""
    _operate(name, "release")
    typer.echo(f"{name} goes on: what nothing asks for is removed there")


@app.command("keep")
def keep(name: Name) -> None:
    """Of a quarantined node: go on, and leave the containers that nothing asks for running, without Tutela."""
    _operate(name, "keep")
    typer.echo(f"{name} goes on: what nothing asks for stays as it is; remove it with Docker when it is not needed")


@app.command("accept-engine")
def accept_engine(name: Name) -> None:
    """Of a quarantined node with another Docker engine: make its containers anew on this one."""
    _operate(name, "accept-engine")
    typer.echo(f"{name} has its containers made anew on the engine that it has now")


@app.command("drain")
def drain(
    name: Name, wait: Annotated[bool, typer.Option(help="Wait until it is done and say how it ended.")] = True
) -> None:
    """Move its containers to other hosts, each started there before it stops here; it stays cordoned.

    It takes 10 minutes at the most. Ctrl-C only ends the waiting: the drain goes on until `uncordon`.
    """
    api = connected()
    node = find(api, name)
    call(lambda: api.post(f"admin/node/{node['uuid']}/drain/"))
    if not wait:
        typer.echo(f"{name} is being drained")
        return
    typer.echo(f"{name} is being drained; Ctrl-C ends only the waiting, ./tutela node uncordon the drain", err=True)
    while True:
        (action,) = call(lambda: api.get("action/", object=node["resource_uri"], action="Node Drain", limit=1))[
            "objects"
        ]
        if action["end_date"] is not None:
            break
        time.sleep(WAIT_SECONDS)
    if action["state"] != "Success":
        raise CommandError(f"{name} is not empty: {action['message'] or action['state']}")
    typer.echo(f"{name} is empty")


@app.command("rename")
def rename(name: Name, new: Annotated[str, typer.Argument(help="Its new name.")]) -> None:
    """Give it another name."""
    api = connected()
    call(lambda: api.patch(f"admin/node/{find(api, name)['uuid']}/", {"name": new}))
    typer.echo(f"{name} is called {new} now")


@app.command("tag")
def tag(
    name: Name, tags: Annotated[list[str] | None, typer.Argument(help="All its tags; none: no tags.")] = None
) -> None:
    """Set its tags; services with tags run where all of them are."""
    api = connected()
    found = call(
        lambda: api.patch(f"node/{find(api, name)['uuid']}/", {"tags": [{"name": each} for each in tags or []]})
    )
    typer.echo(f"{name} has the tags: {', '.join(each['name'] for each in found['tags']) or 'none'}")


@app.command("remove")
def remove(
    name: Name,
    force: Annotated[
        bool, typer.Option("--force", help="Give up its containers and volumes: the host will not come back.")
    ] = False,
) -> None:
    """Take it out; its agent's right to connect ends at once. While containers or volumes of services are on it, it is
    refused: drain it or terminate the services first. With --force (`force=true` of the API) they are given up, and
    made anew on other hosts, without their data.
    """
    api = connected()
    node = find(api, name)
    call(lambda: api.delete(f"node/{node['uuid']}/", **({"force": "true"} if force else {})))
    typer.echo(f"{name} is taken out")


def _operate(name: str, verb: str) -> None:
    api = connected()
    call(lambda: api.post(f"admin/node/{find(api, name)['uuid']}/{verb}/"))
