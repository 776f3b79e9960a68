"""Rows of services and of the links between them."""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from domain.errors import Conflict, NotFound
from domain.service import Service, ServiceState, ServiceWant
from orchestrator.store import codec
from orchestrator.store.db import Connection
from orchestrator.store.filters import Filter, where
from orchestrator.store.pauses import of_row as paused

COLUMNS = """
    s.id, s.account_id, a.username, s.name, s.unique_name, s.target, s.want, s.spec, s.operation, s.deploy_gen,
    s.start_gen, s.image, s.subnet, s.created_at, s.deployed_at, s.started_at, s.stopped_at, s.destroyed_at,
    s.queued, s.stack_id, k.name AS stack, s.paused_at, s.paused_by
"""
FROM = "FROM services s JOIN accounts a ON a.id = s.account_id LEFT JOIN stacks k ON k.id = s.stack_id"
_CHANGES = """
    UPDATE services SET state = $2, target = $3, want = $4, spec = $5, operation = $6, deploy_gen = $7, start_gen = $8,
        image = $9, image_name = $10, deployed_at = $11, started_at = $12, stopped_at = $13, destroyed_at = $14,
        queued = $15
"""
_SAVE = f"{_CHANGES} WHERE id = $1"
_LOOK = """look_at = ${at}, waits_for = ${waits},
        waits_since = CASE WHEN ${waits}::text IS NULL THEN NULL ELSE coalesce(waits_since, clock_timestamp()) END
    WHERE id = $1
"""
_LOOKED = f"UPDATE services SET state = $2, {_LOOK.format(at=3, waits=4)}"  # noqa: S608 - of this module
_SAVE_PASS = f"{_CHANGES}, {_LOOK.format(at=16, waits=17)}"
_FILTERS = {name: f"s.{name}" for name in ("state", "name", "unique_name", "image_name")} | {
    "uuid": "s.id",
    "stack": "s.stack_id",
    "stack__name": "k.name",
    "tags": "ARRAY(SELECT jsonb_array_elements_text(s.spec->'tags'))",
}


def of_row(row: Any) -> Service:
    """The service of a row with all COLUMNS."""
    spec = codec.load(codec.SPEC, row["spec"])
    assert spec is not None  # noqa: S101 - NOT NULL in the schema
    return Service(
        id=row["id"],
        account_id=row["account_id"],
        account=row["username"],
        name=row["name"],
        unique_name=row["unique_name"],
        spec=spec,
        target=row["target"],
        want=ServiceWant(row["want"]),
        operation=codec.load(codec.OPERATION, row["operation"]),
        queued=codec.load(codec.QUEUED, row["queued"]) or (),
        stack_id=row["stack_id"],
        stack=row["stack"],
        deploy_gen=row["deploy_gen"],
        start_gen=row["start_gen"],
        image=codec.load(codec.IMAGE, row["image"]),
        subnet=row["subnet"],
        created_at=row["created_at"],
        deployed_at=row["deployed_at"],
        started_at=row["started_at"],
        stopped_at=row["stopped_at"],
        destroyed_at=row["destroyed_at"],
        paused=paused(row),
    )


async def insert(conn: Connection, service: Service, state: ServiceState) -> None:
    """A new service with its links. Raises Conflict when its unique name or subnet was taken meanwhile."""
    await conn.execute(
        "INSERT INTO services (id, account_id, name, unique_name, image_name, state, target, want, spec, operation,"
        " deploy_gen, start_gen, image, subnet, created_at, stack_id)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
        service.id,
        service.account_id,
        service.name,
        service.unique_name,
        service.spec.image,
        state.value,
        service.target,
        service.want.value,
        codec.dump(codec.SPEC, service.spec),
        codec.dump(codec.OPERATION, service.operation),
        service.deploy_gen,
        service.start_gen,
        codec.dump(codec.IMAGE, service.image),
        service.subnet,
        service.created_at,
        service.stack_id,
    )
    await _add_links(conn, service)


