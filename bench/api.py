"""Requests a second of the real server beside a bare handler: `./tutela bench api [--rounds N] [--seconds S]`.

The handler (`bench._bare`) reads a row for each object on the same Postgres and answers the same bytes. Both are sent
requests over kept connections by a process of its own, one after the other in each round. What is limited by key (the
services made in a minute) is lifted by TUTELA_LIMIT_CREATES; reads have no limit.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import asyncpg

from bench._bare import TABLE
from bench._figures import machine
from bench._ground import Client, Ground, ground, until
from bench._load import NUMBER, Load, Plan
from bench._rates import BARE, BARS, OURS, Case, Round, order, table, write
from bench.idle import cpu_seconds
from tests.harness.server import ROOT, free_port

SERVICES, EACH = 110, 2
PATIENCE = 120.0
DELAY = 0.05
Request = tuple[str, str, str]


def definition(name: str) -> dict[str, Any]:
    """A service as people have them; its representation is some 3 KB."""
    return {
        "image": "busybox:stable",
        "name": name,
        "target_num_containers": EACH,
        "container_envvars": [{"key": f"SETTING_{n}", "value": f"value {n} of the application"} for n in range(8)],
        "container_ports": [{"protocol": "tcp", "inner_port": 80}],
        "labels": {"team": "web", "stage": "production"},
    }


def fill(here: Ground) -> list[dict[str, Any]]:
    """Services with running containers; as the API shows them."""
    client = Client(here.server)
    paths = [client.insist("POST", "/api/v1/service/", definition(f"web-{n}"))["resource_uri"] for n in range(SERVICES)]
    for path in paths:
        client.insist("POST", f"{path}start/")
    running = "SELECT count(*) FROM services WHERE state = 'Running' AND operation IS NULL"
    client.close()
    assert until(lambda: here.record.value(running) == SERVICES, PATIENCE) is not None, "the services did not run"
    here.record.execute("ANALYZE")  # of the bare handler's table too; autovacuum does it within a minute
    client = Client(here.server)  # the server ends connections on which nothing is said for as long as that
    shown: list[dict[str, Any]] = [client.call("GET", path) for path in paths]
    client.close()
    return shown


@contextlib.contextmanager
def bare(here: Ground, shown: Sequence[dict[str, Any]]) -> Iterator[tuple[int, int]]:
    """The handler with the same objects, in a process of its own; its port and pid."""
    dsn, port = asyncio.run(here.postgres.fresh()), free_port()
    asyncio.run(_fill(dsn, shown))
    process = subprocess.Popen([sys.executable, "-P", "-m", "bench._bare", str(port), dsn], cwd=ROOT)
    try:
        assert until(lambda: _listens(port), PATIENCE) is not None, "the bare handler did not start"
        yield port, process.pid
    finally:
        process.kill()
        process.wait()


async def _fill(dsn: str, shown: Sequence[dict[str, Any]]) -> None:
    conn = await asyncpg.connect(dsn)
    try:
        await conn.execute(TABLE)
        rows = [(each["uuid"], json.dumps(each, separators=(",", ":"))) for each in shown]
        await conn.executemany("INSERT INTO objects (id, body) VALUES ($1, $2)", rows)
        await conn.execute("ANALYZE objects")
    finally:
        await conn.close()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def requests(path: str, idents: Sequence[str]) -> dict[str, list[Request]]:
    """Of each case, below the collection's path. Changes last: they leave more than there was."""
    made = json.dumps(definition(f"made-{NUMBER}"))
    return {
        "get one": [("GET", f"{path}{each}/", "") for each in idents],
        "list of 25": [("GET", f"{path}?limit=25", "")],
        "list of 100": [("GET", f"{path}?limit=100", "")],
        "PATCH": [("PATCH", f"{path}{each}/", json.dumps({"nickname": f"name {NUMBER}"})) for each in idents],
        "create": [("POST", path, made)],
    }


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(prog="tutela bench api", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each contender, case and round")
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--no-file", action="store_true", help="print only")
    wanted = parser.parse_args()
    about, cases = machine(), dict[str, Case]()
    with ground(1, DELAY) as here:
        here.hosts.join(here.server)
        shown = fill(here)
        key = here.server.api.credentials()
        headers = {"Authorization": f"ApiKey {key['user']}:{key['api_key']}"}
        idents = [str(each["uuid"]) for each in shown]
        with bare(here, shown) as (port, pid), Load() as load:
            who = {
                BARE: (port, pid, requests("/objects/", idents)),
                OURS: (here.server.port, here.server.pid, requests("/api/v1/service/", idents)),
            }
            first = 0
            for name in who[OURS][2]:
                case = cases[name] = Case(bar=BARS.get(name))
                for number in range(wanted.rounds + 1):
                    for contender in order((BARE, OURS), number):
                        its_port, its_pid, what = who[contender]
                        plan = Plan(
                            port=its_port,
                            requests=what[name],
                            headers=headers,
                            connections=wanted.connections,
                            # The first round warms up and does not count.
                            seconds=wanted.seconds if number else min(1.0, wanted.seconds),
                            first=first,
                        )
                        before = cpu_seconds(its_pid)
                        done = load.run(plan)
                        first = done.last
                        assert all(code.startswith("2") for code in done.codes), (contender, name, done.codes)
                        cpu = (cpu_seconds(its_pid) - before) / max(done.count, 1) * 1e6
                        if number:
                            case.rounds[contender].append(Round(rate=done.rate, p99=done.p99 * 1e3, cpu=cpu))
                print(table({name: case}, wanted.rounds).splitlines()[-1], flush=True)
    print(table(cases, wanted.rounds))
    if not wanted.no_file:
        how = {"rounds": wanted.rounds, "seconds": wanted.seconds, "connections": wanted.connections}
        print(f"kept in {write(cases, about, {**how, 'services': SERVICES, 'containers_each': EACH})}")


if __name__ == "__main__":
    main()
