"""Rows of containers.

`observe` writes what an agent saw, everything else what the orchestrator wants: one writer a field.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any
from uuid import UUID

from domain.assignment import ContainerAssignment
from domain.container import (
    Container,
    Observed,
    Want,
    container_state,
    spec_digest,
)
from domain.errors import NotFound
from domain.placement import Verdict
from domain.service import Service
from domain.spec import CrashPolicy, digest
from orchestrator.store import codec
from orchestrator.store.db import Connection
from orchestrator.store.filters import Columns, Filter, Looked, where

COLUMNS = (
    "id", "service_id", "node_id", "slot", "name", "spec", "made_from", "deploy_gen", "want", "start_gen",
    "autorestart", "networks", "seen", "created_at", "terminated_at", "autoreplace", "operation", "refill",
    "drop_volumes", "replaced", "leaving", "follows",
)  # fmt: skip
TEXTS = ("spec", "networks", "seen")
"""Read as texts, whose values are remembered (`codec.load`)."""

_COLUMNS = ", ".join(f"{name}::text" if name in TEXTS else name for name in COLUMNS)
_SERVICE = "(SELECT s.{column} FROM services s WHERE s.id = service_id)"
# Of the account that is the page's first parameter. Each by its index; then only what was found is looked at.
_NAMED = "SELECT c.id FROM containers c WHERE c.account_id = $1 AND c.name = ${n}"
_OF_NAMED = (
    "SELECT c.id FROM services s JOIN containers c ON c.service_id = s.id WHERE s.account_id = $1 AND s.name = ${n}"
)
_FILTERS: Columns = {
    "uuid": "id",
    "state": "state",
    # By the service's name too, which containers inherited in the seed's time (spec 6 no. 14).
    "name": Looked(exact=f"id IN ({_NAMED} UNION ALL {_OF_NAMED})", columns=("name", _SERVICE.format(column="name"))),
    "unique_name": Looked(exact=f"id IN ({_NAMED})", columns=("name",)),
    "image_name": "spec->>'image'",
    "service": "service_id",
    "service__name": _SERVICE.format(column="name"),
    "stack": _SERVICE.format(column="stack_id"),
    "stack__name": "(SELECT k.name FROM services s JOIN stacks k ON k.id = s.stack_id WHERE s.id = service_id)",
    "node": "node_id",
}


def of_row(row: Any) -> Container:
    """The container of a row with all COLUMNS."""
    spec = codec.load(codec.CONTAINER_SPEC, row["spec"])
    networks = codec.load(codec.NETWORKS, row["networks"])
    assert spec is not None  # noqa: S101 - NOT NULL in the schema
    assert networks is not None  # noqa: S101 - NOT NULL in the schema
    return Container(
        id=row["id"],
        service_id=row["service_id"],
        node_id=row["node_id"],
        slot=row["slot"],
        name=row["name"],
        spec=spec,
        made_from=row["made_from"],
        deploy_gen=row["deploy_gen"],
        want=Want(row["want"]),
        start_gen=row["start_gen"],
        autorestart=CrashPolicy(row["autorestart"]),
        networks=networks,
        created_at=row["created_at"],
        seen=codec.load(codec.OBSERVED, row["seen"]),
        terminated_at=row["terminated_at"],
        autoreplace=CrashPolicy(row["autoreplace"]),
        order=codec.load(codec.ORDER, row["operation"]),
        refill=row["refill"],
        drop_volumes=tuple(row["drop_volumes"]),
        replaced=tuple(row["replaced"]),
        leaving=row["leaving"],
        follows=row["follows"],
    )


async def of_services(conn: Connection, service_ids: Sequence[UUID]) -> dict[UUID, list[Container]]:
    """The containers of each service by slot, those terminated within the last hour included."""
    rows = await conn.fetch(
        f"SELECT {_COLUMNS} FROM containers WHERE service_id = ANY($1)"  # noqa: S608 - constants of this module
        " AND (terminated_at IS NULL OR terminated_at > now() - interval '1 hour')"
        " ORDER BY service_id, slot, created_at",
        list(service_ids),
    )
    out: dict[UUID, list[Container]] = {each: [] for each in service_ids}
    for row in rows:
        out[row["service_id"]].append(of_row(row))
    return out


async def open_rows(conn: Connection, service_ids: Sequence[UUID]) -> list[Container]:
    """The containers of the services that are not yet forgotten, by slot."""
    rows = await conn.fetch(
        f"SELECT {_COLUMNS} FROM containers WHERE service_id = ANY($1) AND terminated_at IS NULL ORDER BY slot",  # noqa: S608
        list(service_ids),
    )
    return [of_row(row) for row in rows]


async def open_on(conn: Connection, service_ids: Sequence[UUID], node_id: UUID) -> list[Container]:
    """As `open_rows`, those on the node."""
    rows = await conn.fetch(
        f"SELECT {_COLUMNS} FROM containers WHERE service_id = ANY($1) AND node_id = $2 AND terminated_at IS NULL"  # noqa: S608
        " ORDER BY slot",
        list(service_ids),
        node_id,
    )
    return [of_row(row) for row in rows]


async def outdated(conn: Connection, services: Sequence[Service]) -> set[UUID]:
    """The services of which a live container is not up to date (spec 2.3), without reading one of them out."""
    rows = await conn.fetch(
        "SELECT s.id FROM unnest($1::uuid[], $2::text[], $3::bigint[]) AS s(id, made, gen) WHERE EXISTS (SELECT 1"
        " FROM containers c WHERE c.service_id = s.id AND c.terminated_at IS NULL AND NOT c.leaving"
        " AND (c.made_from <> s.made OR c.deploy_gen < s.gen))",
        [each.id for each in services],
        [digest(each.spec) for each in services],
        [each.deploy_gen for each in services],
    )
    return {row["id"] for row in rows}


async def linked(conn: Connection, targets: Sequence[UUID], own: Sequence[UUID]) -> list[Container]:
    """As `open_rows`, of the services that links lead to and that are live, and of `own`."""
    rows = await conn.fetch(
        f"SELECT {_COLUMNS} FROM containers WHERE terminated_at IS NULL AND (service_id = ANY($2) OR service_id IN"  # noqa: S608
        " (SELECT id FROM services WHERE id = ANY($1) AND want <> 'TERMINATED')) ORDER BY slot",
        list(targets),
        list(own),
    )
    return [of_row(row) for row in rows]


async def get(conn: Connection, account_id: UUID, container_id: UUID) -> Container:
    """One container of the account. Raises NotFound."""
    row = await conn.fetchrow(
        f"SELECT {_COLUMNS} FROM containers WHERE account_id = $1 AND id = $2",  # noqa: S608 - as above
        account_id,
        container_id,
    )
    if row is None:
        raise NotFound(f"there is no container {container_id}")
    return of_row(row)


async def page(
    conn: Connection, account_id: UUID, filters: Sequence[Filter], limit: int, offset: int
) -> tuple[list[Container], int]:
    """A page of the account's containers by age, and how many there are, counted only where the page does not tell: a
    last one does. Terminated ones show for an hour."""
    condition, arguments = where(filters, _FILTERS, first=2)
    fields = {each.field for each in filters}
    if fields & {"name", "unique_name"} and not fields & {"state", "uuid"}:
        # In a lookup by name live matches hide terminated ones, such as had it before them (spec 1.9, 7 no. 3).
        alive = f"SELECT 1 FROM containers WHERE account_id = $1 AND terminated_at IS NULL AND {condition}"  # noqa: S608
        condition += f" AND (terminated_at IS NULL OR NOT EXISTS ({alive}))"
    base = (
        "FROM containers WHERE account_id = $1"
        f" AND (terminated_at IS NULL OR terminated_at > now() - interval '1 hour') AND {condition}"
    )
    rows = await conn.fetch(
        f"SELECT {_COLUMNS} {base} ORDER BY created_at, id LIMIT ${len(arguments) + 2} OFFSET ${len(arguments) + 3}",
        account_id,
        *arguments,
        limit + 1,
        offset,
    )
    found = [of_row(row) for row in rows[:limit]]
    if len(rows) <= limit and (found or not offset):
        return found, offset + len(found)
    return found, await conn.fetchval(f"SELECT count(*) {base}", account_id, *arguments)


_MADE = ", ".join(name for name in COLUMNS if name not in {"seen", "terminated_at"})
_INSERT = f"""
    INSERT INTO containers ({_MADE}, account_id, state, spec_digest, assigned_revision, placement)
    SELECT {_MADE}, account_id, state, spec_digest, assigned_revision, placement
    FROM jsonb_populate_recordset(NULL::containers, $1)
