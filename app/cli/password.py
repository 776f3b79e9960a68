"""`tutela password`: set the password that a user logs in with, through the API of the running server."""

from __future__ import annotations

import sys

import typer

from app.cli import CommandError, client, process


def run(user: str | None, *, stdin: bool) -> None:
    """Ask for the password, or read one line of stdin, and set it. `user` None: the admin. Raises CommandError."""
    settings = process.settings()
    found = process.server(settings.state_dir)
    if found is None:
        raise CommandError("the control plane does not run: start it with ./tutela up")
    key = client.read_key(settings.state_dir)
    if key is None:
        raise CommandError(client.no_key(settings.state_dir))
    name = user or key.user
    password = read_password(name, stdin=stdin)
    try:
        client.Client(found.url, key).post("auth/password/", {"username": name, "password": password})
    except client.ApiError as error:
        raise CommandError(str(error)) from error
    typer.echo(f"The password of {name} is set; logins by the old one have ended.")


def read_password(name: str, *, stdin: bool) -> str:
    """A line of stdin, or what is typed twice on the terminal, hidden."""
    if stdin:
        return sys.stdin.readline().rstrip("\r\n")
    return str(typer.prompt(f"New password of {name}", hide_input=True, confirmation_prompt=True))
