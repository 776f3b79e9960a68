"""An agent process's way to its engine: `ContainerRuntime` over the model, with delays, deadlines and cut calls.

A call that is given up is carried out all the same (E7): the work is the engine's and not its caller's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from agents.planning import container_name
from agents.runtime import create_args
from agents.runtime.base import Console, Incarnation, Json, RawLine, RuntimeBusy, RuntimeRefused
from agents.swarm_plan import SwarmStep
from domain.assignment import ContainerAssignment, EngineInfo
from domain.container import Attachment, NetworkSpec
from domain.registry import RegistryAuth
from domain.swarm import SwarmReport, SwarmSeen
from tests.simulation.engine import Engine
from tests.simulation.process import HERE, Process

T = TypeVar("T")
LOOK_SECONDS, ACT_SECONDS = 10.0, 65.0
STOPS_ARE_CUT = 4


@dataclass(slots=True, kw_only=True)
class Cuts:
    """Shares of calls, by seed: `before` and `after` they were carried out the connection is cut; `slow` ones."""

    before: float = 0.0
    after: float = 0.0
    slow: float = 0.0


class ModelRuntime:
    """One agent process's. `registry`: what can be pulled, by reference; None: the registry does not answer."""

    def __init__(
        self, engine: Engine, process: Process, cuts: Cuts, registry: Callable[[str], Awaitable[Json | None]]
    ) -> None:
        self._engine = engine
        self._process = process
        self._cuts = cuts
        self._registry = registry

    async def info(self) -> EngineInfo:
        await self._look(acting=True)
        self._new_connection()
        return EngineInfo(
            engine_id=self._engine.name, version="20.10.24", storage_driver="overlay2", cpus=4, memory=8192,
            gateway="172.17.0.1", place=self._engine.name,
        )  # fmt: skip

    async def accepting(self) -> None:
        await self._look()
        self._new_connection()

    def _new_connection(self) -> None:
        if self._engine.ending:
            raise RuntimeBusy("dial unix docker.sock: no such file or directory", away=True)

    async def incarnation(self) -> Incarnation | None:
        await self._look()
        return Incarnation(name=f"life {self._engine.life}", since=self._engine.stamp_of_life)

    async def list_containers(self, cluster_id: UUID) -> list[Json]:
        await self._look()
        listed = [
            {"Id": each.id, "Names": [each.name], "Labels": each.labels, "State": _listed(each.state)}
            for each in self._engine.boxes.values()
            if each.labels.get(create_args.CLUSTER) == str(cluster_id)
        ]
        await self._answer()
        return listed

    async def inspect(self, engine_id: str) -> Json:
        await self._look(of=engine_id)
        named = (each.id for each in self._engine.boxes.values() if each.name == f"/{engine_id}")
        found = self._engine.found(next(named, engine_id)).inspected()
        await self._answer()
        return found

    async def create(self, cluster_id: UUID, assignment: ContainerAssignment, network_id: str | None) -> str:
        name, body = container_name(assignment), create_args.create_body(cluster_id, assignment)

        async def work() -> str:
            return self._engine.create(name, body)

        return await self._act(work, 0.02, 0.1, makes=name)

    async def start(self, engine_id: str) -> None:
        async def work() -> None:
            self._engine.start(engine_id)

        await self._act(work, 0.03, 0.2, of=engine_id, starts=True)

    async def stop(self, engine_id: str, grace: int) -> None:
        # What takes as long as its grace is cut off more often than what takes a moment.
        stopped = partial(self._engine.stop, engine_id, grace)
        await self._act(stopped, 0.0, 0.01, ACT_SECONDS + grace, self._cuts.after * STOPS_ARE_CUT, of=engine_id)

    async def remove(self, engine_id: str) -> None:
        async def work() -> None:
            self._engine.remove(engine_id)

        await self._act(work, 0.01, 0.1, of=engine_id)

    async def remove_volume(self, name: str) -> None:
        async def work() -> None:
            for each in self._engine.boxes.values():
                if name in {mount["Source"] for mount in (each.body.get("HostConfig") or {}).get("Mounts", ())}:
                    raise RuntimeRefused(f"volume {name} is in use", "conflict")
            self._engine.volumes.discard(name)

        await self._act(work, 0.0, 0.02)

    async def update_policy(self, engine_id: str, policy: str) -> None:
        async def work() -> None:
            self._engine.update_policy(engine_id, policy)

        await self._act(work, 0.0, 0.02, of=engine_id)

    async def unpause(self, engine_id: str) -> None:
        async def work() -> None:
            self._engine.unpause(engine_id)

        await self._act(work, 0.0, 0.02, of=engine_id)

    async def list_networks(self, cluster_id: UUID) -> list[Json]:
        await self._look()
        wanted = str(cluster_id)
        return [each for each in self._engine.networks.values() if each["Labels"].get(create_args.CLUSTER) == wanted]

    async def create_network(self, cluster_id: UUID, network: NetworkSpec) -> str:
        async def work() -> str:
            for key, each in self._engine.networks.items():
                if each["Name"] == network.name:
                    return key
            made = self._engine.new_id()
            labels = create_args.network_labels(cluster_id, network)
            self._engine.networks[made] = {"Id": made, "Name": network.name, "Labels": labels, "Driver": "bridge"}
            self._engine.watcher.touched(self._engine, None, f"create network {network.name}")
            return made

        return await self._act(work, 0.01, 0.1)

    async def remove_network(self, network_id: str) -> None:
        async def work() -> None:
            found = self._engine.networks.get(network_id)
            if found is None:
                return
            for each in self._engine.boxes.values():
                if each.up and found["Name"] in each.endpoints:
                    raise RuntimeBusy("the network is still in use")
            del self._engine.networks[network_id]
            self._engine.watcher.touched(self._engine, None, f"remove network {found['Name']}")

        await self._act(work, 0.01, 0.1)

    async def connect(self, network_id: str, engine_id: str, attachment: Attachment) -> None:
        async def work() -> None:
            box = self._engine.found(engine_id)
            if network_id not in self._engine.networks:
                raise RuntimeRefused(f"network {network_id} not found", "network_missing")
            name = self._engine.networks[network_id]["Name"]
            box.endpoints[name] = {**create_args.endpoint_config(attachment), "NetworkID": network_id}
            self._engine.watcher.touched(self._engine, box, f"connect {name}")

        await self._act(work, 0.01, 0.05)

    async def disconnect(self, network_id: str, engine_id: str) -> None:
        async def work() -> None:
            box = self._engine.found(engine_id)
            name = self._engine.networks.get(network_id, {}).get("Name", "")
            if box.endpoints.pop(name, None) is not None:
                self._engine.watcher.touched(self._engine, box, f"disconnect {name}")

        await self._act(work, 0.01, 0.05)

    async def image_inspect(self, reference: str) -> Json:
        await self._look()
        if reference not in self._engine.images:
            raise RuntimeRefused(f"No such image: {reference}", "image_missing")
        return self._engine.images[reference]

    async def pull(self, reference: str, login: RegistryAuth | None = None) -> None:
        async def work() -> None:
            image = await self._registry(reference)
            if image is None:
                raise RuntimeRefused(f"the registry does not have the image: {reference}", "image_missing")
            self._engine.images[reference] = self._engine.images[image["Id"]] = image

        await self._act(work, 0.05, 1.0, 3600.0)

    async def events(self, cluster_id: UUID) -> AsyncIterator[frozenset[str]]:
        await self._look()
        queue: asyncio.Queue[str | None] = asyncio.Queue()
        self._engine.listeners.append(queue)
        try:
            yield frozenset()
            while (engine_id := await queue.get()) is not None:
                await self._process.reach()
                yield frozenset({engine_id})
        finally:
            if queue in self._engine.listeners:
                self._engine.listeners.remove(queue)

    async def swarm(self, cluster_id: UUID) -> SwarmReport:
        await self._look()
        return SwarmReport(seen=SwarmSeen())

    async def swarm_step(self, cluster_id: UUID, step: SwarmStep) -> None:
        raise RuntimeRefused("this engine knows no swarm", "refused")

    async def logs(self, engine_id: str, *, tail: int, since: float | None = None) -> Sequence[RawLine]:
        await self._look()
        self._engine.found(engine_id)
        return []

    async def follow(self, engine_id: str, *, since: str | None = None) -> AsyncGenerator[Sequence[RawLine], None]:
        raise RuntimeRefused("nobody reads logs here", "refused")
        yield []

    async def exec(self, engine_id: str, command: Sequence[str]) -> Console:
        raise RuntimeRefused("nobody runs commands here", "refused")

    async def close(self) -> None:
        """Nothing to give back."""

    # Inside.

    async def _look(self, *, acting: bool = False, of: str = "") -> None:
        """A question to the engine: it takes a moment, and has an answer or a deadline. `acting`: one that waits for
        what is below the daemon; `of`: for the shim of this container."""
        await self._process.reach()
        engine = self._engine
        if engine.down:
            raise RuntimeBusy("the engine is away", away=True)
        shim = engine.shim(of)
        if engine.hung or shim is not None or (acting and not engine.acting.is_set()):
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await engine.going.wait()
                    if shim is not None:
                        await shim.wait()
                    if acting:
                        await engine.acting.wait()
            except TimeoutError:
                raise RuntimeBusy("the engine did not answer") from None
        await asyncio.sleep(engine.chance.uniform(0.0005, 0.004))
        await self._process.reach()
        if engine.down:
            raise RuntimeBusy("the engine is away", away=True)

    async def _answer(self) -> None:
        """The way back: what was true when the engine looked may be so no more."""
        if self._cuts.slow and self._engine.chance.random() < self._cuts.slow:
            await asyncio.sleep(self._engine.chance.uniform(0.0, 2.0))
        await self._process.reach()

    async def _act(
        self,
        work: Callable[[], Awaitable[T]],
        least: float,
        most: float,
        deadline: float = ACT_SECONDS,
        cut: float | None = None,
        *,
        of: str = "",
        starts: bool = False,
        makes: str = "",
    ) -> T:
        """Work of the engine's; `of`: it needs the shim of this container. `makes`: the name has its owner from the
        beginning on, who is shown at the end (E12)."""
        await self._process.reach()
        engine, chance = self._engine, self._engine.chance
        if engine.down:
            raise RuntimeBusy("the engine is away", away=True)
        lot = chance.random()
        if lot < self._cuts.before:
            raise RuntimeBusy("the engine is away", away=True)
        cut_off = lot < self._cuts.before + (self._cuts.after if cut is None else cut)

        async def carried_out() -> T:
            await engine.going.wait()
            if starts:
                engine.beginning.add(of)
            if makes in engine.making:
                raise RuntimeRefused(f"the container's name is taken: {makes}", "name_taken")
            if makes:
                engine.making.add(makes)
            await asyncio.sleep(chance.uniform(least, most))
            while (shim := engine.shim(of)) is not None:
                await shim.wait()
            await engine.acting.wait()
            await engine.going.wait()
            if starts:
                engine.beginning.discard(of)
            engine.making.discard(makes)
            deaths = engine.deaths
            if engine.down:
                raise RuntimeBusy("the engine is away", away=True)
            result = await work()
            if engine.deaths != deaths:
                raise RuntimeBusy("the engine is away", away=True)
            return result

        task = _apart(carried_out())
        engine.work = [each for each in engine.work if not each.done()]
        engine.work.append(task)
        if cut_off:  # what was sent is carried out all the same
            await asyncio.sleep(chance.uniform(0.0, 0.05))
            raise RuntimeBusy("the engine did not answer")
        done, _ = await asyncio.wait({task}, timeout=deadline)
        await self._process.reach()
        if not done:
            raise RuntimeBusy(f"the engine did not answer within {deadline:g} s", pending=task)
        result: T = task.result()
        return result


def _apart(coro: Any) -> asyncio.Task[Any]:
    """A task of nobody's process: the engine's work goes on when its caller is dead."""
    token = HERE.set(None)
    try:
        task = asyncio.get_running_loop().create_task(coro)
    finally:
        HERE.reset(token)
    task.add_done_callback(lambda done: None if done.cancelled() else done.exception())
    return task


def _listed(state: str) -> str:
    return "removing" if state == "dead" else state
