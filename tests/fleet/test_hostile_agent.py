"""A node that was let in and is the attacker's (RELIABILITY S26, F52): it writes nothing but what is its own, reads
nothing of others, and no words of it reach further than its own connection and containers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from agents import credentials
from domain.container import Seen
from domain.errors import NotAllowed
from tests.fleet.hostile import ENGINE, Hostile
from tests.harness.hosts import Host, Hosts
from tests.harness.images import SLEEPER
from tests.harness.postgres import TestPostgres
from tests.harness.wait import wait_for

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]
SECRET = "the-banks-own-secret"


@pytest.fixture(scope="module")
async def fleet_dsn(postgres: TestPostgres) -> str:
    return await postgres.fresh()


@pytest.fixture(scope="module")
def hosts(fleet_dsn: str) -> Iterator[Hosts]:
    made = Hosts(fleet_dsn, 1, network="ports")
    try:
        made.start()
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def bank(hosts: Hosts) -> str:
    """A service of the honest host: with a secret, and with a token of its own."""
    env = [{"key": "SECRET", "value": SECRET}]
    return hosts.service("bank", hosts.hosts[0], image=SLEEPER, container_envvars=env, roles=["global"])


@pytest.fixture(scope="module")
def hostile(hosts: Hosts, bank: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hostile]:
    made = Hostile(tmp_path_factory.mktemp("hostile"), hosts.door)
    try:
        # Before all others by name, so that it is asked first where anybody may be.
        made.join(hosts.token(), "abc")
        made.connect()
        tags = {"tags": [{"name": "abc"}, {"name": "all"}]}
        assert hosts.api.patch(f"/api/v1/node/{made.node_id}/", json=tags).status == 200
        yield made
    finally:
        made.close()


def honest(hosts: Hosts) -> tuple[Host, dict[str, Any]]:
    """The host that is ours, and its node."""
    return hosts.hosts[0], hosts.node(hosts.hosts[0])


def rows(hosts: Hosts, uuid: str) -> list[dict[str, Any]]:
    """The containers of the service that are not gone, as the API shows them."""
    found = hosts.api.get(f"/api/v1/container/?service={uuid}").json["objects"]
    return [each for each in found if each["state"] != "Terminated"]


def well(hosts: Hosts, bank: str) -> None:
    """The honest host and its service are as they were."""
    hosts.deployed(hosts.hosts[0])
    host, node = honest(hosts)
    (container,) = rows(hosts, bank)
    assert (container["state"], container["node"]) == ("Running", node["resource_uri"])
    (running,) = host.engine.client().containers(filters={"label": f"tutela.service={bank}"})
    assert running["Labels"]["tutela.container"] == container["uuid"]


def kind(answer: dict[str, Any]) -> str:
    """What kind of error the answer is; empty when it is none."""
    return str(answer.get("error", {}).get("kind", ""))


def start(hosts: Hosts, name: str, tag: str, **more: Any) -> str:
    """A service that is started and not waited for."""
    made = hosts.api.post("/api/v1/service/", json={"image": SLEEPER, "name": name, "tags": [{"name": tag}], **more})
    assert made.status == 201, made.text
    assert hosts.api.post(f"/api/v1/service/{made.json['uuid']}/start/").status == 202
    return str(made.json["uuid"])


def answer_images(hosts: Hosts, hostile: Hostile) -> None:
    """Do what an agent does that was asked about images, honestly."""
    asked = hostile.call("assignments", {"registration": hostile.registration(), "since": 0})["body"]["images"]
    image = honest(hosts)[0].engine.client().inspect_image(SLEEPER)["Id"]
    found = {"reference": SLEEPER, "image_id": image}
    results = [{"request_id": each["request_id"], "image": found} for each in asked]
    assert not kind(hostile.call("report", hostile.report([], images=results)))


def placed(hosts: Hosts, hostile: Hostile, uuid: str) -> str:
    """The service's container on the hostile node, once there is one."""

    def look() -> str | None:
        answer_images(hosts, hostile)
        on_it = [each for each in rows(hosts, uuid) if hostile.node_id in each["node"]]
        return on_it[0]["uuid"] if on_it else None

    return wait_for(look, timeout=30, what="a container on the hostile node", every=0.2)


