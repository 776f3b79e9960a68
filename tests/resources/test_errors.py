"""404, 405, 415 and 429 in the shape of every error (spec 1.5, 1.7)."""

from __future__ import annotations

from uuid import uuid4

import pytest

from app.limits import Limits
from app.settings import Settings
from tests.resources.conftest import World

API = "/api/v1"
WRITING = [
    ("POST", "service/"), ("POST", "image/"), ("POST", "auth/password/"), ("PATCH", "node/{node}/"),
    ("POST", "node/{node}/tags/"), ("POST", "service/{service}/tags/"), ("POST", "service/{service}/trigger/"),
    ("PATCH", "service/{service}/"),
]  # fmt: skip


@pytest.mark.parametrize("path", ["/", "/api/", "/api/v1/", "/api/v1/nothing/", "/api/v1/volume/x/y/", "/favicon.ico",
                                  "/api/v1/node/x/events/"])  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_unknown_paths(world: World, path: str, method: str) -> None:
    answer = await world.call(method, path)
    assert answer.status_code == 404
    assert set(answer.json()) == {"error", "code"}
    assert answer.headers["content-type"] == "application/json"


async def test_methods_that_are_not_there_say_which_are(world: World) -> None:
    one = uuid4()
    for method, path, allow in (
        ("PUT", "image/a/b/", "DELETE, GET, HEAD, PATCH"),
        ("DELETE", "image/a/tag/b/tag/c/", "GET, HEAD"),
        ("GET", "image/localhost:5000/b/tag/c/build/", "POST"),
        ("PATCH", "image/a/b/buildsetting/", "GET, HEAD, POST"),
        ("PUT", "node/", "GET, HEAD"),
        ("POST", f"node/{one}/", "DELETE, GET, HEAD, PATCH"),
        ("PUT", f"service/{one}/tags/", "GET, HEAD, POST"),
        ("GET", f"service/{one}/tags/a/", "DELETE"),
        ("PATCH", f"service/{one}/trigger/{one}/", "DELETE, GET, HEAD"),
        ("GET", f"node/{one}/health-check/", "POST"),
        ("DELETE", "tag/", "GET, HEAD"),
        ("POST", "provider/", "GET, HEAD"),
        ("POST", "registry/docker.io/", "GET, HEAD"),
        ("GET", "token/", "POST"),
        ("GET", "auth/password/", "POST"),
        ("POST", "auth/", "GET, HEAD"),
    ):
        answer = await world.call(method, f"{API}/{path}", json={})
        assert (answer.status_code, answer.headers.get("allow")) == (405, allow), (method, path)
        assert answer.json()["code"] == "method_not_allowed"


@pytest.mark.parametrize(("method", "path"), WRITING)
async def test_bodies_by_their_type(world: World, method: str, path: str) -> None:
    url = f"{API}/" + path.format(node=await world.node(), service=(await world.create())["uuid"])
    for kind, content, status in (
        ("application/x-www-form-urlencoded", b"name=a", 415),
        ("text/plain", b"\xff", 415),
        ("application/json", b"name=a", 400),
        ("application/json; charset=utf-8", b"{", 400),
        ("application/merge-patch+json", b"{", 400),
        (None, b"{", 400),
    ):
        headers = {"Content-Type": kind} if kind else {}
        answer = await world.call(method, url, content=content, headers=headers)
        assert answer.status_code == status, (kind, answer.text)
        assert set(answer.json()) >= {"error", "code"}
    # What parses is taken, whatever it says it is.
    fine = await world.call(method, url, content=b'{"name": 5}', headers={"Content-Type": "text/plain"})
    assert fine.status_code in {200, 201, 400}


async def test_a_body_on_delete_is_nobodys_business(world: World) -> None:
    node, service = await world.node(), await world.create(tags=["a"])
    form = {"content": b"a=b", "headers": {"Content-Type": "application/x-www-form-urlencoded"}}
    assert (await world.call("DELETE", f"{service['resource_uri']}tags/a/", **form)).status_code == 204
    assert (await world.call("DELETE", f"{API}/node/{node}/", **form)).status_code == 202


async def test_nothing_is_recorded_about_what_is_not_there(world: World) -> None:
    for method, path in (("PATCH", f"node/{uuid4()}/"), ("POST", f"service/{uuid4()}/trigger/"), ("DELETE", "image/a/"),
                         ("POST", f"service/{uuid4()}/start/")):  # fmt: skip
        answer = await world.call(method, f"{API}/{path}", json={})
        assert answer.status_code == 404
        assert "x-tutum-action-uri" not in answer.headers
    assert await world.actions() == []


async def test_wrong_keys_are_throttled_on_every_path(world: World) -> None:
    world.app.state.limits = Limits.of(Settings(), lambda: 0.0)  # else a guess is free again after six seconds
    wrong = {"Authorization": "ApiKey admin:guess"}
    for path in (
        "volume/",
        "image/",
        "tag/",
        "provider/",
        "registry/",
        "az/",
        "auth/",
        "node/",
        "region/",
        "volumegroup/",
    ):
        assert (await world.call("GET", f"{API}/{path}", headers=wrong)).status_code == 401
    answer = await world.call("GET", f"{API}/image/", headers=wrong)
    assert (answer.status_code, answer.json()["code"]) == (429, "throttled")
    assert int(answer.headers["retry-after"]) > 0
