"""Who may be a node and who is heard: the authority, join tokens, credentials, sessions' beats, control planes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from domain.assignment import EngineInfo
from domain.node import GONE_HOURS, Node, NodeState
from orchestrator.ids import new_id
from orchestrator.store import codec, nodes
from orchestrator.store.db import Connection

_TERMINATED = NodeState.TERMINATED.value


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorityRow:
    """The certificate authority: its certificate in PEM, its key sealed."""

    certificate: str
    sealed_key: bytes = field(repr=False)


async def authority(conn: Connection) -> AuthorityRow | None:
    """The installation's authority; None before the first control plane made it."""
    row = await conn.fetchrow("SELECT certificate, sealed_key FROM authority")
    return AuthorityRow(certificate=row["certificate"], sealed_key=row["sealed_key"]) if row else None


async def found_authority(conn: Connection, made: AuthorityRow) -> AuthorityRow:
    """Store a new authority, unless another process was faster; returns the one that counts."""
    await conn.execute(
        "INSERT INTO authority (certificate, sealed_key) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        made.certificate,
        made.sealed_key,
    )
    found = await authority(conn)
    assert found is not None  # noqa: S101 - just inserted
    return found


async def add_token(conn: Connection, secret_hash: bytes, account_id: UUID, uses: int, seconds: int) -> datetime:
    """A new join token; returns when it expires."""
    value: datetime = await conn.fetchval(
        "INSERT INTO join_tokens (secret_hash, created_by, uses_left, expires_at)"
        " VALUES ($1, $2, $3, clock_timestamp() + make_interval(secs => $4)) RETURNING expires_at",
        secret_hash,
        account_id,
        uses,
        seconds,
    )
    return value


async def use_token(conn: Connection, secret_hash: bytes) -> bool:
    """Take one use of the token; False when it is unknown, used up or expired."""
    return bool(
        await conn.fetchval(
            "UPDATE join_tokens SET uses_left = uses_left - 1"
            " WHERE secret_hash = $1 AND uses_left > 0 AND expires_at > clock_timestamp() RETURNING true",
            secret_hash,
        )
    )


async def purge_tokens(conn: Connection, limit: int = 500) -> int:
    """Forget tokens that expired a day ago; returns how many."""
    result = await conn.execute(
        "DELETE FROM join_tokens WHERE secret_hash IN"
        " (SELECT secret_hash FROM join_tokens WHERE expires_at < now() - interval '1 day' LIMIT $1)",
        limit,
    )
    return int(result.rsplit(" ", 1)[-1])


async def joined(conn: Connection, secret_hash: bytes, key_hash: bytes) -> UUID | None:
    """The node that joined with this token and this key already, as long as the token has not expired."""
    value: UUID | None = await conn.fetchval(
        "SELECT n.id FROM nodes n JOIN join_tokens t ON t.secret_hash = n.joined_with"
        " WHERE n.credential_key = $2 AND n.joined_with = $1 AND n.state <> $3 AND t.expires_at > clock_timestamp()",
        secret_hash,
        key_hash,
        _TERMINATED,
    )
    return value


async def node_with_key(conn: Connection, key_hash: bytes) -> UUID | None:
    """The node that has this key. A terminated one that has it gives it up."""
    await conn.execute(
        "UPDATE nodes SET credential_key = NULL WHERE credential_key = $1 AND state = $2", key_hash, _TERMINATED
    )
    value: UUID | None = await conn.fetchval("SELECT id FROM nodes WHERE credential_key = $1", key_hash)
    return value


async def name_taken(conn: Connection, name: str) -> bool:
    """Whether a node that was not terminated has the name. A terminated one that has it gives it up."""
    await conn.execute(
        "UPDATE nodes SET name = name || '-' || left(id::text, 8) WHERE name = $1 AND state = $2", name, _TERMINATED
    )
    return bool(await conn.fetchval("SELECT 1 FROM nodes WHERE name = $1", name))


