"""Services with all that their representation is derived from, and the version of all that.

A version is a text that names the versions of the rows behind a representation, as Postgres itself tells them apart: a
row's place and the transaction that wrote it (`ctid`, `xmin`). Two equal versions of a service mean that nothing of it
has changed, so that what was made from the rows can be used again. It is read anew each time, and never from memory.

Of nodes the version has what representations show, not the row: their rows are written with each sign of life.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from domain.container import Container
from domain.node import NodeState
from domain.service import Service, ServiceWant
from orchestrator.store import containers, nodes, services
from orchestrator.store.accounts import Along
from orchestrator.store.db import Connection
from orchestrator.store.filters import Filter

MOST_ACTIONS = 25
# Of one service's containers. Not a condition that an index knows: before Postgres has counted what there is, it would
# go through all live containers for each service (docs/performance.md).
_RECENT = "coalesce(c.terminated_at, 'infinity') > now() - interval '1 hour'"
_GONE = NodeState.TERMINATED.value
_ENDED = ServiceWant.TERMINATED.value
_SEEN_AT = f"n.name, n.public_ip, n.address, n.overlay, n.state = '{_GONE}'"
_ACTIONS = f"""
    ARRAY(SELECT e.id FROM actions e WHERE e.service_id = s.id ORDER BY e.start_date DESC, e.id LIMIT {MOST_ACTIONS})
"""  # noqa: S608 - constants of this module
_KINDS = f"ARRAY({nodes.SAMPLE_KINDS})"
_VERSION = f"""ROW(a.username, s.ctid, s.xmin, k.ctid, k.xmin, {_ACTIONS}, {_KINDS},
    ARRAY(SELECT ROW(c.ctid, c.xmin, {_SEEN_AT}) FROM containers c JOIN nodes n ON n.id = c.node_id
        WHERE c.service_id = s.id AND {_RECENT} ORDER BY c.ctid),
    ARRAY(SELECT ROW(l.ctid, l.xmin) FROM links l JOIN services f ON f.id = l.from_service
        WHERE l.to_service = s.id AND f.want <> '{_ENDED}' ORDER BY l.ctid),
    ARRAY(SELECT ROW(l.ctid, l.xmin, ARRAY(SELECT ROW(c.ctid, c.xmin, {_SEEN_AT}) FROM containers c
            JOIN nodes n ON n.id = c.node_id WHERE c.service_id = t.id AND c.terminated_at IS NULL ORDER BY c.ctid))
        FROM links l JOIN services t ON t.id = l.to_service
        WHERE l.from_service = s.id AND t.want <> '{_ENDED}' ORDER BY l.ctid)
    )::text
"""  # noqa: S608 - constants of this module
_OF_CALLERS = f"SELECT (SELECT {_VERSION} {services.FROM} WHERE s.account_id = caller.id AND s.id = $2) AS version"
# The driver has no codec for an array of times within a row; for rows within one it has.
_CONTAINER = ", ".join(f"c.{name}" + "::text" * (name in containers.TEXTS) for name in containers.COLUMNS).replace(
    "c.replaced", "ARRAY(SELECT ROW(t) FROM unnest(c.replaced) AS u(t))"
)
_LOAD = f"""
    SELECT {services.COLUMNS}, {_VERSION} AS version, {_ACTIONS} AS actions,
        ARRAY(SELECT ROW({_CONTAINER}) FROM containers c WHERE c.service_id = s.id AND {_RECENT}
            ORDER BY c.slot, c.created_at) AS own,
        ARRAY(SELECT ROW(l.name, l.from_service) FROM links l JOIN services f ON f.id = l.from_service
            WHERE l.to_service = s.id AND f.want <> '{_ENDED}' ORDER BY l.name, l.from_service) AS linked_from,
        ARRAY(SELECT t.id FROM links l JOIN services t ON t.id = l.to_service
            WHERE l.from_service = s.id AND t.want <> '{_ENDED}') AS targets,
        ARRAY(SELECT ROW({_CONTAINER}) FROM containers c WHERE c.terminated_at IS NULL
            AND c.service_id IN (SELECT to_service FROM links WHERE from_service = s.id) ORDER BY c.slot) AS sources,
        ARRAY(SELECT ROW(n.id, n.name, n.overlay, coalesce(nullif(n.public_ip, ''), n.address)) FROM nodes n
            WHERE n.state <> '{_GONE}' AND n.id IN ({nodes.SAMPLE} UNION ALL SELECT c.node_id FROM containers c
                WHERE c.service_id = s.id AND {_RECENT} UNION ALL SELECT c.node_id FROM containers c
                JOIN links l ON l.to_service = c.service_id WHERE l.from_service = s.id AND c.terminated_at IS NULL)
        ) AS hosts
    {services.FROM} WHERE s.account_id = $1 AND s.id = ANY($2)