def test_it_reads_nothing_of_others(hosts: Hosts, hostile: Hostile, bank: str) -> None:
    _, node = honest(hosts)
    own = start(hosts, "own", "abc")
    mine = placed(hosts, hostile, own)
    told = hostile.call("assignments", {"registration": hostile.registration(), "since": 0})["body"]
    assert [each["container_id"] for each in told["containers"]] == [mine]
    for session in (1, hostile.session):
        other = {**hostile.registration(), "node_id": node["uuid"], "session": session}
        for since in (0, 1):
            assert kind(hostile.call("assignments", {"registration": other, "since": since})) == "not_allowed"
    unknown = {**hostile.registration(), "node_id": str(uuid4())}
    assert kind(hostile.call("assignments", {"registration": unknown, "since": 0})) == "not_allowed"
    # Logs and commands of others: it is not asked, and does not get in by asking.
    # It is told that its node is away when that takes more than 2 s to dial back.
    log = f"/api/v1/service/{bank}/logs/"
    wait_for(lambda: hosts.api.get(log).status == 200, timeout=30, what="the log of the bank")
    assert not any("ask" in json.loads(text) for text in hostile.heard)
    for path in (f"/stream/{uuid4().hex}", "/stream/"):
        with pytest.raises(NotAllowed, match="not waited for with this ticket"):
            hostile.dial(path)
    # Nor is it asked about the images of a service that cannot run on it: registries' passwords go with that.
    later = start(hosts, "later", "h1")
    hosts.running(later)
    everything = "".join(hostile.heard)
    (container,) = rows(hosts, bank)
    for secret in (SECRET, "TUTUM_AUTH", bank, container["uuid"], later):
        assert secret not in everything
    assert [each for text in hostile.heard if (each := (json.loads(text).get("body") or {}).get("images")) and any(
        image["reference"] != SLEEPER for image in each)] == []  # fmt: skip
    hosts.terminate(later)


def test_what_it_says_of_others_changes_nothing(hosts: Hosts, hostile: Hostile, bank: str) -> None:
    host, node = honest(hosts)
    (container,) = rows(hosts, bank)
    run = host.engine.client().inspect_container(hosts.container(bank)[1])["State"]["StartedAt"]
    for state in (Seen.GONE, Seen.FAILED, Seen.EXITED):
        seen = {"state": state.value, "start_gen": 99, "exit_code": 1, "message": "taken over"}
        said = [{"container_id": each, "observed": seen} for each in (container["uuid"], str(uuid4()))]
        assert not kind(hostile.call("report", hostile.report(said)))
        assert kind(hostile.call("report", {**hostile.report(said), "node_id": node["uuid"]})) == "not_allowed"
    for session in (1, 2, hostile.session):
        beat = {"node_id": node["uuid"], "session": session, "engine_up": False}
        assert kind(hostile.call("beat", beat)) == "not_allowed"
    nobodys = [{"request_id": str(uuid4()), "error": "no such image"}]
    assert not kind(hostile.call("report", hostile.report([], images=nobodys)))
    # An order to the honest host is carried out by it, whatever somebody else acknowledges.
    assert hosts.api.post(f"/api/v1/service/{bank}/stop/").status == 202
    gone = [{"container_id": container["uuid"], "observed": {"state": Seen.RUNNING.value, "start_gen": 99}}]
    assert not kind(hostile.call("report", hostile.report(gone)))
    wait_for(lambda: hosts.api.get(f"/api/v1/service/{bank}/").json["state"] == "Stopped", timeout=30, what="the stop")
    assert hosts.places(bank) == []
    assert hosts.api.post(f"/api/v1/service/{bank}/start/").status == 202
    hosts.running(bank)
    assert host.engine.client().inspect_container(hosts.container(bank)[1])["State"]["StartedAt"] != run
    well(hosts, bank)


@pytest.mark.parametrize(
    "nonsense",
    ["", "no json", "[]", "{}", '{"id": 1}', '{"id": "1", "call": "beat"}', '{"id": 1, "call": 7}', "[" * 100_000,
     json.dumps({"id": 1, "call": "report", "body": "x" * (4 * 1024 * 1024)})],
    ids=lambda text: text[:24] + f" {len(text)}",
)  # fmt: skip
def test_what_is_no_call_ends_its_connection(hosts: Hosts, hostile: Hostile, bank: str, nonsense: str) -> None:
    hostile.say(nonsense)
    assert hostile.ended()
    well(hosts, bank)
    hostile.connect()


