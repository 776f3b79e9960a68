"""What runs already when the measuring begins: many services at rest.

Through the API as anybody would, or, where that takes too long, by copies of one real service within the database: its
row and its containers' rows with other identities, names, networks and hosts. Triggers do not run for the copies (no
events, and no copies for a rebuild are due); agents learn of them in the full set of their next session, so that all
connections are cut after it, those of a few hosts at a time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import asyncpg

from bench._ground import NETWORK_POOL, Client, Ground, until
from orchestrator.store import services

CALLERS = 4
"""Requests at once while services are made; each is a connection of its own."""

HOSTS_AT_ONCE = 25
"""How many hosts' sessions begin anew at once while copies are told."""

IMAGE = "busybox:stable"
RUNNING = """
    SELECT count(*) FROM containers WHERE terminated_at IS NULL AND want = 'RUN' AND seen->>'state' = 'RUNNING'
"""
UNDER_WAY = """
    SELECT (SELECT count(*) FROM services WHERE operation IS NOT NULL OR (look_at <= now() AND paused_at IS NULL))
        + (SELECT count(*) FROM wakes)
"""
_SERVICES = """
    INSERT INTO services
    SELECT made.* FROM services s, unnest($2::uuid[], $3::text[], $4::text[]) AS fresh(id, name, subnet),
        LATERAL jsonb_populate_record(
            NULL::services,
            replace(to_jsonb(s)::text, s.unique_name, fresh.name)::jsonb
                || jsonb_build_object('id', fresh.id, 'subnet', fresh.subnet)
        ) AS made
    WHERE s.id = $1
"""
_CONTAINERS = """
    INSERT INTO containers
    SELECT made.* FROM services s
        JOIN containers c ON c.service_id = s.id AND c.terminated_at IS NULL
        CROSS JOIN unnest($2::uuid[], $3::text[], $4::text[]) WITH ORDINALITY AS fresh(id, name, subnet, nth)
        JOIN (SELECT id, assignment_revision, row_number() OVER (ORDER BY live, name) - 1 AS place FROM nodes) AS n
            ON n.place = ((fresh.nth - 1) * s.target + c.slot) % (SELECT count(*) FROM nodes),
        LATERAL jsonb_populate_record(
            NULL::containers,
            replace(replace(replace(replace(
                to_jsonb(c)::text, s.id::text, fresh.id::text), c.id::text, md5(fresh.id::text || c.slot)::uuid::text),
                s.subnet, fresh.subnet), s.unique_name, fresh.name)::jsonb
                || jsonb_build_object('node_id', n.id, 'assigned_revision', n.assignment_revision + 1)
        ) AS made
    WHERE s.id = $1
"""
_LOAD = """
    UPDATE nodes n SET live = found.live, assignment_revision = n.assignment_revision + 1
    FROM (SELECT node_id, count(*) AS live FROM containers WHERE terminated_at IS NULL GROUP BY node_id) AS found
    WHERE found.node_id = n.id
"""


def make(ground: Ground, prefix: str, count: int, each: int) -> list[str]:
    """Services that are not started yet, by the API; their paths."""

    def some(numbers: Sequence[int]) -> list[str]:
        client = Client(ground.server)
        found = []
        for number in numbers:
            body = {
                "image": IMAGE,
                "name": f"{prefix}-{number}",
                "target_num_containers": each,
                "autorestart": "ALWAYS",
            }
            found.append(str(client.insist("POST", "/api/v1/service/", body)["resource_uri"]))
        client.close()
        return found

    with ThreadPoolExecutor(CALLERS) as callers:
        return [path for part in callers.map(some, _shares(range(count))) for path in part]


def each_of(ground: Ground, paths: Sequence[str], do: Callable[[Client, str], object]) -> None:
    """A call about each of the services, some at once."""

    def some(part: Sequence[str]) -> None:
        client = Client(ground.server)
        for path in part:
            do(client, path)
        client.close()

    with ThreadPoolExecutor(CALLERS) as callers:
        list(callers.map(some, _shares(paths)))


def start(client: Client, path: str) -> None:
    """Start a service."""
    client.insist("POST", f"{path}start/")


def by_api(ground: Ground, count: int, each: int, patience: float) -> float | None:
    """So many services with `each` containers; seconds until all run and nothing is to be done."""
    before = int(ground.record.value(RUNNING))
    began = time.monotonic()
    each_of(ground, make(ground, "rest", count, each), start)
    wanted = before + count * each
    done = until(lambda: ground.record.value(RUNNING) == wanted and not ground.record.value(UNDER_WAY), patience, 0.2)
    return None if done is None else time.monotonic() - began


def by_copies(ground: Ground, count: int, each: int, patience: float) -> float | None:
    """The same by copies of the first of them; the agents' sessions begin anew."""
    began = time.monotonic()
    if by_api(ground, 1, each, patience) is None:
        return None
    template = ground.record.value("SELECT id FROM services WHERE unique_name = 'rest-0'")
    names = [f"rest-{number}" for number in range(1, count)]
    subnets = asyncio.run(_subnets(ground.record.dsn, len(names)))
    ids = [
        each["id"]
        for each in ground.record.rows("SELECT gen_random_uuid() AS id FROM generate_series(1, $1)", len(names))
    ]
    ground.record.execute("SET session_replication_role = replica")
    ground.record.execute(_SERVICES, template, ids, names, subnets)
    ground.record.execute(_CONTAINERS, template, ids, names, subnets)
    ground.record.execute("SET session_replication_role = DEFAULT")
    ground.record.execute(_LOAD)
    ground.record.execute("ANALYZE")
    left = began + patience - time.monotonic()
    done = _told(ground, left)
    return time.monotonic() - began if done else None


def _told(ground: Ground, patience: float) -> bool:
    """New sessions for all hosts, some at a time: how they bear it at once is measured later. False: not in time."""
    parts, began = max(1, ground.hosts.count // HOSTS_AT_ONCE), time.monotonic()
    for part in range(parts):
        at = max(each["at"] for each in ground.hosts.all("cut", part=part, parts=parts))
        # The rows say Running from the first moment: the agents have to say it too.
        wanted = max(1, ground.hosts.count // parts - len(ground.hosts.pids))
        until(partial(_synced, ground, at, wanted), 10.0)
    return until(lambda: rests(ground, began), patience - (time.monotonic() - began), ground.pause) is not None


def _synced(ground: Ground, since: float, count: int) -> bool:
    return ground.hosts.total("in_sync", since) >= count


def rests(ground: Ground, since: float = 0.0) -> bool:
    """Whether all agents have said all they know, in sessions that began after `since`, and nothing is to be done."""
    return ground.hosts.total("in_sync", since) == ground.hosts.count and not ground.record.value(UNDER_WAY)


async def _subnets(dsn: str, count: int) -> list[str]:
    """The next free ones, as the product gives them out."""
    conn = await asyncpg.connect(dsn)
    try:
        return [await services.next_subnet(conn, NETWORK_POOL) for _ in range(count)]
    finally:
        await conn.close()


def _shares(things: Sequence[str] | Sequence[int]) -> list[list[str]]:
    """One part for each caller."""
    return [list(things[first::CALLERS]) for first in range(CALLERS)]  # type: ignore[arg-type]
