"""Rows of images that users registered, and what services know of images (spec 4.3).

A password is stored as the bytes that it was given as: sealing and opening it is the caller's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from domain.errors import NotFound
from domain.image import ResolvedImage, parse
from domain.registry import HUB, RegisteredImage, canonical, registry_of, spellings
from domain.service import ServiceWant
from orchestrator.store import codec
from orchestrator.store.db import Connection
from orchestrator.store.filters import Filter, where

_COLUMNS = "id, account_id, name, description, username, password"
# As domain.registry.registry_of has it, for a filter.
_HOST = f"""
    CASE WHEN split_part(name, '/', 1) ~ '[.:]|^localhost$' AND strpos(name, '/') > 0
              AND split_part(name, '/', 1) !~ 'docker\\.(io|com)$'
         THEN split_part(name, '/', 1) ELSE '{HUB}' END
"""
_FILTERS = {
    "name": "name",
    "registry": _HOST,
    "is_private_image": "(username IS NOT NULL)",
    "is_user_image": "true",
    # Nothing here is one of these.
    "jumpstart": "false",
    "starred": "false",
    "base_image": "false",
    "categories__name": "NULL::text",
}


def _image(row: Any) -> RegisteredImage:
    return RegisteredImage(**dict(row))


async def insert(conn: Connection, image: RegisteredImage) -> None:
    """A new image. Raises Conflict when the account has one of that name."""
    await conn.execute(
        "INSERT INTO images (id, account_id, name, description, username, password) VALUES ($1, $2, $3, $4, $5, $6)",
        image.id,
        image.account_id,
        image.name,
        image.description,
        image.username,
        image.password,
    )


async def save(conn: Connection, image: RegisteredImage) -> None:
    """Write what may change of an image."""
    await conn.execute(
        "UPDATE images SET description = $2, username = $3, password = $4 WHERE id = $1",
        image.id,
        image.description,
        image.username,
        image.password,
    )


async def delete(conn: Connection, image_id: UUID) -> None:
    """The image is no longer registered."""
    await conn.execute("DELETE FROM images WHERE id = $1", image_id)


async def get(conn: Connection, account_id: UUID, name: str, *, lock: bool = False) -> RegisteredImage:
    """The account's image of that name, with `lock` until the transaction ends. Raises NotFound."""
    row = await conn.fetchrow(
        f"SELECT {_COLUMNS} FROM images WHERE account_id = $1 AND name = $2"  # noqa: S608 - constants of this module
        + (" FOR NO KEY UPDATE" if lock else ""),
        account_id,
        name,
    )
    if row is None:
        raise NotFound(f"no image {name[:200]} is registered")
    return _image(row)


async def page(
    conn: Connection, account_id: UUID, filters: Sequence[Filter], limit: int, offset: int
) -> tuple[list[RegisteredImage], int]:
    """A page of the account's images by age, and how many there are."""
    condition, arguments = where(filters, _FILTERS, first=2)
    base = f"FROM images WHERE account_id = $1 AND {condition}"
    total = await conn.fetchval(f"SELECT count(*) {base}", account_id, *arguments)
    rows = await conn.fetch(
        f"SELECT {_COLUMNS} {base} ORDER BY created_at, id LIMIT ${len(arguments) + 2} OFFSET ${len(arguments) + 3}",
        account_id,
        *arguments,
        limit,
        offset,
    )
    return [_image(row) for row in rows], total


async def used_tags(conn: Connection, account_id: UUID, names: Sequence[str]) -> dict[str, set[str]]:
    """For each image, the tags of it that the account's services run."""
    wanted = {spelling: name for name in names for spelling in spellings(name)}
    out: dict[str, set[str]] = {name: set() for name in names}
    # A tag follows `:` or a digest `@`; the next characters of the alphabet end the two ranges of the index.
    rows = await conn.fetch(
        "SELECT n.name, s.image_name FROM unnest($2::text[]) AS n(name) CROSS JOIN LATERAL ("
        " SELECT image_name FROM services WHERE account_id = $1 AND want <> 'TERMINATED'"
        " AND image_name COLLATE \"C\" BETWEEN n.name || ':' AND n.name || ';' UNION"
        " SELECT image_name FROM services WHERE account_id = $1 AND want <> 'TERMINATED'"
        " AND image_name COLLATE \"C\" BETWEEN n.name || '@' AND n.name || 'A') AS s",
        account_id,
        sorted(wanted),
    )
    for row in rows:
        found = parse(row["image_name"])
        if found is not None:
            out[wanted[row["name"]]].add(found.digest or found.tag or "")
    return out


async def registries(conn: Connection, account_id: UUID) -> list[str]:
    """The hosts that the account's images come from, the Hub always among them."""
    rows = await conn.fetch(
        "SELECT name FROM images WHERE account_id = $1"
        " UNION SELECT image_name FROM services WHERE account_id = $1 AND want <> $2",
        account_id,
        ServiceWant.TERMINATED.value,
    )
    names = [found.name for row in rows if (found := parse(row["name"])) is not None]
    return [HUB, *sorted({registry_of(name) for name in names} - {HUB})]


async def resolved(conn: Connection, account_id: UUID, reference: str) -> ResolvedImage | None:
    """What a service of the account found behind the reference last; None when none looked."""
    found: Any = await conn.fetchval(
        "SELECT image FROM services WHERE account_id = $1 AND want <> 'TERMINATED'"
        " AND image_name COLLATE \"C\" = $2 AND image->>'reference' = $2"
        " ORDER BY deployed_at DESC NULLS LAST LIMIT 1",
        account_id,
        reference,
    )
    return codec.load(codec.IMAGE, found)


async def logins(conn: Connection, account_ids: Sequence[UUID]) -> dict[tuple[UUID, str], tuple[str, bytes]]:
    """User name and sealed password by account and repository, for the images that have them."""
    rows = await conn.fetch(
        "SELECT account_id, name, username, password FROM images WHERE account_id = ANY($1)"
        " AND username IS NOT NULL AND password IS NOT NULL ORDER BY created_at, id",
        list(account_ids),
    )
    return {(row["account_id"], canonical(row["name"])): (row["username"], row["password"]) for row in rows}
