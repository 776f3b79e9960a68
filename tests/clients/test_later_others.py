"""The other commands of CLI 0.21.1: login, triggers, tags, actions, images, nodes, volumes, events."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest

from tests.clients.cli import RUNNING, UUID4, Cli, only, uuid_of
from tests.clients.conftest import Shop
from tests.e2e.scenario import SLEEPER, User, wait_for
from tests.harness.engine import PrivateEngine
from tests.harness.registry import Registry

pytestmark = [pytest.mark.e2e, pytest.mark.engine, pytest.mark.postgres]
Sleeping = Callable[..., str]
NOBODY = {"TUTUM_USER": None, "TUTUM_APIKEY": None}


def test_login_is_kept_in_the_home(later: Cli, shop: Shop) -> None:
    assert later.ok("login", "-u", later.user, "-p", later.key, env=NOBODY) == "Login succeeded!\n"
    assert "basic_auth" in (later.home / ".tutum").read_text()
    assert shop.uuid in later.ok("service", "ps", "-q", env=NOBODY).split()


def test_login_with_a_wrong_password(later: Cli) -> None:
    assert later.refused("login", "-u", later.user, "-p", "wrong", env=NOBODY) == "Not authorized\n"
    assert not (later.home / ".tutum").exists()


def test_a_command_asks_who_it_is(later: Cli, shop: Shop) -> None:
    """What this login stores is quoted, and is sent quoted (spec 1.2)."""
    result = later.run("service", "ps", "-q", keys=f"{later.user}\n{later.key}\n", env=NOBODY)
    assert result.code == 0, str(result)
    assert "Not Authorized, Please login:" in result.err
    assert "Login succeeded!" in result.out
    assert shop.uuid in result.out.split()
    assert shop.uuid in later.ok("service", "ps", "-q", env=NOBODY).split()


def test_triggers(later: Cli, user: User, name: str, sleeping: Sleeping) -> None:
    uuid = sleeping()
    assert later.ok("trigger", "list", name).split() == ["UUID", "NAME", "OPERATION", "URL"]
    assert later.ok("trigger", "create", name) == uuid + "\n"
    assert later.ok("trigger", "create", "-n", "more", "-o", "SCALEUP", name) == uuid + "\n"
    rows = later.table("trigger", "list", name)
    assert sorted(row["OPERATION"] for row in rows) == ["REDEPLOY", "SCALEUP"]
    row = only(rows, NAME="more")
    (long,) = [each for each in later.ok("trigger", "list", "-q", name).split() if each.startswith(row["UUID"])]
    assert row["URL"].endswith(f"api/v1/service/{uuid}/trigger/{long}/call/")
    answer = user.api.post(f"/api/v1/service/{uuid}/trigger/{long}/call/", auth=False)
    assert answer.status == 202, answer.text
    wait_for(lambda: user.get(uuid)["running_num_containers"] == 2, timeout=30, what="one more container")
    assert later.ok("trigger", "rm", name, "more") == long + "\n"
    (rest,) = later.ok("trigger", "list", "-q", name).split()
    assert later.ok("trigger", "rm", name, rest[:8]) == rest + "\n"
    assert later.ok("trigger", "list", "-q", name) == ""
    assert later.refused("trigger", "rm", name, "nothing").startswith("Cannot find a trigger with the identifier")


def test_tags_of_a_service(later: Cli, user: User, name: str) -> None:
    uuid = user.create(name)
    assert later.ok("tag", "add", "-t", "a", "-t", "b", name) == uuid + "\n"
    assert later.ok("tag", "add", "-t", "c", uuid) == uuid + "\n"
    assert only(later.table("tag", "list", name), IDENTIFIER=name) == {
        "IDENTIFIER": name, "TYPE": "Service", "TAGS": "a b c",
    }  # fmt: skip
    assert later.ok("tag", "rm", "-t", "a", "-t", "c", name) == uuid + "\n"
    assert later.ok("tag", "list", "-q", name) == "b\n"
    assert later.ok("tag", "set", "-t", "x", "-t", "y", name) == uuid + "\n"
    assert later.ok("tag", "list", "-q", name) == "x y\n"


def test_tags_of_a_node(later: Cli) -> None:
    (node,) = later.ok("node", "list", "-q").split()
    before = later.ok("tag", "list", "-q", node).split()
    assert later.ok("tag", "add", "-t", "blue", node) == node + "\n"
    assert later.ok("tag", "list", "-q", node).split() == [*before, "blue"]
    assert only(later.table("tag", "list", node[:8]), IDENTIFIER=node[:8])["TYPE"] == "Node"
    assert later.ok("tag", "rm", "-t", "blue", node) == node + "\n"
    assert later.ok("tag", "list", "-q", node).split() == before


def test_tags_of_nobody(later: Cli) -> None:
    said = later.refused("tag", "add", "-t", "a", "nobody")
    assert said == "Identifier 'nobody' does not match any service, node or nodecluster\n"


def test_action_list_and_inspect(later: Cli, user: User, name: str, sleeping: Sleeping) -> None:
    for number in range(25):
        user.create(f"{name}-{number}")
    uuid = sleeping()
    rows = later.table("action", "list", "-l", "5")
    assert len(rows) == 5
    row = next(each for each in rows if each["TARGET"] == uuid and each["ACTION"] == "Service Start")
    assert row["START"].endswith("ago")
    assert row["IP"] == "127.0.0.1"
    assert len(later.ok("action", "list", "-q").split()) == 25
    body = json.loads(later.ok("action", "inspect", row["UUID"]))
    assert (body["state"], body["object"], body["method"]) == ("Success", f"/api/v1/service/{uuid}/", "POST")
    assert body["path"] == f"/api/v1/service/{uuid}/start/"
    assert later.refused("action", "inspect", "ffffffff-0000-4000-8000-000000000000").startswith(
        "Cannot find an action"
    )


def action_of(user: User, uuid: str, kind: str) -> dict[str, object]:
    objects = user.api.get(f"/api/v1/action/?object=/api/v1/service/{uuid}/").json["objects"]
    found: dict[str, object] = next(each for each in objects if each["action"] == kind)
    return found


def test_action_logs(later: Cli, user: User, name: str, sleeping: Sleeping) -> None:
    uuid = sleeping()
    started = str(action_of(user, uuid, "Service Start")["uuid"])
    printed = later.ok("action", "logs", started)
    assert printed.strip(), "an action that created a container has lines"
    assert "" not in printed.splitlines()


def test_action_retry(later: Cli, user: User, name: str, sleeping: Sleeping) -> None:
    uuid = sleeping()
    user.do(uuid, "redeploy", wait="Success")
    first = action_of(user, uuid, "Service Redeploy")
    assert later.ok("action", "retry", str(first["uuid"])) == ""
    second = wait_for(
        lambda: [each for each in [action_of(user, uuid, "Service Redeploy")] if each["uuid"] != first["uuid"]],
        timeout=30,
        what="a second redeployment",
    )
    assert second[0]["object"] == f"/api/v1/service/{uuid}/"


def test_action_cancel(later: Cli, user: User, name: str, silent: str) -> None:
    uuid = user.create(name, image=f"{silent}/never")
    assert later.ok("service", "start", name) == uuid + "\n"
    started = action_of(user, uuid, "Service Start")
    assert later.ok("action", "cancel", str(started["uuid"])) == ""
    ended = wait_for(
        lambda: [each for each in [action_of(user, uuid, "Service Start")] if each["state"] == "Canceled"],
        timeout=30,
        what="the action to be cancelled",
    )
    assert ended[0]["uuid"] == started["uuid"]
    said = later.refused("action", "cancel", str(started["uuid"]))
    assert said.startswith("Status 409 ")


def test_images(later: Cli, user: User, engine: PrivateEngine, registry: Registry, name: str) -> None:
    registry.push(engine, name, greeting="hi")
    image = f"{registry.address}/{name}"
    assert later.ok("image", "register", "-d", "ours", "-u", "u", "-p", "secret", image) == image + "\n"
    row = only(later.table("image", "list"), NAME=image)
    assert (row["PRIVATE"], row["TUTUM_BUILD"], row["DESCRIPTION"]) == ("yes", "no", "ours")
    for words in (["-u"], ["-p"], ["-a"]):
        assert image in later.ok("image", "list", "-q", *words).split()
    assert image not in later.ok("image", "list", "-q", "-j").split()
    body = json.loads(later.ok("image", "inspect", image))
    assert (body["name"], body["description"]) == (image, "ours")
    assert "secret" not in json.dumps(body)
    assert later.ok("image", "update", "-d", "theirs", "-u", "v", "-p", "w", image) == image + "\n"
    assert only(later.table("image", "list", "--no-trunc"), NAME=image)["DESCRIPTION"] == "theirs"
    assert row["IN_USE"] == "no"
    service = user.create(name, image=image)
    assert only(later.table("image", "list"), NAME=image)["IN_USE"] == "yes"
    assert only(later.table("image", "tag", "list", image), NAME=image)["TAG"] == "latest"
    user.do(service, "terminate", wait="Success")
    tag = json.loads(later.ok("image", "tag", "inspect", f"{name}-x:latest" if ":" not in image else "busybox:latest"))
    assert tag["name"] == "latest"
    assert later.ok("image", "rm", image) == image + "\n"
    assert image not in later.ok("image", "list", "-q", "-a").split()
    assert later.refused("image", "inspect", image).startswith("Cannot find an image with the identifier")


def test_image_register_asks_for_the_password(later: Cli, engine: PrivateEngine, registry: Registry, name: str) -> None:
    registry.push(engine, name, greeting="hi")
    image = f"{registry.address}/{name}"
    result = later.run("image", "register", image, keys="u\nsecret\n")
    assert result.code == 0, str(result)
    assert result.out.splitlines()[-1].endswith(image), str(result)


def test_image_tags(later: Cli, shop: Shop) -> None:
    """The client takes what follows the first colon for the tag, so names with a port are beyond it."""
    body = json.loads(later.ok("image", "tag", "inspect", "tutela/web:latest"))
    assert (body["name"], body["full_name"]) == ("latest", "tutela/web:latest")
    assert body["image"] == "/api/v1/image/tutela/web/"
    assert body["resource_uri"] == "/api/v1/image/tutela/web/tag/latest/"
    assert later.refused("image", "tag", "build", "tutela/web").startswith("Status 400 ")


def test_image_commands_that_are_not_for_a_server(later: Cli) -> None:
    assert later.refused("image", "search", "web") == "Cannot connect to docker (is it running?)\n"
    assert "deprecated" in later.refused("image", "push", "web")


def test_nodes(later: Cli, user: User) -> None:
    (row,) = later.table("node", "list")
    (uuid,) = later.ok("node", "list", "-q").split()
    body = json.loads(later.ok("node", "inspect", uuid[:8]))
    assert (row["UUID"], row["STATUS"]) == (uuid[:8], RUNNING + "Deployed")
    assert (row["FQDN"], row["DOCKER_VER"]) == (body["external_fqdn"], body["docker_version"])
    assert row["LASTSEEN"]
    assert later.ok("node", "healthcheck", uuid) == uuid + "\n"
    assert later.refused("node", "upgrade", uuid).startswith("Status 400 ")
    assert later.refused("node", "inspect", "nobody") == "Cannot find a node with the identifier 'nobody'\n"


def test_a_node_of_your_own(later: Cli) -> None:
    """It prints a command of Tutum's with the token; ours is `./tutela agent join URL TOKEN`."""
    said = later.ok("node", "byo")
    assert re.search(r"TUTELA-1-[0-9a-f]{64}-[0-9a-f]{32}", said)


