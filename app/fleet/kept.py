"""The authority beside the secret, in the state directory, so that a lost database does not lose the hosts with it.

Its key is sealed with the installation's secret, as it is in the database; the file alone is worth nothing.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from orchestrator.store import fleet, nodes
from orchestrator.store.db import Database

FILE = "authority.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """The installation as its hosts know it."""

    cluster_id: UUID
    certificate: str
    sealed_key: bytes = field(repr=False)


def read(state_dir: Path) -> Kept | None:
    """What is kept there; None when nothing is, or nothing that can be read. Blocking."""
    try:
        found = json.loads((state_dir / FILE).read_text(encoding="utf-8"))
        return Kept(
            cluster_id=UUID(found["cluster_id"]),
            certificate=str(found["certificate"]),
            sealed_key=base64.b64decode(found["sealed_key"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


async def keep(db: Database, state_dir: Path) -> None:
    """Keep what the database has. That of another installation is moved aside, not lost. Raises DatabaseAway."""
    async with db.read() as conn:
        cluster_id, row = await nodes.cluster_id(conn), await fleet.authority(conn)
    if row is not None:
        made = Kept(cluster_id=cluster_id, certificate=row.certificate, sealed_key=row.sealed_key)
        await asyncio.to_thread(_write, state_dir, made)


def _write(state_dir: Path, made: Kept) -> None:
    before, path = read(state_dir), state_dir / FILE
    if before == made:
        return
    if before is not None and before.cluster_id != made.cluster_id:
        path.replace(state_dir / f"authority.{before.cluster_id}.json")
    content = {
        "cluster_id": str(made.cluster_id),
        "certificate": made.certificate,
        "sealed_key": base64.b64encode(made.sealed_key).decode(),
    }
    fresh = path.with_suffix(".new")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(content, file)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
