"""Reports of agents are put on record: those of many nodes in one transaction (decision 26)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from domain.assignment import NodeReport
from domain.container import Observed
from domain.node import StartFailure, starts
from orchestrator.metrics import REPORTS
from orchestrator.store import nodes, reports, wake
from orchestrator.store.db import Connection, Database


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """The nodes whose reports were not written: their session is `over`, or their row is `busy`, somebody else having
    it just now: to be tried again."""

    over: Collection[UUID] = ()
    busy: Collection[UUID] = ()


async def record(db: Database, said: Sequence[NodeReport], *, wait: bool = False) -> Recorded:
    """Write the reports, one of each node; returns when they are durable.

    They wait for no pass and for nobody else: they lock nothing of the services that they speak of, and of the nodes'
    rows those that are free (decision 24), unless they are to `wait` their turn, for a second at most: then it raises
    DatabaseAway. What says nothing new is not written, and wakes nobody.
    """
    async with db.transaction() as conn:
        asked = await reports.answer_images(conn, said)
        if wait:
            await nodes.wait_for(conn, [each.node_id for each in said])
        touched = await reports.touch(conn, said)
        left = [each for each in said if each.node_id not in touched]
        over = await reports.over(conn, left) if left else set()
        changes = await reports.observe(conn, [each for each in said if each.node_id in touched])
        await _note_starts(conn, touched, changes)
        await wake.leave(conn, asked)
        await wake.seen(conn, [before.service_id for before, _ in changes])
        turned = [node_id for node_id, node in touched.items() if node.changed]
        if turned:
            await wake.services_on(conn, *turned)
            await wake.waiting_services(conn)
    REPORTS.add(n=len(touched))
    return Recorded(over=over, busy={each.node_id for each in left} - over)


async def _note_starts(
    conn: Connection,
    touched: Mapping[UUID, reports.Touched],
    changes: Sequence[tuple[reports.Before, Observed]],
) -> None:
    of_node: dict[UUID, list[tuple[UUID, Observed | None, Observed]]] = {}
    for before, seen in changes:
        of_node.setdefault(before.node_id, []).append((before.service_id, before.seen, seen))
    failed: dict[UUID, Sequence[StartFailure]] = {}
    well: list[UUID] = []
    for node_id, each in of_node.items():
        failures, started = starts(each, touched[node_id].at)
        if started and touched[node_id].failing:
            well.append(node_id)
        elif failures and not started:
            failed[node_id] = failures
    await reports.note_starts(conn, failed, well)
