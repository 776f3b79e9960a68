"""Images and their tags (spec 4.3), and the login at a real registry."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from app.registries import check_login
from domain.assignment import ImageRequest
from domain.errors import Invalid
from domain.image import Pull
from domain.registry import RegistryAuth, canonical, is_local, registry_of, repository_of
from orchestrator.store import nodes
from tests.harness.registry import PASSWORD, USER, Registry
from tests.harness.server import free_port
from tests.harness.tokens import TokenServer
from tests.resources.conftest import World

API = "/api/v1"
IMAGE = {
    "name": "registry.example.com:5000/team/app",
    "resource_uri": f"{API}/image/registry.example.com:5000/team/app/",
    "description": "ours",
    "registry": f"{API}/registry/registry.example.com:5000/",
    "is_private_image": False,
    "jumpstart": False,
    "in_use": False,
    "public_url": "",
    "icon_url": "",
    "categories": [],
    "star_count": 0,
    "state": "Empty",
    "last_build_date": None,
    "tags": [],
    "build_source": None,
}


@pytest.fixture
def guarded() -> Iterator[Registry]:
    """A registry on this machine that asks for a login."""
    serving = Registry("127.0.0.1", free_port(), auth=True)
    try:
        serving.start()
        yield serving
    finally:
        serving.close()


async def post(world: World, **body: Any) -> Any:
    return await world.call("POST", f"{API}/image/", json=body)


@pytest.mark.parametrize(
    ("name", "host", "repository", "local"),
    [
        ("nginx", "docker.io", "library/nginx", False),
        ("tutum/hello-world", "docker.io", "tutum/hello-world", False),
        ("docker.io/nginx", "docker.io", "library/nginx", False),
        ("index.docker.io/tutum/x", "docker.io", "tutum/x", False),
        ("localhost/x", "localhost", "x", True),
        ("localhost:5000/a/b/c", "localhost:5000", "a/b/c", True),
        ("127.0.0.1:5000/x", "127.0.0.1:5000", "x", True),
        ("reg.example.com/x", "reg.example.com", "x", False),
        ("10.0.0.1:80/x", "10.0.0.1:80", "x", False),
    ],
)
def test_names(name: str, host: str, repository: str, local: bool) -> None:
    assert (registry_of(name), repository_of(name), is_local(host)) == (host, repository, local)
    assert canonical(name) == f"{host}/{repository}"


async def test_an_image_from_beginning_to_end(world: World) -> None:
    answer = await post(world, name=IMAGE["name"], description="ours")
    assert (answer.status_code, answer.json()) == (201, IMAGE)
    again = await post(world, name=IMAGE["name"])
    assert again.status_code == 409
    assert "registered already" in again.json()["error"]
    uri = str(IMAGE["resource_uri"])
    for spelling in (uri, uri.rstrip("/"), uri.replace("team/app", "team%2Fapp"), uri.replace("/team", "//team")):
        assert (await world.call("GET", spelling)).json() == IMAGE, spelling
    changed = await world.call("PATCH", uri, json={"description": "theirs", "name": "ignored"})
    assert (changed.status_code, changed.json()) == (200, {**IMAGE, "description": "theirs"})
    assert (await world.call("GET", f"{API}/image/")).json()["objects"] == [changed.json()]
    gone = await world.call("DELETE", uri)
    assert (gone.status_code, gone.content) == (204, b"")
    assert (await world.call("GET", uri)).status_code == 404
    assert [(each["action"], each["state"], each["object"]) for each in await world.actions()] == [
        ("Image Delete", "Success", uri),
        ("Image Update", "Success", uri),
        ("Image Create", "Failed", f"{API}/image/"),
        ("Image Create", "Success", uri),
    ]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": "a:tag"}, "name"),
        ({"name": "A b"}, "name"),
        ({"name": 5}, "name"),
        ({"name": "a", "username": "u"}, "password"),
        ({"name": "a", "password": "p"}, "username"),
        ({"name": "a", "username": "u:v", "password": "p"}, "username"),
        ({"name": "a", "username": "u", "password": "p\nq"}, "password"),
        ([], "body"),
    ],
)
async def test_bad_images(world: World, body: Any, field: str) -> None:
    answer = await world.call("POST", f"{API}/image/", json=body)
    assert (answer.status_code, list(answer.json()["fields"])) == (400, [field])
    assert await world.count("images") == 0
    assert [each["state"] for each in await world.actions()] == ["Failed"]


async def test_filters_and_use(world: World) -> None:
    for name in ("tutum/hello-world", "registry.example.com/app"):
        await post(world, name=name)
    await world.create(name="web", image="tutum/hello-world:v1")
    expected = {
        "name=tutum/hello-world": 1, "registry=docker.io": 1, f"registry={API}/registry/registry.example.com/": 1,
        "is_user_image=True": 2, "is_private_image=true": 0, "jumpstart=True": 0, "categories__name=x": 0,
        "name__startswith=registry": 1,
    }  # fmt: skip
    for query, count in expected.items():
        assert (await world.call("GET", f"{API}/image/?{query}")).json()["meta"]["total_count"] == count, query
    used = (await world.call("GET", f"{API}/image/tutum/hello-world/")).json()
    assert (used["in_use"], used["tags"]) == (True, [f"{API}/image/tutum/hello-world/tag/v1/"])
    other = await world.user("other", "k2")
    assert (await world.call("GET", f"{API}/image/", headers=other)).json()["objects"] == []
    assert (await world.call("GET", f"{API}/image/tutum/hello-world/", headers=other)).status_code == 404


async def test_a_tag_before_and_after_a_service_looked_it_up(world: World) -> None:
    service = await world.create(name="web", image="localhost:5000/team/app:v1")
    uri = service["image_tag"]
    tag = (await world.call("GET", uri)).json()
    assert tag == {
        "name": "v1", "full_name": "localhost:5000/team/app:v1", "image": f"{API}/image/localhost:5000/team/app/",
        "resource_uri": uri, "state": "Empty", "buildable": False, "layer": None,
    }  # fmt: skip
    image = {
        "reference": "localhost:5000/team/app:v1", "image_id": "sha256:1", "env": [["A", "1"]],
        "ports": [{"protocol": "tcp", "port": 80}], "entrypoint": ["/bin/sh", "-c"], "command": ["echo a"],
        "volumes": ["/data"],
    }  # fmt: skip
    async with world.db.transaction() as conn:
        await conn.execute("UPDATE services SET image = $2 WHERE id = $1", UUID(service["uuid"]), image)
    tag = (await world.call("GET", uri)).json()
    assert tag["state"] == "Success"
    assert tag["layer"] == {
        "resource_uri": uri, "docker_id": "sha256:1", "author": "", "creation": None, "entrypoint": "/bin/sh -c",
        "run_command": "'echo a'", "envvars": [{"key": "A", "value": "1"}], "labels": [],
        "ports": [{"port": 80, "protocol": "tcp"}], "volumes": [{"container_path": "/data"}],
    }  # fmt: skip
    other = await world.user("other", "k2")
    assert (await world.call("GET", uri, headers=other)).json()["layer"] is None
    digest = f"{API}/image/a/b/tag/sha256:{'0' * 64}/"
    assert (await world.call("GET", digest)).json()["resource_uri"] == digest
    assert (await world.call("GET", f"{API}/image/A%20b/tag/x/")).status_code == 404


async def test_nothing_is_built(world: World) -> None:
    for method, path in (("POST", "tag/latest/build/"), ("GET", "buildsetting/"), ("POST", "buildsetting/"),
                         ("GET", "buildsetting/a/b/")):  # fmt: skip
        answer = await world.call(method, f"{API}/image/tutum/x/{path}", json={})
        assert answer.status_code == 400
        assert "builds are not available" in answer.json()["error"]


async def test_a_registry_takes_or_refuses_a_login(world: World, guarded: Registry) -> None:
    name = f"{guarded.address}/app"
    wrong = await post(world, name=name, username=USER, password="wrong")
    assert (wrong.status_code, list(wrong.json()["fields"])) == (400, ["password"])
    assert "refuses" in wrong.json()["error"]
    right = await post(world, name=name, username=USER, password=PASSWORD)
    assert (right.status_code, right.json()["is_private_image"]) == (201, True)
    uri = f"{API}/image/{name}/"
    assert (await world.call("PATCH", uri, json={"password": "wrong"})).status_code == 400
    assert (await world.call("PATCH", uri, json={"password": PASSWORD})).status_code == 200
    assert (await world.call("PATCH", uri, json={"username": "other"})).status_code == 400
    assert (await world.call("GET", f"{API}/image/?is_private_image=true")).json()["meta"]["total_count"] == 1
    guarded.stop()
    answer = await world.call("PATCH", uri, json={"password": PASSWORD})
    assert list(answer.json()["fields"]) == ["name"]
    assert "cannot be reached" in answer.json()["error"]
    open_again = await world.call("PATCH", uri, json={"username": ""})
    assert open_again.json()["is_private_image"] is False


async def test_the_password_is_nowhere_readable(world: World, guarded: Registry) -> None:
    name = f"{guarded.address}/app"
    answers = [
        await post(world, name=name, username=USER, password=PASSWORD),
        await world.call("PATCH", f"{API}/image/{name}/", json={"password": PASSWORD}),
        await world.call("GET", f"{API}/image/{name}/"),
        await world.call("GET", f"{API}/image/"),
        await world.call("GET", f"{API}/action/"),
    ]
    assert all(answer.status_code < 300 for answer in answers)
    assert PASSWORD not in "".join(answer.text for answer in answers)
    assert '"password"' not in answers[2].text
    async with world.db.read() as conn:
        for table in ("images", "actions", "events"):
            rows = await conn.fetch(f"SELECT row_to_json(t)::text AS text FROM {table} t")  # noqa: S608
            assert PASSWORD not in str([row["text"] for row in rows])
        sealed = await conn.fetchval("SELECT password FROM images")
    assert world.app.state.secrets.unseal(sealed) == PASSWORD
    assert PASSWORD not in repr(RegistryAuth(username=USER, password=PASSWORD))


async def test_a_pull_is_asked_for_with_the_accounts_own_login(world: World, guarded: Registry) -> None:
    name, unseal = f"{guarded.address}/app", world.app.state.secrets.unseal
    await post(world, name=name, username=USER, password=PASSWORD)
    node, mine, other = await world.node(), await world.create(name="a", image=name), await world.create(name="b")
    header = await world.user("other", "k2")
    foreign = await world.call("POST", f"{API}/service/", json={"image": name}, headers=header)
    auth = RegistryAuth(username=USER, password=PASSWORD)
    for service, image, expected in (
        (mine["uuid"], f"{name}:v2", auth), (other["uuid"], f"{name}2:v2", None), (foreign.json()["uuid"], name, None),
    ):  # fmt: skip
        request = ImageRequest(request_id=uuid4(), reference=image, pull=Pull.ALWAYS)
        async with world.db.transaction() as conn:
            await nodes.request_image(conn, request, UUID(service), UUID(node))
            (told,) = [
                each for each in await nodes.open_image_requests(conn, UUID(node), unseal)
                if each.request_id == request.request_id
            ]  # fmt: skip
        assert told.auth == expected, image
        assert PASSWORD not in repr(told)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        ("169.254.169.254/latest/meta-data", "no registry is asked"),
        ("169.254.169.254:80/x", "no registry is asked"),
        ("no-such-host.invalid/x", "leads nowhere"),
        ("127.0.0.1:1/x", "cannot be reached"),
    ],
)
async def test_registries_that_are_not_asked(image: str, said: str) -> None:
    with pytest.raises(Invalid) as caught:
        await check_login(image, RegistryAuth(username="u", password="p"))
    assert list(caught.value.fields) == ["name"]
    assert said in str(caught.value)


async def test_what_is_behind_a_port_is_not_told() -> None:
    """Nobody there, somebody silent, and somebody who speaks something else are one answer (S28)."""

    async def speak(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-x\r\n")
        writer.close()

    said = set()
    async with await asyncio.start_server(speak, "127.0.0.1", 0) as other:
        for port in (free_port(), other.sockets[0].getsockname()[1]):
            with pytest.raises(Invalid) as caught:
                await check_login(f"127.0.0.1:{port}/x", RegistryAuth(username="u", password="p"))
            said.add(str(caught.value).replace(str(port), "PORT"))
    assert len(said) == 1, said


async def test_an_open_registry_takes_everybody() -> None:
    serving = Registry("127.0.0.1", free_port())
    try:
        serving.start()
        await check_login(f"{serving.address}/app", RegistryAuth(username="u", password="p"))
    finally:
        serving.close()


async def test_a_registry_with_a_token_server(tmp_path: Path) -> None:
    tokens = TokenServer(tmp_path)
    serving = Registry("127.0.0.1", free_port(), token_server=(tokens.realm, tokens.bundle))
    try:
        serving.start()
        image = f"{serving.address}/team/app"
        await check_login(image, RegistryAuth(username=USER, password=PASSWORD))
        assert tokens.asked == [
            {"account": [USER], "service": ["tests"], "scope": ["repository:team/app:pull"]},
        ]
        with pytest.raises(Invalid) as caught:
            await check_login(image, RegistryAuth(username=USER, password="wrong"))
        assert list(caught.value.fields) == ["password"]
    finally:
        serving.close()
        tokens.close()


class Answers:
    """A server on loopback that says the same to everybody."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes = b"{}") -> None:
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(f"{self.path} {self.headers.get('Authorization', '-')}")
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                with contextlib.suppress(OSError):
                    self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def encrypt(self, certificate: Path, key: Path) -> None:
        """Speak TLS, with this certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)

    def __enter__(self) -> Answers:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


METADATA = 'Bearer realm="http://169.254.169.254/token",service="x"'


@pytest.mark.parametrize(
    ("status", "headers", "body", "field"),
    [
        (302, {"Location": "http://169.254.169.254/"}, b"", "name"),  # no redirect is followed
        (401, {"WWW-Authenticate": METADATA}, b"", "name"),  # nor a token server on the link
        (401, {"WWW-Authenticate": 'Bearer realm="file:///etc/passwd"'}, b"", "name"),
        (401, {"WWW-Authenticate": 'Digest realm="x"'}, b"", "name"),
        (401, {"WWW-Authenticate": 'Basic realm="x"'}, b"", "password"),
        (503, {}, b"", "name"),
        (401, {}, b"x" * 200_000, "name"),
    ],
)
async def test_what_claims_to_be_a_registry(status: int, headers: dict[str, str], body: bytes, field: str) -> None:
    with Answers(status, headers, body) as serving:
        with pytest.raises(Invalid) as caught:
            await check_login(f"{serving.address}/app", RegistryAuth(username="u", password="p"))
        assert list(caught.value.fields) == [field]
        assert serving.asked[0] == "/v2/ -"  # the first question carries no password
        assert len(serving.asked) == (2 if field == "password" else 1)


async def test_a_certificate_of_nobody_is_no_reason_for_plain_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = TokenServer(tmp_path)
    keys.close()
    auth = RegistryAuth(username="u", password="p")
    serving = Answers(200, {})
    serving.encrypt(keys.bundle, keys.key_file)
    with serving:
        with pytest.raises(Invalid) as caught:
            await check_login(f"{serving.address}/app", auth)
        assert "does not trust" in caught.value.fields["name"]
        assert serving.asked == []
        # Trusted, it is asked, under the name that it was given: the connection goes to the address.
        monkeypatch.setenv("SSL_CERT_FILE", str(keys.bundle))
        await check_login(f"{serving.address}/app", auth)
        assert serving.asked == ["/v2/ -"]
