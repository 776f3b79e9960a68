"""The engines' swarm on the record: what agents say of it, what is decided, what each is told (domain.swarm)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from uuid import UUID

import structlog

from domain.assignment import NodeReport, SessionLost
from domain.networks import NetworkMode, swarm_pool
from domain.swarm import Member, SwarmOrder, SwarmReport, SwarmRole, SwarmSeen, at_rest, decide, order_of
from orchestrator.planning.view import Installation
from orchestrator.store import nodes, swarm, wake
from orchestrator.store.db import Connection, Database

log = structlog.get_logger("swarm")


async def look(db: Database, installation: Installation, *, resting: bool) -> bool:
    """As `settle`, for who looks again and again: what is at rest is left alone unless a node is away or is back."""
    if resting:
        if installation.network is not NetworkMode.OVERLAY:
            return True
        async with db.single() as conn:
            if not await swarm.note_away(conn):
                return True
    return await settle(db, installation)


async def settle(db: Database, installation: Installation) -> bool:
    """Decide, and write what is new; agents and services that it concerns are woken at commit.

    Whether it is at rest: time alone brings nothing, and what agents report is decided about when they do.
    """
    async with db.transaction() as conn:
        await swarm.note_away(conn)
    async with db.transaction() as conn:
        return await _settle(conn, installation.network)


async def _settle(conn: Connection, mode: NetworkMode) -> bool:
    """Locks the swarm, then nodes, here as everywhere."""
    before = await swarm.lock(conn)
    members = await swarm.members(conn)
    after, decided = decide(mode, before, members)
    known = {each.id: each for each in members}
    changed = [each for each in decided if each != known[each.id]]
    if after == before and not changed:
        return at_rest(mode, members)
    concerned: set[UUID] = set()
    for each in changed:
        if each.overlay != known[each.id].overlay:
            concerned.update(await nodes.services_on(conn, each.id))
    await wake.leave(conn, concerned)
    if after != before:
        await swarm.save(conn, after)
        if before.cluster and after.cluster != before.cluster:
            await swarm.forget_networks(conn, remake=after.founder is not None)
        log.info("swarm", founder=_text(after.founder), lead=_text(after.lead), recover=_text(after.recover))
    for each in sorted(changed, key=lambda each: each.id):
        await swarm.save_member(conn, each)
        log.info("node in the swarm", node=each.name, role=each.role.value, overlay=each.overlay, note=each.note)
    if after != before or any(_part(each) != _part(known[each.id]) for each in changed):
        await _tell(conn, known)
    return False


def _text(node_id: UUID | None) -> str | None:
    return str(node_id) if node_id else None


def _part(member: Member) -> tuple[SwarmRole, str]:
    return member.role, member.reset


async def take(
    db: Database,
    report: NodeReport,
    installation: Installation,
    *,
    seal: Callable[[str], bytes],
    unseal: Callable[[bytes], str | None],
) -> None:
    """What a node's agent says of its engine's swarm mode. The token is stored sealed. Raises SessionLost."""
    said = report.swarm
    if said is None:
        return
    async with db.transaction() as conn:
        record = await swarm.lock(conn)
        role, before = await swarm.part_of(conn, report.node_id)
        if record.founder is not None and role is not SwarmRole.MANAGER:
            # Only who is to manage the swarm speaks for it (RELIABILITY S26).
            said = SwarmReport(seen=replace(said.seen, ours=False, peers=()))
        # An agent that was started anew does not know any more by whom its engine joined.
        known = before.by if before.node == said.seen.node else ""
        if not await swarm.take(conn, report.node_id, report.session, replace(said.seen, by=said.seen.by or known)):
            raise SessionLost(f"session {report.session} is over")
        await swarm.networks_done(conn, said.made, said.removed)
        _, sealed = await swarm.get(conn)
        if said.token and said.seen.ours and (sealed is None or unseal(sealed) != said.token):
            await swarm.set_token(conn, seal(said.token))
        if said.made or said.removed:
            await _tell(conn, await swarm.managers(conn))
        if _place(before) != _place(said.seen):
            # What others are told depends on it: whom to join, who is to be promoted.
            await _tell(conn, [each.id for each in await swarm.members(conn)])
    await settle(db, installation)


def _place(seen: SwarmSeen) -> tuple[object, ...]:
    return seen.inside, seen.active, seen.node, seen.manager, seen.ours, seen.quorum


async def _tell(conn: Connection, node_ids: Iterable[UUID]) -> None:
    ids = sorted(node_ids)
    await nodes.bump_revisions(conn, ids)
    await wake.nodes(conn, ids)


async def order(
    conn: Connection, node_id: UUID, installation: Installation, unseal: Callable[[bytes], str | None]
) -> SwarmOrder | None:
    """What the node's agent is told; None when nothing is asked of its engine."""
    members = await swarm.members(conn)
    own = next((each for each in members if each.id == node_id), None)
    if own is None or (own.role is SwarmRole.NONE and not own.reset):
        return None
    record, sealed = await swarm.get(conn)
    told = order_of(
        record,
        own,
        members,
        token=(unseal(sealed) or "") if sealed else "",
        pool=swarm_pool(
            (installation.network_pool, installation.overlay_pool), tuple(each.address for each in members)
        ),
    )
    if own.role is SwarmRole.MANAGER and own.seen and own.seen.manager:
        make, remove = await swarm.open_networks(conn)
        told = replace(told, make=make, remove=remove)
    return told
