"""Real engines and agents whose record, or whose engine, is suddenly another one: nothing goes without a word."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.agents.harness import eventually
from tests.harness.hosts import Host, Hosts
from tests.harness.images import SLEEPER
from tests.harness.postgres import TestPostgres
from tests.harness.server import ROOT
from tests.harness.wait import bar, wait_for

COMMAND_SECONDS = 0.7
pytestmark = [pytest.mark.engine, pytest.mark.long, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
async def fleet_dsn(postgres: TestPostgres) -> str:
    return await postgres.fresh()


@pytest.fixture(scope="module")
def hosts(fleet_dsn: str) -> Iterator[Hosts]:
    """Three hosts that joined."""
    made = Hosts(fleet_dsn, 3, network="ports", live_restore=True)
    try:
        made.engines()
        made.server.start()
        for host in made.hosts:
            made.join(host)
        yield made
    except BaseException:
        print(made.last_words())
        raise
    finally:
        made.close()


def command(hosts: Hosts, *words: str, env: Mapping[str, str] | None = None) -> str:
    """`./tutela WORDS` beside the control plane; what it said."""
    done = subprocess.run(
        [str(ROOT / "tutela"), *words],
        env={**os.environ, **hosts.server.environment, "TUTELA_VENV": sys.prefix, **(env or {})},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def on(host: Host) -> dict[str, Any]:
    """Everything of Tutela's on the host's engine, by its name."""
    return {
        each["Names"][0]: each
        for each in host.engine.client().containers(all=True, filters={"label": "tutela.container"})
    }


def ids(host: Host) -> set[str]:
    return {each["Id"] for each in on(host).values()}


def quarantine(hosts: Hosts, host: Host, cause: str) -> str:
    """Until the node is quarantined for that; the reason."""
    return str(
        wait_for(
            lambda: (found := hosts.node(host)["quarantine"]) and found["cause"] == cause and found["reason"],
            timeout=60,
            what=f"{host.name} to be quarantined ({cause})",
        )
    )


def free(hosts: Hosts, host: Host) -> None:
    wait_for(lambda: hosts.node(host)["quarantine"] is None, timeout=30, what=f"{host.name} to go on")


async def forget(dsn: str, service: str, but: int) -> None:
    """The record loses all of the service's containers but so many, as no pass would."""
    conn = await asyncpg.connect(dsn)
    try:
        async with conn.transaction():
            await conn.execute("UPDATE services SET target = $2 WHERE id = $1", service, but)
            await conn.execute(
                "UPDATE containers SET terminated_at = now(), want = 'GONE' WHERE service_id = $1 AND slot > $2",
                service,
                but,
            )
    finally:
        await conn.close()


async def test_many_that_nothing_asks_for_stay_until_an_operator_says_so(hosts: Hosts, fleet_dsn: str) -> None:
    one = hosts.hosts[0]
    web = hosts.service("web", one, image=SLEEPER, target_num_containers=8, autorestart="ALWAYS")
    before = on(one)
    await forget(fleet_dsn, web, 1)
    one.kill_agent()
    one.start_agent()
    reason = quarantine(hosts, one, "unassigned-containers")
    assert "7 of 8 containers on node h1" in reason
    # What is wanted is kept true meanwhile, and the node takes new containers.
    _, kept = hosts.container(web)
    one.engine.client().remove_container(kept, force=True)
    hosts.service("more", one, image=SLEEPER)
    wait_for(lambda: len(on(one)) == 9, timeout=30, what="the one that is wanted to be made anew")
    assert {each["Id"] for each in before.values()} - {kept} <= ids(one)
    listed = command(hosts, "node", "list")
    assert "(quarantined)" in listed
    assert reason.partition("node h1")[2] in listed
    assert "./tutela node release h1" in listed
    assert hosts.api.get("/api/v1/admin/health/").json["status"] == "not ok"
    command(hosts, "node", "release", "h1")
    wait_for(lambda: len(on(one)) == 2, timeout=60, what="the others to go")
    free(hosts, one)
    assert hosts.api.get("/api/v1/admin/health/").json["status"] == "ok"


