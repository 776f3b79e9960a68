"""What commands that speak with the running server share: the client, whole lists, tables."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import typer

from app.cli import CommandError, client, process

T = TypeVar("T")
MOST = 100
"""Objects that the API tells at once."""

LEAST_PREFIX = 8
"""Shorter beginnings of a uuid fit by chance, and what they name may be drained, taken out or revoked."""


def connected() -> client.Client:
    """A client of the server on this machine, with the admin's key. Raises CommandError."""
    settings = process.settings()
    found = process.server(settings.state_dir)
    if found is None:
        raise CommandError("the control plane does not run: start it with ./tutela up")
    key = client.read_key(settings.state_dir)
    if key is None:
        raise CommandError(client.no_key(settings.state_dir))
    return client.Client(found.url, key)


def call(work: Callable[[], T]) -> T:
    """The call's answer. Raises CommandError for a refusal."""
    try:
        return work()
    except client.ApiError as error:
        raise CommandError(str(error)) from error


def listed(
    api: client.Client, path: str, query: Mapping[str, str] | None = None, *, most: int = 100_000
) -> list[dict[str, Any]]:
    """The first so many objects of a list, page after page."""
    out: list[dict[str, Any]] = []
    while len(out) < most:
        asked: dict[str, str | int] = {**(query or {}), "limit": min(MOST, most - len(out)), "offset": len(out)}
        page = call(partial(api.get, path, **asked))
        out += page["objects"]
        if page["meta"]["next"] is None:
            break
    return out


def as_json(data: Any) -> None:
    """For programs."""
    typer.echo(json.dumps(data, indent=2))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """For people: columns as wide as what is in them."""
    lines = [tuple(head), *(tuple(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for line in lines:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
