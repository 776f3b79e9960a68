"""An obedient engine for the planner alone: applies a plan to a view, without I/O or time."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import assert_never
from uuid import UUID

from agents import memory as remembering
from agents.planning import container_name, engine_policy, plan_node
from agents.steps import (
    ConnectNetwork,
    CreateContainer,
    DisconnectNetwork,
    EnsureNetwork,
    NodePlan,
    PullImage,
    RemoveContainer,
    RemoveNetwork,
    RemoveVolumes,
    ResolveImage,
    SetRestartPolicy,
    StartContainer,
    Step,
    StopContainer,
    Unpause,
)
from agents.view import ContainerMemory, Endpoint, EngineState, EngineView, ObservedContainer, ObservedNetwork
from domain.assignment import ContainerAssignment
from domain.container import Attachment
from tests.agents.build import NOW


class Model:
    """A node: what is assigned, what is there, what is remembered."""

    def __init__(self, assignments: list[ContainerAssignment], view: EngineView, now: datetime = NOW) -> None:
        self.assignments = assignments
        self.containers = {each.engine_id: each for each in view.containers}
        self.networks = {each.network_id: each for each in view.networks}
        self.memory: dict[UUID, ContainerMemory] = {}
        self.now = now
        self.count = 0

    def view(self) -> EngineView:
        return EngineView(containers=tuple(self.containers.values()), networks=tuple(self.networks.values()))

    def observe(self) -> None:
        """Take in what is seen, as the agent does before it plans."""
        from agents.planning import best

        for each in self.assignments:
            here = [found for found in self.containers.values() if found.container_id == each.container_id]
            before = self.memory.get(each.container_id, ContainerMemory())
            self.memory[each.container_id] = remembering.observed(before, each, best(each, here))

    def plan(self) -> NodePlan:
        self.observe()
        return plan_node(self.assignments, self.view(), self.memory, self.now)

    def step(self) -> NodePlan:
        """Plan once and apply."""
        plan = self.plan()
        self.now += timedelta(seconds=1)
        made: dict[UUID, str] = {}
        for step in plan.steps:
            if not isinstance(step, RemoveNetwork | ResolveImage) and step.container_id in self.memory:
                memory = self.memory[step.container_id]
                self.memory[step.container_id] = remembering.about_to(memory, step, self.now)
            self._apply(step, made)
        return plan

    def _apply(self, step: Step, made: dict[UUID, str]) -> None:
        match step:
            case EnsureNetwork():
                self._network(step.network.name)
            case RemoveNetwork():
                del self.networks[step.network_id]
            case PullImage() | ResolveImage():
                pass
            case CreateContainer():
                self.count += 1
                made[step.container_id] = f"made-{self.count}"
                one = step.assignment
                self.containers[made[step.container_id]] = ObservedContainer(
                    container_id=one.container_id,
                    engine_id=made[step.container_id],
                    name=container_name(one),
                    digest=one.spec_digest,
                    state=EngineState.CREATED,
                    restart_policy=engine_policy(one),
                    endpoints=tuple(self._endpoint(each) for each in one.networks[:1]),
                )
            case StartContainer():
                key = step.engine_id or made[step.container_id]
                self._set(key, state=EngineState.RUNNING, started_at=self.now, exit_code=None)
            case StopContainer():
                self._set(step.engine_id, state=EngineState.EXITED, finished_at=self.now, exit_code=143)
            case RemoveContainer():
                assert self.containers[step.engine_id].container_id == step.container_id
                del self.containers[step.engine_id]
            case RemoveVolumes():
                held = {each.container_id for each in self.containers.values()}
                assert step.container_id not in held, "volumes are removed after their container"
            case SetRestartPolicy():
                self._set(step.engine_id, restart_policy=step.policy)
            case ConnectNetwork():
                key = step.engine_id or made[step.container_id]
                endpoints = (*self.containers[key].endpoints, self._endpoint(step.attachment))
                self._set(key, endpoints=endpoints)
            case DisconnectNetwork():
                kept = [
                    each for each in self.containers[step.engine_id].endpoints if each.network_id != step.network_id
                ]
                self._set(step.engine_id, endpoints=tuple(kept))
            case Unpause():
                self._set(step.engine_id, state=EngineState.RUNNING)
            case _:
                assert_never(step)

    def _set(self, engine_id: str, **changes: object) -> None:
        self.containers[engine_id] = replace(self.containers[engine_id], **changes)  # type: ignore[arg-type]

    def _network(self, name: str) -> str:
        for each in sorted(self.networks.values(), key=lambda each: each.network_id):
            if each.name == name:
                return each.network_id
        self.networks[f"id-{name}"] = ObservedNetwork(network_id=f"id-{name}", name=name)
        return f"id-{name}"

    def _endpoint(self, attachment: Attachment) -> Endpoint:
        return Endpoint(
            network_id=self._network(attachment.network.name),
            aliases=frozenset(attachment.aliases),
            links=frozenset(attachment.links),
        )
