"""A request that is done at once, in one transaction with the action that records it (spec 1.11)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from app.commands.services import Context, open_action, refusals_recorded
from domain.service import Effect
from orchestrator.store.db import Connection, now


class Recorded:
    """What the block works with: the transaction, and the object the action is about, known by its end."""

    def __init__(self, conn: Connection, object_uri: str) -> None:
        self.conn = conn
        self.object_uri = object_uri


@asynccontextmanager
async def recorded(
    context: Context, verb: str, object_uri: str, service_id: UUID | None = None
) -> AsyncIterator[Recorded]:
    """What the block does commits together with a successful action; a refusal leaves a failed one.

    `object_uri`: of a create, the collection; the block puts the new object's in its place. Nothing but the
    database may be awaited inside the block.
    """
    async with refusals_recorded(context, verb, service_id, object_uri), context.db.transaction() as conn:
        work = Recorded(conn, object_uri)
        yield work
        await open_action(
            conn,
            context,
            verb=verb,
            object_uri=work.object_uri,
            service_id=service_id,
            effect=Effect.STORED,
            at=await now(conn),
        )
