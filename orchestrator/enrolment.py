"""How a host becomes a node, and how a node's certificate is followed by another. Certificates are made elsewhere."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from domain.access import Via
from domain.assignment import EngineInfo
from domain.errors import Conflict, Invalid, NotAllowed
from orchestrator.dispatch import refuse_second_agent
from orchestrator.ids import new_id
from orchestrator.store import audit, fleet, nodes, wake
from orchestrator.store.audit import Entry
from orchestrator.store.db import Database, now
from orchestrator.telling import TAKEN_OUT

NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolled:
    """A node that may be given a certificate."""

    id: UUID
    name: str


async def enrol(
    db: Database, *, secret_hash: bytes, key_hash: bytes, name: str, engine: EngineInfo | None, days: int, ip: str = ""
) -> Enrolled:
    """Make the host a node with one use of a join token; the same node when it asks again with the same key.

    A new node leaves a row in the audit log; `ip` is where it came from.

    Raises Invalid, Conflict, and NotAllowed for a token that is unknown, used up or expired.
    """
    if not NAME.fullmatch(name):
        raise Invalid({"name": "must be 1 to 63 letters, digits, dots, dashes or underscores; give another --name"})
    async with db.transaction() as conn:
        known = await fleet.joined(conn, secret_hash, key_hash)
        if known is not None:
            return Enrolled(id=known, name=(await nodes.get(conn, known)).name)
        if not await fleet.use_token(conn, secret_hash):
            raise NotAllowed(
                "the token is unknown, used up or expired: make a new one with POST /api/v1/token/"
                " (or ./tutela agent token)"
            )
        known = await fleet.node_with_key(conn, key_hash)
        if known is not None:
            # Its request is signed with that key, so it is the same host, which lost the answer.
            return Enrolled(id=known, name=(await nodes.get(conn, known)).name)
        if await fleet.name_taken(conn, name):
            raise Conflict(
                f"there is a node named {name} already: give another --name, or take that node out first when this"
                " host replaces it"
            )
        if engine is not None:
            await refuse_second_agent(conn, engine, None)
        expires = await now(conn) + timedelta(days=days)
        node_id = await fleet.enrol(conn, name, engine, secret_hash, key_hash, expires)
        await wake.waiting_services(conn)
        await audit.write(conn, _joining(node_id, name, ip), 201)
    return Enrolled(id=node_id, name=name)


def _joining(node_id: UUID, name: str, ip: str) -> Entry:
    return Entry(
        id=new_id(),
        request_id="",
        ip=ip,
        method="",
        path="/join",
        via=Via.TOKEN,
        verb="Node Join",
        object_uri=f"/api/v1/node/{node_id}/",
        detail=name,
    )


async def renew(db: Database, node_id: UUID, *, key_hash: bytes, days: int) -> Enrolled:
    """The node gets another certificate. Raises NotAllowed when it was taken out."""
    async with db.transaction() as conn:
        if not await fleet.renewed(conn, node_id, key_hash, await now(conn) + timedelta(days=days)):
            raise NotAllowed(TAKEN_OUT)
        return Enrolled(id=node_id, name=(await nodes.get(conn, node_id)).name)
