"""What the scale is measured on: a Postgres with fsync on, the real control plane, processes of model hosts."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import asyncpg

from bench.idle import resident
from tests.harness import memory
from tests.harness.postgres import TestPostgres
from tests.harness.server import ROOT, TutelaProcess

HOSTS_OF_A_TOKEN = 100
"""The most that a join token may be used."""

HOSTS_OF_A_PROCESS = 1500
OPEN_FILES = 20_000
AROUND = r"^(BEGIN|COMMIT|ROLLBACK|CLOSE ALL|UNLISTEN|RESET ALL|SELECT pg_advisory_unlock_all\(\))"
"""Brackets of transactions, and what asyncpg's pool says whenever a connection is given back."""

STATEMENTS = """
    SELECT coalesce(sum(calls), 0) FROM pg_stat_statements s JOIN pg_roles r ON r.oid = s.userid
    WHERE r.rolname = 'tutela' AND ($1 OR query !~* $2)
"""
LOOK_SECONDS = 0.1
HOSTS_LOOKED_AT = 2000
"""Of so many hosts a second the state may be asked for: it costs their processes time, on the cores that count."""

TRIES, AGAIN_SECONDS = 120, 0.25
NETWORK_POOL = "10.0.0.0/9"
"""The default one has room for 4,096 services."""


class Away(Exception):
    """The API says that it cannot answer now."""


class Client:
    """The API over one kept connection, as the admin. Not for several threads at once."""

    def __init__(self, server: TutelaProcess) -> None:
        key = server.api.credentials()
        self._headers = {"Authorization": f"ApiKey {key['user']}:{key['api_key']}", "Content-Type": "application/json"}
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)

    def insist(self, method: str, path: str, body: Any = None) -> Any:
        """The same, again while the answer is 503: what was not accepted is asked for anew."""
        for _ in range(TRIES - 1):
            with contextlib.suppress(Away):
                return self.call(method, path, body)
            time.sleep(AGAIN_SECONDS)
        return self.call(method, path, body)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The answer's content. Raises Away for a 503, AssertionError for anything else but success."""
        sent = None if body is None else json.dumps(body)
        try:
            self._connection.request(method, path, body=sent, headers=self._headers)
        except (OSError, http.client.HTTPException):
            # The server ends connections that were idle for long.
            self._connection.close()
            self._connection.request(method, path, body=sent, headers=self._headers)
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status == 503:
            raise Away(text.decode())
        assert answer.status < 300, f"{method} {path}: {answer.status} {text.decode()[:500]}"
        return json.loads(text) if text else None

    def close(self) -> None:
        """End the connection."""
        self._connection.close()


class Record:
    """The database as its superuser sees it, for counting and for filling."""

    def __init__(self, postgres: TestPostgres, dsn: str) -> None:
        password = (postgres.server.state_dir / "postgres-admin-password").read_text().strip()
        self.dsn = f"postgresql://postgres:{password}@{dsn.partition('@')[2]}"
        self._loop = asyncio.new_event_loop()
        self._conn = self._loop.run_until_complete(asyncpg.connect(self.dsn))
        self.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")

    def rows(self, query: str, *arguments: Any) -> list[Any]:
        """The rows of a query."""
        return self._loop.run_until_complete(self._conn.fetch(query, *arguments, timeout=600))

    def value(self, query: str, *arguments: Any) -> Any:
        """The first value of a query."""
        return self.rows(query, *arguments)[0][0]

    def execute(self, query: str, *arguments: Any) -> None:
        """Carry out a statement."""
        self._loop.run_until_complete(self._conn.execute(query, *arguments, timeout=600))

    def count_anew(self) -> None:
        """Statements are counted from here."""
        self.execute("SELECT pg_stat_statements_reset()")

    def statements(self, *, around: bool = True) -> int:
        """The product's statements since `count_anew`; without `around` none of those around the others."""
        return int(self.value(STATEMENTS, around, AROUND))

    def dearest(self, count: int = 8) -> list[dict[str, Any]]:
        """Those that took most of the server's time since then, and those that were most often. Milliseconds."""
        found = self.rows(
            "SELECT calls, ms, rows, blocks, statement FROM (SELECT calls,"
            " round(total_exec_time::numeric, 1)::float8 AS ms, rows, shared_blks_hit + shared_blks_read AS blocks,"
            " regexp_replace(query, '\\s+', ' ', 'g') AS statement,"
            " rank() OVER (ORDER BY total_exec_time DESC) AS by_time, rank() OVER (ORDER BY calls DESC) AS by_calls"
            " FROM pg_stat_statements s JOIN pg_roles r ON r.oid = s.userid WHERE r.rolname = 'tutela') AS each"
            " WHERE by_time <= $1 OR by_calls <= $1 ORDER BY ms DESC",
            count,
        )
        return [dict(each) for each in found]

    def close(self) -> None:
        """End the connection."""
        self._loop.run_until_complete(self._conn.close())
        self._loop.close()


