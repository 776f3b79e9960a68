"""The first start of an installation makes its admin, whose key is in a file of the process that did."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
from pathlib import Path

import structlog

from orchestrator.store import accounts
from orchestrator.store.db import Database

log = structlog.get_logger("roles")
KEY_FILE = "admin-key.json"


async def first_start(db: Database, path: Path) -> None:
    """On an empty installation: an admin with a random key, the key in a 0600 file before it counts (S1).

    Of several processes that start at once one makes the admin; the others have no file, as on any later start.
    """
    async with db.read() as conn:
        if await accounts.admin(conn) is not None:
            return
    before = _stored(path)
    key = before or secrets.token_hex(32)
    await asyncio.to_thread(_write, path, key)
    async with db.transaction() as conn:
        made = await accounts.ensure_admin(conn, "admin", key)
    if made:
        log.info("first start: the admin's API key is in a file", path=str(path))
    elif before is None:
        await asyncio.to_thread(path.unlink, missing_ok=True)


def _stored(path: Path) -> str | None:
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["api_key"])
    except (OSError, ValueError, KeyError):
        return None


def _write(path: Path, key: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_suffix(".new")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump({"user": "admin", "api_key": key}, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(fresh, path)
