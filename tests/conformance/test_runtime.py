"""The same cases against the fake engine and a real one: what agents may rely on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from agents.observe import observed_container
from agents.planning import container_name
from agents.runtime.base import Console, ContainerRuntime, Json, RuntimeRefused
from agents.runtime.docker import DockerRuntime
from agents.swarm_plan import Begin, Leave, Make, Remove
from agents.view import EngineState, ObservedContainer, ObservedNetwork
from domain.assignment import ContainerAssignment
from domain.container import Attachment, NetworkSpec, spec_digest
from domain.spec import CrashPolicy
from tests.agents.build import CLUSTER, SERVICE, assigned, spec
from tests.fakes.runtime import FakeRuntime
from tests.harness.images import EXITER, SLEEPER


@pytest.fixture(params=["fake", pytest.param("docker", marks=pytest.mark.engine)])
async def runtime(request: pytest.FixtureRequest) -> AsyncIterator[ContainerRuntime]:
    if request.param == "fake":
        fake = FakeRuntime()
        fake.add_image(SLEEPER, "sha256:sleeper")
        fake.add_image(EXITER, "sha256:exiter", exits=1)
        yield fake
        return
    engine = request.getfixturevalue("engine")
    real = DockerRuntime(engine.base_url)
    yield real
    for each in await real.list_containers(CLUSTER):
        await real.remove(each["Id"])
    for each in await real.list_networks(CLUSTER):
        await real.remove_network(each["Id"])
    await real.close()


async def make(runtime: ContainerRuntime, image: str = SLEEPER, **changes: Any) -> ContainerAssignment:
    found = await runtime.image_inspect(image)
    made = spec(found["Id"], image=image)
    return replace(assigned(1), container_id=uuid4(), spec=made, spec_digest=spec_digest(made), **changes)


async def look(runtime: ContainerRuntime, engine_id: str) -> ObservedContainer:
    nets = [ObservedNetwork(network_id=each["Id"], name=each["Name"]) for each in await runtime.list_networks(CLUSTER)]
    seen = observed_container(await runtime.inspect(engine_id), nets)
    assert seen is not None
    return seen


async def ids(runtime: ContainerRuntime, cluster_id: UUID = CLUSTER) -> set[str]:
    listed: list[Json] = await runtime.list_containers(cluster_id)
    return {str(each["Id"]) for each in listed}


async def refused(call: Any) -> str:
    with pytest.raises(RuntimeRefused) as caught:
        await call
    return caught.value.code


async def test_a_life(runtime: ContainerRuntime) -> None:
    one = await make(runtime, autorestart=CrashPolicy.ALWAYS)
    engine_id = await runtime.create(CLUSTER, one, None)
    seen = await look(runtime, engine_id)
    assert (seen.state, seen.started_at, seen.restart_policy) == (EngineState.CREATED, None, "always")
    assert (seen.container_id, seen.digest) == (one.container_id, one.spec_digest)
    await runtime.start(engine_id)
    first = await look(runtime, engine_id)
    assert (first.state, first.exit_code) == (EngineState.RUNNING, None)
    await runtime.start(engine_id)
    assert (await look(runtime, engine_id)).started_at == first.started_at
    await runtime.update_policy(engine_id, "no")
    await runtime.stop(engine_id, 2)
    ended = await look(runtime, engine_id)
    assert ended.state is EngineState.EXITED
    assert ended.restart_policy == "no"
    assert ended.finished_at is not None
    await runtime.stop(engine_id, 2)
    await runtime.start(engine_id)
    assert (await look(runtime, engine_id)).started_at != first.started_at
    await runtime.remove(engine_id)
    await runtime.remove(engine_id)
    assert await refused(runtime.inspect(engine_id)) == "not_found"
    assert await refused(runtime.start(engine_id)) == "not_found"
    assert await ids(runtime) == set()


async def test_a_name_is_taken_once(runtime: ContainerRuntime) -> None:
    one = await make(runtime)
    assert await refused(runtime.inspect(container_name(one))) == "not_found"
    engine_id = await runtime.create(CLUSTER, one, None)
    assert await refused(runtime.create(CLUSTER, one, None)) == "name_taken"
    assert (await runtime.inspect(container_name(one)))["Id"] == engine_id
    assert len(await ids(runtime)) == 1


async def test_a_missing_image_is_told_apart(runtime: ContainerRuntime) -> None:
    one = await make(runtime)
    missing = replace(one, spec=replace(one.spec, image_id="sha256:" + "0" * 64))
    assert await refused(runtime.create(CLUSTER, missing, None)) == "image_missing"
    assert await refused(runtime.image_inspect("tutela/none:1")) == "image_missing"
    assert await ids(runtime) == set()


async def test_only_the_clusters_own_are_listed(runtime: ContainerRuntime) -> None:
    engine_id = await runtime.create(CLUSTER, await make(runtime), None)
    assert await ids(runtime) == {engine_id}
    assert await ids(runtime, uuid4()) == set()


async def test_networks(runtime: ContainerRuntime) -> None:
    nets = [NetworkSpec(name=f"c-{uuid4().hex[:8]}", service_id=SERVICE, subnet=f"10.194.{n}.0/28") for n in (1, 2)]
    first, second = [Attachment(network=net, aliases=("web-1",), links=(("db-1", "db"),)) for net in nets]
    one = await make(runtime, networks=(first, second))
    made = [await runtime.create_network(CLUSTER, net) for net in nets]
    assert await runtime.create_network(CLUSTER, nets[0]) == made[0]
    engine_id = await runtime.create(CLUSTER, one, made[0])
    await runtime.connect(made[1], engine_id, second)
    before = await look(runtime, engine_id)
    assert {each.network_id for each in before.endpoints} == set(made)
    await runtime.start(engine_id)
    seen = await look(runtime, engine_id)
    assert {each.network_id for each in seen.endpoints} == set(made)
    for endpoint in seen.endpoints:
        assert endpoint.aliases - seen.own_names == {"web-1"} - seen.own_names
        assert endpoint.links == {("db-1", "db")}
    await runtime.disconnect(made[1], engine_id)
    assert {each.network_id for each in (await look(runtime, engine_id)).endpoints} == {made[0]}
    await runtime.remove(engine_id)
    for network_id in (*made, *made):
        await runtime.remove_network(network_id)
    assert await runtime.list_networks(CLUSTER) == []


async def test_a_swarm_of_one_makes_overlay_networks(runtime: ContainerRuntime) -> None:
    assert not (await runtime.swarm(CLUSTER)).seen.inside
    await runtime.swarm_step(CLUSTER, Begin(address="127.0.0.1", pool="10.175.240.0/20"))
    try:
        found = await runtime.swarm(CLUSTER)
        seen = found.seen
        assert (seen.active, seen.inside, seen.manager, seen.ours, seen.quorum) == (True,) * 5
        assert [(each.node, each.manager, each.up, each.ready) for each in seen.peers] == [(seen.node, *(True,) * 3)]
        assert found.token.startswith("SWMTKN-")
        assert found.token not in repr(found)
        net = NetworkSpec(name="tutela-c-overlay", service_id=SERVICE, subnet="10.176.200.0/24", overlay=True)
        for _ in range(2):
            await runtime.swarm_step(CLUSTER, Make(network=net))
        assert [(each["Name"], each["Driver"]) for each in await runtime.list_networks(CLUSTER)] == [
            (net.name, "overlay")
        ]
        for _ in range(2):
            await runtime.swarm_step(CLUSTER, Remove(name=net.name))
        assert await runtime.list_networks(CLUSTER) == []
    finally:
        await runtime.swarm_step(CLUSTER, Leave())
    assert not (await runtime.swarm(CLUSTER)).seen.inside


async def test_events_name_what_changed(runtime: ContainerRuntime) -> None:
    stream = runtime.events(CLUSTER)
    assert await anext(stream) == frozenset()
    engine_id = await runtime.create(CLUSTER, await make(runtime, EXITER), None)
    assert engine_id in await anext(stream)
    await runtime.start(engine_id)
    assert engine_id in await anext(stream)
    await stream.aclose()  # type: ignore[attr-defined]


def says(runtime: ContainerRuntime, engine_id: str, *texts: str) -> None:
    """The fake's containers do not run their commands."""
    if isinstance(runtime, FakeRuntime):
        for text in texts:
            runtime.write(engine_id, text)