async def test_a_few_go_by_themselves(hosts: Hosts, fleet_dsn: str) -> None:
    one = hosts.hosts[0]
    few = hosts.service("few", one, image=SLEEPER, target_num_containers=4)
    count = len(on(one))
    await forget(fleet_dsn, few, 1)
    one.kill_agent()
    one.start_agent()
    wait_for(lambda: len(on(one)) == count - 3, timeout=60, what="three that nothing asks for to go")
    assert hosts.node(one)["quarantine"] is None


def test_what_is_newer_than_a_backup_stays_until_an_operator_says_so(hosts: Hosts, tmp_path: Path) -> None:
    one, two = hosts.hosts[:2]
    older = hosts.service("older", two, image=SLEEPER)
    file = tmp_path / "backup.tar"
    assert "services" in command(hosts, "backup", str(file))
    before, calm = ids(one), ids(two)
    newer = hosts.service("newer", one, image=SLEEPER, target_num_containers=2)
    after = ids(one)
    refused = hosts.api.get(f"/api/v1/service/{newer}/").status
    assert (len(after), refused) == (len(before) + 2, 200)
    with pytest.raises(AssertionError, match="the control plane runs"):
        command(hosts, "restore", str(file), "--force")
    hosts.server.stop()
    with pytest.raises(AssertionError, match="with --force they are replaced"):
        command(hosts, "restore", str(file))
    command(hosts, "restore", str(file), "--force")
    hosts.server.start()
    reason = quarantine(hosts, one, "record-older")
    assert "restored from a backup" in reason
    hosts.deployed(two)
    hosts.running(older)
    assert hosts.node(two)["quarantine"] is None, "it was told nothing since"
    assert hosts.api.get(f"/api/v1/service/{newer}/").status == 404
    # The restart of either side changes nothing about it.
    one.kill_agent()
    hosts.server.kill()
    hosts.server.start()
    one.start_agent()
    hosts.deployed(one)
    quarantine(hosts, one, "record-older")
    assert (ids(one), ids(two)) == (after, calm)
    command(hosts, "node", "release", one.name)
    wait_for(lambda: ids(one) == before, timeout=60, what="what is newer than the backup to go")
    free(hosts, one)
    assert ids(two) == calm


async def emptied(postgres: TestPostgres, dsn: str) -> None:
    """The database is lost: there is an empty one of its name."""
    await postgres.drop(dsn)
    conn = await asyncpg.connect(postgres.dsn)
    try:
        await conn.execute('CREATE DATABASE "{}"'.format(dsn.partition("?")[0].rpartition("/")[2]))
    finally:
        await conn.close()


async def value(dsn: str, statement: str) -> Any:
    conn = await asyncpg.connect(dsn)
    try:
        return await conn.fetchval(statement)
    finally:
        await conn.close()


def runs(hosts: Hosts) -> dict[str, str]:
    """Since when everything of Tutela's runs."""
    found: dict[str, str] = {}
    for host in hosts.hosts:
        client = host.engine.client()
        found |= {ident: client.inspect_container(ident)["State"]["StartedAt"] for ident in ids(host)}
    return found


def slowness_of_commands(hosts: Hosts) -> float:
    """How much longer a command takes to start now than on the box that the bars are for; three are started here."""
    began = time.monotonic()
    command(hosts, "node", "list")
    return (time.monotonic() - began) / COMMAND_SECONDS


def thirty(hosts: Hosts) -> list[str]:
    """Services with links, ports, variables, policies, on all hosts; one with several containers, one stopped."""
    made: list[str] = []
    for n in range(30):
        body: dict[str, Any] = {
            "image": SLEEPER,
            "name": f"s{n}",
            "tags": [{"name": f"h{n % 3 + 1}" if n else "all"}],
            "container_envvars": [{"key": "NUMBER", "value": str(n)}],
            "autorestart": "ALWAYS" if n % 2 else "OFF",
            "target_num_containers": 3 if n == 0 else 1,
            "deployment_strategy": "HIGH_AVAILABILITY",
            "container_ports": [{"protocol": "tcp", "inner_port": 80, "published": n % 2 == 0}],
        }
        if n % 3 == 2:
            body["linked_to_service"] = [{"to_service": f"/api/v1/service/{made[n - 1]}/", "name": "before"}]
        answer = hosts.api.post("/api/v1/service/", json=body)
        assert answer.status == 201, answer.text
        made.append(str(answer.json["uuid"]))
    for uuid in made:
        assert hosts.api.post(f"/api/v1/service/{uuid}/start/").status == 202
    for uuid in made:
        hosts.running(uuid)
    assert hosts.api.post(f"/api/v1/service/{made[9]}/stop/").status == 202
    wait_for(lambda: hosts.api.get(f"/api/v1/service/{made[9]}/").json["state"] == "Stopped", timeout=60, what="a stop")
    return made


