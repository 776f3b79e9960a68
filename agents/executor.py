"""Performs steps: those of one key in order and never two lines of a key at once, keys in parallel.

Nothing waits for a line: the next pass plans around the keys that are busy (I14). A key stays busy until the
thread of its last call has come back, also when nobody waits for the answer any more (E7).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeGuard, assert_never
from uuid import UUID

import structlog

from agents import images
from agents.planning import container_name
from agents.runtime.base import ContainerRuntime, Json, RuntimeBusy, RuntimeRefused
from agents.runtime.create_args import CLUSTER, CONTAINER, DIGEST
from agents.steps import (
    ConnectNetwork,
    CreateContainer,
    DisconnectNetwork,
    EnsureNetwork,
    PullImage,
    RemoveContainer,
    RemoveNetwork,
    RemoveVolumes,
    ResolveImage,
    SetRestartPolicy,
    StartContainer,
    Step,
    StepResult,
    StopContainer,
    Unpause,
)
from agents.turns import Turns
from agents.view import ObservedNetwork
from domain.assignment import ContainerAssignment, ImageResult
from domain.container import NetworkSpec
from domain.image import ResolvedImage

log = structlog.get_logger("executor")
IN_FLIGHT = 8
"""More starts at once only queue in the kernel (LIMITS, the engine raw)."""

ENDING_SECONDS = 0.3
"""What an end takes an engine of its own; beyond that the container uses its grace, or something sticks (E17)."""
FOLLOW_SECONDS = 2.0
"""How long a line waits for the end of a container that is to end before its own starts."""

_SLOW = (StopContainer, RemoveContainer, RemoveVolumes, PullImage, ResolveImage)


class Listener(Protocol):
    """Who is told what became of the steps; called on the loop."""

    def began(self, step: Step) -> None:
        """A step is about to be done."""

    def tried(self, result: StepResult, order: int) -> None:
        """A step was tried; `order` is the start order that its line was about."""

    def answered(self, result: ImageResult) -> None:
        """An image request has its answer."""

    def ended(self, key: str, engine_ids: frozenset[str]) -> None:
        """A line is over, and its key is free again."""

    def may_start(self, container_id: UUID) -> bool:
        """Whether the container may still be started: its line may have waited long for an image."""
        ...


@dataclass(slots=True)
class _Work:
    """What one line has come to know."""

    created: str | None = None
    pulled: bool = False


class _End:
    """When a line has ended its container: all that carries its identity (somebody may have copied it), for good. What
    a full disk kept its restart policy (E23) may be started by the engine until it is removed.
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        self._up = {step.engine_id for step in steps if isinstance(step, StopContainer | RemoveContainer)}
        self._begins = any(isinstance(step, CreateContainer | StartContainer) for step in steps)
        self._restless: set[str] = set()

    def comes_with(self, result: StepResult) -> bool:
        """Whether nothing of it runs any more after this."""
        step = result.step
        if isinstance(step, SetRestartPolicy) and not result.ok:
            self._restless.add(step.engine_id)
        if isinstance(step, RemoveContainer) or (
            isinstance(step, StopContainer) and step.engine_id not in self._restless
        ):
            self._up.discard(step.engine_id)
            return not self._up and not self._begins
        return False


