"""What the swarm costs the record does not grow with the hosts, and each is told the same as if it did."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from uuid import UUID

import pytest

from domain.assignment import NodeReport, SessionLost
from domain.networks import NetworkMode, swarm_pool
from domain.swarm import Peer, SwarmOrder, SwarmReport, SwarmRole, SwarmSeen, makes_networks, order_of
from orchestrator import swarming
from orchestrator.planning.view import Installation
from orchestrator.store import nodes, swarm
from tests.api.test_cost import logged
from tests.orchestrator.world import ENGINE, Node, Record

pytestmark = pytest.mark.postgres

PORTS = Installation(api_url="http://api.test", stream_url="ws://api.test", network=NetworkMode.PORTS)
OVERLAY = Installation(api_url="http://api.test", stream_url="ws://api.test", network=NetworkMode.OVERLAY)
MANAGING = SwarmSeen(active=True, inside=True, node="m", manager=True, cluster="c", ours=True, quorum=True)
INSIDE = SwarmSeen(active=True, inside=True, node="w", entered=True)
OUTSIDE = SwarmSeen()
FEW, MANY = 5, 60
FILL = """
    INSERT INTO nodes (id, name, state, session, address, swarm, swarm_role, overlay)
    SELECT gen_random_uuid(), 'f' || n, 'Deployed', 1, '10.1.0.' || n, jsonb_build_object(
        'active', $3::boolean, 'inside', $3::boolean, 'node', CASE WHEN $3 THEN 'f' || n ELSE '' END, 'entered', $3
    ), $2, $3 FROM generate_series((SELECT count(*) FROM nodes) + 1, $1) n