"""  # noqa: S608 - as above


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A node as links see it; `reach` is where its published ports are, empty when only its name is known."""

    id: UUID
    name: str
    overlay: bool
    reach: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A service and what its representation is derived from, of one moment; `version` is of that moment too.

    `linked_from`: (link name, from service). `targets`: the live services that it is linked to, `sources`: their
    containers. `hosts`: those of all these containers, and enough others to tell what hosts there are.
    """

    version: str
    service: Service
    containers: Sequence[Container]
    actions: Sequence[UUID]
    linked_from: Sequence[tuple[str, UUID]]
    targets: frozenset[UUID]
    sources: Sequence[Container]
    hosts: Sequence[Host]


def version(service_id: UUID) -> Along:
    """The version of a service of whoever asks, to be read with who that is; None where there is none."""
    return Along(row=_OF_CALLERS, arguments=(service_id,))


def version_of(along: Any) -> str | None:
    """A version that was read along; None where there is none, or was none to be read."""
    found: str | None = along.get("version")
    return found


def page(filters: Sequence[Filter], limit: int, offset: int) -> Along:
    """A page of the services of whoever asks by age, each with its version, to be read with who that is (`paged`).

    They are counted only where the page does not tell: a last one does. It has two arrays, as the driver takes twice as
    long for one of pairs.
    """
    base, arguments = services.listed(filters, first=4)
    return Along(
        row=f"""
            WITH page AS (SELECT s.id {base} ORDER BY s.created_at, s.id LIMIT $2::bigint + 1 OFFSET $3::bigint),
                shown AS (SELECT s.id, {_VERSION} AS version {services.FROM}
                    WHERE s.id IN (SELECT id FROM page) ORDER BY s.created_at, s.id LIMIT $2)
            SELECT CASE WHEN n > $2 OR n = 0 AND $3 > 0 THEN (SELECT count(*) {base}) ELSE $3 + n END AS total,
                ARRAY(SELECT shown.id FROM shown) AS ids, ARRAY(SELECT shown.version FROM shown) AS versions
            FROM (SELECT count(*) AS n FROM page) AS counted
        """,  # noqa: S608 - as above
        arguments=(limit, offset, *arguments),
    )


def paged(along: Any) -> tuple[list[tuple[UUID, str]], int]:
    """The services of a page that was read along, with their versions, and how many there are in all."""
    return list(zip(along["ids"], along["versions"], strict=True)), along["total"]


async def load(conn: Connection, account_id: UUID, ids: Sequence[UUID]) -> list[Shown]:
    """These services of the account, in one statement and so of one moment; unknown ids are left out."""
    return [_shown(row) for row in await conn.fetch(_LOAD, account_id, list(ids))]


def _shown(row: Any) -> Shown:
    return Shown(
        version=row["version"],
        service=services.of_row(row),
        containers=_containers(row["own"]),
        actions=row["actions"],
        linked_from=[tuple(each) for each in row["linked_from"]],
        targets=frozenset(row["targets"]),
        sources=_containers(row["sources"]),
        hosts=[Host(id=ident, name=name, overlay=overlay, reach=reach) for ident, name, overlay, reach in row["hosts"]],
    )


def _containers(rows: Iterable[Any]) -> list[Container]:
    found = [dict(zip(containers.COLUMNS, row, strict=True)) for row in rows]
    return [containers.of_row({**each, "replaced": [at for (at,) in each["replaced"]]}) for each in found]