"""  # noqa: S608 - columns of ours
_WANTED = (
    "want", "start_gen", "autorestart", "networks", "autoreplace", "operation", "refill", "drop_volumes",
    "replaced", "leaving", "state",
)  # fmt: skip
# The nodes' locks are held: nobody else writes these rows. By `id = ANY`, so that it goes by their key.
_UPDATE = f"""
    UPDATE containers c SET {", ".join(f"{name} = w.{name}" for name in _WANTED)},
        terminated_at = coalesce(w.terminated_at, c.terminated_at), seen = coalesce(w.seen, c.seen),
        assigned_revision = coalesce(w.assigned_revision, c.assigned_revision)
    FROM jsonb_populate_recordset(NULL::containers, $2) w WHERE c.id = ANY($1) AND w.id = c.id
"""  # noqa: S608 - columns of ours


def _wanted(container: Container) -> dict[str, Any]:
    """What changes of a container by what is wanted of it, by column."""
    return {
        "id": str(container.id),
        "want": container.want.value,
        "start_gen": container.start_gen,
        "autorestart": container.autorestart.value,
        "networks": codec.dump(codec.NETWORKS, container.networks),
        "autoreplace": container.autoreplace.value,
        "operation": codec.dump(codec.ORDER, container.order),
        "refill": container.refill,
        "drop_volumes": list(container.drop_volumes),
        "replaced": [each.isoformat() for each in container.replaced],
        "leaving": container.leaving,
        "state": container_state(container).value,
    }


def _made(container: Container) -> dict[str, Any]:
    """What never changes of it, by column."""
    return {
        "service_id": str(container.service_id),
        "node_id": str(container.node_id),
        "slot": container.slot,
        "name": container.name,
        "spec": codec.dump(codec.CONTAINER_SPEC, container.spec),
        "spec_digest": spec_digest(container.spec),
        "made_from": container.made_from,
        "deploy_gen": container.deploy_gen,
        "created_at": container.created_at.isoformat(),
        "follows": str(container.follows) if container.follows else None,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A new container of an account; `verdicts`: why it is where it is."""

    account_id: UUID
    row: Container
    verdicts: Sequence[Verdict] = ()