"""
"""Up to so many hosts, in the swarm or not."""


@dataclass
class Hosts:
    """A manager and two workers with agents, the manager being the youngest; and others that are only rows."""

    record: Record
    manager: Node
    worker: Node
    other: Node

    @classmethod
    async def join(cls, record: Record) -> Hosts:
        agents = [await Node.join(record.db, name) for name in ("m", "w", "o")]
        async with record.db.transaction() as conn:
            # In the order of their ids, so that who is locked first is known.
            for number, each in enumerate(sorted(agents, key=ident)):
                await nodes.administer(conn, ident(each), f"h{number}", f"10.0.0.{number + 1}")
        first, second, third = sorted(agents, key=ident)
        return cls(record, manager=first, worker=third, other=second)

    @classmethod
    async def linked(cls, record: Record) -> Hosts:
        """All three are in the swarm, and nothing is left to be decided."""
        made = await cls.join(record)
        async with record.db.transaction() as conn:
            await conn.execute("UPDATE nodes SET created_at = created_at - interval '1 h' WHERE id = $1", made.ids[0])
        for each in (made.manager, made.worker, made.other):
            await made.said(each, OUTSIDE)
        for _ in range(2):
            await made.said(made.manager, MANAGING, token="t")
            await made.said(made.worker, INSIDE)
            await made.said(made.other, replace(INSIDE, node="o"))
        return made

    @property
    def ids(self) -> list[UUID]:
        return [ident(each) for each in (self.manager, self.other, self.worker)]

    async def said(
        self, node: Node, seen: SwarmSeen, *, installation: Installation = OVERLAY, session: int = 0, **more: object
    ) -> None:
        """The node's agent says what its engine's swarm mode looks like."""
        report = NodeReport(
            node_id=ident(node),
            session=session or node.registration.session,
            seq=1,
            applied_revision=0,
            engine=ENGINE,
            swarm=SwarmReport(seen=seen, **more),  # type: ignore[arg-type]
        )
        await swarming.take(self.record.db, report, installation, seal=str.encode, unseal=bytes.decode)

    async def fill(self, many: int, *, inside: bool = True, role: SwarmRole = SwarmRole.WORKER) -> None:
        """Others, until there are so many."""
        async with self.record.db.transaction() as conn:
            await conn.execute(FILL, many, role.value, inside)
        # Whoever manages is decided about now, so that later there is nothing to find.
        await swarming.settle(self.record.db, OVERLAY if role is not SwarmRole.NONE else PORTS)

    async def order(self, node_id: UUID) -> SwarmOrder | None:
        async with self.record.db.transaction() as conn:
            return await swarming.order(conn, node_id, OVERLAY, bytes.decode)

    async def told(self, work: Callable[[], Awaitable[object]]) -> set[UUID]:
        """To whom the work is news: whose revision is another one."""
        before = await self._revisions()
        await work()
        after = await self._revisions()
        return {each for each, revision in after.items() if revision != before[each]}

    async def _revisions(self) -> dict[UUID, int]:
        async with self.record.db.read() as conn:
            return {row["id"]: row["assignment_revision"] for row in await conn.fetch("SELECT * FROM nodes")}


def ident(node: Node) -> UUID:
    return node.registration.node_id


async def cost(record: Record, work: Callable[[], Awaitable[object]]) -> list[tuple[str, int]]:
    """The statements of the work, and how many rows each one that reads gives when it is said again."""
    seen: list[tuple[str, tuple[object, ...]]] = []
    with logged(seen):
        await work()
    async with record.db.read() as conn:
        return [
            (" ".join(query.split()), len(await conn.fetch(query, *arguments)) if query.startswith("SELECT") else 0)
            for query, arguments in seen
            # A connection asks once for each kind of list how it is written.
            if "typeinfo_tree" not in query and "set_config" not in query
        ]


async def test_what_a_new_session_says_again_costs_two_reads_and_waits_for_nobody(record: Record) -> None:
    hosts = await Hosts.linked(record)
    costs = []
    for many in (FEW, MANY):
        await hosts.fill(many)
        async with record.db.transaction() as conn:
            await swarm.lock(conn)
            for node, seen, token in ((hosts.worker, INSIDE, ""), (hosts.manager, MANAGING, "t")):
                again = lambda node=node, seen=seen, token=token: hosts.said(node, seen, token=token)  # noqa: E731
                costs.append(await asyncio.wait_for(cost(record, again), 3))
    assert [[rows for _, rows in each] for each in costs] == [[1, 1]] * 4, costs
    assert not any("FOR NO KEY UPDATE" in text for each in costs for text, _ in each)


async def test_what_is_on_record_is_taken_of_the_session_only(record: Record) -> None:
    hosts = await Hosts.linked(record)
    with pytest.raises(SessionLost, match="is over"):
        await hosts.said(hosts.worker, INSIDE, session=hosts.worker.registration.session + 1)


async def test_an_engine_in_no_swarm_is_news_the_first_time(record: Record) -> None:
    """What was never said reads like an engine that is nowhere, and is not the same."""
    hosts = await Hosts.join(record)
    await hosts.said(hosts.worker, OUTSIDE)
    async with record.db.read() as conn:
        one, other = await swarm.member(conn, ident(hosts.worker)), await swarm.member(conn, ident(hosts.other))
    assert one is not None
    assert other is not None
    assert (one.seen, other.seen) == (OUTSIDE, None)


@pytest.mark.parametrize("mode", [NetworkMode.PORTS, NetworkMode.LOCAL])
async def test_without_overlays_no_report_and_no_look_reads_the_hosts(record: Record, mode: NetworkMode) -> None:
    hosts, installation = await Hosts.join(record), replace(PORTS, network=mode)
    costs = []
    for many, error in ((FEW, "one"), (MANY, "another")):
        await hosts.fill(many, inside=False, role=SwarmRole.NONE)
        foreign = SwarmSeen(active=True, inside=True, node="x", manager=True, error=error)
        said = await cost(record, lambda seen=foreign: hosts.said(hosts.worker, seen, installation=installation))  # type: ignore[misc]
        looked = await cost(record, lambda: swarming.settle(record.db, installation))
        assert max(rows for _, rows in [*said, *looked]) == 1
        costs.append([said, looked])
    assert costs[0] == costs[1]
    assert await swarming.settle(record.db, installation), "at rest"
    async with record.db.read() as conn:
        own = await swarm.member(conn, ident(hosts.worker))
    assert own is not None
    assert own.seen == foreign


@pytest.mark.parametrize("left", [MANAGING, INSIDE, replace(INSIDE, entered=False)])
async def test_an_engine_that_is_left_in_our_swarm_is_found_without_overlays(record: Record, left: SwarmSeen) -> None:
    """Nothing on record says so: the swarm was there before the record was."""
    hosts = await Hosts.join(record)
    if left == replace(INSIDE, entered=False):
        await hosts.said(hosts.manager, replace(MANAGING, peers=(peer("w"),)), installation=PORTS)
    await hosts.said(hosts.worker, left, installation=PORTS)
    assert await hosts.order(ident(hosts.worker)) == SwarmOrder(leave=left.node)
    assert not await swarming.settle(record.db, PORTS), "it has not left"
    for each in (hosts.worker, hosts.manager):
        await hosts.said(each, OUTSIDE, installation=PORTS)
    assert await hosts.order(ident(hosts.worker)) is None
    assert await swarming.settle(record.db, PORTS)


async def test_where_overlays_were_all_of_it_is_ended(record: Record) -> None:
    hosts = await Hosts.linked(record)
    assert not await swarming.settle(record.db, PORTS)
    orders = [await hosts.order(each) for each in hosts.ids]
    assert orders == [SwarmOrder(leave="m"), SwarmOrder(leave="o"), SwarmOrder(leave="w")]
    for each in (hosts.worker, hosts.other, hosts.manager):
        await hosts.said(each, OUTSIDE, installation=PORTS)
    assert await swarming.settle(record.db, PORTS)
    async with record.db.transaction() as conn:
        await conn.execute("UPDATE nodes SET network_note = 'why not' WHERE id = $1", hosts.ids[0])
    await swarming.settle(record.db, PORTS)
    async with record.db.read() as conn:
        assert not await swarm.any_part(conn), "what people were told of it is over too"


async def test_an_order_reads_its_own_host_and_who_joins_the_managers(record: Record) -> None:
    hosts = await Hosts.linked(record)
    costs: dict[str, list[list[int]]] = {"inside": [], "joining": [], "lead": []}
    for many in (FEW, MANY):
        await hosts.fill(many)
        for what, node_id in (("inside", hosts.ids[1]), ("joining", hosts.ids[2]), ("lead", hosts.ids[0])):
            if what == "joining":
                await hosts.said(hosts.worker, OUTSIDE)
            spent = await cost(record, lambda node_id=node_id: hosts.order(node_id))  # type: ignore[misc]
            costs[what].append([rows for text, rows in spent if "overlays" not in text])
            await hosts.said(hosts.worker, INSIDE)
    assert costs == {"inside": [[1, 1]] * 2, "joining": [[1, 1, 1]] * 2, "lead": [[1, 1, FEW], [1, 1, MANY]]}


async def test_each_is_told_what_all_hosts_together_say(record: Record) -> None:
    """From the beginning of a swarm to its end: as if everybody's order were made of everybody's row."""
    hosts = await Hosts.join(record)
    steps: list[tuple[Node, SwarmSeen]] = [
        (hosts.manager, OUTSIDE),
        (hosts.worker, OUTSIDE),
        (hosts.other, OUTSIDE),
        (hosts.manager, MANAGING),
        (hosts.worker, replace(INSIDE, node="")),
        (hosts.worker, INSIDE),
        (hosts.other, replace(INSIDE, node="o")),
        (hosts.worker, replace(MANAGING, node="w")),
        (hosts.other, OUTSIDE),
        (hosts.manager, replace(MANAGING, quorum=False)),
        (hosts.manager, OUTSIDE),
    ]
    seen: set[tuple[bool, bool, bool]] = set()
    for node, now in steps:
        before = {each: await hosts.order(each) for each in hosts.ids}
        told = await hosts.told(lambda node=node, now=now: hosts.said(node, now, token="t" if now.ours else ""))  # type: ignore[misc]
        async with record.db.read() as conn:
            members = await swarm.members(conn)
            made, sealed = await swarm.get(conn)
        pool = swarm_pool((OVERLAY.network_pool, OVERLAY.overlay_pool), tuple(each.address for each in members))
        for each in members:
            whole = order_of(made, each, members, token=(sealed or b"").decode(), pool=pool)
            order = await hosts.order(each.id)
            assert (order or SwarmOrder()) == whole
            assert order == before[each.id] or each.id in told, "what is new for it was not said"
            assert order != before[each.id] or each.id not in told or makes_networks(each), "nothing is new for it"
            seen.add((whole.begin, bool(whole.join), bool(whole.keep)))
    assert {(True, False, False), (False, True, False), (False, False, True)} <= seen


async def test_a_host_that_comes_or_goes_is_news_to_itself_and_the_lead(record: Record) -> None:
    hosts = await Hosts.linked(record)
    await hosts.fill(MANY)
    assert await hosts.told(lambda: hosts.said(hosts.worker, OUTSIDE)) == {hosts.ids[0], hosts.ids[2]}
    assert await hosts.told(lambda: hosts.said(hosts.worker, replace(INSIDE, node="again"))) == {
        hosts.ids[0], hosts.ids[2],
    }  # fmt: skip
    assert await hosts.told(lambda: hosts.said(hosts.worker, replace(INSIDE, node="again", error="slow"))) == set()


async def test_a_decision_is_written_by_as_many_statements_however_many_hosts_it_is_about(record: Record) -> None:
    hosts = await Hosts.linked(record)
    costs = []
    for many in (FEW, MANY):
        await hosts.fill(many)
        costs.append([text for text, _ in await cost(record, lambda: swarming.settle(record.db, PORTS))])
        async with record.db.transaction() as conn:
            ended = await conn.fetchval("SELECT count(*) FROM nodes WHERE swarm_reset <> ''")
            assert ended == many
            await conn.execute("UPDATE nodes SET swarm_reset = '', overlay = true")
        await swarming.settle(record.db, OVERLAY)
    assert costs[0] == costs[1]


@pytest.mark.parametrize("what", ["report", "look"])
async def test_hosts_are_locked_by_their_ids_before_one_is_written(record: Record, what: str) -> None:
    """A pass has locked the first and goes on to the last: who has the last and waits for the first would stop both."""
    hosts = await Hosts.linked(record)
    first, last = hosts.ids[0], hosts.ids[2]
    if what == "look":
        async with record.db.transaction() as conn:
            # Both are news: the first one lists the last.
            await conn.execute("UPDATE nodes SET swarm_role = '', overlay = false WHERE id = $1", last)
    async with record.db.transaction() as conn:
        await nodes.lock(conn, first)
        call = swarming.settle(record.db, OVERLAY) if what == "look" else hosts.said(hosts.worker, OUTSIDE)
        work: asyncio.Future[object] = asyncio.ensure_future(call)
        async with record.db.read() as watching:
            while not await watching.fetchval(
                "SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                " AND datname = current_database())"
            ):
                assert not work.done()
                await asyncio.sleep(0.01)
        await conn.execute("SELECT 1 FROM nodes WHERE id = $1 FOR NO KEY UPDATE NOWAIT", last)
    await asyncio.wait_for(work, 5)


def peer(node: str) -> Peer:
    return Peer(node=node, manager=False, up=True)
