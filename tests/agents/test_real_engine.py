"""The agent on a real engine: what the fake can only claim."""

from __future__ import annotations

import asyncio
import os
import signal
import statistics
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from agents.agent import Agent
from agents.runtime.docker import DockerRuntime
from domain.assignment import ContainerAssignment, ImageRequest
from domain.container import Attachment, BoundPort, NetworkSpec, Observed, Seen, Want, spec_digest
from domain.image import Pull
from domain.spec import CrashPolicy, Transport
from tests.agents.build import CLUSTER, SERVICE, assigned, spec
from tests.agents.harness import eventually, running, until
from tests.conftest import sweep
from tests.fakes.channel import MemoryChannel
from tests.harness.engine import PrivateEngine
from tests.harness.images import EXITER, SLEEPER, WEB
from tests.harness.wait import bar

pytestmark = pytest.mark.engine


class World:
    """An agent, its control plane, and the engine seen by a client of our own."""

    def __init__(self, engine: PrivateEngine, channel: MemoryChannel, agent: Agent) -> None:
        self.engine, self.channel, self.agent = engine, channel, agent
        self.api: Any = engine.client()

    def want(self, image: str = SLEEPER, **changes: Any) -> ContainerAssignment:
        """A new container of that image, not assigned yet."""
        image_id = self.api.inspect_image(image)["Id"]
        made = spec(image_id, image=image, **{"hostname": "web-1", **changes.pop("spec", {})})
        return replace(assigned(1), container_id=uuid4(), spec=made, spec_digest=spec_digest(made), **changes)

    async def up(self, *assignments: ContainerAssignment) -> None:
        """Assign, and wait until all run."""
        self.channel.assign(*assignments)
        for each in assignments:
            await until(self.channel, each.container_id, Seen.RUNNING, more=lambda seen: True)

    def listed(self, container_id: UUID) -> list[Any]:
        """The engine's containers with this identity."""
        found: list[Any] = self.api.containers(all=True, filters={"label": f"tutela.container={container_id}"})
        return found

    def inspect(self, container_id: UUID) -> Any:
        [entry] = self.listed(container_id)
        return self.api.inspect_container(entry["Id"])

    def runs(self, container_id: UUID) -> bool:
        """Whether it runs. By the list alone: one that is being made is listed before an inspect knows it (E31)."""
        return [entry["State"] for entry in self.listed(container_id)] == ["running"]

    def engine_id(self, container_id: UUID) -> str:
        [entry] = self.listed(container_id)
        return str(entry["Id"])


def restarts(world: World, one: ContainerAssignment) -> int:
    """How often it was restarted, as far as that was told."""
    seen = world.channel.seen.get(one.container_id)
    return seen.restart_count if seen is not None else 0


def another_run(than: datetime | None) -> Callable[[Observed], bool]:
    """Whether what is seen is another run than the one that began then."""
    return lambda seen: seen.started_at != than


@pytest.fixture
async def world(engine: PrivateEngine, tmp_path: Path) -> AsyncIterator[World]:
    channel = MemoryChannel()
    async with running(DockerRuntime(engine.base_url), channel, tmp_path) as agent:
        yield World(engine, channel, agent)
    sweep(engine)


async def test_create_start_stop_start_remove(world: World) -> None:
    one = world.want(stop_grace=5, autorestart=CrashPolicy.ALWAYS)
    await world.up(one)
    await world.agent.settled()
    found = world.inspect(one.container_id)
    assert found["HostConfig"]["RestartPolicy"]["Name"] == "always"
    assert found["HostConfig"]["Init"] is True
    assert found["HostConfig"]["SecurityOpt"] == ["no-new-privileges"]
    seen = world.channel.seen[one.container_id]
    assert seen.start_gen == 1
    assert seen.engine_id == found["Id"]
    world.channel.assign(replace(one, want=Want.STOP))
    seen = await until(world.channel, one.container_id, Seen.EXITED)
    found = world.inspect(one.container_id)
    assert found["HostConfig"]["RestartPolicy"]["Name"] == "no"
    assert seen.finished_at is not None
    world.channel.assign(replace(one, start_gen=2))
    await until(world.channel, one.container_id, Seen.RUNNING, more=lambda seen: seen.start_gen == 2)
    assert world.engine_id(one.container_id) == found["Id"]
    world.channel.assign(replace(one, want=Want.GONE))
    await until(world.channel, one.container_id, Seen.GONE)
    assert world.listed(one.container_id) == []


