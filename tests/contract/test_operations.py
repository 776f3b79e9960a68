"""Every operation of the later API reference by name, against a running server: code, headers and shape of the answer.

73 operations; the five streams are shown in tests/streams and only looked for here. Shapes are those of our own
OpenAPI document, which schemathesis holds true. The table is printed after the run (conftest).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import jsonschema_rs
import pytest

from app.api.openapi import served
from app.main import all_routers
from app.openapi.document import document
from app.openapi.table import OPERATIONS
from app.streams.routes import routes as stream_routes
from tests.conftest import sweep
from tests.e2e.scenario import User
from tests.harness.engine import PrivateEngine
from tests.harness.postgres import TestPostgres
from tests.harness.registry import silent_registry
from tests.harness.server import Response, TutelaProcess

pytestmark = pytest.mark.e2e
DOCUMENT = document("0", served(all_routers()))
NONE = "00000000-0000-4000-8000-000000000000"
IMAGE = "registry.example.test/team/app"


def action_of(answer: Response) -> str:
    """The URI of the action that an answer announces."""
    return {key.lower(): value for key, value in answer.headers.items()}["x-tutum-action-uri"]


@dataclass(frozen=True)
class Place:
    """A server, and what the operations act on."""

    user: User
    node: str
    silent: str
    """The address of a registry that never answers."""

    def service(self, name: str, *, running: bool = False, **more: Any) -> str:
        made = self.user.run if running else self.user.create
        return f"/api/v1/service/{made(name, **more)}/"

    def container(self, name: str) -> str:
        uri: str = self.user.api.get(self.service(name, running=True)).json["containers"][0]
        return uri

    def stack(self, name: str, *, running: bool = False) -> str:
        services = [{"name": "web", "image": "tutela/sleeper"}]
        uri: str = self.user.api.post("/api/v1/stack/", json={"name": name, "services": services}).json["resource_uri"]
        if running:
            self.user.ended(self.user.api.post(f"{uri}start/"), wait="Success")
        return uri

    def action(self, name: str, *, of: str = "stop") -> str:
        path = self.service(name, running=True)
        answer = self.user.api.post(f"{path}{of}/")
        self.user.ended(answer, wait="Success")
        return action_of(answer)

    def pulling(self, name: str) -> str:
        path = self.service(name, image=f"{self.silent}/none:1")
        return action_of(self.user.api.post(f"{path}start/"))

    def trigger(self, name: str) -> str:
        path = self.service(name, running=True)
        uri: str = self.user.api.post(f"{path}trigger/", json={"name": "t"}).json["resource_uri"]
        return uri

    def volume(self, name: str, kind: str) -> str:
        self.service(name, running=True, bindings=[{"container_path": "/data"}])
        uri: str = self.user.api.get(f"/api/v1/{kind}/").json["objects"][-1]["resource_uri"]
        return uri

    def image(self, name: str) -> str:
        self.user.api.post("/api/v1/image/", json={"name": f"{IMAGE}-{name}"})
        return f"/api/v1/image/{IMAGE}-{name}/"


@pytest.fixture(scope="module")
async def place(engine: PrivateEngine, postgres: TestPostgres) -> AsyncIterator[Place]:
    dsn = await postgres.fresh()
    process = TutelaProcess(docker_host=engine.base_url, dsn=dsn)
    try:
        process.start()
        user = User(process)
        with silent_registry(engine.host_address) as silent:
            yield Place(user, user.api.get("/api/v1/node/").json["objects"][0]["resource_uri"], silent)
    finally:
        process.close()
        sweep(engine)
        await postgres.drop(dsn)


Path = Callable[[Place], str]


def at(path: str) -> Path:
    return lambda _place: f"/api/v1/{path}"


CREATE = {"image": "tutum/hello-world", "name": "my-new-app", "target_num_containers": 2}
STACK = {"name": "made", "services": [{"name": "a", "image": "a"}]}

# name: (method, path as the table has it, where, body, code)
REST: dict[str, tuple[str, str, Path, Any, int]] = {
    "list actions": ("GET", "action/", at("action/"), None, 200),
    "get an action": ("GET", "action/{uuid}/", lambda p: p.action("a1"), None, 200),
    "cancel an action": ("POST", "action/{uuid}/cancel/", lambda p: f"{p.pulling('a2')}cancel/", None, 202),
    "retry an action": ("POST", "action/{uuid}/retry/", lambda p: f"{p.action('a3', of='redeploy')}retry/", None, 202),
    **{f"list {kind}": ("GET", f"{kind}/", at(f"{kind}/"), None, 200) for kind in ("provider", "region", "az")},
    **{
        f"get a {kind}": ("GET", f"{kind}/{{name}}/", at(f"{kind}/aws/"), None, 404)
        for kind in ("provider", "region", "az")
    },
    "list node types": ("GET", "nodetype/", at("nodetype/"), None, 200),
    "get a node type": ("GET", "nodetype/{name}/", at("nodetype/aws/t2.micro/"), None, 404),
    "list node clusters": ("GET", "nodecluster/", at("nodecluster/"), None, 200),
    "create a node cluster": ("POST", "nodecluster/", at("nodecluster/"), {"name": "c"}, 400),
    "get a node cluster": ("GET", "nodecluster/{name}/", at(f"nodecluster/{NONE}/"), None, 404),
    "deploy a node cluster": ("POST", "nodecluster/{name}/", at(f"nodecluster/{NONE}/deploy/"), None, 405),
    "update a node cluster": ("PATCH", "nodecluster/{name}/", at(f"nodecluster/{NONE}/"), {}, 405),
    "terminate a node cluster": ("DELETE", "nodecluster/{name}/", at(f"nodecluster/{NONE}/"), None, 405),
    "list nodes": ("GET", "node/", at("node/"), None, 200),
    "get a node": ("GET", "node/{uuid}/", lambda p: p.node, None, 200),
    "update a node": ("PATCH", "node/{uuid}/", lambda p: p.node, {"tags": [{"name": "here"}]}, 200),
    "deploy a node": ("POST", "node/{uuid}/deploy/", lambda p: f"{p.node}deploy/", None, 409),
    "check a node's health": ("POST", "node/{uuid}/health-check/", lambda p: f"{p.node}health-check/", None, 202),
    "upgrade a node's docker": ("POST", "node/{uuid}/docker-upgrade/", lambda p: f"{p.node}docker-upgrade/", None, 400),
    "terminate a node": ("DELETE", "node/{uuid}/", lambda p: p.node, None, 409),
    "make a token for a node": ("POST", "token/", at("token/"), None, 201),
    "list registries": ("GET", "registry/", at("registry/"), None, 200),
    "get a registry": ("GET", "registry/{host}/", at("registry/docker.io/"), None, 200),
    "list images": ("GET", "image/", at("image/"), None, 200),
    "register an image": ("POST", "image/", at("image/"), {"name": f"{IMAGE}-new"}, 201),
    "get an image": ("GET", "image/{name}/", lambda p: p.image("i1"), None, 200),
    "update an image": ("PATCH", "image/{name}/", lambda p: p.image("i2"), {"description": "d"}, 200),
    "delete an image": ("DELETE", "image/{name}/", lambda p: p.image("i3"), None, 204),
    "get an image tag": ("GET", "image/{name}/tag/{tag}/", lambda p: f"{p.image('i4')}tag/latest/", None, 200),
    "build an image tag": ("POST", "build", lambda p: f"{p.image('i5')}tag/latest/build/", None, 400),
    "list stacks": ("GET", "stack/", at("stack/"), None, 200),
    "create a stack": ("POST", "stack/", at("stack/"), STACK, 201),
    "export a stack": ("GET", "stack/{uuid}/export/", lambda p: f"{p.stack('k1')}export/", None, 200),
    "get a stack": ("GET", "stack/{uuid}/", lambda p: p.stack("k2"), None, 200),
    "update a stack": ("PATCH", "stack/{uuid}/", lambda p: p.stack("k3"), {"services": []}, 200),
    "stop a stack": ("POST", "stack/{uuid}/stop/", lambda p: f"{p.stack('k4', running=True)}stop/", None, 202),
    "start a stack": ("POST", "stack/{uuid}/start/", lambda p: f"{p.stack('k5')}start/", None, 202),
    "redeploy a stack": (
        "POST", "stack/{uuid}/redeploy/", lambda p: f"{p.stack('k6', running=True)}redeploy/", None, 202,
    ),
    "terminate a stack": ("DELETE", "stack/{uuid}/", lambda p: p.stack("k7"), None, 202),
    "list services": ("GET", "service/", at("service/"), None, 200),
    "create a service": ("POST", "service/", at("service/"), CREATE, 201),
    "get a service": ("GET", "service/{uuid}/", lambda p: p.service("s1"), None, 200),
    "update a service": ("PATCH", "service/{uuid}/", lambda p: p.service("s2"), {"target_num_containers": 3}, 200),
    "start a service": ("POST", "service/{uuid}/start/", lambda p: f"{p.service('s3')}start/", None, 202),
    "stop a service": ("POST", "service/{uuid}/stop/", lambda p: f"{p.service('s4', running=True)}stop/", None, 202),
    "scale a service": ("POST", "service/{uuid}/scale/", lambda p: f"{p.service('s5', running=True)}scale/", None, 202),
    "redeploy a service": (
        "POST", "service/{uuid}/redeploy/",
        lambda p: f"{p.service('s6', running=True)}redeploy/?reuse_volumes=False", None, 202,
    ),
    "terminate a service": ("DELETE", "service/{uuid}/", lambda p: p.service("s7"), None, 202),
    "list triggers": ("GET", "service/{uuid}/trigger/", lambda p: f"{p.service('t1')}trigger/", None, 200),
    "create a trigger": ("POST", "service/{uuid}/trigger/", lambda p: f"{p.service('t2')}trigger/", {"name": "t"}, 201),
    "get a trigger": ("GET", "service/{uuid}/trigger/{trigger}/", lambda p: p.trigger("t3"), None, 200),
    "delete a trigger": ("DELETE", "service/{uuid}/trigger/{trigger}/", lambda p: p.trigger("t4"), None, 200),
    "call a trigger": (
        "POST", "service/{uuid}/trigger/{trigger}/call/", lambda p: f"{p.trigger('t5')}call/", None, 202,
    ),
    "list containers": ("GET", "container/", at("container/"), None, 200),
    "get a container": ("GET", "container/{uuid}/", lambda p: p.container("c1"), None, 200),
    "start a container": ("POST", "container/{uuid}/start/", lambda p: f"{stopped(p, 'c2')}start/", None, 202),
    "stop a container": ("POST", "container/{uuid}/stop/", lambda p: f"{p.container('c3')}stop/", None, 202),
    "redeploy a container": (
        "POST", "container/{uuid}/redeploy/", lambda p: f"{p.container('c4')}redeploy/", None, 202,
    ),
    "terminate a container": ("DELETE", "container/{uuid}/", lambda p: p.container("c5"), None, 202),
    "list volumes": ("GET", "volume/", at("volume/"), None, 200),
    "get a volume": ("GET", "volume/{uuid}/", lambda p: p.volume("v1", "volume"), None, 200),
    "list volume groups": ("GET", "volumegroup/", at("volumegroup/"), None, 200),
    "get a volume group": ("GET", "volumegroup/{uuid}/", lambda p: p.volume("v2", "volumegroup"), None, 200),
    "list tags": ("GET", "tag/", at("tag/"), None, 200),
}  # fmt: skip
STREAMS = {
    "events": "/v1/events/",
    "service logs": "/v1/service/{uuid}/logs/",
    "container logs": "/v1/container/{uuid}/logs/",
    "action logs": "/v1/action/{uuid}/logs/",
    "container exec": "/v1/container/{uuid}/exec/",
}

NAMES = (*REST, *STREAMS)


def shown_by(name: str) -> str:
    """The test that shows the operation."""
    return f"test_operations.py::{'test_stream' if name in STREAMS else 'test_operation'}[{name}]"


def stopped(place: Place, name: str) -> str:
    uri = place.container(name)
    place.user.ended(place.user.api.post(f"{uri}stop/"), wait="Success")
    return uri


def shape(method: str, path: str, code: int) -> dict[str, Any] | None:
    """The schema of that answer in the document; of an error the error's."""
    schemas = DOCUMENT["components"]["schemas"]
    if code >= 400:
        return {"$ref": "#/components/schemas/Error", "components": {"schemas": schemas}}
    row = OPERATIONS.get((method, f"/api/v1/{path}"))
    assert row is not None, f"no row for {method} {path}"
    found = DOCUMENT["paths"][f"/api/v1/{path}"][method.lower()]["responses"][str(code)].get("content")
    if found is None:
        return None
    return {**found["application/json"]["schema"], "components": {"schemas": schemas}}


@pytest.mark.parametrize("name", list(REST))
def test_operation(place: Place, name: str) -> None:
    method, path, where, body, code = REST[name]
    uri = where(place)
    answer: Response = place.user.api.call(method, uri, json=body)
    assert answer.status == code, answer.text
    expected = shape(method, path, code)
    if expected is None:
        assert answer.text == ""
        return
    jsonschema_rs.validate(expected, answer.json)
    if method != "GET" and code < 400 and code != 404:
        headers = {key.lower(): value for key, value in answer.headers.items()}
        action = place.user.api.get(headers["x-tutum-action-uri"])
        assert action.status == 200
        assert headers["x-dockercloud-action-uri"] == headers["x-tutum-action-uri"]


@pytest.mark.parametrize("name", list(STREAMS))
def test_stream(name: str) -> None:
    assert STREAMS[name] in {route.path for route in stream_routes()}


def test_the_reference_is_complete() -> None:
    assert len(NAMES) == len(set(NAMES)) >= 73
