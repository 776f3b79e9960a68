"""Managed volumes and their groups, to be read; `orchestrator.store.mounts` writes them (spec 4.11)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from domain.errors import NotFound
from domain.volume import Volume, VolumeGroup, VolumeState
from orchestrator.store.db import Connection
from orchestrator.store.filters import Filter, where
from orchestrator.store.mounts import PREFIX

_STATE = (
    f"CASE WHEN {{row}}.terminated_at IS NULL THEN '{VolumeState.CREATED.value}'"
    f" ELSE '{VolumeState.TERMINATED.value}' END"
)
_SHOWN = "({row}.terminated_at IS NULL OR {row}.terminated_at > now() - interval '1 hour')"
_MOUNTED = f"""
    ARRAY(SELECT c.id FROM containers c WHERE c.node_id = v.node_id AND c.account_id = v.account_id
        AND c.terminated_at IS NULL
        AND c.spec->'mounts' @> jsonb_build_array(jsonb_build_object('volume', true, 'source', '{PREFIX}' || v.id))
        ORDER BY c.created_at, c.id)
"""  # noqa: S608 - constants of this module
_VOLUME = f"v.id, v.group_id, v.node_id, {_STATE.format(row='v')} AS state, {_MOUNTED} AS containers"
_VOLUME_FILTERS = {
    "uuid": "v.id",
    "state": _STATE.format(row="v"),
    "node": "v.node_id",
    "volume_group": "v.group_id",
    "containers": _MOUNTED,
}
_VOLUMES = """
    ARRAY(SELECT v.id FROM volumes v WHERE v.group_id = g.id AND v.terminated_at IS NULL ORDER BY v.slot, v.id)
"""
_GROUP = f"g.id, g.name, g.service_id, {_STATE.format(row='g')} AS state, {_VOLUMES} AS volumes"
_GROUP_FILTERS = {
    "uuid": "g.id",
    "state": _STATE.format(row="g"),
    "name": "g.name",
    "services": "ARRAY[g.service_id]",
    "volumes": _VOLUMES,
}


def _volume(row: Any) -> Volume:
    return Volume(
        id=row["id"],
        group_id=row["group_id"],
        node_id=row["node_id"],
        state=VolumeState(row["state"]),
        containers=tuple(row["containers"]),
    )


def _group(row: Any) -> VolumeGroup:
    return VolumeGroup(
        id=row["id"],
        name=row["name"],
        service_id=row["service_id"],
        state=VolumeState(row["state"]),
        volumes=tuple(row["volumes"]),
    )


async def page(
    conn: Connection, account_id: UUID, filters: Sequence[Filter], limit: int, offset: int
) -> tuple[list[Volume], int]:
    """A page of the account's volumes by age, and how many there are; terminated ones show for an hour."""
    condition, arguments = where(filters, _VOLUME_FILTERS, first=2)
    base = f"FROM volumes v WHERE v.account_id = $1 AND {_SHOWN.format(row='v')} AND {condition}"
    total = await conn.fetchval(f"SELECT count(*) {base}", account_id, *arguments)
    rows = await conn.fetch(
        f"SELECT {_VOLUME} {base} ORDER BY v.created_at, v.id LIMIT ${len(arguments) + 2} OFFSET ${len(arguments) + 3}",
        account_id,
        *arguments,
        limit,
        offset,
    )
    return [_volume(row) for row in rows], total


async def get(conn: Connection, account_id: UUID, volume_id: UUID) -> Volume:
    """One volume of the account. Raises NotFound."""
    row = await conn.fetchrow(
        f"SELECT {_VOLUME} FROM volumes v WHERE v.account_id = $1 AND v.id = $2",  # noqa: S608 - as above
        account_id,
        volume_id,
    )
    if row is None:
        raise NotFound(f"there is no volume {volume_id}")
    return _volume(row)


async def page_of_groups(
    conn: Connection, account_id: UUID, filters: Sequence[Filter], limit: int, offset: int
) -> tuple[list[VolumeGroup], int]:
    """A page of the account's volume groups by age, and how many there are."""
    condition, arguments = where(filters, _GROUP_FILTERS, first=2)
    base = f"FROM volume_groups g WHERE g.account_id = $1 AND {_SHOWN.format(row='g')} AND {condition}"
    total = await conn.fetchval(f"SELECT count(*) {base}", account_id, *arguments)
    rows = await conn.fetch(
        f"SELECT {_GROUP} {base} ORDER BY g.created_at, g.id LIMIT ${len(arguments) + 2} OFFSET ${len(arguments) + 3}",
        account_id,
        *arguments,
        limit,
        offset,
    )
    return [_group(row) for row in rows], total


async def get_group(conn: Connection, account_id: UUID, group_id: UUID) -> VolumeGroup:
    """One volume group of the account. Raises NotFound."""
    row = await conn.fetchrow(
        f"SELECT {_GROUP} FROM volume_groups g WHERE g.account_id = $1 AND g.id = $2",  # noqa: S608 - as above
        account_id,
        group_id,
    )
    if row is None:
        raise NotFound(f"there is no volume group {group_id}")
    return _group(row)