def encoded(made: Sequence[Made]) -> list[dict[str, Any]]:
    """New containers for `insert`: a work of its own, to be done before anything is locked."""
    return [
        {
            **_made(each.row),
            **_wanted(each.row),
            "account_id": str(each.account_id),
            "placement": codec.dump(codec.VERDICTS, tuple(each.verdicts)),
        }
        for each in made
    ]


async def insert(
    conn: Connection, rows: Sequence[dict[str, Any]], revisions: Mapping[UUID, int] = MappingProxyType({})
) -> None:
    """New containers, in one statement. `revisions`: those of the nodes' assignments in which they come."""
    if rows:
        of = {str(node_id): revision for node_id, revision in revisions.items()}
        await conn.execute(_INSERT, [{**row, "assigned_revision": of.get(row["node_id"], 0)} for row in rows])


async def write(
    conn: Connection, rows: Sequence[Container], revisions: Mapping[UUID, int], *, seen: Observed | None = None
) -> None:
    """What is wanted of containers, and that they are gone: then their ports are free. In three statements at most.

    The caller holds the locks of their nodes, so that what was seen of them meanwhile counts for their states.
    `revisions`: those of the nodes' assignments in which that comes; of other nodes it stays as it is. `seen`: what
    counts as seen of all of them from now on, because nobody will say more.
    """
    if not rows:
        return
    ids = [row.id for row in rows]
    if seen is None:
        found = await conn.fetch("SELECT id, seen::text FROM containers WHERE id = ANY($1)", ids)
        known = {row["id"]: codec.load(codec.OBSERVED, row["seen"]) for row in found}
    else:
        known = dict.fromkeys(ids, seen)
    await conn.execute(
        _UPDATE,
        ids,
        [
            {
                **_wanted(replace(row, seen=known.get(row.id))),
                "seen": codec.dump(codec.OBSERVED, seen),
                "terminated_at": row.terminated_at.isoformat() if row.terminated_at else None,
                "assigned_revision": revisions.get(row.node_id),
            }
            for row in rows
        ],
    )
    gone = [row.id for row in rows if row.terminated_at is not None]
    if gone:
        await conn.execute("DELETE FROM ports WHERE container_id = ANY($1)", gone)


