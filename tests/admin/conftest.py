"""The application in process, with users of every role."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest

from tests.api.client import API, application
from tests.resources.conftest import World

ADMIN = f"{API}/admin"


class Office(World):
    """The installation as its admin sees it."""

    async def hire(self, name: str, role: str = "member", **key: Any) -> dict[str, str]:
        """A new user with a key; returns its header."""
        answer = await self.call("POST", f"{ADMIN}/user/", json={"username": name, "role": role})
        assert answer.status_code == 201, answer.text
        return header(name, (await self.key_of(answer.json()["uuid"], **key))["key"])

    async def key_of(self, user: str, **body: Any) -> dict[str, Any]:
        answer = await self.call("POST", f"{ADMIN}/user/{user}/key/", json={"name": "test", **body})
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    async def user_named(self, name: str) -> dict[str, Any]:
        (user,) = (await self.call("GET", f"{ADMIN}/user/?username={name}")).json()["objects"]
        found: dict[str, Any] = user
        return found

    async def change(self, name: str, **body: Any) -> Any:
        return await self.call("PATCH", (await self.user_named(name))["resource_uri"], json=body)

    async def audit(self, query: str = "") -> list[dict[str, Any]]:
        """Rows of the log, newest first."""
        found: list[dict[str, Any]] = (await self.call("GET", f"{ADMIN}/audit/?limit=100&{query}")).json()["objects"]
        return found

    async def container_header(self) -> dict[str, str]:
        """The credentials of a container whose service has the role."""
        node, service = await self.node("n-token"), await self.create(name="speaker", roles=["global"])
        container = await self.container(service["uuid"], node)
        return {"Authorization": f"Bearer {self.app.state.secrets.token(UUID(container))}"}


def header(name: str, key: str) -> dict[str, str]:
    return {"Authorization": f"ApiKey {name}:{key}"}


@pytest.fixture
async def office(database_url: str) -> AsyncIterator[Office]:
    async with application(database_url) as client:
        yield Office(client.db, client.http, client.app)
