"""HEAD is answered wherever GET is: the same code and headers, no body, and it changes nothing."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from tests.api.client import API, Client, application


@pytest.fixture
async def client(database_url: str) -> AsyncIterator[Client]:
    async with application(database_url) as client:
        yield client


async def test_head_is_get_without_the_body_on_every_route(client: Client) -> None:
    await client.create()
    seen = 0
    for router in client.app.state.routers:
        for route in router.routes:
            path = re.sub(r"{\w+(:\w+)?}", str(uuid4()), route.path)
            if "GET" not in route.methods:
                continue
            get, head = await client.call("GET", path), await client.call("HEAD", path)
            assert (head.status_code, head.content) == (get.status_code, b""), path
            assert head.headers["content-type"] == get.headers["content-type"], path
            assert "content-length" in head.headers, path
            bare = await client.http.request("HEAD", path)
            assert bare.status_code == (await client.http.request("GET", path)).status_code, path
            seen += 1
    assert seen > 30


async def test_head_of_one_service_and_what_cannot_be_asked_so(client: Client) -> None:
    uri = (await client.create())["resource_uri"]
    get, head = await client.call("GET", uri), await client.call("HEAD", uri)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(get.content))
    refused = await client.call("HEAD", f"{uri}start/")
    assert (refused.status_code, refused.headers["allow"], refused.content) == (405, "POST", b"")
    assert (await client.call("GET", uri)).json() == get.json()
    nothing = await client.call("HEAD", f"{API}/nothing/")
    assert (nothing.status_code, nothing.content) == (404, b"")
