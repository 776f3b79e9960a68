"""/api/v1/admin/audit/: who changed what. It is read, and never written or deleted, over the API."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from app.api.deps import database
from app.api.responses import reply
from app.api.routing import Operation
from app.wire.lists import AUDIT, envelope, read_query
from app.wire.users import audit_out
from orchestrator.store import audit

router = APIRouter(prefix="/api/v1/admin/audit", route_class=Operation)


@router.get("/")
async def list_audit(request: Request) -> Response:
    """Rows of the log, newest first; `total_count` counts up to 10,000."""
    params = request.query_params.multi_items()
    query = read_query(params, AUDIT)
    async with database(request).read() as conn:
        found, total = await audit.page(conn, query.filters, query.limit, query.offset)
    return reply(request, envelope(request.url.path, params, query, total, [audit_out(each) for each in found]))
