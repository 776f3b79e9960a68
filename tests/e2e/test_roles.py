"""The role `global`: a token of its own for each container, and the API reachable from inside (spec 2.20)."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.conftest import sweep
from tests.e2e.scenario import WEB, User, owned, until
from tests.e2e.test_main_job import exec_in
from tests.harness.engine import PrivateEngine
from tests.harness.server import TutelaProcess

pytestmark = pytest.mark.e2e


@pytest.fixture
def server(engine: PrivateEngine, database_url: str) -> Iterator[TutelaProcess]:
    """A server that containers of the engine, which is in a network namespace, reach by the veth's address."""
    process = TutelaProcess(
        docker_host=engine.base_url,
        dsn=database_url,
        env={"TUTELA_INSIDE_ADDRESS": engine.host_address, "TUTELA_INSECURE_HTTP": "1"},
    )
    try:
        process.start()
        yield process
    finally:
        process.close()
        sweep(engine)


def ask(engine: PrivateEngine, engine_id: str, url: str) -> str:
    """GET from inside the container, by its own variables."""
    script = f'wget -qO- --header "Authorization: $TUTUM_AUTH" "{url}"'
    return exec_in(engine, engine_id, ["sh", "-c", script])


def test_a_container_uses_the_api_with_its_own_token(server: TutelaProcess, engine: PrivateEngine) -> None:
    user = User(server)
    uuid = user.run("lb", image=WEB, target=2, roles=["global"])
    plain = user.run("plain")
    ids = {each["Names"][0].split(".")[0].lstrip("/"): each["Id"] for each in owned(engine, running=True)}
    environments = {name: exec_in(engine, each, ["env"]) for name, each in ids.items()}
    assert "TUTUM_AUTH" not in environments["plain-1"]
    tokens = {line for name in ("lb-1", "lb-2") for line in environments[name].splitlines() if "TUTUM_AUTH" in line}
    assert len(tokens) == 2
    assert json.loads(ask(engine, ids["lb-1"], "$TUTUM_SERVICE_API_URL"))["uuid"] == uuid
    assert json.loads(ask(engine, ids["lb-2"], "$TUTUM_REST_HOST/api/v1/container/"))["meta"]["total_count"] == 3
    assert "401" in ask(engine, ids["plain-1"], "$TUTUM_REST_HOST/api/v1/container/")
    shown = json.dumps([user.get(uuid), user.containers(uuid), user.get(plain)])
    assert not any(token.partition("Bearer ")[2] in shown for token in tokens)
    assert "TUTUM_AUTH" in {each["key"] for each in user.get(uuid)["calculated_envvars"]}
    token = next(iter(tokens)).partition("=")[2]
    headers = {"Authorization": token}
    assert server.api.get("/api/v1/service/", auth=False, headers=headers).status == 200
    broken = {"Authorization": token[:-1] + ("0" if token[-1] != "0" else "1")}
    assert server.api.get("/api/v1/service/", auth=False, headers=broken).status == 401
    user.patch(uuid, roles=[])
    assert server.api.get("/api/v1/service/", auth=False, headers=headers).status == 401
    user.patch(uuid, roles=["global"])
    assert server.api.get("/api/v1/service/", auth=False, headers=headers).status == 200
    user.do(uuid, "terminate", wait="Success")
    until(lambda: server.api.get("/api/v1/service/", auth=False, headers=headers).status == 401, "the token to die")


def test_a_container_made_anew_has_the_same_token(server: TutelaProcess, engine: PrivateEngine) -> None:
    user = User(server)
    user.run("lb", roles=["global"])
    (before,) = owned(engine, running=True)
    token = [each for each in engine.client().inspect_container(before["Id"])["Config"]["Env"] if "TUTUM_AUTH" in each]
    engine.client().remove_container(before["Id"], force=True)
    until(lambda: [each["Id"] for each in owned(engine, running=True)] not in ([], [before["Id"]]), "it to be back")
    (after,) = owned(engine, running=True)
    assert token
    assert token[0] in engine.client().inspect_container(after["Id"])["Config"]["Env"]