async def save(conn: Connection, service: Service, state: ServiceState, *, relinked: bool = True) -> None:
    """Write what a call may change of a service; the caller holds its row lock. `relinked`: its links may be others."""
    await conn.execute(_SAVE, *_saved(service, state))
    if relinked:
        await conn.execute(
            "DELETE FROM links WHERE from_service = $1"
            " AND NOT (name, to_service) IN (SELECT * FROM unnest($2::text[], $3::uuid[]))",
            *_linked(service),
        )
        await _add_links(conn, service)


async def save_pass(
    conn: Connection,
    service: Service,
    state: ServiceState,
    *,
    changed: bool,
    waits_for: str | None,
    look_at: datetime | None,
) -> None:
    """Write what a pass may change of a service: no link. When to look at it again, and what it waits for.

    `changed`: the service is another than was read; else its definition is not written again, which costs as much as
    the rest of a pass that finds nothing to do.
    """
    if changed:
        await conn.execute(_SAVE_PASS, *_saved(service, state), look_at, waits_for)
    else:
        await conn.execute(_LOOKED, service.id, state.value, look_at, waits_for)


def _saved(service: Service, state: ServiceState) -> tuple[object, ...]:
    return (
        service.id,
        state.value,
        service.target,
        service.want.value,
        codec.dump(codec.SPEC, service.spec),
        codec.dump(codec.OPERATION, service.operation),
        service.deploy_gen,
        service.start_gen,
        codec.dump(codec.IMAGE, service.image),
        service.spec.image,
        service.deployed_at,
        service.started_at,
        service.stopped_at,
        service.destroyed_at,
        codec.dump(codec.QUEUED, service.queued) if service.queued else None,
    )


async def _add_links(conn: Connection, service: Service) -> None:
    if service.spec.links:
        await conn.execute(
            "INSERT INTO links (from_service, name, to_service) SELECT $1, * FROM unnest($2::text[], $3::uuid[])"
            " ON CONFLICT DO NOTHING",
            *_linked(service),
        )


def _linked(service: Service) -> tuple[object, ...]:
    return (
        service.id,
        [link.name for link in service.spec.links],
        [link.to_service for link in service.spec.links],
    )


async def locked(conn: Connection, service_id: UUID) -> Service:
    """The service whose row this transaction has locked, of whatever account."""
    row = await conn.fetchrow(f"SELECT {COLUMNS} {FROM} WHERE s.id = $1", service_id)
    if row is None:
        raise NotFound(f"there is no service {service_id}")
    return of_row(row)


async def get(conn: Connection, account_id: UUID, service_id: UUID) -> Service:
    """One service of the account. Raises NotFound."""
    return await _one(conn, account_id, service_id, lock=False)


async def lock(conn: Connection, account_id: UUID, service_id: UUID) -> Service:
    """The same, with its row locked until the transaction ends. Raises NotFound."""
    return await _one(conn, account_id, service_id, lock=True)


async def _one(conn: Connection, account_id: UUID, service_id: UUID, *, lock: bool) -> Service:
    suffix = " FOR NO KEY UPDATE OF s" if lock else ""
    row = await conn.fetchrow(
        f"SELECT {COLUMNS} {FROM} WHERE s.account_id = $1 AND s.id = $2{suffix}",
        account_id,
        service_id,
    )
    if row is None:
        raise NotFound(f"there is no service {service_id}")
    return of_row(row)


async def many(conn: Connection, account_id: UUID, ids: Sequence[UUID]) -> dict[UUID, Service]:
    """Services of the account by id; unknown ids are left out."""
    rows = await conn.fetch(
        f"SELECT {COLUMNS} {FROM} WHERE s.account_id = $1 AND s.id = ANY($2)",
        account_id,
        list(ids),
    )
    return {row["id"]: of_row(row) for row in rows}


async def running(conn: Connection, ids: Sequence[UUID]) -> set[UUID]:
    """Those of the services that are wanted running, of whatever account."""
    rows = await conn.fetch(
        "SELECT id FROM services WHERE id = ANY($1) AND want = $2", list(ids), ServiceWant.RUNNING.value
    )
    return {row["id"] for row in rows}


