"""`./tutela admin` and `./tutela node` against a real server."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import subprocess
import sys
import termios
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from app.cli import CommandError
from app.cli.agent import _reachable
from domain.engine_notes import EngineSetup
from orchestrator.store import nodes
from tests.admin.servers import ask, control_plane
from tests.harness.server import ROOT, TutelaProcess
from tests.harness.wait import wait_for
from tests.orchestrator.world import ENGINE, Node, Record

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def plane(database_url: str) -> Iterator[TutelaProcess]:
    with control_plane(database_url) as server:
        yield server


def run(server: TutelaProcess, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "app.cli", *words],
        env={**server.environment, "PYTHONPATH": str(ROOT)},
        input=stdin, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def tutela(server: TutelaProcess, *words: str, code: int = 0, stdin: str = "") -> str:
    """What the command prints; on stderr when it fails."""
    done = run(server, *words, stdin=stdin)
    assert done.returncode == code, (words, done.stdout, done.stderr)
    return done.stderr if code else done.stdout


def typing(server: TutelaProcess, *command: str, words: tuple[str, ...]) -> str:
    """What is seen on a terminal where each of the words is typed when it is asked for."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "app.cli", *command],
        env={**server.environment, "PYTHONPATH": str(ROOT)},
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    ) as process:  # fmt: skip
        os.close(theirs)
        seen = ""
        for word in words:
            while not seen.endswith(": "):
                seen += os.read(ours, 1024).decode()
            os.write(ours, f"{word}\n".encode())
            seen += "\n"
        with contextlib.suppress(OSError):  # the terminal is hung up
            while more := os.read(ours, 1024):
                seen += more.decode()
        assert process.wait(30) == 0, seen
    os.close(ours)
    return seen


def asked(server: TutelaProcess, *words: str) -> Any:
    return json.loads(tutela(server, "admin", *words, "--json"))


def test_users_and_keys(plane: TutelaProcess) -> None:
    tutela(plane, "admin", "users", "add", "eve", "--role", "read-only")
    tutela(plane, "admin", "users", "add", "max", "--password", stdin="correct horse\n")
    lines = tutela(plane, "admin", "users", "list").splitlines()
    assert lines[0].split() == ["NAME", "ROLE", "ENABLED", "PASSWORD", "CREATED"]
    assert [line.split()[:4] for line in lines[1:]] == [
        ["admin", "admin", "yes", "no"], ["eve", "read-only", "yes", "no"], ["max", "member", "yes", "yes"],
    ]  # fmt: skip
    tutela(plane, "admin", "users", "quota", "max", "--services", "3", "--containers", "9")
    tutela(plane, "admin", "users", "quota", "max", "--services", "none")
    tutela(plane, "admin", "users", "quota", "max", "--memory", "512", "--cpu-shares", "1024")
    assert json.loads(tutela(plane, "admin", "users", "quota", "max", "--json")) == {
        "services": None,
        "containers": 9,
        "memory": 512,
        "cpu_shares": 1024,
    }
    typed = typing(plane, "admin", "users", "add", "liz", "--password", words=("correct horse", "correct horse"))
    assert "New password of liz" in typed
    assert "correct horse" not in typed
    tutela(plane, "admin", "users", "delete", "liz")
    secret = tutela(plane, "admin", "keys", "add", "ci", "--user", "eve", "--days", "30").strip()
    header = f"ApiKey eve:{secret}"
    assert ask(plane, "GET", "/api/v1/service/", header).status == 200
    assert ask(plane, "POST", "/api/v1/service/", header, {"image": "a"}).status == 403
    tutela(plane, "admin", "users", "role", "eve", "member")
    (key,) = asked(plane, "keys", "list", "--user", "eve")
    assert key["scope"] == "read-only"
    assert key["expires"] is not None
    assert secret not in tutela(plane, "admin", "keys", "list", "--user", "eve")
    tutela(plane, "admin", "users", "disable", "eve")
    assert ask(plane, "GET", "/api/v1/service/", header).status == 401
    tutela(plane, "admin", "users", "enable", "eve")
    tutela(plane, "admin", "keys", "revoke", key["uuid"][:8], "--user", "eve")
    assert ask(plane, "GET", "/api/v1/service/", header).status == 401
    tutela(plane, "admin", "users", "delete", "eve")
    assert [each["username"] for each in asked(plane, "users", "list")] == ["admin", "max"]
    own = asked(plane, "keys", "add", "second")
    assert own["key"].startswith("tutela_")
    assert {each["name"] for each in asked(plane, "keys", "list")} == {"first start", "second"}


