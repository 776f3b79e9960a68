"""What a restore, a rebuild and a backup leave when they cannot be done: everything as before, and one sentence."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from app import backup, migrate
from app.cli import CommandError, rebuild
from app.cli import backup as command
from orchestrator.store import dump
from tests.harness.postgres import TestPostgres
from tests.recovery.test_backup import Place, doing, execute, fill, place, use  # noqa: F401 - a fixture
from tests.recovery.test_rebuild import facts, founded

ROWS = """
INSERT INTO accounts (id, username, role) VALUES (gen_random_uuid(), 'admin', 'admin');
INSERT INTO nodes (id, name, state) VALUES (gen_random_uuid(), 'n1', 'Deployed');
INSERT INTO services (id, account_id, name, unique_name, image_name, state, target, want, spec, deploy_gen, start_gen,
    subnet, created_at) SELECT gen_random_uuid(), id, 'web', 'web', 'tutela/web', 'Running', 1, 'RUNNING', '{}', 1, 1,
    '10.0.0.0/24', now() FROM accounts;
"""
SHAPE = """
SELECT format('%s %s %s', relname, relkind, reloptions) FROM pg_class WHERE relnamespace = 'public'::regnamespace
UNION ALL SELECT format('%s.%s %s %s %s', attrelid::regclass, attname, format_type(atttypid, atttypmod), attnotnull,
    pg_get_expr(adbin, adrelid)) FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    WHERE attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace) AND attnum > 0
