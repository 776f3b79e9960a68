"""Who has a slot when two hosts bring a container of it: one may have been silent while its slots went elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from domain.service import Verb
from orchestrator import dispatch
from orchestrator.store import containers, nodes, rebuild
from orchestrator.store.db import Database
from tests.orchestrator.world import Record
from tests.recovery.test_rebuild import agent, fresh, hello, learn, record

__all__ = ["fresh", "record"]


@pytest.mark.parametrize("older_first", [True, False])
async def test_the_newest_of_a_slot_has_it_whoever_comes_first(
    record: Record, fresh: Database, tmp_path: Path, *, older_first: bool
) -> None:
    agents = [await agent(record.db, tmp_path, name) for name in ("n1", "n2")]
    hosts = [node for node, _ in agents]
    web = await record.create("web", 1)
    await record.operate(web, Verb.START)
    await record.settle(*hosts)
    async with record.db.transaction() as conn:
        (old,) = await containers.open_rows(conn, [web])
        await conn.execute("UPDATE nodes SET cordoned = true WHERE id = $1", old.node_id)
        cluster = await nodes.cluster_id(conn)
    agents.sort(key=lambda each: each[0].registration.node_id != old.node_id)
    (left, left_ledger), (node, ledger) = agents
    await learn(record.db, left.registration, left_ledger)  # the last that it hears
    await record.operate(web, Verb.REDEPLOY)
    await record.settle(*hosts)
    await learn(record.db, node.registration, ledger)
    async with record.db.read() as conn:
        (new,) = await containers.open_rows(conn, [web])
    assert (new.slot, new.node_id) == (old.slot, node.registration.node_id)

    async with fresh.transaction() as conn:
        await rebuild.begin(conn, cluster, "certificate", b"sealed")
    for kept in (left_ledger, ledger) if older_first else (ledger, left_ledger):
        name = "n1" if kept.node_id == hosts[0].registration.node_id else "n2"
        await dispatch.register(fresh, hello(name, kept, bring=True))
    async with fresh.read() as conn:
        rows = {row.id: row.leaving for row in await containers.open_rows(conn, [web])}
    assert rows == {new.id: False, old.id: True}
    for _, each in agents:
        each.close()