def listed(filters: Sequence[Filter], *, first: int) -> tuple[str, list[object]]:
    """FROM and WHERE of the caller's services that a list shows, and the arguments, of which that of `$first` is the
    first; `caller.id` is whose they are.

    Terminated ones show for an hour; in a lookup by name, live matches hide them (spec 1.9, 7 no. 2 and 3).
    """
    condition, arguments = where(filters, _FILTERS, first=first)
    owned = "FROM services s LEFT JOIN stacks k ON k.id = s.stack_id WHERE s.account_id = caller.id"
    fields = {each.field for each in filters}
    if fields & {"name", "unique_name"} and not fields & {"state", "uuid"}:
        alive = f"SELECT 1 {owned} AND s.want <> 'TERMINATED' AND {condition}"
        condition += f" AND (s.want <> 'TERMINATED' OR NOT EXISTS ({alive}))"
    base = f"{owned} AND coalesce(s.destroyed_at, 'infinity') > now() - interval '1 hour' AND {condition}"
    return base, arguments


SUFFIXES = 32
"""Names tried by one look-up, so that its cost does not grow with the services there are."""


async def free_unique_name(conn: Connection, account_id: UUID, name: str, stack_id: UUID | None = None) -> str:
    """`web`, or `web-s2`, `web-s3` when a live service of the same stack, or outside stacks, has it (spec 2.4)."""
    stem = name.lower()
    for begin in itertools.count(1, SUFFIXES):
        names = [stem if n == 1 else f"{stem}-s{n}" for n in range(begin, begin + SUFFIXES)]
        rows = await conn.fetch(
            "SELECT unique_name FROM services WHERE account_id = $1 AND want <> 'TERMINATED'"
            " AND stack_id IS NOT DISTINCT FROM $3 AND unique_name = ANY($2)",
            account_id,
            names,
            stack_id,
        )
        taken = {row["unique_name"] for row in rows}
        free = [each for each in names if each not in taken]
        if free:
            return free[0]
    raise AssertionError("counting has no end")


async def resolve(conn: Connection, account_id: UUID, text: str, *, stack_id: UUID | None = None) -> UUID | None:
    """The live service that `text` names, by uuid, by (unique) name or as `name.stack`; None when there is none.

    Services of `stack_id` come first, then those outside stacks. Raises Conflict when the name fits several.
    """
    try:
        wanted = UUID(text)
    except ValueError:
        name, _, stack = text.partition(".")
        rows = await conn.fetch(
            "SELECT s.stack_id IS NOT DISTINCT FROM $3 AS own, s.stack_id IS NULL AS outside,"  # noqa: S608 - constants
            " s.unique_name = lower($2) AS exact, s.id"
            f" {FROM} WHERE s.account_id = $1 AND s.want <> 'TERMINATED'"
            " AND (s.name = $2 OR s.unique_name = lower($2)) AND ($4 = '' OR lower(k.name) = lower($4))"
            " ORDER BY own DESC, outside DESC, exact DESC LIMIT 2",
            account_id,
            name,
            stack_id,
            stack,
        )
        if len(rows) > 1 and tuple(rows[0])[:-1] == tuple(rows[1])[:-1]:
            raise Conflict(f"several services are called {text}: use the uuid, or name.stack") from None
    else:
        rows = await conn.fetch(
            "SELECT id FROM services WHERE account_id = $1 AND want <> 'TERMINATED' AND id = $2",
            account_id,
            wanted,
        )
    return rows[0]["id"] if rows else None


async def of_stack(conn: Connection, stack_id: UUID, *, lock: bool = False) -> list[Service]:
    """The services of a stack that are not terminated, by age; with `lock` their rows are locked in id order."""
    if lock:
        await conn.execute("SELECT id FROM services WHERE stack_id = $1 ORDER BY id FOR NO KEY UPDATE", stack_id)
    return (await of_stacks(conn, [stack_id]))[stack_id]


async def of_stacks(conn: Connection, stack_ids: Sequence[UUID]) -> dict[UUID, list[Service]]:
    """The services of each stack that are not terminated, by age."""
    rows = await conn.fetch(
        f"SELECT {COLUMNS} {FROM} WHERE s.stack_id = ANY($1) AND s.want <> 'TERMINATED' ORDER BY s.created_at, s.id",
        list(stack_ids),
    )
    out: dict[UUID, list[Service]] = {each: [] for each in stack_ids}
    for row in rows:
        out[row["stack_id"]].append(of_row(row))
    return out