async def placements(conn: Connection, container_ids: Sequence[UUID]) -> dict[UUID, tuple[Verdict, ...]]:
    """Why each of the containers is where it is."""
    rows = await conn.fetch("SELECT id, placement FROM containers WHERE id = ANY($1)", list(container_ids))
    return {row["id"]: codec.load(codec.VERDICTS, row["placement"]) or () for row in rows}


async def assign(conn: Connection, container_ids: Sequence[UUID], node_id: UUID, revision: int) -> None:
    """Mark the containers as changed at this revision of the node's assignment."""
    await conn.execute(
        "UPDATE containers SET assigned_revision = $3 WHERE id = ANY($1) AND node_id = $2",
        list(container_ids),
        node_id,
        revision,
    )


async def assignments(conn: Connection, since: Mapping[UUID, int]) -> dict[UUID, list[ContainerAssignment]]:
    """What the nodes must hold: changes after the revision of each, or with 0 everything that is not forgotten."""
    rows = await conn.fetch(
        "SELECT c.node_id, id, service_id, name, want, spec::text, spec_digest, autorestart, autoreplace, start_gen,"
        " seen::text, networks::text, drop_volumes, follows"
        " FROM unnest($1::uuid[], $2::bigint[]) AS h(node_id, since)"
        " JOIN containers c ON c.node_id = h.node_id AND c.assigned_revision > h.since"
        " AND (c.terminated_at IS NULL OR h.since > 0)"
        " ORDER BY created_at, id",
        list(since),
        list(since.values()),
    )
    out: dict[UUID, list[ContainerAssignment]] = {}
    for row in rows:
        spec, networks = codec.load(codec.CONTAINER_SPEC, row["spec"]), codec.load(codec.NETWORKS, row["networks"])
        seen = codec.load(codec.OBSERVED, row["seen"])
        assert spec is not None  # noqa: S101 - NOT NULL in the schema
        assert networks is not None  # noqa: S101 - NOT NULL in the schema
        out.setdefault(row["node_id"], []).append(
            ContainerAssignment(
                container_id=row["id"],
                service_id=row["service_id"],
                name=row["name"],
                want=Want(row["want"]),
                spec=spec,
                spec_digest=row["spec_digest"],
                autorestart=CrashPolicy(row["autorestart"]),
                start_gen=row["start_gen"],
                seen_start_gen=seen.start_gen if seen else 0,
                networks=networks,
                autoreplace=CrashPolicy(row["autoreplace"]),
                drop_volumes=tuple(row["drop_volumes"]),
                follows=row["follows"],
            )
        )
    return out


async def purge_terminated(conn: Connection, older_than_hours: int, limit: int = 200) -> int:
    """Delete containers that were terminated that long ago; returns how many."""
    result = await conn.execute(
        "DELETE FROM containers WHERE id IN (SELECT id FROM containers"
        " WHERE terminated_at < now() - make_interval(hours => $1) LIMIT $2)",
        older_than_hours,
        limit,
    )
    return int(result.rsplit(" ", 1)[-1])