async def test_lines_are_followed_until_the_container_stops(runtime: ContainerRuntime) -> None:
    script = "echo one; echo two; exec sleep 1000"
    one = await make(runtime)
    one = replace(one, spec=replace(one.spec, command=("sh", "-c", script)))
    engine_id = await runtime.create(CLUSTER, one, None)
    await runtime.start(engine_id)
    says(runtime, engine_id, "one", "two")
    following = runtime.follow(engine_id)
    got = list(await anext(following))
    while len(got) < 2:
        got += await anext(following)
    assert [(line.stream, line.text) for line in got] == [("stdout", "one"), ("stdout", "two")]
    again = runtime.follow(engine_id, since=got[1].timestamp)
    assert [line.text for line in await anext(again)] == ["two"]
    await again.aclose()
    await runtime.update_policy(engine_id, "no")
    await runtime.stop(engine_id, 0)
    assert [piece async for piece in following] == []
    stopped = [line.text async for piece in runtime.follow(engine_id) for line in piece]
    assert stopped == ["one", "two"]
    await runtime.remove(engine_id)
    with pytest.raises(RuntimeRefused):
        await anext(runtime.follow(engine_id))


async def test_a_command_on_a_terminal(runtime: ContainerRuntime) -> None:
    engine_id = await runtime.create(CLUSTER, await make(runtime), None)
    assert await refused(runtime.exec(engine_id, ["cat"])) == "conflict"
    await runtime.start(engine_id)
    console = await runtime.exec(engine_id, ["echo", "hello", "you"])
    assert await everything(console) == b"hello you\r\n"
    await console.close()
    console = await runtime.exec(engine_id, ["cat"])
    await console.write(b"typed\n")
    await console.write(b"\x04")
    assert await everything(console) == b"typed\r\ntyped\r\n"
    await console.close()
    console = await runtime.exec(engine_id, ["cat"])
    await console.close()


async def everything(console: Console) -> bytes:
    out = b""
    while data := await console.read():
        out += data
    return out
