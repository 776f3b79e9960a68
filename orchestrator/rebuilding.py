"""A lost record is made anew from what hosts keep: each is asked for its ledger when it comes back (decision 21).

What is wanted of a container becomes exactly what its host was told last, so that nothing is restarted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog

from domain.assignment import ContainerAssignment, LedgerWanted, NodeHello, Testimony
from domain.container import Container
from domain.spec import digest
from orchestrator.store import codec, rebuild
from orchestrator.store.db import Connection, now

log = structlog.get_logger("rebuild")
_SLOT = re.compile(r"-([0-9]+)(?:\.|$)")


async def adopt(conn: Connection, node_id: UUID | None, hello: NodeHello) -> None:
    """Take in what an agent has of a node that the record does not know; nothing unless a rebuild is under way.

    `node_id` as in dispatch.register. Raises LedgerWanted when the agent did not bring its ledger.
    """
    if not await rebuild.under_way(conn):
        return
    ident = node_id or (hello.seen.node_id if hello.seen else None)
    if ident is None or await rebuild.known(conn, ident):
        return
    told = hello.testimony
    if told is None:
        raise LedgerWanted("the record is being made anew: what does this node have?")
    copies = {copy.of: copy.rows for copy in told.copies}
    own = copies.get(ident, {}).get("nodes") or [{"id": str(ident), "name": hello.name}]
    services = {key: rows for key, rows in copies.items() if rows.get("services")}
    # A container of a service that nobody knows is no stranger: the node is quarantined, and an operator says what is.
    unknown = [each.name for each in told.assignments if each.service_id not in services]
    await rebuild.node(conn, own[0], hello.seen, whole=not unknown)
    for rows in services.values():
        await rebuild.service(conn, rows)
    at, adopted = await now(conn), []
    for each in _oldest_last(told):
        if each.service_id not in services:
            continue
        row = _row(ident, each, services[each.service_id], at)
        if not row.leaving and not await rebuild.older_leaves(conn, row):
            row = replace(row, leaving=True)
        await rebuild.container(conn, row)
        adopted.append(row.id)
    await rebuild.settle(conn, ident, adopted)
    if unknown:
        log.warning("of some containers nobody knows the service", node=hello.name, containers=unknown[:20])
    log.info("a host was adopted", node=hello.name, services=len(services), containers=len(adopted))


def _oldest_last(told: Testimony) -> list[ContainerAssignment]:
    """The newest of a slot has it."""
    return sorted(told.assignments, key=lambda each: (-each.start_gen, each.container_id))


def _row(node_id: UUID, each: ContainerAssignment, rows: Mapping[str, Any], at: datetime) -> Container:
    """The container's row: what is wanted from its assignment, what never changes from the copy.

    A container that is newer than the copy has its slot in its name, and was made from what the service is now.
    """
    found = rows["services"][0]
    kept = next((row for row in rows.get("containers", ()) if row["id"] == str(each.container_id)), None)
    if kept is None:
        spec = codec.load(codec.SPEC, found["spec"])
        assert spec is not None  # noqa: S101 - NOT NULL where it was copied
        kept = {
            "slot": int(_SLOT.findall(each.name)[-1]),
            "made_from": digest(spec),
            "deploy_gen": found["deploy_gen"],
            "created_at": at.isoformat(),
            "leaving": False,
        }
    return Container(
        id=each.container_id,
        service_id=each.service_id,
        node_id=node_id,
        slot=kept["slot"],
        name=each.name,
        spec=each.spec,
        made_from=kept["made_from"],
        deploy_gen=kept["deploy_gen"],
        want=each.want,
        start_gen=each.start_gen,
        autorestart=each.autorestart,
        autoreplace=each.autoreplace,
        networks=each.networks,
        created_at=datetime.fromisoformat(kept["created_at"]),
        drop_volumes=each.drop_volumes,
        leaving=bool(kept["leaving"]),
        follows=each.follows,
    )