async def test_a_record_that_is_lost_is_made_anew_from_the_hosts(
    hosts: Hosts, fleet_dsn: str, postgres: TestPostgres
) -> None:
    made = thirty(hosts)
    due = "SELECT count(*) FROM copies_due"
    await eventually(lambda: asyncio.run(value(fleet_dsn, due)) == 0, "the hosts to have the newest", 30, 0.2)
    before, calm = command(hosts, "export"), runs(hosts)
    hosts.server.kill()
    await emptied(postgres, fleet_dsn)
    began = time.monotonic()
    command(hosts, "rebuild")
    hosts.server.start()
    for host in hosts.hosts:
        hosts.deployed(host)
    command(hosts, "admin", "resume", "all")
    for uuid in made[:9] + made[10:]:
        hosts.running(uuid)
    took = time.monotonic() - began
    assert runs(hosts) == calm, "nothing was restarted"
    after = json.loads(command(hosts, "export"))
    for kind, objects in json.loads(before).items():
        for old, new in zip(objects, after[kind], strict=True):
            assert new == old
    assert all(hosts.node(host)["quarantine"] is None for host in hosts.hosts)
    slow = max(hosts.slowness(), slowness_of_commands(hosts))
    print(
        f"rebuilt 30 services on 3 hosts within {took:.1f} s; commands take {slow:.1f} times as long as on a quiet box"
    )
    assert took < bar(10, slow)
    # The record goes on: names, ports and networks that are taken are known to be.
    more = hosts.service("more-later", hosts.hosts[0], image=SLEEPER, container_ports=[{"protocol": "tcp",
                         "inner_port": 80, "published": True}])  # fmt: skip
    assert hosts.api.post("/api/v1/service/", json={"image": SLEEPER, "name": "s3"}).json["unique_name"] == "s3-s2"
    hosts.terminate(more, *made)
    left = {ident: at for ident, at in calm.items() if ident in {each for host in hosts.hosts for each in ids(host)}}
    assert runs(hosts) == left


def test_nothing_is_made_on_another_engine_until_an_operator_says_so(hosts: Hosts) -> None:
    two, spare = hosts.hosts[1], hosts.hosts[2]
    service = hosts.service("there", two, image=SLEEPER, target_num_containers=2)
    own, there = two.engine, on(two)
    spare.kill_agent()
    for each in ids(spare):
        spare.engine.client().remove_container(each, force=True)
    wait_for(lambda: hosts.node(spare)["state"] == "Unreachable", timeout=30, what="the spare host to be silent")
    two.kill_agent()
    two.engine = spare.engine
    try:
        two.start_agent()
        quarantine(hosts, two, "engine-changed")
        late = hosts.api.post(
            "/api/v1/service/", json={"image": SLEEPER, "name": "late", "tags": [{"name": "h2"}]}
        ).json
        hosts.api.post(f"{late['resource_uri']}start/")
        wait_for(
            lambda: "is quarantined" in hosts.explain(late["uuid"])["slots"][0]["text"],
            timeout=30,
            what="the service to say why it has no place",
        )
        (story, _) = hosts.explain(service)["slots"]
        assert (story["reason"], "accept-engine h2" in story["remedy"]) == ("node-quarantined", True)
        assert on(two) == {}
        # The old one is back: all is as it was.
        two.kill_agent()
        two.engine = own
        two.start_agent()
        free(hosts, two)
        hosts.running(service, 2)
        assert ids(two) == {each["Id"] for each in there.values()}
        two.kill_agent()
        two.engine = spare.engine
        two.start_agent()
        quarantine(hosts, two, "engine-changed")
        command(hosts, "node", "accept-engine", "h2")
        wait_for(lambda: len(on(two)) == len(there), timeout=60, what="its containers to be made anew")
    finally:
        two.kill_agent()
        two.engine, spare.engine = spare.engine, own