class Executor:
    """The lines at work on one engine."""

    def __init__(self, runtime: ContainerRuntime, listener: Listener, clock: Callable[[], datetime]) -> None:
        self._runtime = runtime
        self._listener = listener
        self._clock = clock
        self._slots = asyncio.Semaphore(IN_FLIGHT)
        self._ending = Turns(IN_FLIGHT, ENDING_SECONDS)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ends: dict[str, asyncio.Future[bool]] = {}
        self._networks: dict[str, str] = {}
        self._making: dict[str, asyncio.Lock] = {}
        self._pulling: dict[str, asyncio.Lock] = {}

    @property
    def busy(self) -> frozenset[str]:
        """The keys with a line at work."""
        return frozenset(self._tasks)

    def networks(self, observed: Iterable[ObservedNetwork]) -> None:
        """The networks that a full list showed."""
        found: dict[str, str] = {}
        for each in sorted(observed, key=lambda each: each.network_id):
            found.setdefault(each.name, each.network_id)
        self._networks = found

    def submit(self, key: str, steps: Sequence[Step], cluster_id: UUID) -> None:
        """Begin a line; its key must be free."""
        if key in self._tasks:
            raise ValueError(f"{key} is busy")
        self._ends[key] = asyncio.get_running_loop().create_future()
        self._tasks[key] = asyncio.create_task(self._line(key, steps, cluster_id), name=f"line {key}")

    async def close(self) -> None:
        """Give up all lines. What the engine was told already, it does all the same."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _line(self, key: str, steps: Sequence[Step], cluster_id: UUID) -> None:
        work, ended, end = _Work(), self._ends[key], _End(steps)
        order = max((_order(step) for step in steps), default=0)
        before = {str(step.follows): self._ends.get(str(step.follows)) for step in steps if _follows(step)}
        try:
            for step in steps:
                if _follows(step) and not await _over(before[str(step.follows)]):
                    return
                if isinstance(step, StartContainer) and not self._listener.may_start(step.container_id):
                    return
                self._listener.began(step)
                result = await self._try(step, work, cluster_id)
                self._listener.tried(result, order)
                if not result.ok and not (result.code is not None and _quiets(step, steps)):
                    return
                if end.comes_with(result) and not ended.done():
                    ended.set_result(True)
        finally:
            del self._tasks[key], self._ends[key]
            if not ended.done():
                ended.set_result(False)
            named = {str(getattr(step, "engine_id", None) or "") for step in steps}
            self._listener.ended(key, frozenset({*named, work.created or ""} - {""}))

    async def _try(self, step: Step, work: _Work, cluster_id: UUID) -> StepResult:
        """The step's outcome; the two kinds of failure end here."""
        try:
            if _ends(step):
                async with self._ending.turn():
                    await self._perform(step, work, cluster_id)
            elif isinstance(step, _SLOW):
                await self._perform(step, work, cluster_id)
            else:
                async with self._slots:
                    await self._perform(step, work, cluster_id)
        except RuntimeRefused as error:
            log.warning("refused", step=type(step).__name__, code=error.code, reason=error.reason, cause=step.cause)
            # What vanished is made again by the next plan; it is no fault of the container.
            gone = error.code == "not_found" and isinstance(step, StartContainer | ConnectNetwork)
            code = None if gone or error.code == "network_missing" else error.code
            return StepResult(step=step, ok=False, at=self._clock(), message=error.reason, code=code)
        except RuntimeBusy as error:
            log.info("to be tried again", step=type(step).__name__, reason=str(error), cause=step.cause)
            if error.pending is not None:
                await asyncio.wait({error.pending})
            return StepResult(step=step, ok=False, at=self._clock(), message=str(error), retry_in=error.retry_in)
        except Exception as error:
            # The boundary of a step: nobody looks at the line's task, and the next plan would begin it anew at once.
            log.exception("step failed", step=type(step).__name__, cause=step.cause)
            return StepResult(step=step, ok=False, at=self._clock(), message=f"{type(error).__name__}: {error}")
        log.debug("done", step=type(step).__name__, cause=step.cause)
        return StepResult(step=step, ok=True, at=self._clock())

    async def _perform(self, step: Step, work: _Work, cluster_id: UUID) -> None:
        runtime = self._runtime
        match step:
            case EnsureNetwork():
                await self._network(cluster_id, step.network)
            case RemoveNetwork():
                async with self._making.setdefault(step.name, asyncio.Lock()):
                    self._networks.pop(step.name, None)
                    await runtime.remove_network(step.network_id)
            case ResolveImage():
                image = await self._resolve(step)
                self._listener.answered(ImageResult(request_id=step.request.request_id, image=image))
            case PullImage():
                async with self._pulling.setdefault(step.reference, asyncio.Lock()):
                    await runtime.pull(step.reference)
                work.pulled = True
            case CreateContainer():
                work.created = await self._create(step.assignment, cluster_id)
            case StartContainer():
                await self._start(step.engine_id or _made(work))
            case StopContainer():
                await runtime.stop(step.engine_id, step.grace)
            case RemoveContainer():
                await runtime.remove(step.engine_id)
            case RemoveVolumes():
                for name in step.names:
                    await runtime.remove_volume(name)
            case SetRestartPolicy():
                await runtime.update_policy(step.engine_id, step.policy)
            case ConnectNetwork():
                network_id = await self._network(cluster_id, step.attachment.network)
                await runtime.connect(network_id, step.engine_id or _made(work), step.attachment)
            case DisconnectNetwork():
                await runtime.disconnect(step.network_id, step.engine_id)
            case Unpause():
                await runtime.unpause(step.engine_id)
            case _:
                assert_never(step)

    async def _network(self, cluster_id: UUID, network: NetworkSpec) -> str:
        """The network's id; made when it is not there. One maker a name: the engine would make two."""
        async with self._making.setdefault(network.name, asyncio.Lock()):
            if network.name not in self._networks:
                self._networks[network.name] = await self._runtime.create_network(cluster_id, network)
            return self._networks[network.name]

    async def _create(self, assignment: ContainerAssignment, cluster_id: UUID) -> str:
        """Make the container, or find the one that an earlier try made although its answer was lost (E7, E12)."""
        first = assignment.networks[0].network.name if assignment.networks else None
        try:
            return await self._runtime.create(cluster_id, assignment, self._networks.get(first) if first else None)
        except RuntimeRefused as error:
            if error.code != "name_taken":
                raise
            found = await self._named(container_name(assignment))
            labels = ((found or {}).get("Config") or {}).get("Labels") or {}
            ours = labels.get(CLUSTER) == str(cluster_id) and labels.get(CONTAINER) == str(assignment.container_id)
            if found is not None and ours and labels.get(DIGEST) == assignment.spec_digest:
                return str(found["Id"])
            if found is None or ours:
                raise RuntimeBusy(f"{error.reason}: the engine is still making or removing it") from error
            raise

    async def _named(self, name: str) -> Json | None:
        """The container of that name. A name has its owner before he is to be seen (E12)."""
        try:
            return await self._runtime.inspect(name)
        except RuntimeRefused as error:
            if error.code != "not_found":
                raise
            return None

    async def _start(self, engine_id: str) -> None:
        """Start it. One that its engine can never start is taken away, and the next plan makes it anew (E33)."""
        try:
            await self._runtime.start(engine_id)
        except RuntimeRefused as error:
            if error.code != "half_started":
                raise
            await self._runtime.remove(engine_id)
            raise RuntimeBusy(f"{error.reason}: it is made anew") from error

    async def _resolve(self, step: ResolveImage) -> ResolvedImage:
        async with self._pulling.setdefault(step.request.reference, asyncio.Lock()):
            return await images.resolve(self._runtime, step.request)