UNION ALL SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid::regclass::text !~ '^pg_'
UNION ALL SELECT conname::text || pg_get_constraintdef(oid) FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace
UNION ALL SELECT tgenabled::text || pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
UNION ALL SELECT pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
ORDER BY 1
"""
FOREIGN = {
    "an application": "CREATE TABLE customers AS SELECT 1 AS kept; CREATE SEQUENCE invoices",
    "one with alembic": "CREATE TABLE customers AS SELECT 1 AS kept; CREATE TABLE alembic_version AS SELECT"
    " '3f2a9c'::text AS version_num",
    "one that counts its versions as Tutela does": "CREATE TABLE accounts AS SELECT 1 AS kept; CREATE TABLE services AS"
    " SELECT 1 AS kept; CREATE TABLE alembic_version AS SELECT '0003'::text AS version_num",
    "a view alone": "CREATE VIEW report AS SELECT 1 AS kept",
}

Empty = Callable[[], Place]


@pytest.fixture
def empty(postgres: TestPostgres, tmp_path: Path) -> Iterator[Empty]:
    """Installations on databases without tables."""
    made: list[Place] = []

    def make() -> Place:
        name = f"empty{len(made)}"
        asyncio.run(postgres.drop(postgres.url(name)))
        asyncio.run(execute(postgres.dsn, f'CREATE DATABASE "{name}"'))
        made.append(Place(postgres.url(name), tmp_path / name, tmp_path / "backup.tar"))
        made[-1].state.mkdir()
        return made[-1]

    yield make
    for each in made:
        asyncio.run(postgres.drop(each.dsn))


def shape(at: Place) -> list[str]:
    """The schema, thing by thing."""

    async def ask() -> list[str]:
        conn = await asyncpg.connect(at.dsn)
        try:
            return [row[0] for row in await conn.fetch(SHAPE)]
        finally:
            await conn.close()

    return asyncio.run(ask())


def older(at: Place, *, damaged: bool = False) -> None:
    """Fill it with a record of the schema 0012, and make the backup of that."""
    migrate.upgrade(at.dsn, revision="0012")
    asyncio.run(execute(at.dsn, ROWS))
    folder = at.state / "rows"
    folder.mkdir()
    dumped = asyncio.run(dump.dump(at.dsn, folder))
    assert dumped.schema == "0012"
    if damaged:
        with dump.file_of(folder, "services").open("ab") as rows:
            rows.write(b"no row\n")
    backup.write(at.file, folder, dumped, {"secret-key": b"of the backup"})


@pytest.mark.parametrize("what", FOREIGN)
@pytest.mark.parametrize("force", [False, True])
def test_what_tutela_did_not_make_is_never_taken_away(
    place: Place,  # noqa: F811
    empty: Empty,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
    *,
    force: bool,
) -> None:
    asyncio.run(founded(place.dsn, place.state))
    command.save(place.file, secrets=True, force=False)
    other = empty()
    asyncio.run(execute(other.dsn, FOREIGN[what]))
    before = shape(other)
    use(replace(other, state=place.state), monkeypatch)
    for work in (lambda: command.put_back(place.file, force=force), lambda: rebuild.run(force=force)):
        with pytest.raises(CommandError, match=r"did not make \(.*DATABASE_URL"):
            work()
        assert shape(other) == before


@pytest.mark.parametrize(
    ("added", "removed"),
    [
        ("CREATE TABLE notes (id serial); CREATE SEQUENCE numbers", "DROP TABLE notes; DROP SEQUENCE numbers"),
        ("CREATE SCHEMA s; CREATE VIEW s.v AS SELECT id FROM services", "DROP SCHEMA s CASCADE"),
    ],
)
def test_what_was_put_beside_or_upon_the_record_is_not_taken_away_with_it(
    place: Place,  # noqa: F811
    added: str,
    removed: str,
) -> None:
    doing(place, fill)
    asyncio.run(execute(place.dsn, added))
    command.save(place.file, secrets=True, force=False)
    before = shape(place)
    with pytest.raises(CommandError, match=r"did not make|other objects depend"):
        command.put_back(place.file, force=True)
    assert shape(place) == before
    assert place.sql("SELECT count(*) FROM services") == 1
    asyncio.run(execute(place.dsn, removed))
    asyncio.run(execute(place.dsn, "DELETE FROM actions"))
    command.put_back(place.file, force=True)
    assert place.sql("SELECT count(*) FROM actions") == 1, "it is not in the backup, which can be used"


def test_what_belongs_to_an_extension_and_to_other_schemas_is_no_hindrance(
    place: Place,  # noqa: F811
    postgres: TestPostgres,
) -> None:
    asyncio.run(
        execute(
            place.dsn,
            "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1';"
            " CREATE SCHEMA other; CREATE TABLE other.accounts AS SELECT 1 AS kept",
        )
    )
    parts = urlsplit(place.dsn)
    password = (postgres.server.state_dir / "postgres-admin-password").read_text().strip()
    admin = parts._replace(netloc=f"postgres:{password}@").geturl()
    asyncio.run(
        execute(
            admin,
            "CREATE VIEW statements AS SELECT 1 AS kept; GRANT SELECT ON statements TO PUBLIC;"
            " ALTER EXTENSION plpgsql ADD VIEW statements",
        )
    )
    doing(place, fill)
    command.save(place.file, secrets=True, force=False)
    command.put_back(place.file, force=True)
    assert place.sql("SELECT kept FROM other.accounts") == 1
    assert place.sql("SELECT mine()") == 1
    assert place.sql("SELECT kept FROM statements") == 1
    assert place.sql("SELECT count(*) FROM services") == 1


def test_a_backup_of_an_older_schema_ends_at_the_present_one(
    place: Place,  # noqa: F811
    empty: Empty,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    present = shape(place)
    older(empty())
    for target in (empty(), place):
        use(target, monkeypatch)
        command.put_back(place.file, force=True)
        assert target.sql("SELECT version_num FROM alembic_version") == migrate.newest()
        assert target.sql("SELECT name FROM services") == "web"
        assert target.sql("SELECT restored_from IS NOT NULL FROM installation")
        assert shape(target) == present, "as the migrations make it"
        migrate.upgrade(target.dsn)
        doing(target, fill)


def test_a_backup_is_the_way_back_from_a_newer_version(place: Place) -> None:  # noqa: F811
    present = shape(place)
    doing(place, fill)
    command.save(place.file, secrets=True, force=False)
    asyncio.run(
        execute(
            place.dsn,
            "UPDATE alembic_version SET version_num = '9998'; ALTER TABLE nodes ADD newer int;"
            " CREATE FUNCTION tutela_newer() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        )
    )
    with pytest.raises(CommandError, match="is of a newer Tutela: make the backup with that one"):
        command.save(place.file, secrets=True, force=True)
    with pytest.raises(CommandError, match="has 1 users and 1 services"):
        command.put_back(place.file, force=False)
    command.put_back(place.file, force=True)
    assert shape(place) == present
    assert place.sql("SELECT count(*) FROM services") == 1


@pytest.mark.parametrize("schema", ["0012", "present"])
def test_a_restore_that_fails_half_way_changes_nothing(
    place: Place,  # noqa: F811
    empty: Empty,
    tmp_path: Path,
    schema: str,
) -> None:
    if schema == "0012":
        older(empty(), damaged=True)
    else:
        folder = tmp_path / "rows"
        folder.mkdir()
        dumped = asyncio.run(dump.dump(place.dsn, folder))
        dump.file_of(folder, "services").write_bytes(b"no row\n")
        backup.write(place.file, folder, dumped, {"secret-key": b"of the backup"})
    doing(place, fill)
    (place.state / "secret-key").write_text("as before")
    before, made = place.rows(tmp_path / "before"), shape(place)
    with pytest.raises(CommandError, match="the database refuses: invalid input syntax"):
        command.put_back(place.file, force=True)
    assert place.rows(tmp_path / "after") == before
    assert shape(place) == made
    assert {path.name: path.read_text() for path in place.state.iterdir()} | {"tutela.lock": ""} == {
        "secret-key": "as before",
        "tutela.lock": "",
    }


def test_a_rebuild_that_fails_leaves_the_record(place: Place) -> None:  # noqa: F811
    cluster = asyncio.run(founded(place.dsn, place.state))
    asyncio.run(execute(place.dsn, "CREATE SCHEMA s; CREATE VIEW s.v AS SELECT certificate FROM authority"))
    with pytest.raises(CommandError, match="other objects depend"):
        rebuild.run(force=True)
    assert asyncio.run(facts(place.dsn))[:2] == (cluster, False)
    assert place.sql("SELECT count(*) FROM accounts") == 1


def test_what_is_no_record_of_tutelas_is_not_backed_up(
    place: Place,  # noqa: F811
    empty: Empty,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = empty()
    use(other, monkeypatch)
    with pytest.raises(CommandError, match="no record of Tutela in the database empty0 at "):
        command.save(place.file, secrets=True, force=False)
    migrate.upgrade(other.dsn, revision="0007")
    with pytest.raises(CommandError, match="of the schema 0007, and backups begin with 0008: "):
        command.save(place.file, secrets=True, force=False)
    asyncio.run(execute(other.dsn, "DROP TABLE alembic_version; CREATE TABLE customers ()"))
    with pytest.raises(CommandError, match="no record of Tutela in the database empty0 at "):
        command.save(place.file, secrets=True, force=False)
    assert not place.file.exists()


def test_what_the_database_refuses_is_one_sentence(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    asyncio.run(execute(place.dsn, "REVOKE SELECT ON triggers FROM CURRENT_USER"))
    with pytest.raises(CommandError, match="the database refuses: permission denied for table triggers"):
        command.save(place.file, secrets=True, force=False)
    name = place.dsn.split("?")[0].rsplit("/", 1)[-1]
    for dsn, said in (
        (place.dsn.replace(f"/{name}?", "/nowhere?"), 'the database refuses: database "nowhere" does not exist'),
        (place.dsn.replace("tutela:", "tutela:not-"), "the database refuses: password authentication failed"),
        ("postgresql://u:hidden@h:port/d", "DATABASE_URL is not of the form"),
        ("postgresql://u:hidden@[h/d", "DATABASE_URL is not of the form"),
    ):
        use(replace(place, dsn=dsn), monkeypatch)
        with pytest.raises(CommandError, match=said) as raised:
            command.save(place.file, secrets=True, force=False)
        assert "hidden" not in str(raised.value)


def test_a_restore_waits_for_who_holds_a_table(place: Place) -> None:  # noqa: F811
    async def limit() -> str:
        async with dump._connected(place.dsn) as conn:
            return str(await conn.fetchval("SHOW lock_timeout"))

    assert asyncio.run(limit()) == "0"


def test_a_backup_that_fails_leaves_nothing(place: Place, tmp_path: Path) -> None:  # noqa: F811
    folder = tmp_path / "rows"
    folder.mkdir()
    dumped = asyncio.run(dump.dump(place.dsn, folder))
    at = tmp_path / "backups" / "b.tar"
    at.parent.mkdir()
    at.mkdir()  # so that it cannot take its place
    with pytest.raises(OSError, match=r"b\.tar"):
        backup.write(at, folder, dumped, {"secret-key": b"secret"})
    assert list(at.parent.iterdir()) == [at]