def test_numbers_that_nobody_counts_to_and_too_much_at_once(hosts: Hosts, hostile: Hostile, bank: str) -> None:
    refused = {"session_lost", "refused", "not_allowed", "away"}
    own, huge = hostile.registration(), 2**70
    many = [{"container_id": str(uuid4()), "observed": {"state": Seen.RUNNING.value}}] * 5001
    calls: list[tuple[str, Any]] = [
        ("unknown", {}),
        ("beat", None),
        ("report", []),
        ("register", {"name": 1}),
        ("beat", {"node_id": hostile.node_id, "session": huge, "engine_up": True}),
        ("beat", {"node_id": hostile.node_id, "session": str(huge), "engine_up": True}),
        ("assignments", {"registration": {**own, "session": huge}, "since": 0}),
        ("assignments", {"registration": own, "since": huge}),
        ("report", {**hostile.report([]), "session": huge}),
        ("report", {**hostile.report([]), "seq": huge}),
        ("report", hostile.report([], applied_revision=huge)),
        ("report", hostile.report(many)),
        ("renew", {"request": "-----BEGIN CERTIFICATE REQUEST-----\n"}),
    ]
    for name, body in calls:
        assert kind(hostile.call(name, body)) in refused, (name, str(body)[:100])
    well(hosts, bank)
    # What it was told already: each waits for news, so that they are open together.
    told = hostile.call("assignments", {"registration": own, "since": 0})["body"]["revision"]
    for _ in range(100):
        hostile.say(json.dumps({"id": 1, "call": "assignments", "body": {"registration": own, "since": told}}))
    assert hostile.ended()
    hostile.connect()
    well(hosts, bank)
    # Other agents' beats are written with its own.
    assert hosts.server.log().count("beats were not written") == 0


def test_lies_about_its_own_containers_reach_no_other(hosts: Hosts, hostile: Hostile, bank: str) -> None:
    shared = start(hosts, "shared", "all", target_num_containers=2, deployment_strategy="HIGH_AVAILABILITY")
    mine = placed(hosts, hostile, shared)
    running = {"state": Seen.RUNNING.value, "start_gen": 1}
    assert not kind(hostile.call("report", hostile.report([{"container_id": mine, "observed": running}])))
    hosts.running(shared, 2)
    huge = 10**400
    lies: list[dict[str, Any]] = [
        {"started_at": "2026-01-01T00:00:00", "created_at": "2026-01-01T00:00:00"},
        {"started_at": "9999-12-31T23:59:59.999999Z"},
        {"finished_at": "0001-01-01T00:00:00Z", "state": Seen.EXITED.value},
        {"restart_count": huge, "start_gen": huge, "exit_code": huge, "state": Seen.EXITED.value},
        {"restart_count": -1, "message": "x" * 1_000_000, "ip": "y" * 100_000, "engine_id": "z" * 100_000},
        {"message": "a\x00b", "ip": "\ud800"},
        {"finished_at": "9999-12-31T23:59:59.999999Z", "state": Seen.FAILED.value, "message": "it cannot"},
    ]
    for lie in lies:
        observed = {**running, **lie}
        hostile.call("report", hostile.report([{"container_id": mine, "observed": observed}]))
        listed = hosts.api.get("/api/v1/container/")
        assert listed.status == 200
        assert len(listed.text) < 100_000
        assert hosts.api.post(f"/api/v1/admin/service/{shared}/look/").status == 202
    engine = {**ENGINE, "memory": huge, "disk": -1, "disk_free": huge, "cpus": -huge, "version": "v" * 1_000_000}
    hostile.call("report", hostile.report([], engine=engine))
    for path in ("/api/v1/node/", "/api/v1/admin/health/", "/metrics", f"/api/v1/service/{shared}/explain/"):
        answer = hosts.api.get(path)
        assert answer.status == 200, path
        assert len(answer.text) < 100_000
    hostile.call("report", hostile.report([]))
    # The service's other container is still kept: it is stopped when asked, and goes when the service does.
    elsewhere = [each["uuid"] for each in rows(hosts, shared) if hostile.node_id not in each["node"]]
    assert elsewhere
    assert "pass failed" not in hosts.server.log()
    assert hosts.api.delete(f"/api/v1/service/{shared}/").status == 202
    wait_for(lambda: hosts.places(shared) == [], timeout=30, what="the honest host to have removed it", every=0.1)
    well(hosts, bank)


def test_it_cannot_pass_for_another_node(hosts: Hosts, hostile: Hostile, bank: str) -> None:
    """Neither with another's name in its greeting (which `connect` gave), nor with a certificate for it."""
    _, node = honest(hosts)
    key = serialization.load_pem_private_key((hostile.folder / credentials.KEY).read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, node["uuid"])])
    asked = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    text = asked.public_bytes(serialization.Encoding.PEM).decode()
    answer = hostile.call("renew", {"request": text})
    issued = x509.load_pem_x509_certificate(answer["body"]["certificate"].encode())
    (common,) = issued.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert common.value == hostile.node_id
    well(hosts, bank)
