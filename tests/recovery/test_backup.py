"""Backup and restore on a real Postgres: the same record comes back, or nothing is touched and it is said why."""

from __future__ import annotations

import asyncio
import tarfile
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg
import pytest

from app import backup
from app.cli import CommandError
from app.cli import backup as command
from app.cli.offline import alone, which
from app.lock import ServerLock
from app.settings import Settings, get_settings
from domain.service import Verb
from orchestrator.store import dump
from orchestrator.store.db import Database
from tests.harness.postgres import TestPostgres
from tests.orchestrator.world import Node, Record

T = TypeVar("T")
CHANGED_BY_A_RESTORE = {"installation", "nodes", "services"}
"""The line of the record, how far it was, and when services are looked at."""


@dataclass(frozen=True)
class Place:
    """An installation without processes."""

    dsn: str
    state: Path
    file: Path

    def sql(self, statement: str) -> Any:
        async def ask() -> Any:
            conn = await asyncpg.connect(self.dsn)
            try:
                return await conn.fetchval(statement)
            finally:
                await conn.close()

        return asyncio.run(ask())

    def rows(self, folder: Path) -> dict[str, list[str]]:
        """All tables as they would be written now."""
        folder.mkdir()
        dumped = asyncio.run(dump.dump(self.dsn, folder))
        return {
            table.name: sorted(dump.file_of(folder, table.name).read_text().splitlines()) for table in dumped.tables
        }