async def test_a_stop_and_a_start_right_after_it_is_a_restart(world: World) -> None:
    one = world.want(stop_grace=5)
    await world.up(one)
    first = world.channel.seen[one.container_id].started_at
    world.channel.assign(replace(one, want=Want.STOP))
    world.channel.assign(replace(one, start_gen=2))
    await until(world.channel, one.container_id, Seen.RUNNING, more=lambda seen: seen.start_gen == 2)
    await world.agent.settled()
    assert world.inspect(one.container_id)["State"]["Running"]
    assert world.channel.seen[one.container_id].started_at is not None
    assert first is not None


async def test_a_finished_job_is_a_result_and_a_failing_one_backs_off(world: World) -> None:
    job, bad = world.want(EXITER), world.want(EXITER, autorestart=CrashPolicy.ON_FAILURE)
    world.channel.assign(job, bad)
    seen = await until(world.channel, job.container_id, Seen.EXITED)
    assert (seen.exit_code, seen.start_gen, seen.restart_count) == (1, 1, 0)
    await eventually(lambda: restarts(world, bad) >= 2, "two restarts")
    assert world.inspect(job.container_id)["RestartCount"] == 0


async def test_crash_to_running_and_start_latency(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.api.networks()
    starts, crashes = [], {CrashPolicy.ALWAYS: list[float](), CrashPolicy.ON_FAILURE: list[float]()}
    for policy, times in crashes.items():
        for _ in range(3):
            one = world.want(autorestart=policy)
            began = time.monotonic()
            await world.up(one)
            starts.append(time.monotonic() - began)
            pid = world.engine.pid_of(world.engine_id(one.container_id))
            before = world.channel.seen[one.container_id].started_at
            began = time.monotonic()
            os.kill(pid, signal.SIGKILL)
            await until(world.channel, one.container_id, Seen.RUNNING, more=another_run(before))
            times.append(time.monotonic() - began)
    with capsys.disabled():
        medians = {policy.value: f"{statistics.median(times):.3f}" for policy, times in crashes.items()}
        print(f"\n[agent] assignment to RUNNING p50 {statistics.median(starts):.3f} s; crash to RUNNING {medians}")
    assert statistics.median(starts) < bar(1.0)


async def test_removed_killed_and_stopped_behind_our_back(world: World) -> None:
    one = world.want(autorestart=CrashPolicy.ALWAYS)
    await world.up(one)
    first = world.engine_id(one.container_id)
    world.api.remove_container(first, force=True)
    seen = await until(world.channel, one.container_id, Seen.RUNNING, more=lambda seen: seen.engine_id != first)
    assert len(world.listed(one.container_id)) == 1
    # The engine takes a kill through its API for an order, so its own policy does nothing (E18).
    world.api.kill(seen.engine_id)
    await until(world.channel, one.container_id, Seen.RUNNING, more=lambda now: now.started_at != seen.started_at)


async def test_paused_renamed_and_policy_changed_by_hand(world: World) -> None:
    one = world.want(autorestart=CrashPolicy.ALWAYS)
    await world.up(one)
    engine_id = world.engine_id(one.container_id)
    world.api.pause(engine_id)
    await eventually(lambda: world.inspect(one.container_id)["State"]["Status"] == "running", "it to go on")
    world.api.rename(engine_id, f"renamed-{one.container_id}")
    await world.agent.settled()
    assert world.engine_id(one.container_id) == engine_id
    world.channel.assign(replace(one, autorestart=CrashPolicy.OFF))
    policy = lambda: world.inspect(one.container_id)["HostConfig"]["RestartPolicy"]["Name"]  # noqa: E731
    await eventually(lambda: policy() == "no", "the policy to follow")
    assert world.engine_id(one.container_id) == engine_id


async def test_networks_are_joined_and_left_in_place(world: World) -> None:
    nets = [
        NetworkSpec(name=f"t-{name}-{uuid4().hex[:6]}", service_id=SERVICE, subnet=f"10.193.{n}.0/28")
        for n, name in enumerate(("web", "db", "late"), start=10)
    ]
    web, db = nets[0], nets[1]
    server = world.want(WEB, networks=(Attachment(network=web, aliases=("web-1", "web")),))
    client = world.want(
        spec={"hostname": "client-1"},
        networks=(
            Attachment(network=db, aliases=("client-1",)),
            Attachment(network=web, aliases=(), links=(("web-1", "backend"),)),
        ),
    )
    await world.up(server, client)
    engine_id = world.engine_id(client.container_id)

    def fetch(name: str) -> bool:
        # busybox's own resolver; its wget needs shared libraries for names.
        run = world.api.exec_create(engine_id, ["nslookup", name, "127.0.0.11"])
        said = world.api.exec_start(run["Id"]).decode()
        address = world.channel.seen[server.container_id].ip
        return address is not None and address in said.partition("Name:")[2]

    await eventually(lambda: fetch("web"), "the service's name", every=0.1)
    await eventually(lambda: fetch("backend"), "the link's name", every=0.1)
    late = replace(client, networks=(client.networks[0], Attachment(network=nets[2], aliases=("fresh",))))
    world.channel.assign(late)
    names = lambda: set(world.inspect(client.container_id)["NetworkSettings"]["Networks"])  # noqa: E731
    await eventually(lambda: names() == {db.name, nets[2].name}, "the networks to change")
    await world.agent.settled()
    assert world.engine_id(client.container_id) == engine_id
    assert not fetch("web")
    world.channel.assign(replace(server, want=Want.GONE), replace(late, want=Want.GONE))
    await until(world.channel, server.container_id, Seen.GONE)
    await until(world.channel, client.container_id, Seen.GONE)
    await eventually(lambda: world.api.networks(filters={"label": "tutela.cluster"}) == [], "the networks to go")


async def test_a_taken_subnet_gives_another_one(world: World) -> None:
    name = f"t-{uuid4().hex[:6]}"
    world.api.create_network(f"foreign-{name}", ipam={"Config": [{"Subnet": "10.193.60.0/24"}]})
    try:
        net = NetworkSpec(name=name, service_id=SERVICE, subnet="10.193.60.0/28")
        await world.up(world.want(networks=(Attachment(network=net, aliases=("a",)),)))
    finally:
        world.api.remove_network(f"foreign-{name}")


async def test_a_refused_start_is_failed_with_its_reason(world: World) -> None:
    bad = world.want(spec={"command": ("no-such-command",), "entrypoint": ()})
    port = BoundPort(protocol=Transport.TCP, inner_port=80, outer_port=38080)
    first = world.want(WEB, spec={"ports": (port,)})
    second = world.want(WEB, spec={"ports": (port,)}, autorestart=CrashPolicy.ALWAYS)
    gone = world.want(spec={})
    missing = replace(gone, spec=replace(gone.spec, image_id="sha256:" + "0" * 64, image="localhost:1/none:1"))
    await world.up(first)
    assert world.inspect(first.container_id)["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"] == "38080"
    world.channel.assign(bad, second, missing)
    # With init as PID 1 a missing command is the container's end, not the engine's refusal.
    seen = await until(world.channel, bad.container_id, Seen.EXITED)
    assert seen.exit_code == 127
    assert "not found" in (seen.message or "")
    assert seen.start_gen == 1
    seen = await until(world.channel, second.container_id, Seen.FAILED)
    assert "taken" in (seen.message or "")
    seen = await until(world.channel, missing.container_id, Seen.PENDING, more=lambda seen: bool(seen.message))
    world.channel.assign(replace(first, want=Want.GONE))
    await until(world.channel, second.container_id, Seen.RUNNING)


async def test_orphans_go_copies_go_foreigners_stay(world: World) -> None:
    one = world.want()
    await world.up(one)
    canary = world.api.create_container(SLEEPER, labels={"tutela.cluster": str(uuid4()), "tutela.container": "x"})
    world.api.start(canary["Id"])
    before = world.api.inspect_container(canary["Id"])
    labels = world.inspect(one.container_id)["Config"]["Labels"]
    copy = world.api.create_container(SLEEPER, labels=labels)
    orphan = world.api.create_container(SLEEPER, labels={**labels, "tutela.container": str(uuid4())})
    world.api.start(orphan["Id"])
    mine = lambda: world.api.containers(all=True, filters={"label": f"tutela.cluster={CLUSTER}"})  # noqa: E731
    await eventually(lambda: len(mine()) == 1, "copy and orphan to go")
    assert copy["Id"] not in {each["Id"] for each in mine()}
    assert world.inspect(one.container_id)["State"]["Running"]
    assert world.api.inspect_container(canary["Id"]) == before
    world.api.remove_container(canary["Id"], force=True)


async def test_slow_stops_delay_nobody(world: World) -> None:
    stubborn = [
        world.want(spec={"command": ("sh", "-c", "trap '' TERM; while :; do sleep 1; done")}) for _ in range(10)
    ]
    stubborn = [replace(each, stop_grace=30) for each in stubborn]
    await world.up(*stubborn)
    world.channel.assign(*(replace(each, want=Want.GONE) for each in stubborn))
    await world.up(world.want())
    assert any(world.runs(each.container_id) for each in stubborn), "it ran before their grace was over"


async def test_images_are_looked_up(world: World) -> None:
    found, none = uuid4(), uuid4()
    world.channel.ask(ImageRequest(request_id=found, reference=WEB, pull=Pull.MISSING))
    world.channel.ask(ImageRequest(request_id=none, reference="localhost:1/none:1", pull=Pull.ALWAYS))
    await eventually(lambda: found in world.channel.answers and none in world.channel.answers, "both answers")
    image = world.channel.answers[found].image
    assert image is not None
    assert ("GREETING", "hello") in image.env
    assert [port.port for port in image.ports] == [80]
    assert world.channel.answers[none].error is not None


async def test_logs_tell_the_streams_apart(world: World) -> None:
    one = world.want(spec={"command": ("sh", "-c", "echo out; echo err >&2; sleep 1000")})
    await world.up(one)
    lines: list[tuple[str, str]] = []
    async with asyncio.timeout(20):
        while len(lines) < 2:  # the question itself takes its time
            lines = [(line.stream, line.text) for line in await world.agent.streams.logs([one.container_id], 10)]
    assert sorted(lines) == [("stderr", "err"), ("stdout", "out")]


async def test_autonomy_without_a_control_plane(engine: PrivateEngine, tmp_path: Path) -> None:
    channel = MemoryChannel()
    async with running(DockerRuntime(engine.base_url), channel, tmp_path) as agent:
        world = World(engine, channel, agent)
        one = world.want()
        await world.up(one)
        await agent.settled()
    channel.leave()
    world.api.remove_container(world.engine_id(one.container_id), force=True)
    async with running(DockerRuntime(engine.base_url), channel, tmp_path):
        await eventually(lambda: world.runs(one.container_id), "the ledger to be enforced")
        channel.away = False
        await until(channel, one.container_id, Seen.RUNNING)
    sweep(engine)


async def test_a_quiet_restart_changes_nothing(engine: PrivateEngine, tmp_path: Path) -> None:
    channel = MemoryChannel()
    async with running(DockerRuntime(engine.base_url), channel, tmp_path) as agent:
        world = World(engine, channel, agent)
        many = [world.want(autorestart=policy) for policy in (CrashPolicy.OFF, CrashPolicy.ALWAYS)]
        await world.up(*many)
        await agent.settled()
    before = [world.inspect(each.container_id) for each in many]
    async with running(DockerRuntime(engine.base_url), channel, tmp_path) as agent:
        await agent.settled()
    assert [world.inspect(each.container_id) for each in many] == before
    sweep(engine)


async def test_engine_killed_and_back(own_engine: PrivateEngine, tmp_path: Path) -> None:
    channel = MemoryChannel()
    async with running(DockerRuntime(own_engine.base_url), channel, tmp_path) as agent:
        world = World(own_engine, channel, agent)
        off, always = world.want(), world.want(autorestart=CrashPolicy.ALWAYS)
        job, stopped = world.want(EXITER), world.want(autorestart=CrashPolicy.ALWAYS)
        await world.up(off, always, stopped)
        channel.assign(job, replace(stopped, want=Want.STOP))
        await until(channel, job.container_id, Seen.EXITED)
        await until(channel, stopped.container_id, Seen.EXITED)
        await agent.settled()
        runs = {each.container_id: channel.seen[each.container_id].started_at for each in (off, always)}
        await asyncio.to_thread(own_engine.kill)
        await eventually(lambda: channel.engine is None, "the engine's absence to be told")
        await asyncio.to_thread(own_engine.restart)
        for each in (off, always):
            more = another_run(runs[each.container_id])
            await until(channel, each.container_id, Seen.RUNNING, more=more, within=40)
        await agent.settled()
        assert channel.seen[job.container_id].state is Seen.EXITED
        assert world.inspect(job.container_id)["State"]["Status"] == "exited"
        assert world.inspect(stopped.container_id)["State"]["Status"] == "exited"
        assert channel.engine is not None