async def enrol(
    conn: Connection, name: str, engine: EngineInfo | None, secret_hash: bytes, key_hash: bytes, expires: datetime
) -> UUID:
    """A new node, not heard yet; returns its id. Raises Conflict when the name or the key is taken."""
    node_id = new_id()
    await conn.execute(
        "INSERT INTO nodes (id, name, state, engine, joined_with, credential_key, credential_expires)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7)",
        node_id,
        name,
        NodeState.DEPLOYING.value,
        codec.dump(codec.ENGINE, engine),
        secret_hash,
        key_hash,
        expires,
    )
    return node_id


async def renewed(conn: Connection, node_id: UUID, key_hash: bytes, expires: datetime) -> bool:
    """The node got a new certificate for the key; False when it was terminated meanwhile."""
    return bool(
        await conn.fetchval(
            "UPDATE nodes SET credential_key = $2, credential_expires = $3 WHERE id = $1 AND state <> $4"
            " RETURNING true",
            node_id,
            key_hash,
            expires,
            _TERMINATED,
        )
    )


async def engine_served(conn: Connection, engine: EngineInfo, node_id: UUID | None, seconds: float) -> str | None:
    """The name of another node whose agent serves the same engine and was heard within so many seconds."""
    value: str | None = await conn.fetchval(
        "SELECT name FROM nodes WHERE engine->>'engine_id' = $1 AND coalesce(engine->>'place', '') = $2"
        " AND id IS DISTINCT FROM $3 AND state <> $4"
        " AND last_seen > clock_timestamp() - make_interval(secs => $5) ORDER BY last_seen DESC LIMIT 1",
        engine.engine_id,
        engine.place,
        node_id,
        _TERMINATED,
        seconds,
    )
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A session that began; `before` is the node until then."""

    session: int
    before: Node


async def begin_session(
    conn: Connection, node_id: UUID, engine: EngineInfo | None, served_by: UUID | None, address: str = ""
) -> Begun | None:
    """A new session of a node that joined; None when it was terminated or never was. `address`: its agent's own."""
    await nodes.hold(conn, [node_id])
    row = await conn.fetchrow(
        "UPDATE nodes n SET session = n.session + 1, state = $2, last_seen = clock_timestamp(),"  # noqa: S608 - its own
        " engine = coalesce($3, n.engine), served_by = $5, address = coalesce(nullif($6, ''), n.address)"
        f" FROM (SELECT {', '.join(nodes.COLUMNS)} FROM nodes WHERE id = $1 AND state <> $4) o"
        " WHERE n.id = o.id RETURNING n.session AS begun, o.*",
        node_id,
        (NodeState.DEPLOYED if engine else NodeState.UNREACHABLE).value,
        codec.dump(codec.ENGINE, engine),
        _TERMINATED,
        served_by,
        address,
    )
    return Begun(session=row["begun"], before=nodes.of_row(row)) if row else None


async def node_named(conn: Connection, name: str) -> UUID | None:
    """The node of that name, terminated ones too."""
    value: UUID | None = await conn.fetchval("SELECT id FROM nodes WHERE name = $1", name)
    return value


async def has_credential(conn: Connection, node_id: UUID) -> bool:
    """Whether the node joined, and so is known by its certificate."""
    return bool(await conn.fetchval("SELECT credential_key IS NOT NULL FROM nodes WHERE id = $1", node_id))


