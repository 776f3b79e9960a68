"""Services as JSON, made once for each version of them (`orchestrator.store.shown`)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from fastapi import Request

from app.api import versions
from app.api.deps import addresses, database, fleet, settings, visible, who
from app.api.responses import encoded
from app.wire.lists import SERVICES, Query, read_query
from app.wire.scalars import API
from app.wire.service_output import ServiceDetails, service_out
from domain.access import Role
from domain.container import Container
from domain.errors import Invalid, NotFound
from domain.versions import of_service
from orchestrator.store import shown
from orchestrator.store.accounts import NOTHING, Along
from orchestrator.store.db import Connection
from orchestrator.store.shown import Shown

MOST_BYTES = 16 * 1024 * 1024
"""A few thousand services; what was not asked for the longest time is made anew."""

Key = tuple[UUID, bool]
"""A service, and whether its variables' values are hidden."""


@dataclass(frozen=True, slots=True)
class Representation:
    """A service's JSON as it is sent, and the `ETag` of its definition."""

    data: bytes
    tag: str


class Made:
    """The JSON of services with the version that it was made from. The version is asked of the database before each
    use, so what is here is never taken for what is true."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most, self._bytes = most_bytes, 0
        self._of: OrderedDict[Key, tuple[str, Representation]] = OrderedDict()

    def get(self, key: Key, version: str) -> Representation | None:
        """What was made of this version, if it is still here."""
        found = self._of.get(key)
        if found is None or found[0] != version:
            return None
        self._of.move_to_end(key)
        return found[1]

    def put(self, key: Key, version: str, made: Representation) -> None:
        """Keep it in place of that of another version."""
        self._drop(key)
        self._of[key] = version, made
        self._bytes += _size(version, made)
        while self._bytes > self._most and self._of:
            self._drop(next(iter(self._of)))

    def _drop(self, key: Key) -> None:
        if (found := self._of.pop(key, None)) is not None:
            self._bytes -= _size(*found)


def _size(version: str, made: Representation) -> int:
    return len(version) + len(made.data) + len(made.tag)


def _version(request: Request) -> Along:
    try:
        return shown.version(UUID(request.path_params["uuid"]))
    except ValueError:  # which the endpoint refuses, once it is known who asks
        return NOTHING


def query(request: Request) -> Query:
    """The page that is asked for. Raises Invalid."""
    found: Query | None = getattr(request.state, "query", None)
    if found is None:
        found = request.state.query = read_query(request.query_params.multi_items(), SERVICES)
    return found


def _page(request: Request) -> Along:
    try:
        asked = query(request)
    except Invalid:  # which the endpoint says, once it is known who asks
        return NOTHING
    return shown.page(asked.filters, asked.limit, asked.offset)


ALONG: dict[tuple[str, str], Callable[[Request], Along]] = {
    ("GET", f"{API}/service/"): _page,
    ("GET", f"{API}/service/{{uuid}}/"): _version,
}
"""What operations read in the statement that tells who asks; it is in `request.state.along` then."""


async def one(request: Request, account_id: UUID, service_id: UUID) -> Representation:
    """A service of the account, whose version was read with who asks. Raises NotFound."""
    version = shown.version_of(request.state.along)
    found = _made(request).get((service_id, _hidden(request)), version) if version else None
    if found is not None:
        return found
    async with database(request).read() as conn:
        return await fresh(conn, request, account_id, service_id)


async def fresh(conn: Connection, request: Request, account_id: UUID, service_id: UUID) -> Representation:
    """A service of the account, made anew. Raises NotFound."""
    found = await _make(conn, request, account_id, [service_id])
    if not found:
        raise NotFound(f"there is no service {service_id}")
    return found[service_id]


async def some(request: Request, account_id: UUID) -> tuple[list[Representation], int]:
    """Services of the account, whose page was read with who asks, and how many there are in all; what is deleted
    meanwhile is left out."""
    wanted, total = shown.paged(request.state.along)
    made, hidden = _made(request), _hidden(request)
    found = {ident: each for ident, version in wanted if (each := made.get((ident, hidden), version)) is not None}
    missing = [ident for ident, _ in wanted if ident not in found]
    if missing:
        async with database(request).read() as conn:
            found |= await _make(conn, request, account_id, missing)
    return [found[ident] for ident, _ in wanted if ident in found], total


async def _make(
    conn: Connection, request: Request, account_id: UUID, ids: Sequence[UUID]
) -> dict[UUID, Representation]:
    made, hidden, out = _made(request), _hidden(request), dict[UUID, Representation]()
    for each in await shown.load(conn, account_id, ids):
        data, tag = _encoded(request, each), versions.tag(request, of_service(each.service))
        out[each.service.id] = Representation(data, tag)
        made.put((each.service.id, hidden), each.version, out[each.service.id])
    return out


def _encoded(request: Request, each: Shown) -> bytes:
    config = settings(request)
    sources: dict[UUID, list[Container]] = {}
    for row in each.sources:
        sources.setdefault(row.service_id, []).append(row)
    details = ServiceDetails(
        service=each.service,
        containers=each.containers,
        actions=each.actions,
        linked_from=each.linked_from,
        targets=each.targets,
        sources=sources,
        fleet=fleet(request, each.hosts),
        addresses=addresses(request, each.hosts),
    )
    out = service_out(
        details, api_url=config.public_url.rstrip("/"), public_domain=config.public_domain, host=config.public_host
    )
    return encoded(visible(request, [out])[0])


def _made(request: Request) -> Made:
    found: Made = request.app.state.made
    return found


def _hidden(request: Request) -> bool:
    return who(request).role is Role.READ_ONLY