async def lock_stack_with_clients(conn: Connection, stack_id: UUID) -> None:
    """Lock the stack's services and those that link to them, in id order, as everybody does."""
    await conn.execute(
        "SELECT id FROM services WHERE id IN (SELECT id FROM services WHERE stack_id = $1 UNION"
        " SELECT l.from_service FROM links l JOIN services t ON t.id = l.to_service WHERE t.stack_id = $1)"
        " ORDER BY id FOR NO KEY UPDATE",
        stack_id,
    )


async def lock_with_clients(conn: Connection, account_id: UUID, service_id: UUID) -> Service:
    """Lock a service and those that link to it, in id order, as everybody does. Raises NotFound."""
    await conn.execute(
        "SELECT id FROM services WHERE id IN (SELECT $1 UNION SELECT from_service FROM links WHERE to_service = $1)"
        " ORDER BY id FOR NO KEY UPDATE",
        service_id,
    )
    return await get(conn, account_id, service_id)


async def unlink(conn: Connection, target_id: UUID) -> None:
    """Drop the links that others have to a terminated service; their containers keep running (spec 2.8).

    The caller holds the locks of all of them, by `lock_with_clients`.
    """
    rows = await conn.fetch(
        f"SELECT {COLUMNS} {FROM} WHERE s.id IN (SELECT from_service FROM links WHERE to_service = $1)",  # noqa: S608
        target_id,
    )
    for service in map(of_row, rows):
        kept = tuple(link for link in service.spec.links if link.to_service != target_id)
        await conn.execute(
            "UPDATE services SET spec = $2, look_at = least(look_at, clock_timestamp()) WHERE id = $1",
            service.id,
            codec.dump(codec.SPEC, replace(service.spec, links=kept)),
        )
    await conn.execute("DELETE FROM links WHERE to_service = $1", target_id)
    if rows:
        await conn.execute("SELECT pg_notify('tutela_service', '')")


SUBNET_PREFIX = 24
SOME_BLOCKS = 64
"""So many are looked at where the first one is not free, which it is almost always: a pool has thousands."""


async def next_subnet(conn: Connection, pool: str) -> str:
    """The next free block of the configured pool, in turn; raises Conflict when the pool is used up."""
    network = ipaddress.ip_network(pool)
    blocks = 2 ** (SUBNET_PREFIX - network.prefixlen)
    for most in (1, SOME_BLOCKS, blocks):
        subnet: str | None = await conn.fetchval(
            "SELECT block FROM (SELECT nextval('subnet_number') AS number OFFSET 0) d CROSS JOIN LATERAL (SELECT k,"
            " host($1::text::inet + ((d.number + k) % $2) * $3) || $4 AS block"
            " FROM generate_series(0, $5::bigint - 1) AS k) AS n"
            " WHERE (SELECT 1 FROM services WHERE subnet = block AND destroyed_at IS NULL LIMIT 1) IS NULL"
            " ORDER BY k LIMIT 1",
            str(network.network_address),
            blocks,
            2 ** (32 - SUBNET_PREFIX),
            f"/{SUBNET_PREFIX}",
            most,
        )
        if subnet is not None:
            return subnet
    raise Conflict(f"no free network is left in {pool}: terminate services or set a larger TUTELA_NETWORK_POOL")


async def purge_destroyed(conn: Connection, older_than_hours: int, limit: int = 50) -> int:
    """Delete services that were destroyed that long ago, with all that hangs on them; returns how many."""
    result = await conn.execute(
        "WITH old AS (SELECT id FROM services WHERE destroyed_at < now() - make_interval(hours => $1) LIMIT $2),"
        " left_ AS (DELETE FROM wakes WHERE service_id IN (SELECT id FROM old)),"
        " untold AS (DELETE FROM copies_due WHERE of IN (SELECT id FROM old))"
        " DELETE FROM services WHERE id IN (SELECT id FROM old)",
        older_than_hours,
        limit,
    )
    return int(result.rsplit(" ", 1)[-1])