def test_a_refusal_is_one_line(plane: TutelaProcess) -> None:
    for words, text in (
        (("users", "disable", "admin"), "last admin"),
        (("users", "add", "Bad Name"), "username"),
        (("users", "role", "nobody", "admin"), "no user nobody"),
        (("resume", "all"), "not paused"),
        (("pause", "service", "nothing"), "no service nothing"),
        (("pause", "node", "nothing"), "no node"),
        (("audit", "--from", "someday"), "date"),
    ):
        said = tutela(plane, "admin", *words, code=1)
        assert re.fullmatch(r"tutela: [^\n{]*\n", said), said
        assert text in said
    tutela(plane, "admin", "pause", "all", "web", code=2)


def test_a_token_is_for_hosts_that_reach_the_door(plane: TutelaProcess, database_url: str) -> None:
    said = tutela(plane, "agent", "token", code=1)
    assert said == (
        f"tutela: other hosts cannot reach wss://127.0.0.1:{plane.agent_port}:"
        " restart with TUTELA_AGENT_HOST=ADDRESS (or TUTELA_AGENT_URL)\n"
    )
    with control_plane(database_url, TUTELA_AGENT_URL="wss://door.example:8801") as open_door:
        (open_door.state_dir / "admin-key.json").write_text((plane.state_dir / "admin-key.json").read_text())
        assert "./tutela agent join wss://door.example:8801 TUTELA-1-" in tutela(open_door, "agent", "token")
        assert "./tutela agent join" in tutela(open_door, "agent", "token", "--uses", "100", "--hours", "168")
        for much in (("--uses", "101"), ("--hours", "169"), ("--hours", "0.01")):
            assert f"Invalid value for '{much[0]}'" in tutela(open_door, "agent", "token", *much, code=2)


@pytest.mark.parametrize("door", ["wss://[::]:8801", "wss://0.0.0.0:1", "wss://localhost:8801", "wss://[::1]:8801"])
def test_doors_that_only_this_machine_reaches(door: str) -> None:
    with pytest.raises(CommandError, match="other hosts cannot reach"):
        _reachable(door)


def test_health_queue_pauses_and_the_log(plane: TutelaProcess) -> None:
    text = tutela(plane, "admin", "health")
    for word in ("database        ok", "schema", "postgres", "control planes", "agents          none", "queue"):
        assert word in text
    plane.api.post("/api/v1/service/", json={"image": "a", "name": "web"})
    tutela(plane, "admin", "pause", "service", "web")
    (row,) = asked(plane, "queue", "--paused")
    assert row["name"] == "web"
    assert "paused by admin" in tutela(plane, "admin", "queue")
    tutela(plane, "admin", "resume", "service", row["uuid"])
    tutela(plane, "admin", "look", "service", "web")
    tutela(plane, "admin", "look", "all")
    tutela(plane, "admin", "pause", "all")
    ill = run(plane, "admin", "health")
    assert (ill.returncode, ill.stderr) == (1, "")
    assert "everything, by admin" in ill.stdout
    tutela(plane, "admin", "resume", "all")
    rows = asked(plane, "audit", "--object", row["resource_uri"])
    assert [each["action"] for each in rows] == ["Service Look", "Service Resume", "Service Pause", "Service Create"]
    assert len(asked(plane, "audit", "--user", "admin", "--limit", "2")) == 2
    assert asked(plane, "audit", "--to", "2020-01-01") == []
    assert "Service Pause" in tutela(plane, "admin", "audit", "--from", "2020-01-01")


async def test_nodes(plane: TutelaProcess, database_url: str) -> None:
    record = await Record.open(database_url)
    await Node.join(record.db, "a")
    assert "has not said" in tutela(plane, "node", "notes", "a")
    async with record.db.transaction() as conn:
        setup = EngineSetup(runc="1.3.3", live_restore=False)
        await nodes.register(conn, "a", replace(ENGINE, place="a", setup=setup))
        # Nobody beats for it, and some commands on a busy machine take longer than a node may be silent.
        await conn.execute("UPDATE nodes SET last_seen = now() + interval '1 hour'")
    tutela(plane, "admin", "pause", "node", "a")
    listed = tutela(plane, "node", "list")
    assert "Deployed (paused)" in listed
    assert "The engine of a: no-live-restore." in listed
    assert "What helps: " in tutela(plane, "node", "notes", "a")
    assert "a: no-live-restore" in tutela(plane, "admin", "health", code=0)
    async with record.db.transaction() as conn:
        await conn.execute("UPDATE nodes SET last_seen = now() - interval '1 minute'")
    await record.db.close()

    def ill() -> bool:
        done = run(plane, "admin", "health")
        return done.returncode == 1 and "unreachable     a, last seen " in done.stdout

    wait_for(ill, timeout=30, what="health to say so")
    tutela(plane, "admin", "look", "node", "a", code=1)
    tutela(plane, "admin", "resume", "node", "a")
    assert [each["name"] for each in json.loads(tutela(plane, "node", "list", "--json"))] == ["a"]
