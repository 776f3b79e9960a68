"""The audit log's row of each request that changes something: exactly one, whatever becomes of the request.

What succeeds writes its row in its own transaction (`app.commands.services.audited`). What is refused changed nothing:
its row is written here, when the code of the answer is known and before it is sent. Nobody's requests leave no row:
wrong keys are counted (`/metrics`), not recorded (decision 14).
"""

from __future__ import annotations

import re
from uuid import uuid4

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.metrics import AUDIT_MISSING
from orchestrator.store import audit
from orchestrator.store.audit import Entry
from orchestrator.store.db import Database
from orchestrator.store.errors import DatabaseAway

log = structlog.get_logger("audit")
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_OBJECT = re.compile(r"/api/v1/(?:admin/)?([a-z]+)/([0-9a-f-]{36})/")
_SECRET = re.compile(r"(/(?:trigger|webhook/handler)/)[^/]+/")


class Audited:
    """Gives each request its entry as `scope["tutela.audit"]`, and sees to it that it is written."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        entry = scope["tutela.audit"] = entry_of(scope)
        if scope["type"] == "websocket":
            await self._app(scope, receive, send)
            return

        async def answering(message: Message) -> None:
            if message["type"] == "http.response.start" and _wanted(entry, message["status"]):
                await _write(scope["app"].state.db, entry, message["status"])
            await send(message)

        try:
            await self._app(scope, receive, answering)
        except Exception:
            # What nobody expected is answered outside of this; the row is due here.
            if _wanted(entry, 500):
                await _write(scope["app"].state.db, entry, 500)
            raise


def entry_of(scope: Scope) -> Entry:
    """What is known of a request before it is looked at. A trigger's secret is not for the log."""
    path = _SECRET.sub(r"\1********/", scope["path"][:500]).replace("\x00", "")
    found = _OBJECT.match(path)
    return Entry(
        id=uuid4(),
        request_id=scope.get("tutela.request_id", ""),
        ip=(scope.get("client") or ("", 0))[0],
        method=scope.get("method", "GET"),
        path=path,
        object_uri=f"/api/v1/{found[1]}/{found[2]}/" if found else path,
    )


def _wanted(entry: Entry, status: int) -> bool:
    known = entry.account_id is not None
    # A row of a transaction that was rolled back is not there: it is offered again, and taken once.
    missing = not entry.written or status >= 400
    return known and missing and (entry.denied or entry.method not in SAFE)


async def _write(db: Database, entry: Entry, status: int) -> None:
    try:
        async with db.transaction() as conn:
            await audit.write(conn, entry, status)
    except DatabaseAway as error:
        AUDIT_MISSING.add()
        log.error("a refusal is missing in the audit log", request_id=entry.request_id, reason=str(error))
    except Exception:
        # The boundary of the log: the caller gets its answer all the same.
        AUDIT_MISSING.add()
        log.exception("a refusal is missing in the audit log", request_id=entry.request_id)