class Hosts:
    """The driver's end of the processes of `bench._fleet`."""

    def __init__(self, count: int, delay: float) -> None:
        self.count, self._delay = count, delay
        self._folder = Path(tempfile.mkdtemp(prefix="tutela-bench-", dir=memory.folder()))
        number = -(-count // HOSTS_OF_A_PROCESS)
        self._processes = [self._begin(n) for n in range(number)]

    def _begin(self, number: int) -> subprocess.Popen[str]:
        with (self._folder / f"fleet-{number}.log").open("w") as log:
            return subprocess.Popen(
                [sys.executable, "-P", "-m", "bench._fleet", str(self._folder)],
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    @property
    def pids(self) -> list[int]:
        """Of the processes."""
        return [each.pid for each in self._processes]

    def tell(self, commands: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """A command for each process; their answers."""
        for process, command in zip(self._processes, commands, strict=True):
            assert process.stdin is not None
            process.stdin.write(json.dumps(command) + "\n")
            process.stdin.flush()
        return [self._answer(process) for process in self._processes]

    def _answer(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, f"a process of hosts ended:\n{self.log()[-3000:]}"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def all(self, do: str, **more: Any) -> list[dict[str, Any]]:
        """The same command for all; their answers."""
        return self.tell([{"do": do, **more}] * len(self._processes))

    def total(self, name: str, since: float = 0.0) -> int:
        """A figure of their status, over all."""
        return sum(each[name] for each in self.all("status", since=since))

    def join(self, server: TutelaProcess) -> None:
        """All hosts join and connect; returns when all have joined."""
        door, client = f"wss://127.0.0.1:{server.agent_port}", Client(server)
        commands, first = [], 0
        for number in range(len(self._processes)):
            share = (self.count - first) // (len(self._processes) - number)
            uses = min(HOSTS_OF_A_TOKEN, share)
            tokens = [client.call("POST", "/api/v1/token/", {"uses": uses})["token"] for _ in range(-(-share // uses))]
            commands.append(
                {"do": "join", "door": door, "tokens": tokens, "first": first, "count": share, "delay": self._delay}
            )
            first += share
        client.close()
        self.tell(commands)

    def log(self) -> str:
        """What they complained of."""
        return "".join(each.read_text(errors="replace") for each in sorted(self._folder.glob("fleet-*.log")))

    def close(self) -> None:
        """End them and take their files away."""
        for process in self._processes:
            process.kill()
            process.communicate()
        shutil.rmtree(self._folder, ignore_errors=True)


class Ground:
    """All parts together."""

    def __init__(self, postgres: TestPostgres, server: TutelaProcess, record: Record, hosts: Hosts) -> None:
        self.postgres, self.server, self.record, self.hosts = postgres, server, record, hosts

    @property
    def pause(self) -> float:
        """Seconds between two looks at all hosts."""
        return max(LOOK_SECONDS, self.hosts.count / HOSTS_LOOKED_AT)

    def tutela(self) -> list[int]:
        """The processes of the control plane."""
        return family(self.server.pid)

    def database(self) -> list[int]:
        """The processes of Postgres."""
        return family(int((self.postgres.server.data / "postmaster.pid").read_text().splitlines()[0]))

    def memory(self) -> float:
        """Resident megabytes of all processes of the control plane."""
        return sum(resident(pid) for pid in self.tutela())


@contextlib.contextmanager
def ground(hosts: int, delay: float) -> Iterator[Ground]:
    """Everything but the hosts' joining; all of it ends with the block."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(OPEN_FILES, most), most))
    with contextlib.ExitStack() as stack:
        postgres = TestPostgres(options={"shared_preload_libraries": "pg_stat_statements"})
        stack.callback(postgres.close)
        asyncio.run(postgres.make_template())
        dsn = asyncio.run(postgres.fresh())
        record = Record(postgres, dsn)
        stack.callback(record.close)
        server = TutelaProcess(
            docker_host="unix:///nowhere",
            dsn=dsn,
            env={
                "TUTELA_ROLES": "api,orchestrator",
                "TUTELA_NETWORK": "ports",
                "TUTELA_NETWORK_POOL": NETWORK_POOL,
                "TUTELA_LIMIT_CREATES": "1000000",
            },
        )
        stack.callback(server.close)
        server.start()
        fleet = Hosts(hosts, delay)
        stack.callback(fleet.close)
        yield Ground(postgres, server, record, fleet)


def family(pid: int) -> list[int]:
    """A process and all that it began, and those that they began."""
    found, parents = [pid], {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    for each in found:
        found += [child for child, parent in parents.items() if parent == each]
    return found


def until(look: Callable[[], bool], patience: float, every: float = LOOK_SECONDS) -> float | None:
    """Seconds until it is so; None when it was not within `patience` seconds."""
    began = time.monotonic()
    while not look():
        if time.monotonic() - began > patience:
            return None
        time.sleep(every)
    return time.monotonic() - began
