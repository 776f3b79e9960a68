"""What accounts may have at most, and what they have."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from domain.node import NodeState
from domain.quota import Quota, Used
from domain.service import ServiceWant
from domain.spec import Strategy
from orchestrator.store.db import Connection


def quota_of(row: Any) -> Quota:
    """The quota in a row of an account."""
    return Quota(
        services=row["most_services"],
        containers=row["most_containers"],
        memory=row["most_memory"],
        cpu_shares=row["most_cpu_shares"],
    )


async def limiting(conn: Connection, account_id: UUID) -> Quota | None:
    """The account's quota, and until the transaction ends nobody else counts for the account; None when it has none.

    To be the last lock that a transaction takes.
    """
    row = await conn.fetchrow(
        "SELECT most_services, most_containers, most_memory, most_cpu_shares FROM accounts WHERE id = $1"
        " AND num_nonnulls(most_services, most_containers, most_memory, most_cpu_shares) > 0 FOR NO KEY UPDATE",
        account_id,
    )
    return quota_of(row) if row else None


async def used(conn: Connection, account_id: UUID) -> Used:
    """What the account has. Grows with its own services, and is asked only where it has a quota.

    A service on every node counts one container for each that has its tags, and one that triggers will scale as much
    as it will be.
    """
    row = await conn.fetchrow(
        "SELECT count(*) AS services, coalesce(sum(n), 0)::bigint AS containers,"
        " coalesce(sum(n * memory), 0)::bigint AS memory, coalesce(sum(n * shares), 0)::bigint AS shares,"
        " coalesce(array_agg(name ORDER BY name) FILTER (WHERE memory IS NULL), '{}') AS without_memory,"
        " coalesce(array_agg(name ORDER BY name) FILTER (WHERE shares IS NULL), '{}') AS without_shares FROM ("
        "SELECT s.name, (s.spec->>'memory')::bigint AS memory, (s.spec->>'cpu_shares')::bigint AS shares,"
        " CASE WHEN s.spec->>'deployment_strategy' = $3 THEN"
        " (SELECT count(*) FROM nodes n WHERE n.state <> $4"
        " AND n.tags @> ARRAY(SELECT jsonb_array_elements_text(s.spec->'tags')))"
        " ELSE s.target + (SELECT coalesce(sum((q->>'amount')::int), 0)"
        " FROM jsonb_array_elements(coalesce(s.queued, '[]'::jsonb)) AS q) END AS n"
        " FROM services s WHERE s.account_id = $1 AND s.want <> $2) AS each",
        account_id,
        ServiceWant.TERMINATED.value,
        Strategy.EVERY_NODE.value,
        NodeState.TERMINATED.value,
    )
    assert row is not None  # noqa: S101 - an aggregate has one row always
    return Used(
        services=row["services"],
        containers=row["containers"],
        memory=row["memory"],
        cpu_shares=row["shares"],
        without_memory=tuple(row["without_memory"]),
        without_cpu_shares=tuple(row["without_shares"]),
    )


async def put(conn: Connection, account_id: UUID, quota: Quota) -> None:
    """Write the quota. What the account has already is left as it is."""
    await conn.execute(
        "UPDATE accounts SET most_services = $2, most_containers = $3, most_memory = $4, most_cpu_shares = $5"
        " WHERE id = $1",
        account_id,
        quota.services,
        quota.containers,
        quota.memory,
        quota.cpu_shares,
    )
