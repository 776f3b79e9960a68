"""CLI 0.10.5, of the time of the seed: `ApiKey`, `unique_name`, logs over REST, nested tags."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.clients.cli import GONE, RUNNING, STILL, Cli, only, uuid_of
from tests.clients.conftest import Shop
from tests.e2e.scenario import SLEEPER, WEB, User, wait_for
from tests.harness.engine import PrivateEngine
from tests.harness.registry import Registry

pytestmark = [pytest.mark.e2e, pytest.mark.engine, pytest.mark.postgres]
Sleeping = Callable[..., str]
NOBODY = {"TUTUM_USER": None, "TUTUM_APIKEY": None}


def test_login_stores_the_key(seed: Cli, shop: Shop) -> None:
    result = seed.run("login", keys=f"{seed.user}\n{seed.key}\n", env=NOBODY)
    assert result.code == 0, str(result)
    assert result.out.endswith("Login succeeded!\n"), str(result)
    stored = (seed.home / ".tutum").read_text()
    assert f"user = {seed.user}" in stored
    assert "apikey = " in stored
    assert shop.uuid in seed.ok("service", "ps", "-q", env=NOBODY).split()


def test_login_with_a_wrong_password(seed: Cli) -> None:
    """The client then tries to register the user, which asks for a mail address, and shows what the server says."""
    result = seed.run("login", keys=f"{seed.user}\nwrong\nu@example.org\n", env=NOBODY)
    assert result.code == 2, str(result)
    assert not (seed.home / ".tutum").exists()


def test_a_wrong_key(seed: Cli) -> None:
    assert seed.refused("service", "ps", env={"TUTUM_APIKEY": "wrong"}) == "Not authorized\n"


def test_service_create(seed: Cli, user: User, name: str) -> None:
    words = ["-n", name, "-t", "2", "-p", "80", "--expose", "9000", "-e", "A=1", "--autorestart", "ON_FAILURE"]
    words += ["--autodestroy", "ON_FAILURE", "--sequential", "--tag", "t1", "--tag", "t2"]
    printed = seed.ok("service", "create", *words, SLEEPER)
    service = user.get(uuid_of(printed))
    assert (service["state"], service["target_num_containers"]) == ("Init", 2)
    assert (service["autorestart"], service["autodestroy"]) == ("ON_FAILURE", "ON_FAILURE")
    assert {each["inner_port"] for each in service["container_ports"]} == {80, 9000}
    assert [each["name"] for each in service["tags"]] == ["t1", "t2"]


def test_the_life_of_a_service(seed: Cli, user: User, name: str) -> None:
    uuid = uuid_of(seed.ok("service", "run", "-n", name, "-r", 'sh -c "echo hello; exec sleep 1000"', WEB))
    user.is_in(uuid, "Running")
    row = only(seed.table("service", "ps"), NAME=name)
    assert (row["UUID"], row["STATUS"], row["IMAGE"]) == (uuid[:8], RUNNING + "Running", WEB)
    assert row["DEPLOYED"].endswith("ago")
    for identifier in (name, uuid, uuid[:8]):
        assert json.loads(seed.ok("service", "inspect", identifier))["unique_name"] == name
    assert seed.ok("service", "scale", name, "2") == uuid + "\n"
    wait_for(lambda: user.get(uuid)["running_num_containers"] == 2, timeout=30, what="two containers")
    user.is_in(uuid, "Running")
    user.logged(uuid, 2)
    lines = seed.ok("service", "logs", name).splitlines()
    assert sorted(line.split()[0] for line in lines if line.endswith(" hello")) == [f"[{name}-1]", f"[{name}-2]"]
    assert seed.ok("service", "set", "--autorestart", "ON_FAILURE", "--autoreplace", "OFF", name) == uuid + "\n"
    assert user.get(uuid)["autorestart"] == "ON_FAILURE"
    before = user.get(uuid)["containers"]
    assert seed.ok("service", "redeploy", name) == uuid + "\n"
    user.is_in(uuid, "Running")
    assert user.get(uuid)["containers"] != before
    assert seed.ok("service", "stop", name) == uuid + "\n"
    user.is_in(uuid, "Stopped")
    assert only(seed.table("service", "ps", "-s", "Stopped"), NAME=name)["STATUS"] == STILL + "Stopped"
    assert seed.ok("service", "start", name) == uuid + "\n"
    user.is_in(uuid, "Running")
    assert seed.ok("service", "terminate", name) == uuid + "\n"
    user.is_in(uuid, "Terminated")
    assert only(seed.table("service", "ps"), NAME=name)["STATUS"] == GONE + "Terminated"


def test_redeploy_with_another_tag(seed: Cli, user: User, engine: PrivateEngine, name: str, sleeping: Sleeping) -> None:
    uuid = sleeping()
    engine.client().tag(SLEEPER, "tutela/sleeper", tag=name)
    assert seed.ok("service", "redeploy", "-t", name, name) == uuid + "\n"
    service = user.is_in(uuid, "Running")
    assert service["image_name"] == f"tutela/sleeper:{name}"
    engine.client().remove_image(f"tutela/sleeper:{name}", force=True)


def test_an_unknown_service(seed: Cli) -> None:
    assert seed.refused("service", "inspect", "nobody") == "Cannot find a service with the identifier 'nobody'\n"


def test_links_and_variables(seed: Cli, user: User, name: str) -> None:
    first = user.create(name)
    second = uuid_of(seed.ok("service", "create", "-n", f"{name}b", "--link-service", f"{first}:db", SLEEPER))
    (link,) = user.get(second)["linked_to_service"]
    assert (link["name"], link["to_service"]) == ("db", f"/api/v1/service/{first}/")


def test_containers(seed: Cli, user: User, name: str, sleeping: Sleeping) -> None:
    service = sleeping(run_command='sh -c "echo hello; exec sleep 1000"', container_ports=[
        {"protocol": "tcp", "inner_port": 80, "published": True}
    ])  # fmt: skip
    (container,) = user.containers(service)
    uuid = container["uuid"]
    row = only(seed.table("container", "ps"), NAME=f"{name}-1")
    assert (row["UUID"], row["STATUS"]) == (uuid[:8], RUNNING + "Running")
    assert row["PORTS"].endswith("->80/tcp")
    for identifier in (f"{name}-1", uuid, uuid[:8]):
        assert seed.ok("container", "ps", "-q", "-i", identifier) == uuid + "\n"
        assert json.loads(seed.ok("container", "inspect", identifier))["uuid"] == uuid
    user.logged(service, 1)
    (line,) = seed.ok("container", "logs", f"{name}-1").split("\n")[:1]
    assert line.endswith("Z hello")

    def comes_to(state: str) -> None:
        get = user.api.get
        wait_for(lambda: get(container["resource_uri"]).json["state"] == state, timeout=30, what=state)

    assert seed.ok("container", "stop", f"{name}-1") == uuid + "\n"
    comes_to("Stopped")
    assert uuid in seed.ok("container", "ps", "-q", "-s", "Stopped").split()
    assert seed.ok("container", "start", f"{name}-1") == uuid + "\n"
    comes_to("Running")
    assert seed.ok("container", "terminate", f"{name}-1") == uuid + "\n"
    comes_to("Terminated")


def test_tags(seed: Cli, user: User, name: str) -> None:
    uuid = user.create(name)
    assert seed.ok("tag", "add", "-t", "a", "-t", "b", name) == uuid + "\n"
    assert seed.ok("tag", "add", "-t", "c", name) == uuid + "\n"
    assert seed.ok("tag", "list", "-q", name) == "a b c\n"
    assert seed.ok("tag", "rm", "-t", "b", name) == uuid + "\n"
    assert only(seed.table("tag", "list", name), IDENTIFIER=name) == {
        "IDENTIFIER": name, "TYPE": "Service", "TAGS": "a c",
    }  # fmt: skip


def test_tags_of_a_node(seed: Cli) -> None:
    (node,) = seed.ok("node", "list", "-q").split()
    before = seed.ok("tag", "list", "-q", node).split()
    assert seed.ok("tag", "add", "-t", "old", node) == node + "\n"
    assert seed.ok("tag", "list", "-q", node).split() == [*before, "old"]
    assert seed.ok("tag", "rm", "-t", "old", node) == node + "\n"
    assert seed.ok("tag", "list", "-q", node).split() == before


def test_images(seed: Cli, engine: PrivateEngine, registry: Registry, name: str) -> None:
    registry.push(engine, name, greeting="hi")
    image = f"{registry.address}/{name}"
    result = seed.run("image", "register", "-d", "ours", image, keys="u\nsecret\n")
    assert result.code == 0, str(result)
    assert result.out.splitlines()[-1].endswith(image), str(result)
    assert only(seed.table("image", "list"), NAME=image)["DESCRIPTION"] == "ours"
    assert image in seed.ok("image", "list", "-q").split()
    assert seed.ok("image", "update", "-d", "theirs", image) == image + "\n"
    assert only(seed.table("image", "list"), NAME=image)["DESCRIPTION"] == "theirs"
    assert seed.ok("image", "rm", image) == image + "\n"
    assert image not in seed.ok("image", "list", "-q").split()


@pytest.mark.parametrize("kind", ["-j", "-l"])
def test_lists_of_public_images(seed: Cli, kind: str) -> None:
    """They ask for `starred` and for `base_image`."""
    assert seed.ok("image", "list", kind).splitlines()[0].split() == ["NAME", "DESCRIPTION"]


def test_nodes(seed: Cli) -> None:
    (row,) = seed.table("node", "list")
    (uuid,) = seed.ok("node", "list", "-q").split()
    assert (row["UUID"], row["STATUS"]) == (uuid[:8], RUNNING + "Deployed")
    assert json.loads(seed.ok("node", "inspect", uuid[:8]))["external_fqdn"] == row["FQDN"]


@pytest.mark.parametrize(
    ("command", "headers"),
    [
        ("list", "NAME UUID REGION TYPE DEPLOYED STATUS CURRENT#NODES TARGET#NODES"),
        ("provider", "NAME LABEL REGIONS"),
        ("region", "NAME LABEL PROVIDER TYPE"),
        ("nodetype", "NAME LABEL PROVIDER REGIONS"),
    ],
)
def test_what_only_a_cloud_has(seed: Cli, command: str, headers: str) -> None:
    assert seed.ok("nodecluster", command).splitlines()[0].split() == headers.split()


def test_node_clusters_are_refused(seed: Cli) -> None:
    assert seed.refused("nodecluster", "inspect", "c").startswith("Cannot find a node cluster with the identifier")
    assert seed.refused("nodecluster", "create", "c", "aws", "eu", "small").startswith("Status 400 ")
