"""The engines' swarm on the record: what agents say of it, what is decided, what each is told (domain.swarm)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

import structlog

from domain.assignment import NodeReport, SessionLost
from domain.networks import NetworkMode, swarm_pool
from domain.swarm import (
    Member,
    Swarm,
    SwarmOrder,
    SwarmReport,
    SwarmRole,
    at_rest,
    begins,
    decide,
    is_ours,
    joins,
    makes_networks,
    order_of,
    retold,
)
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
    async with db.single() as conn:
        await swarm.note_away(conn)
    async with db.transaction() as conn:
        if await _nothing_to_end(conn, installation.network):
            return True
        before = await swarm.lock(conn)
        return await _settle(conn, installation.network, before, await swarm.members(conn))


async def _nothing_to_end(conn: Connection, mode: NetworkMode) -> bool:
    """Whether no swarm is wanted and nobody has a part in one: then there is nothing to decide."""
    return mode is not NetworkMode.OVERLAY and not await swarm.any_part(conn)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Heard:
    """What a node's agent says beside the record: the node as it is there, and as it is now.

    `token`: another one than is stored.
    """

    was: Member
    now: Member
    session: int
    report: SwarmReport
    token: str = ""

    @property
    def new(self) -> bool:
        """Whether the record does not have all of it."""
        return bool(self.was.seen != self.now.seen or self.report.made or self.report.removed or self.token)


async def _settle(
    conn: Connection, mode: NetworkMode, before: Swarm, members: Sequence[Member], heard: _Heard | None = None
) -> bool:
    """The caller has locked the swarm; overlays are locked then, then nodes by their ids, here as everywhere."""
    known = {each.id: each for each in members} | ({heard.now.id: heard.now} if heard else {})
    after, decided = decide(mode, before, list(known.values()))
    changed = [each for each in decided if each != known[each.id]]
    if after == before and not changed and heard is None:
        return at_rest(mode, members)
    moved = [each.id for each in changed if each.overlay != known[each.id].overlay]
    if moved:
        await wake.leave(conn, await nodes.services_on(conn, *moved))
    told = retold(before, members, after, decided)
    if heard is not None:
        told.update(await _networks_done(conn, heard.report))
    if after != before:
        await swarm.save(conn, after)
        if before.cluster and after.cluster != before.cluster:
            await swarm.forget_networks(conn, remake=after.founder is not None)
            told.update(each.id for each in decided if makes_networks(each))
        log.info("swarm", founder=_text(after.founder), lead=_text(after.lead), recover=_text(after.recover))
    await nodes.hold(conn, told | {each.id for each in changed} | ({heard.now.id} if heard else set()))
    if heard is not None:
        await _write(conn, heard)
    if changed:
        await swarm.save_members(conn, changed)
    for each in sorted(changed, key=lambda each: each.id):
        log.info("node in the swarm", node=each.name, role=each.role.value, overlay=each.overlay, note=each.note)
    await _tell(conn, told)
    return False


def _text(node_id: UUID | None) -> str | None:
    return str(node_id) if node_id else None


async def take(
    db: Database,
    report: NodeReport,
    installation: Installation,
    *,
    seal: Callable[[str], bytes],
    unseal: Callable[[bytes], str | None],
) -> None:
    """What a node's agent says of its engine's swarm mode, written with what is decided then. The token is stored
    sealed. Raises SessionLost.

    Every session begins with it. What is on record was decided about: it is read without a lock, and that is all.
    """
    said, mode = report.swarm, installation.network
    if said is None:
        return
    async with db.read() as conn:
        if not (await _hear(conn, report, said, unseal)).new:
            return
    async with db.single() as conn:
        await swarm.note_away(conn)
    async with db.transaction() as conn:
        record = await swarm.lock(conn)
        heard = await _hear(conn, report, said, unseal)
        if heard.token:
            await swarm.set_token(conn, seal(heard.token))
        if heard.was.seen == heard.now.seen:
            told = await _networks_done(conn, heard.report)
            await nodes.hold(conn, {heard.now.id, *told})
            await _write(conn, heard)
            await _tell(conn, told)
            return
        alone = not is_ours(heard.now, frozenset()) and await _nothing_to_end(conn, mode)
        await _settle(conn, mode, record, [heard.was] if alone else await swarm.members(conn), heard)


async def _hear(
    conn: Connection, report: NodeReport, said: SwarmReport, unseal: Callable[[bytes], str | None]
) -> _Heard:
    """Raises SessionLost."""
    was = await swarm.member(conn, report.node_id, report.session)
    if was is None:
        raise SessionLost(f"session {report.session} is over")
    record, sealed = await swarm.get(conn)
    seen = said.seen
    if record.founder is not None and was.role is not SwarmRole.MANAGER:
        # Only who is to manage the swarm speaks for it (RELIABILITY S26).
        seen = replace(seen, ours=False, peers=())
        said = SwarmReport(seen=seen)
    if not seen.by and was.seen is not None and was.seen.node == seen.node:
        # An agent that was started anew does not know any more by whom its engine joined.
        seen = replace(seen, by=was.seen.by)
    renewed = said.token and seen.ours and (sealed is None or unseal(sealed) != said.token)
    return _Heard(
        was=was, now=replace(was, seen=seen), session=report.session, report=said, token=said.token if renewed else ""
    )


async def _networks_done(conn: Connection, said: SwarmReport) -> list[UUID]:
    """The nodes that are told of it."""
    if not said.made and not said.removed:
        return []
    await swarm.networks_done(conn, said.made, said.removed)
    return await swarm.managers(conn)


async def _write(conn: Connection, heard: _Heard) -> None:
    """The caller holds the node. Raises SessionLost."""
    assert heard.now.seen is not None  # noqa: S101 - it was heard
    if not await swarm.take(conn, heard.now.id, heard.session, heard.now.seen):
        raise SessionLost(f"session {heard.session} is over")


async def _tell(conn: Connection, node_ids: Iterable[UUID]) -> None:
    ids = sorted(node_ids)
    await nodes.bump_revisions(conn, ids)
    await wake.nodes(conn, ids)


async def order(
    conn: Connection, node_id: UUID, installation: Installation, unseal: Callable[[bytes], str | None]
) -> SwarmOrder | None:
    """What the node's agent is told; None when nothing is asked of its engine.

    Only the lead's is about all nodes, and whose engine begins the swarm keeps off all their addresses.
    """
    own = await swarm.member(conn, node_id)
    if own is None or (own.role is SwarmRole.NONE and not own.reset):
        return None
    record, sealed = await swarm.get(conn)
    members: list[Member] = []
    if record.lead == own.id or begins(record, own):
        members = await swarm.members(conn)
    elif joins(record, own):
        members = await swarm.managing(conn)
    told = order_of(
        record,
        own,
        members,
        token=(unseal(sealed) or "") if sealed else "",
        pool=swarm_pool(
            (installation.network_pool, installation.overlay_pool), tuple(each.address for each in members)
        ),
    )
    if makes_networks(own):
        make, remove = await swarm.open_networks(conn)
        told = replace(told, make=make, remove=remove)
    return told