@pytest.fixture
def place(postgres: TestPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    dsn = asyncio.run(postgres.fresh())
    made = Place(dsn, tmp_path / "state", tmp_path / "backup.tar")
    made.state.mkdir()
    use(made, monkeypatch)
    yield made
    asyncio.run(postgres.drop(dsn))
    get_settings.cache_clear()


def use(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", place.dsn)
    monkeypatch.setenv("TUTELA_STATE_DIR", str(place.state))
    get_settings.cache_clear()


def doing(place: Place, work: Callable[[Record], Coroutine[Any, Any, T]]) -> T:
    async def run() -> T:
        record = await Record.open(place.dsn)
        try:
            return await work(record)
        finally:
            await record.db.close()

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("dsn", "said"),
    [
        (None, "the embedded Postgres in /s/postgres"),
        ("postgresql://u:hidden@h:5433/d", "the database d at h:5433, from DATABASE_URL"),
        ("postgresql://u:hidden@/d?host=/run/x&password=hidden", "the database d at /run/x, from DATABASE_URL"),
        ("postgresql://u:hidden@h", "the database (default) at h, from DATABASE_URL"),
        ("postgresql://u:hid@den@h1:5432,h2:5433/d", "the database d at h1:5432,h2:5433, from DATABASE_URL"),
    ],
)
def test_a_database_is_named_without_its_password(dsn: str | None, said: str) -> None:
    assert which(Settings(state_dir=Path("/s"), database_url=dsn)) == said


async def fill(record: Record) -> UUID:
    node, service_id = await Node.join(record.db), await record.create(name="web", target=2)
    await record.operate(service_id, Verb.START)
    await record.settle(node)
    return service_id


def test_the_record_comes_back_as_it_was(place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place.state / "secret-key").write_text("k")
    service_id = doing(place, fill)
    before, lineage = place.rows(tmp_path / "before"), place.sql("SELECT lineage FROM installation")
    command.save(place.file, secrets=True, force=False)
    assert place.file.stat().st_mode & 0o777 == 0o600
    assert {path.name for path in tmp_path.iterdir()} == {"state", "before", "backup.tar"}, "nothing is left beside it"

    async def more(record: Record) -> None:
        await record.scale(service_id, 5)
        await record.create(name="newer")

    doing(place, more)
    with pytest.raises(CommandError, match="has 1 users and 2 services: with --force"):
        command.put_back(place.file, force=False)
    command.put_back(place.file, force=True)
    parts = urlsplit(place.dsn)
    said = capsys.readouterr().out
    assert f"It was written into the database {parts.path[1:]} at " in said
    assert parts.password is None or parts.password not in said
    after = place.rows(tmp_path / "after")
    for name in before.keys() - CHANGED_BY_A_RESTORE:
        assert after[name] == before[name], name
    assert {name: len(after[name]) for name in before} == {name: len(before[name]) for name in before}
    assert len(before["actions"]) > 0
    assert len(before["containers"]) == 2
    assert place.sql("SELECT restored_from FROM installation") == lineage
    assert place.sql("SELECT lineage FROM installation") != lineage
    assert place.sql("SELECT bool_and(restored_revision = assignment_revision) FROM nodes")

    async def go_on(record: Record) -> None:
        await record.create(name="after")
        await record.operate(service_id, Verb.STOP)

    doing(place, go_on)
    assert place.sql("SELECT count(DISTINCT subnet) FROM services") == 2, "sequences go on where they were"
    assert place.sql("SELECT count(*) FROM events WHERE type = 'service'") > 0, "triggers are on again"
    with pytest.raises(asyncpg.RaiseError, match="only added to"):
        place.sql("TRUNCATE audit")


def test_an_empty_database_and_an_empty_state_directory_become_the_installation(
    place: Place, postgres: TestPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    doing(place, fill)
    (place.state / "secret-key").write_text("the secret")
    (place.state / "admin-key.json").write_text("{}")
    command.save(place.file, secrets=True, force=False)
    empty = Place(postgres.url("empty"), tmp_path / "other", place.file)
    asyncio.run(execute(postgres.dsn, 'CREATE DATABASE "empty"'))
    use(empty, monkeypatch)
    command.put_back(place.file, force=False)
    assert empty.sql("SELECT count(*) FROM containers") == 2
    assert empty.sql("SELECT cluster_id FROM installation") == place.sql("SELECT cluster_id FROM installation")
    assert (empty.state / "secret-key").read_text() == "the secret"
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in empty.state.iterdir())
    asyncio.run(postgres.drop(empty.dsn))


async def execute(dsn: str, statement: str) -> None:
    conn = await asyncpg.connect(dsn)
    await conn.execute(statement)
    await conn.close()


def test_secrets_are_left_out_when_asked_and_never_overwritten_unasked(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    (place.state / "secret-key").write_text("first")
    command.save(place.file, secrets=False, force=False)
    assert "does not hold" in capsys.readouterr().out
    with tarfile.open(place.file) as archive:
        assert not {"secret-key", "admin-key.json"} & set(archive.getnames())
    with pytest.raises(CommandError, match="is there already"):
        command.save(place.file, secrets=True, force=False)
    command.save(place.file, secrets=True, force=True)
    (place.state / "secret-key").write_text("second")
    with pytest.raises(CommandError, match=r"secret-key in .* are not those of the backup"):
        command.put_back(place.file, force=False)
    assert (place.state / "secret-key").read_text() == "second"
    command.put_back(place.file, force=True)
    assert (place.state / "secret-key").read_text() == "first"
    assert (place.state / "secret-key.before-restore").read_text() == "second"


def test_not_while_somebody_works_with_the_database(place: Place) -> None:
    command.save(place.file, secrets=True, force=False)

    async def beside() -> None:
        db = await Database.open(place.dsn, size=1)
        try:
            with pytest.raises(CommandError, match="connections of Tutela are open"):
                await asyncio.to_thread(command.put_back, place.file, force=True)
            await db.ping()
        finally:
            await db.close()

    asyncio.run(beside())
    with alone(get_settings()), pytest.raises(CommandError, match="a backup, restore or rebuild is under way"):
        command.put_back(place.file, force=True)
    lock = ServerLock(place.state)
    lock.take("http://127.0.0.1:1")
    with pytest.raises(CommandError, match="the control plane runs"):
        command.put_back(place.file, force=True)
    lock.release()


def damaged(content: bytes) -> Iterator[tuple[str, bytes, str]]:
    """Archives that are not to be believed."""
    yield "a byte is another", content.replace(b"tutela/web:latest", b"tutela/wex:latest", 1), "checksum"
    yield "cut off", content[: len(content) // 2], "no whole backup"
    yield "no archive", b"x" * 2000, "no whole backup"
    yield "empty", b"", "no whole backup"
    yield "of the future", content.replace(b'"format": 1', b'"format": 9', 1), "does not know"
    yield "another name", content.replace(b"tables/accounts.copy", b"../bles/accounts.cop", 1), "is no backup|no whole"


def test_what_is_damaged_is_refused_and_nothing_is_touched(place: Place, tmp_path: Path) -> None:
    doing(place, fill)
    command.save(place.file, secrets=True, force=False)
    content = place.file.read_bytes()
    before = place.rows(tmp_path / "before")
    for number, (what, bad, says) in enumerate(damaged(content)):
        assert bad != content, what
        place.file.write_bytes(bad)
        with pytest.raises(CommandError, match=says):
            command.put_back(place.file, force=True)
        assert place.rows(tmp_path / f"after{number}") == before, what
    assert [path.name for path in place.state.iterdir() if path.name.startswith(".")] == []


def test_a_backup_of_a_newer_version_is_refused(place: Place, tmp_path: Path) -> None:
    folder = tmp_path / "rows"
    folder.mkdir()
    dumped = asyncio.run(dump.dump(place.dsn, folder))
    newer = dump.Dumped(
        schema="9999",
        cluster_id=dumped.cluster_id,
        lineage=dumped.lineage,
        tables=dumped.tables,
        sequences=dumped.sequences,
    )
    backup.write(place.file, folder, newer, {})
    with pytest.raises(CommandError, match="by a newer Tutela"):
        command.put_back(place.file, force=True)