def _quiets(step: Step, line: Sequence[Step]) -> bool:
    """Whether the rest of the line is done although the engine refuses this: on a full disk it sets no policy, and
    stops and removes all the same (E23), which is what makes room. What it stopped it starts only when it is begun
    anew; until then the policy is tried again.
    """
    ends = any(isinstance(each, StopContainer | RemoveContainer) for each in line)
    return ends and isinstance(step, SetRestartPolicy) and step.policy == "no"


def _ends(step: Step) -> bool:
    """Whether it is an end that may wait for others. One for want of a lease may not: its successor may run by then."""
    return isinstance(step, RemoveContainer) or (isinstance(step, StopContainer) and not step.fence)


def _follows(step: Step) -> TypeGuard[StartContainer]:
    return isinstance(step, StartContainer) and step.follows is not None


async def _over(end: asyncio.Future[bool] | None) -> bool:
    """Whether a line ends its container soon; else the next plan has another look, and may do something else."""
    if end is None:
        return False
    await asyncio.wait({end}, timeout=FOLLOW_SECONDS)
    return end.done() and end.result()


def _order(step: Step) -> int:
    match step:
        case StartContainer():
            return step.start_gen
        case CreateContainer():
            return step.assignment.start_gen
        case _:
            return 0


def _made(work: _Work) -> str:
    if work.created is None:
        raise RuntimeBusy("the container was not made")
    return work.created
