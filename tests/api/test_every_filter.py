"""Every filter of every list, with every operator and odd values: an answer, or a refusal that names the filter."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import quote

import pytest

from app.wire import lists
from tests.api.client import API, Client, application

LISTS = {
    "service": lists.SERVICES, "container": lists.CONTAINERS, "action": lists.ACTIONS, "node": lists.NODES,
    "stack": lists.STACKS, "volume": lists.VOLUMES, "volumegroup": lists.VOLUME_GROUPS, "image": lists.IMAGES,
    "tag": lists.TAGS, "registry": lists.REGISTRIES, "provider": lists.CLOUD, "region": lists.CLOUD,
    "nodecluster": lists.CLOUD,
}  # fmt: skip
VALUES = (
    "a", "true", "\x00", "é\U0001f600", "a,b", ",", "%_\\", "2014-11-21", "9999-12-31", "0001-01-01T00:00:00+14:00",
    "00000000-0000-4000-8000-000000000000",
)  # fmt: skip


@pytest.fixture
async def client(database_url: str) -> AsyncIterator[Client]:
    async with application(database_url) as client:
        yield client


@pytest.mark.parametrize("kind", list(LISTS))
async def test_every_filter_takes_any_value_or_says_why_not(client: Client, kind: str) -> None:
    await client.create(name="web", tags=[{"name": "blue"}])
    for name, field in LISTS[kind].items():
        for operator in field.operators:
            key = name if operator == "exact" else f"{name}__{operator}"
            for value in VALUES:
                answer = await client.call("GET", f"{API}/{kind}/?{key}={quote(value)}")
                assert answer.status_code in {200, 400}, (key, value, answer.text)
                assert answer.status_code == 200 or key in answer.json()["fields"]
