"""Every route says what right it asks for, and gets it (RELIABILITY S4, S6)."""

from __future__ import annotations

import re
from uuid import UUID, uuid4

import pytest
from fastapi import APIRouter, Request, Response
from starlette.routing import Route, WebSocketRoute

from app.api import health
from app.api.openapi import served
from app.api.rights import RIGHTS, right_of
from app.api.routing import Operation
from app.limits import Limits
from app.main import all_routers, create_monitor
from app.streams.routes import routes
from domain.access import Right
from tests.admin.conftest import ADMIN, Office
from tests.api.client import API

SERVED = [
    (method, route.path)
    for router in all_routers()
    for route in router.routes
    if isinstance(route, Route)
    for method in route.methods or ()
]
CHANGING = [(method, path) for method, path in SERVED if method != "GET"]


def streams() -> list[str]:
    return [re.sub(r"^/api/\w+/v1(/{namespace})?", "/v1", route.path) for route in routes()]


def test_every_route_declares_its_right_and_every_right_has_a_route() -> None:
    undeclared = [(method, path) for method, path in SERVED if right_of(method, path) is None]
    undeclared += [("WS", path) for path in streams() if right_of("WS", path) is None]
    assert undeclared == []
    there = {f"{method} {re.sub(r':[a-z]+}', '}', path)}" for method, path in SERVED}
    assert sorted(RIGHTS) == sorted(there | {f"WS {path}" for path in streams()})


async def test_the_application_serves_nothing_but_these(office: Office) -> None:
    """What is added past the routers would be past the guard."""
    kinds = {type(route).__name__ for route in office.app.router.routes}
    assert kinds == {"Operation", "WebSocketRoute"}
    assert len([each for each in office.app.router.routes if isinstance(each, WebSocketRoute)]) == len(routes())


async def test_no_application_is_made_with_a_route_past_the_guard(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = APIRouter()
    plain.add_api_route("/health", health.health)
    monkeypatch.setattr(health, "router", plain)
    with pytest.raises(TypeError, match="past the guard"):
        create_monitor(office.app.state.settings, office.db, office.app.state.secrets)


def test_no_route_is_made_of_an_endpoint_that_asks_for_more_than_it_is_given() -> None:
    async def endpoint(request: Request, uuid: UUID) -> Response:
        return Response(str(uuid))

    router = APIRouter(route_class=Operation)
    with pytest.raises(TypeError, match="endpoint takes a Request first"):
        router.get("/{uuid}/")(endpoint)


def test_what_is_open_is_this_and_nothing_else() -> None:
    call = "POST /api/v1/service/{uuid}/trigger/{trigger}/call/"
    assert {route for route, right in RIGHTS.items() if right is Right.OPEN} == {
        "GET /health", "GET /healthz", "GET /readyz", "GET /openapi.json", call, f"{call}{{count}}/",
    }  # fmt: skip
    for route, right in RIGHTS.items():
        assert right is Right.ADMIN or "/admin/" not in route
        if not route.startswith(("GET", "WS")):
            assert right is not Right.READ, route


def filled(path: str) -> str:
    return re.sub(r"{\w+(:\w+)?}", lambda _: str(uuid4()), path)


@pytest.mark.parametrize("role", ["read-only", "member"])
async def test_each_role_is_refused_what_is_not_its_own(office: Office, role: str) -> None:
    headers = await office.hire("eve", role)
    allowed = {Right.OPEN, Right.READ} | ({Right.WRITE, Right.ACCOUNT} if role == "member" else set())
    for method, path in SERVED:
        answer = await office.call(method, filled(path), headers=headers, json=None if method == "GET" else {})
        right = right_of(method, path)
        assert (answer.status_code == 403) == (right not in allowed), (method, path, answer.text)


async def test_a_container_administers_nothing(office: Office) -> None:
    headers = await office.container_header()
    people = {Right.ACCOUNT, Right.ADMIN, Right.METRICS}
    for method, path in SERVED:
        if right_of(method, path) in people:
            answer = await office.call(method, filled(path), headers=headers, json=None if method == "GET" else {})
            assert answer.status_code == 403, (method, path)
    assert (await office.call("GET", f"{API}/service/", headers=headers)).status_code == 200


async def test_without_credentials_everything_but_the_open_is_401(office: Office) -> None:
    for method, path in SERVED:
        office.app.state.limits = Limits.of(office.app.state.settings)  # not throttled here
        answer = await office.http.request(method, filled(path))
        if right_of(method, path) is not Right.OPEN:
            assert answer.status_code == 401, (method, path)


async def test_a_route_without_a_line_is_closed(office: Office) -> None:
    async def forgotten(_request: Request) -> Response:
        return Response("open to everybody")

    office.app.router.routes.append(Operation(f"{API}/forgotten/", forgotten, methods=["GET"]))
    assert (await office.http.get(f"{API}/forgotten/")).status_code == 401
    answer = await office.call("GET", f"{API}/forgotten/")
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


async def test_who_may_only_read_sees_no_values(office: Office) -> None:
    eve = await office.hire("eve")
    user = await office.user_named("eve")
    body = {"image": "a", "name": "db", "container_envvars": [{"key": "PASSWORD", "value": "canary-1"}]}
    db = (await office.call("POST", f"{API}/service/", headers=eve, json=body)).json()
    links = {"image": "a", "name": "web", "linked_to_service": [{"to_service": "db", "name": "db"}]}
    await office.call("POST", f"{API}/service/", headers=eve, json=links)
    stack = {"name": "s", "services": [{"name": "x", "image": "a", "environment": {"K": "canary-2"}}]}
    made = (await office.call("POST", f"{API}/stack/", headers=eve, json=stack)).json()
    await office.container(db["uuid"], await office.node())
    trigger = (await office.call("POST", f"{db['resource_uri']}trigger/", headers=eve, json={})).json()
    key = await office.key_of(user["uuid"], scope="read-only")
    reader = {"Authorization": f"ApiKey eve:{key['key']}"}
    for path in (
        f"{API}/service/", db["resource_uri"], f"{db['resource_uri']}explain/", f"{API}/container/",
        f"{made['resource_uri']}export/", f"{API}/action/", made["resource_uri"],
    ):  # fmt: skip
        shown = await office.call("GET", path, headers=reader)
        assert shown.status_code == 200
        assert "canary" not in shown.text, path
        assert trigger["uuid"] not in shown.text, path
    shown = (await office.call("GET", db["resource_uri"], headers=reader)).json()
    assert shown["container_envvars"] == [{"key": "PASSWORD", "value": "********"}]
    owned = (await office.call("GET", db["resource_uri"], headers=eve)).json()
    assert owned["container_envvars"] == body["container_envvars"]
    for path in (f"{db['resource_uri']}trigger/", trigger["resource_uri"]):
        assert (await office.call("GET", path, headers=reader)).status_code == 403


async def test_the_document_tells_of_the_refusal() -> None:
    from app.openapi.document import document

    paths = document("0", served(all_routers()))["paths"]
    assert "403" in paths[f"{ADMIN}/user/"]["get"]["responses"]
