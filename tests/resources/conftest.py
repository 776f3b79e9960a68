"""The application in process, and rows that only an agent or the reconciler would write."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from domain.assignment import EngineInfo
from domain.container import Container, ContainerSpec, Mount, Want
from domain.spec import CrashPolicy
from orchestrator.store import accounts, containers, mounts, nodes, services
from tests.api.client import Client, application

ENGINE = EngineInfo(engine_id="e", version="20.10.24", storage_driver="overlay2", cpus=2, memory=2048)


class World(Client):
    """The client, with a hand in the database."""

    async def node(self, name: str = "n1", *, up: bool = True) -> str:
        async with self.db.transaction() as conn:
            node_id, _ = await nodes.register(conn, name, ENGINE if up else None)
        return str(node_id)

    async def container(self, service: str, node: str, slot: int = 1, *, path: str | None = None) -> str:
        """A container of the service, with a managed volume at the path."""
        async with self.db.transaction() as conn:
            owner = await services.locked(conn, UUID(service))
            held = await mounts.of_slot(conn, owner, slot, UUID(node), [path] if path else [])
            row = Container(
                id=uuid4(),
                service_id=owner.id,
                node_id=UUID(node),
                slot=slot,
                name=f"{owner.unique_name}-{slot}",
                spec=ContainerSpec(
                    image=owner.spec.image,
                    image_id="sha256:1",
                    image_digest=None,
                    hostname=f"{owner.unique_name}-{slot}",
                    mounts=tuple(Mount(source=name, target=at, volume=True, own=True) for at, name in held.items()),
                ),
                made_from="x",
                deploy_gen=owner.deploy_gen,
                want=Want.RUN,
                start_gen=1,
                autorestart=CrashPolicy.OFF,
                networks=(),
                created_at=datetime.now(UTC),
            )
            await containers.insert(conn, containers.encoded([containers.Made(account_id=owner.account_id, row=row)]))
        return str(row.id)

    async def end(self, container: str) -> None:
        """The container is gone."""
        async with self.db.transaction() as conn:
            await conn.execute(
                "UPDATE containers SET terminated_at = now(), state = 'Terminated' WHERE id = $1", UUID(container)
            )

    async def user(self, name: str, key: str) -> dict[str, str]:
        """One more account; returns its header."""
        async with self.db.transaction() as conn:
            account_id = uuid4()
            await conn.execute("INSERT INTO accounts (id, username, role) VALUES ($1, $2, 'member')", account_id, name)
            await accounts.add_key(conn, account_id, key, "test")
        return {"Authorization": f"ApiKey {name}:{key}"}

    async def actions(self) -> list[dict[str, object]]:
        """All actions, newest first."""
        found: list[dict[str, object]] = (await self.call("GET", "/api/v1/action/")).json()["objects"]
        return found


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with application(database_url) as client:
        yield World(client.db, client.http, client.app)