async def terminated(conn: Connection, node_id: UUID) -> bool:
    """Whether the node was taken out, or never was. While the record is being made anew, it may still be heard of."""
    return bool(
        await conn.fetchval(
            "SELECT coalesce((SELECT state = $2 FROM nodes WHERE id = $1), NOT (SELECT rebuilding FROM installation))",
            node_id,
            _TERMINATED,
        )
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class BeatOutcome:
    """What became of the beats: `states` of those written, `over` those whose session is no more.

    A node in neither was held by another transaction: write its beat again.
    """

    states: Mapping[UUID, NodeState]
    over: frozenset[UUID]


async def heard(conn: Connection, sessions: Mapping[UUID, int]) -> BeatOutcome:
    """The agents of these sessions were heard now: one statement for all, and one more when some are missing.

    By the places of the rows that it locked (`nodes.hold` says why): one that changed since it began is not there.
    """
    rows = await conn.fetch(
        "UPDATE nodes n SET last_seen = clock_timestamp() WHERE n.ctid = ANY(ARRAY(SELECT nodes.ctid FROM nodes"
        " JOIN unnest($1::uuid[], $2::bigint[]) AS h(id, session) ON h.id = nodes.id AND h.session = nodes.session"
        " WHERE state <> $3 ORDER BY nodes.id FOR NO KEY UPDATE OF nodes SKIP LOCKED)) RETURNING n.id, n.state",
        list(sessions),
        list(sessions.values()),
        _TERMINATED,
    )
    states = {row["id"]: NodeState(row["state"]) for row in rows}
    missing = sessions.keys() - states.keys()
    over: frozenset[UUID] = frozenset()
    if missing:
        present = await conn.fetch(
            "SELECT id, session FROM nodes WHERE id = ANY($1) AND state <> $2", list(missing), _TERMINATED
        )
        known = {row["id"]: row["session"] for row in present}
        over = frozenset(each for each in missing if known.get(each) != sessions[each])
    return BeatOutcome(states=states, over=over)


async def here(conn: Connection, node_ids: Sequence[UUID]) -> None:
    """The hosts of these nodes are connected, and have no session yet: none of them that was up is silent."""
    await conn.execute(
        "UPDATE nodes n SET last_seen = clock_timestamp() WHERE n.ctid = ANY(ARRAY(SELECT ctid FROM nodes"
        " WHERE id = ANY($1) AND state = $2 ORDER BY id FOR NO KEY UPDATE SKIP LOCKED))",
        list(node_ids),
        NodeState.DEPLOYED.value,
    )


async def turn(conn: Connection, node_id: UUID, session: int, state: NodeState) -> bool:
    """The node of this session is now in another state; whether it was not before."""
    return bool(
        await conn.fetchval(
            "UPDATE nodes SET state = $3 WHERE id = $1 AND session = $2 AND state NOT IN ($3, $4) RETURNING true",
            node_id,
            session,
            state.value,
            _TERMINATED,
        )
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """Who was not heard: `unmarked` are those not yet said to be Unreachable, `silent` counts all of the `nodes` that
    were not, `gone` those that have been silent for GONE_HOURS.

    `at`: when that was, by the database's clock. `next`: when another can be silent at the earliest.
    """

    unmarked: tuple[UUID, ...]
    silent: int
    gone: int
    nodes: int
    at: datetime
    next: datetime

    @property
    def of_all(self) -> bool:
        """Whether nobody is heard."""
        return 0 < self.nodes == self.silent


async def silence(conn: Connection, seconds: float) -> Silence:
    """Nodes that were not heard for that long.

    It reads all nodes: an index on `last_seen` would have to be written with every beat. So it is seldom.
    """
    row = await conn.fetchrow(
        "SELECT coalesce(array_agg(id) FILTER (WHERE quiet AND there), '{}') AS unmarked, max(at) AS at,"
        " count(*) FILTER (WHERE quiet) AS silent, count(id) AS nodes,"
        " count(*) FILTER (WHERE last_seen < at - make_interval(hours => $4)) AS gone,"
        " least(coalesce(min(last_seen) FILTER (WHERE NOT quiet AND there), max(at)), max(at)) + max(patience) AS next"
        " FROM (SELECT clock_timestamp() AS at, make_interval(secs => $1) AS patience) t LEFT JOIN LATERAL"
        " (SELECT id, last_seen, state = $2 AS there, last_seen < at - patience AS quiet FROM nodes"
        " WHERE state IN ($2, $3)) n ON true",
        seconds,
        NodeState.DEPLOYED.value,
        NodeState.UNREACHABLE.value,
        GONE_HOURS,
    )
    assert row is not None  # noqa: S101 - an aggregate
    return Silence(**{**row, "unmarked": tuple(row["unmarked"])})


async def disrupt(conn: Connection, *, of_all: bool) -> datetime | None:
    """Most nodes are silent now, or all; returns when that was last so before."""
    before: datetime | None = await conn.fetchval(
        "UPDATE installation i SET disrupted_at = clock_timestamp(),"
        " unheard_at = CASE WHEN $1 THEN clock_timestamp() ELSE i.unheard_at END"
        " FROM (SELECT disrupted_at FROM installation) b RETURNING b.disrupted_at",
        of_all,
    )
    return before


async def disrupted_at(conn: Connection) -> datetime | None:
    """When most nodes were last silent at once."""
    value: datetime | None = await conn.fetchval("SELECT disrupted_at FROM installation")
    return value


async def lose(conn: Connection, node_id: UUID, seconds: float) -> bool:
    """Mark the node Unreachable if it still was not heard for that long; whether it did."""
    return bool(
        await conn.fetchval(
            "UPDATE nodes SET state = $3 WHERE id = $1 AND state = $4"
            " AND last_seen < clock_timestamp() - make_interval(secs => $2) RETURNING true",
            node_id,
            seconds,
            NodeState.UNREACHABLE.value,
            NodeState.DEPLOYED.value,
        )
    )


async def control_plane_up(conn: Connection, ident: UUID, agent_url: str, prune_seconds: float) -> list[str]:
    """This process is there; those not heard for `prune_seconds` are not. The URLs of all, by their ids."""
    await conn.execute(
        "INSERT INTO control_planes (id, agent_url) VALUES ($1, $2)"
        " ON CONFLICT (id) DO UPDATE SET agent_url = $2, last_seen = clock_timestamp()",
        ident,
        agent_url,
    )
    await conn.execute(
        "DELETE FROM control_planes WHERE id IN (SELECT id FROM control_planes"
        " WHERE last_seen < clock_timestamp() - make_interval(secs => $1) FOR UPDATE SKIP LOCKED)",
        prune_seconds,
    )
    rows = await conn.fetch("SELECT agent_url FROM control_planes ORDER BY id")
    return list(dict.fromkeys(row["agent_url"] for row in rows))


async def control_plane_down(conn: Connection, ident: UUID) -> None:
    """This process is about to end."""
    await conn.execute("DELETE FROM control_planes WHERE id = $1", ident)


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """Where a container is. `served_by`: the control plane with the node's session."""

    container_id: UUID
    node_id: UUID
    name: str
    state: NodeState
    served_by: UUID | None


async def hosts_of(conn: Connection, container_ids: Sequence[UUID]) -> dict[UUID, Host]:
    """Where each of the containers is; those that were terminated are left out."""
    rows = await conn.fetch(
        "SELECT c.id AS container_id, n.id AS node_id, n.name, n.state, n.served_by FROM containers c"
        " JOIN nodes n ON n.id = c.node_id WHERE c.id = ANY($1) AND c.terminated_at IS NULL",
        list(container_ids),
    )
    return {
        row["container_id"]: Host(
            container_id=row["container_id"],
            node_id=row["node_id"],
            name=row["name"],
            state=NodeState(row["state"]),
            served_by=row["served_by"],
        )
        for row in rows
    }


async def agent_url(conn: Connection, ident: UUID) -> str | None:
    """Where agents reach the control plane; None when it is not there."""
    value: str | None = await conn.fetchval("SELECT agent_url FROM control_planes WHERE id = $1", ident)
    return value