@pytest.mark.parametrize(
    ("command", "headers"),
    [
        ("list", "NAME UUID REGION TYPE DEPLOYED STATUS CURRENT#NODES TARGET#NODES"),
        ("provider", "NAME LABEL"),
        ("region", "NAME LABEL PROVIDER"),
        ("nodetype", "NAME LABEL PROVIDER REGIONS"),
        ("az", "NANE AVAIABLE RESOURCE URI"),
    ],
)
def test_what_only_a_cloud_has(later: Cli, command: str, headers: str) -> None:
    assert later.ok("nodecluster", command).splitlines()[0].split() == headers.split()
    if command not in {"region", "nodetype"}:
        later.ok("nodecluster", command, "-q")


def test_node_clusters_are_refused(later: Cli) -> None:
    assert later.refused("nodecluster", "inspect", "c").startswith("Cannot find a node cluster with the identifier")
    assert later.refused("nodecluster", "create", "c", "aws", "eu", "small").startswith("Status 400 ")


def test_volumes_and_volume_groups(later: Cli, user: User, name: str, sleeping: Sleeping) -> None:
    service = sleeping(bindings=[{"container_path": "/data"}])
    group = only(later.table("volumegroup", "list"), NAME=f"{name}_data")
    assert group["STATE"] == "Created"
    assert group["UUID"] in later.ok("volumegroup", "list", "-q").split()
    body = json.loads(later.ok("volumegroup", "inspect", f"{name}_data"))
    assert body["uuid"] == group["UUID"]
    assert body["services"] == [f"/api/v1/service/{service}/"]
    volume = only(later.table("volume", "list"), VOLUMEGROUP=group["UUID"])
    assert volume["STATE"] == "Created"
    (node,) = later.ok("node", "list", "-q").split()
    assert volume["NODE"] == node
    assert volume["UUID"] in later.ok("volume", "list", "-q").split()
    body = json.loads(later.ok("volume", "inspect", volume["UUID"][:8]))
    assert body["volume_group"] == f"/api/v1/volumegroup/{group['UUID']}/"
    assert later.refused("volume", "inspect", "nothing").startswith("Cannot find a volume with the identifier")


def test_events(later: Cli, user: User, name: str, shop: Shop) -> None:
    with later.running("event") as command:

        def heard() -> bool:
            user.api.patch(f"/api/v1/service/{shop.uuid}/", json={"nickname": str(len(command.text))})
            return shop.uuid in command.text

        wait_for(heard, timeout=20, what="the first event", every=0.3)
        uuid = uuid_of(later.ok("service", "create", "-n", name, SLEEPER))
        text = command.sees(f"/api/v1/service/{uuid}/")
    line = next(each for each in text.splitlines() if uuid in each and "u'service'" in each)
    assert "u'action': u'create'" in line
    assert "u'state': u'Init'" in line
    assert all("{u'" in each for each in text.splitlines() if UUID4.search(each))
