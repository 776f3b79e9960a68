"""The server process from outside: lock, up, status, down, crashes. Only the roles are a stub."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from agents import credentials
from agents.credentials import Membership
from app.cli import client
from app.lock import LockTaken, ServerLock, holder
from app.postgres import EmbeddedPostgres
from tests.harness import wait
from tests.harness.claims import free_port

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(300)]
ROOT = Path(__file__).resolve().parents[2]
STUB = Path(__file__).with_name("server_stub.py")


SOON = 30
"""Seconds that a process may take to end, on a machine that is busy."""


def wait_for(condition: Callable[[], object]) -> None:
    # A first start makes a database, all of it on the disk.
    wait.wait_for(lambda: bool(condition()), timeout=60, what="it")


def handled(process: subprocess.Popen[bytes], number: int) -> bool:
    """Whether the process does something of its own about the signal by now."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught, 16) >> (number - 1) & 1)


class Box:
    """One installation in a folder of its own."""

    def __init__(self, base: Path) -> None:
        self.state = base / "state"
        self.port = free_port()
        self.children: list[subprocess.Popen[bytes]] = []

    def environment(self, **more: str) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if k not in ("DATABASE_URL", "DOCKER_HOST")}
        own = {
            "TUTELA_STATE_DIR": str(self.state),
            "TUTELA_PORT": str(self.port),
            "DOCKER_HOST": f"unix://{self.state}/none.sock",
            "PYTHONPATH": str(ROOT),
        }
        return kept | own | more

    def serve(self, **more: str) -> subprocess.Popen[bytes]:
        child = subprocess.Popen(
            [sys.executable, "-P", str(STUB)],
            env=self.environment(**more), stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        self.children.append(child)
        return child

    def tutela(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-P", "-m", "app.cli", *arguments],
            env=self.environment(**more), cwd="/", stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def answers(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0


@pytest.fixture
def box() -> Iterator[Box]:
    base = Path(tempfile.mkdtemp(prefix="tutela-box-"))
    base.chmod(0o755)
    made = Box(base)
    yield made
    for child in made.children:
        if child.poll() is None:
            child.kill()
        child.wait(SOON)
    EmbeddedPostgres(made.state).stop()
    shutil.rmtree(base, ignore_errors=True)


def test_the_lock_names_its_holder_and_ends_with_it(tmp_path: Path) -> None:
    first, second = ServerLock(tmp_path), ServerLock(tmp_path)
    assert holder(tmp_path) is None
    first.take("http://x")
    with pytest.raises(LockTaken):
        second.take("http://y")
    found = holder(tmp_path)
    assert found is not None
    assert (found.pid, found.url) == (os.getpid(), "http://x")
    assert first.path.stat().st_mode & 0o777 == 0o600
    first.release()
    assert holder(tmp_path) is None
    second.take("http://y")
    second.release()


def test_what_a_command_is_alone_for_is_no_server(box: Box) -> None:
    """`down` would end a restore half way, and `up` wait for it."""
    box.state.mkdir(mode=0o700)
    lock = ServerLock(box.state)
    lock.take("", doing="a restore")
    for arguments in (
        ["down"],
        ["up"],
        ["up", "--foreground"],
        ["status"],
        ["backup", f"{box.state}.tar"],
        ["node", "list"],
    ):
        done = box.tutela(*arguments)
        said = done.stdout if arguments == ["status"] else done.stderr
        assert f"a restore is under way (pid {os.getpid()})" in said, (arguments, done.stdout, done.stderr)
        assert done.returncode == (3 if arguments == ["status"] else 1)
    lock.release()


def test_another_server_on_the_port_is_not_taken_for_ours(box: Box) -> None:
    other = Box(box.state.parent / "other")
    other.state.parent.mkdir()
    other.port = box.port
    box.serve()
    wait_for(box.answers)
    found = holder(box.state)
    assert found is not None
    assert client.healthy(found)
    theirs = other.serve()
    wait_for(lambda: holder(other.state))
    mine = holder(other.state)
    assert mine is not None
    assert not client.healthy(mine)
    theirs.kill()
    theirs.wait(SOON)
    EmbeddedPostgres(other.state).stop()


def test_up_status_down_around_a_running_server(box: Box) -> None:
    server = box.serve()
    wait_for(box.answers)
    started = time.monotonic()
    up = box.tutela("up", TUTELA_ROLES="api,orchestrator")
    assert time.monotonic() - started < wait.bar(2)
    assert up.returncode == 0, up.stderr
    assert f"pid {server.pid}" in up.stdout
    assert "curl" in up.stdout
    assert "It ran already: changed settings or a new version count after ./tutela down and ./tutela up." in up.stdout
    without = box.tutela("up")  # whose engine has ended since
    assert (without.returncode, "DOCKER_HOST" in without.stderr) == (1, True)
    assert f"pid {server.pid}" in without.stdout
    status = box.tutela("status")
    assert status.returncode == 0
    assert "embedded, running" in status.stdout
    assert box.serve().wait(SOON) == 3
    down = box.tutela("down")
    assert down.returncode == 0, down.stderr
    assert server.wait(SOON) == 0
    assert not EmbeddedPostgres(box.state).running()
    again = box.tutela("down")
    assert (again.returncode, again.stdout) == (0, "nothing runs\n")
    assert box.tutela("status").returncode == 3


def test_a_backup_beside_a_server_on_another_database_asks_for_its_url(box: Box) -> None:
    box.serve(DATABASE_URL="postgresql://u@127.0.0.1:1/none")
    wait_for(lambda: holder(box.state))
    done = box.tutela("backup", f"{box.state}.tar")
    assert done.returncode == 1
    assert "runs on another database" in done.stderr
    assert "give this command the DATABASE_URL that it was started with" in done.stderr
    assert not (box.state / "postgres").exists()
    nowhere = box.tutela("backup", f"{box.state}/not/there.tar")
    assert (nowhere.returncode, nowhere.stderr) == (
        1, f"tutela: {box.state}/not is no directory: make it, or name a file elsewhere\n",
    )  # fmt: skip


def test_an_end_of_membership_is_asked_about_or_forced(box: Box) -> None:
    folder = box.state / "agent"
    folder.mkdir(parents=True, mode=0o700)
    page = Membership(
        cluster_id=uuid4(), node_id=uuid4(), name="h1", authority="", control_planes=("wss://192.0.2.1:8801",)
    )
    credentials.store(folder, page, "")
    told = [folder / name for name in ("ledger.json", "copies.json", "copies.new", "ledger.broken")]
    for path in told:
        path.write_text("hunter2")
    refused = box.tutela("agent", "leave")
    assert refused.returncode == 1
    assert "give --force: nobody is here to ask" in refused.stderr
    assert credentials.load(folder) == page
    assert box.tutela("agent", "leave", "--force").returncode == 0
    assert credentials.load(folder) is None
    assert not any(path.exists() for path in told)


def test_a_killed_server_leaves_postgres_for_the_next_or_for_down(box: Box) -> None:
    server = box.serve()
    wait_for(box.answers)
    pid_file = box.state / "postgres" / "data" / "postmaster.pid"
    postmaster = pid_file.read_text().split()[0]
    server.kill()
    server.wait(SOON)
    assert holder(box.state) is None
    server = box.serve()
    wait_for(box.answers)
    assert pid_file.read_text().split()[0] == postmaster
    server.kill()
    server.wait(SOON)
    down = box.tutela("down")
    assert "embedded Postgres" in down.stdout
    assert not pid_file.exists()


def test_the_keeper_starts_a_killed_postgres_again(box: Box) -> None:
    server = box.serve()
    wait_for(box.answers)
    postgres = EmbeddedPostgres(box.state)
    pid_file = box.state / "postgres" / "data" / "postmaster.pid"
    before = int(pid_file.read_text().split()[0])
    os.kill(before, signal.SIGKILL)

    def again() -> bool:
        """Another one runs; that none did in between may be over before anybody looks."""
        with contextlib.suppress(FileNotFoundError, IndexError):  # it is being written
            return int(pid_file.read_text().split()[0]) != before and postgres.running()
        return False

    wait_for(again)
    server.terminate()
    assert server.wait(SOON) == 0
    assert not postgres.running()


def test_a_role_that_dies_ends_the_process_with_an_error(box: Box) -> None:
    assert box.serve(STUB="dies").wait(60) == 1
    assert not EmbeddedPostgres(box.state).running()


def test_a_stop_while_the_database_is_away_is_clean_and_quick(box: Box) -> None:
    server = box.serve(DATABASE_URL="postgresql://u@127.0.0.1:1/none")
    wait_for(lambda: holder(box.state) and handled(server, signal.SIGTERM))
    wait.let_pass(1)
    server.terminate()
    assert server.wait(wait.bar(5)) == 0


def test_a_second_signal_ends_a_server_that_hangs(box: Box) -> None:
    server = box.serve(STUB="hangs")
    wait_for(box.answers)
    server.send_signal(signal.SIGINT)
    # Sent before the first has arrived, the second would be the same one.
    wait_for(lambda: not box.answers())
    assert server.poll() is None
    server.send_signal(signal.SIGINT)
    assert server.wait(SOON) == 128 + signal.SIGINT


def test_bad_settings_and_a_missing_engine_are_one_line(box: Box) -> None:
    bad = box.tutela("up", TUTELA_PORT="no")
    assert bad.returncode == 2
    assert len(bad.stderr.splitlines()) == 1
    assert "TUTELA_PORT: " in bad.stderr
    exposed = box.tutela("up", TUTELA_HOST="0.0.0.0")
    assert "TUTELA_INSECURE_HTTP" in exposed.stderr
    both = box.tutela("up", "--foreground", "--sample")
    assert both.returncode == 2
    assert "--sample needs the running server" in both.stderr
    missing = box.tutela("up")
    assert missing.returncode == 1
    assert "DOCKER_HOST" in missing.stderr
    assert len(missing.stderr.splitlines()) == 1
    assert holder(box.state) is None


def test_status_imports_nothing_heavy(box: Box) -> None:
    script = (
        "import sys; sys.argv = ['tutela', 'status']; from app.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print([m for m in ('docker', 'fastapi', 'alembic', 'sqlalchemy', 'asyncpg') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", script],
        env=box.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"
