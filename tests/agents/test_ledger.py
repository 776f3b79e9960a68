"""The ledger on disk: torn files, order of writes, revisions, the lock."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from agents.ledger import Ledger, LedgerLocked, write_whole
from agents.view import ContainerMemory, StartIntent
from domain.assignment import NodeAssignments, Registration
from domain.container import Want
from domain.restarts import RestartHistory
from tests.agents.build import CLUSTER, NODE, NOW, assigned, attachment


def news(base: int, revision: int, *numbers: int, **changes: object) -> NodeAssignments:
    return NodeAssignments(
        cluster_id=CLUSTER,
        session=1,
        base=base,
        revision=revision,
        containers=tuple(assigned(n, networks=(attachment(),), **changes) for n in numbers),  # type: ignore[arg-type]
    )


@pytest.fixture
async def ledger(tmp_path: Path) -> Ledger:
    made = Ledger(tmp_path)
    made.begin(Registration(cluster_id=CLUSTER, node_id=NODE, session=1))
    return made


async def test_what_was_saved_comes_back(ledger: Ledger, tmp_path: Path) -> None:
    assert ledger.accept(news(0, 4, 1, 2))
    one, two = ledger.assignments
    memory = ContainerMemory(
        start_gen=3,
        intent=StartIntent(start_gen=4, after=NOW),
        history=RestartHistory(count=2, last_start=NOW),
        run=NOW,
    )
    ledger.remember(one, memory)
    await ledger.save()
    ledger.close()
    assert (tmp_path / "ledger.json").stat().st_mode & 0o777 == 0o600
    again = Ledger(tmp_path)
    assert (again.cluster_id, again.revision, again.complete) == (CLUSTER, 4, True)
    assert again.assignments == ledger.assignments
    assert again.memory(one) == memory
    assert again.memory(two) == ContainerMemory()
    again.close()


async def test_revisions_only_go_up_and_never_skip(ledger: Ledger) -> None:
    assert ledger.accept(news(0, 4, 1))
    assert not ledger.accept(news(2, 3, 1, want=Want.GONE))
    assert not ledger.accept(news(5, 6, 1, want=Want.GONE))
    assert not ledger.accept(replace(news(4, 5, 1, want=Want.GONE), session=2))
    assert ledger.accept(news(4, 5, 2))
    assert len(ledger.assignments) == 2
    assert ledger.accept(news(0, 6, 2))
    assert len(ledger.assignments) == 1
    ledger.close()


@pytest.mark.parametrize("content", [b"", b"{", b'{"assignments": 3}', b"\x00" * 100])
async def test_a_torn_file_is_kept_aside_and_nothing_is_known(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "ledger.json").write_bytes(content)
    ledger = Ledger(tmp_path)
    assert (tmp_path / "ledger.broken").read_bytes() == content
    assert (ledger.cluster_id, ledger.complete) == (None, False)
    ledger.close()


async def test_unknown_keys_of_a_newer_version_are_ignored(ledger: Ledger, tmp_path: Path) -> None:
    ledger.accept(news(0, 1, 1))
    await ledger.save()
    ledger.close()
    page = json.loads((tmp_path / "ledger.json").read_text())
    page["fresh"] = page["assignments"][0]["fresh"] = page["assignments"][0]["spec"]["fresh"] = 1
    (tmp_path / "ledger.json").write_text(json.dumps(page))
    again = Ledger(tmp_path)
    assert again.assignments == ledger.assignments
    again.close()


async def test_content_is_on_the_disk_before_the_name_and_the_name_before_the_return(tmp_path: Path) -> None:
    path, synced = tmp_path / "ledger.json", []
    path.write_bytes(b"old")

    def sync(handle: int) -> None:
        target = os.readlink(f"/proc/self/fd/{handle}")
        synced.append((Path(target).name, path.read_bytes()))

    write_whole(path, b"new", sync)
    assert synced == [("ledger.new", b"old"), (tmp_path.name, b"new")]


async def test_nothing_changed_nothing_written(ledger: Ledger, tmp_path: Path) -> None:
    await ledger.save()
    before = (tmp_path / "ledger.json").stat().st_ino
    await ledger.save()
    assert (tmp_path / "ledger.json").stat().st_ino == before
    ledger.close()


async def test_one_agent_a_directory(ledger: Ledger, tmp_path: Path) -> None:
    with pytest.raises(LedgerLocked):
        Ledger(tmp_path)
    ledger.close()
    Ledger(tmp_path).close()
