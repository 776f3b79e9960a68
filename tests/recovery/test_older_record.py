"""An agent that was told more than the record knows (RELIABILITY I17, F53), at the door and over the API."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from agents.ledger import Ledger
from domain.assignment import NodeAssignments, NodeHello, NodeReport, Position, Registration, SessionLost, Strangers
from domain.quarantine import Word, answer
from orchestrator import dispatch
from orchestrator.store.db import Database
from tests.admin.conftest import ADMIN, Office, office  # noqa: F401 - a fixture
from tests.agents.build import assigned
from tests.api.client import API
from tests.harness.told import assignments_since
from tests.orchestrator.world import ENGINE, Node, record_one


def hello(seen: Position | None, **engine: object) -> NodeHello:
    return NodeHello(name="n1", cluster_id=None, engine=replace(ENGINE, place="n1:/data", **engine), seen=seen)  # type: ignore[arg-type]


async def full(db: Database, registration: Registration) -> NodeAssignments:
    return await assignments_since(db, registration, 0)


async def shown(office: Office, node_id: UUID) -> dict[str, str] | None:  # noqa: F811
    found: dict[str, str] | None = (await office.call("GET", f"{API}/node/{node_id}/")).json()["quarantine"]
    return found


async def test_one_that_was_told_more_is_told_nothing_until_an_operator_says_so(office: Office) -> None:  # noqa: F811
    db = office.db
    first = await dispatch.register(db, hello(None))
    told = await full(db, first)
    assert (first.quarantine, told.base, told.engine) == ("", 0, "E:/data")
    assert told.lineage is not None
    seen = Position(node_id=first.node_id, lineage=told.lineage, revision=told.revision)
    assert (await dispatch.register(db, hello(seen))).quarantine == ""
    assert (await dispatch.register(db, hello(replace(seen, node_id=uuid4(), revision=99)))).quarantine == ""
    for ahead in (replace(seen, revision=told.revision + 40), replace(seen, lineage=uuid4())):
        for _ in range(2):  # the next session is asked the same
            begun = await dispatch.register(db, hello(ahead))
            assert "restored from a backup" in begun.quarantine
            nothing = await full(db, begun)
            assert (nothing.base, nothing.revision, nothing.containers) == (1, 0, ())
        found = await shown(office, begun.node_id)
        assert found is not None
        assert (found["cause"], "release n1" in found["remedy"]) == ("record-older", True)
        health = (await office.call("GET", f"{ADMIN}/health/")).json()
        assert (health["status"], health["nodes"][0]["quarantine"]) == ("not ok", found)
        answer_ = await office.call("POST", f"{ADMIN}/node/{begun.node_id}/accept-engine/")
        assert (answer_.status_code, "release n1" in answer_.text) == (409, True)
        assert (await office.call("POST", f"{ADMIN}/node/{begun.node_id}/release/")).status_code == 202
        assert await shown(office, begun.node_id) is None
        # It is told at once, also in a session that begins before it has taken that in.
        told = await full(db, await dispatch.register(db, hello(ahead)))
        assert (told.base, told.word) == (0, answer(Word.REMOVE, f"{ahead.lineage}/{ahead.revision}"))
        # No revision is told twice in one line, so that a later restore is noticed too.
        assert ahead.lineage != told.lineage or told.revision > ahead.revision
    again = await office.call("POST", f"{ADMIN}/node/{first.node_id}/release/")
    assert (again.status_code, "is not quarantined" in again.text) == (409, True)


async def test_a_database_put_back_beneath_a_session_is_noticed(office: Office) -> None:  # noqa: F811
    begun = await dispatch.register(office.db, hello(None))
    told = await full(office.db, begun)
    with pytest.raises(SessionLost, match="beyond the record"):
        await assignments_since(office.db, begun, told.revision + 1)


async def test_another_engine_is_not_the_nodes_own_until_an_operator_says_so(office: Office) -> None:  # noqa: F811
    db = office.db
    begun = await dispatch.register(db, hello(None))
    assert (await dispatch.register(db, hello(None, engine_id="F"))).quarantine.startswith("node n1 has another Docker")
    assert (await full(db, begun_again := await dispatch.register(db, hello(None, engine_id="F")))).engine == "E:/data"
    found = await shown(office, begun.node_id)
    assert found is not None
    assert (found["cause"], "accept-engine n1" in found["remedy"]) == ("engine-changed", True)
    refused = await office.call("POST", f"{ADMIN}/node/{begun.node_id}/release/")
    assert (refused.status_code, "accept-engine n1" in refused.text) == (409, True)
    assert (await office.call("POST", f"{ADMIN}/node/{begun.node_id}/accept-engine/")).status_code == 202
    assert await shown(office, begun.node_id) is None
    assert (await full(db, begun_again)).engine == "F:/data"
    # The old one that comes back is another one by now.
    assert (await dispatch.register(db, hello(None))).quarantine != ""


async def test_a_question_is_shown_as_long_as_it_is_asked(office: Office) -> None:  # noqa: F811
    node = await Node.join(office.db, "n1")
    asked = Strangers(count=8, owned=9, key="abc", names=("web-1",))
    for question in (asked, None, asked):
        node.seq += 1
        await office_report(office, node, question)
        found = await shown(office, node.registration.node_id)
        assert (found and found["cause"]) == (question and "unassigned-containers")
    for verb, word in (("keep", Word.KEEP), ("release", Word.REMOVE)):
        assert (await office.call("POST", f"{ADMIN}/node/{node.registration.node_id}/{verb}/")).status_code == 202
        assert (await full(office.db, node.registration)).word == answer(word, "abc")
    assert [row["action"] for row in await office.audit()][:2] == ["Node Release", "Node Keep"]


async def office_report(office: Office, node: Node, question: Strangers | None) -> None:  # noqa: F811
    await record_one(
        office.db,
        NodeReport(
            node_id=node.registration.node_id,
            session=node.registration.session,
            seq=node.seq,
            applied_revision=0,
            engine=replace(ENGINE, place="n1"),
            strangers=question,
        ),
    )


@pytest.mark.parametrize("word", list(Word))
async def test_the_word_counts_for_what_only_the_newer_ledger_knows(tmp_path: Path, word: Word) -> None:
    cluster, node, old, new = uuid4(), uuid4(), uuid4(), uuid4()
    ledger = Ledger(tmp_path)
    ledger.begin(Registration(cluster_id=cluster, node_id=node, session=1))
    told = NodeAssignments(
        cluster_id=cluster, session=1, base=0, revision=7, lineage=old, containers=tuple(map(assigned, range(1, 5)))
    )
    assert ledger.accept(told)
    await ledger.save()
    ledger.close()
    ledger = Ledger(tmp_path)
    assert ledger.seen == Position(node_id=node, lineage=old, revision=7)
    ledger.begin(Registration(cluster_id=cluster, node_id=node, session=2))
    less = replace(told, session=2, revision=3, lineage=new, containers=(assigned(1),), word=answer(word, f"{old}/7"))
    assert ledger.accept(less)
    fallen = {assigned(n).container_id for n in (2, 3, 4)}
    assert (ledger.judged.removable if word is Word.REMOVE else ledger.judged.kept) == fallen
    assert len(ledger.judged.removable) + len(ledger.judged.kept) == 3
    assert ledger.seen == Position(node_id=node, lineage=new, revision=3)
    # Said once, for these: not for what falls out later.
    assert ledger.accept(replace(less, revision=4, containers=()))
    assert assigned(1).container_id not in ledger.judged.removable | ledger.judged.kept
    ledger.still_here(fallen)
    assert ledger.judged.removable | ledger.judged.kept == fallen
    ledger.still_here([])
    assert ledger.judged.removable | ledger.judged.kept == set()
    ledger.begin(Registration(cluster_id=cluster, node_id=uuid4(), session=1))
    assert ledger.seen is None, "revisions count for one node"
    ledger.close()
