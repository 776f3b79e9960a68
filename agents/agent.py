"""The agent of one node: wait for a reason to look, then observe, plan, perform (design 3.5).

Reasons are an engine event, newer assignments, a due time, a finished line, or the resync tick. The ledger is
enforced from the first second, with or without a control plane.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

import structlog

from agents import clock
from agents import memory as remembering
from agents.brake import Held
from agents.channel import ControlChannel
from agents.door import Door
from agents.executor import Executor
from agents.fencing import Fence, cut_short
from agents.glance import glance
from agents.greeting import greet
from agents.ledger import Ledger
from agents.lost_names import LostNames, on_overlays
from agents.observe import Observer, reported
from agents.planning import best, plan_node
from agents.runtime.base import ContainerRuntime, RuntimeFailed
from agents.session import Session
from agents.steps import (
    ConnectNetwork,
    NodePlan,
    PullImage,
    RemoveNetwork,
    ResolveImage,
    Step,
    StepResult,
    StopContainer,
    container_of,
    lines,
    unrecorded,
)
from agents.streams import ContainerStreams
from agents.swarm import SwarmKeeper
from agents.view import EngineView, Retry
from domain.assignment import ContainerAssignment, ImageResult
from domain.container import Observed, Seen, Want
from domain.quarantine import answered

log = structlog.get_logger("agent")
RESYNC_SECONDS = 30.0
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
IMAGE_TRIES = 2
Assignments = dict[UUID, ContainerAssignment]


class Agent:
    """One per engine. `run` once; the rest may be called while it runs."""

    def __init__(self, *, name: str, state_dir: Path, runtime: ContainerRuntime, channel: ControlChannel) -> None:
        """Open the ledger. Raises LedgerLocked when another agent works with `state_dir`."""
        self._runtime = runtime
        self._ledger = Ledger(state_dir)
        self._session = Session(
            name=name, channel=channel, ledger=self._ledger, wake=self._wake_up, pushed=self._judge_settled
        )
        self._observer = Observer(runtime, self._wake_up)
        self._executor = Executor(runtime, self, clock.now)
        self._door = Door(runtime, self._wake_up)
        self._wake, self._settled = asyncio.Event(), asyncio.Event()
        self._lost_at: datetime | None = None
        self._greeting_due = True
        self._resting = False
        self._retries: dict[str, Retry] = {}
        self._where: dict[UUID, str] = {}
        self._fence = Fence.NO_STARTS
        self.streams = ContainerStreams(runtime)  # logs of the containers that are here, and commands in them
        self._on_overlays = False
        self._names_lost = LostNames()
        self._swarm = SwarmKeeper(runtime, self._session.swarm, lambda: self._on_overlays, self._entered_swarm)
        self._wake.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set. Containers are left as they are."""
        tasks = [
            asyncio.create_task(self._passes(), name="agent passes"),
            asyncio.create_task(self._events(), name="agent events"),
            asyncio.create_task(self._session.run(), name="agent session"),
            asyncio.create_task(self._swarm.run(), name="agent swarm"),
            asyncio.create_task(glance(self._runtime, lambda: bool(self._session.engine), self._engine_hangs)),
        ]
        stopping = asyncio.create_task(stop.wait(), name="agent stop")
        try:
            done, _ = await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopping}:
                task.result()
        finally:
            for task in [*tasks, stopping]:
                task.cancel()
            await asyncio.gather(*tasks, stopping, return_exceptions=True)
            await asyncio.gather(self._executor.close(), self._door.close())
            await self._ledger.save()
            self._ledger.close()
            await self._runtime.close()

    async def settled(self) -> None:
        """Return once nothing is to be done now, nothing is under way, and all that was seen is reported."""
        await self._settled.wait()

    def _wake_up(self) -> None:
        self._resting = False
        self._settled.clear()
        self._wake.set()

    async def _passes(self) -> None:
        pause = FIRST_PAUSE
        tick = asyncio.get_running_loop().time() + RESYNC_SECONDS
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                due = await self._one_pass()
                pause, delay = FIRST_PAUSE, RESYNC_SECONDS
                if due is not None:
                    delay = min(delay, max((due - clock.now()).total_seconds(), 0.0))
            except RuntimeFailed as error:
                self._engine_away(error)
                delay, pause = pause, min(pause * 2, LONGEST_PAUSE)
            except OSError as error:
                log.warning("the ledger is not written: nothing new is begun", reason=str(error))
                delay, pause = pause, min(pause * 2, LONGEST_PAUSE)
            except Exception:
                # A pass that fails on something unforeseen must not end the enforcement of everything else.
                log.exception("pass failed")
                delay, pause = pause, min(pause * 2, RESYNC_SECONDS)
            if self._wake.is_set():
                continue
            now = asyncio.get_running_loop().time()
            try:
                async with asyncio.timeout(min(delay, max(tick - now, 0.0))):
                    await self._wake.wait()
            except TimeoutError:
                if asyncio.get_running_loop().time() >= tick:
                    tick = asyncio.get_running_loop().time() + RESYNC_SECONDS
                    self._observer.forget()
                    self._greeting_due = True
                self._wake.set()

    async def _events(self) -> None:
        """Keep a subscription; each end is a disconnect, and what happened in the gap is found by listing."""
        pause = FIRST_PAUSE
        while True:
            cluster_id = self._ledger.cluster_id
            if cluster_id is not None:
                try:
                    async for engine_ids in self._runtime.events(cluster_id):
                        pause = FIRST_PAUSE
                        if engine_ids:
                            self._observer.changed(engine_ids)
                        else:
                            self._observer.forget()
                        self._wake_up()
                except RuntimeFailed as error:
                    log.debug("no event stream", reason=str(error))
                self._lost_at = self._lost_at or clock.now()
                self._observer.forget()
                self._wake_up()
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _one_pass(self) -> datetime | None:
        """Observe, plan, perform; when to look again. Raises RuntimeBusy, RuntimeRefused."""
        if self._lost_at or self._greeting_due:
            await self._greet()
        cluster_id = self._ledger.cluster_id
        foreign = self._ledger.foreign(self._session.engine)
        self._swarm.told(None if foreign else self._session.swarm_order, None if foreign else cluster_id)
        if cluster_id is None or foreign:
            # On another engine than the assignment is for nothing is made or removed (F54).
            self._resting = not self._executor.busy
            return None
        # Taken before the list: a GONE is proven only by a list that began after all this was so.
        assignments, complete, revision = dict(self._ledger.assignments), self._ledger.complete, self._ledger.revision
        busy = {UUID(key) for key in self._executor.busy if " " not in key}
        view = await self._observer.look(cluster_id, busy)
        if self._lost_at is not None:
            # It may be the answer of the engine's next life: who that is comes first (F54).
            self._wake_up()
            return None
        self._executor.networks(view.networks)
        view = self._names_lost.marked(view)
        self._on_overlays = on_overlays(view)
        self._take_in(assignments, view, busy | view.unknown)
        fences = self._cut_short(assignments, busy | view.unknown)
        plan = plan_node(
            assignments.values(),
            view,
            self._ledger.memories,
            clock.now(),
            busy=busy,
            images=[
                each for each in self._session.open_requests if f"image {each.request_id}" not in self._executor.busy
            ],
            postponed={
                key.removeprefix("network "): each.at for key, each in self._retries.items() if each.waits(clock.now())
            },
            complete=complete,
            fence=self._fence,
            judged=self._ledger.judged,
        )
        self._ask(plan.held)
        withheld = self._report(assignments, view, busy | view.unknown)
        self._session.applied(revision)
        try:
            due = await self._perform(plan, cluster_id, assignments)
        finally:
            for stop in fences:
                self._executor.submit(f"fence {stop.container_id}", (stop,), cluster_id)
        if withheld:
            self._wake_up()  # the ledger is written by now
        if self._fence is not Fence.SHUT and any(each.spec.single_writer for each in assignments.values()):
            end = clock.now() + timedelta(seconds=max(self._session.lease.left, 0.0))
            due = min(due, end) if due else end
        self._resting = not plan.steps and not self._executor.busy and not view.unknown and not self._wake.is_set()
        self._judge_settled()
        return due

    def _ask(self, held: Held | None) -> None:
        """Ask about what the brake holds; what was answered counts from the next pass on."""
        self._session.ask(held.question if held else None)
        if held and (word := answered(self._session.word, held.question.key)):
            self._ledger.judge(word, held.containers)
            self._wake_up()

    def _entered_swarm(self) -> None:
        self._names_lost.entered(self._ledger.assignments.values())
        self._wake_up()

    def _engine_hangs(self, error: Exception) -> None:
        self._engine_away(error)
        self._wake_up()

    async def _greet(self) -> None:
        """The engine may be another than before, or have been away: ask who it is and what it ended itself."""
        info = await greet(self._runtime, self._ledger, self._lost_at)
        self._lost_at, self._greeting_due = None, False
        self._observer.forget()
        if self._session.engine is None:
            log.info("engine answers", version=info.version, driver=info.storage_driver)
        self._session.engine = info

    def _engine_away(self, error: Exception) -> None:
        if self._session.engine is not None:
            log.warning("engine away", reason=str(error))
        self._session.engine = None
        self._lost_at = self._lost_at or clock.now()
        self._observer.forget()

    def _take_in(self, assignments: Assignments, view: EngineView, working: Collection[UUID]) -> None:
        found = view.by_identity()
        self._where = {each.container_id: each.engine_id for each in view.containers} | {
            key: engine_id for key, engine_id in self._where.items() if key in view.unknown
        }
        for container_id, assignment in assignments.items():
            if container_id in working:
                continue
            seen = best(assignment, found.get(container_id, ()))
            if seen is not None:
                self._where[container_id] = seen.engine_id
            before = self._ledger.memory(container_id)
            self._ledger.remember(container_id, remembering.observed(before, assignment, seen))
        wanted = [each.container_id for each in self._ledger.assignments.values() if each.want is not Want.GONE]
        self.streams.seen(view.containers, self._where, unknown=view.unknown, expected=wanted)
        for container_id in self._ledger.memories.keys() - assignments.keys() - found.keys() - set(working):
            if container_id not in self._ledger.assignments:
                self._ledger.forget(container_id)
        self._ledger.still_here(found.keys() | set(working))
        self._ledger.holds = bool(found or view.unknown)

    def _report(self, assignments: Assignments, view: EngineView, working: Iterable[UUID]) -> bool:
        """Whether something waits for the ledger: GONE is final, and who began anew without knowing would undo it."""
        found, withheld = view.by_identity(), False
        for container_id, assignment in assignments.items():
            if container_id in working or self._ledger.assignments.get(container_id) != assignment:
                continue
            memory = self._ledger.memory(container_id)
            here = found.get(container_id, [])
            seen = reported(assignment, best(assignment, here), memory, gone=not here)
            if seen is not None and seen.state is Seen.GONE and not self._ledger.certain(assignment):
                withheld = True
            elif seen is not None:
                self._session.seen(container_id, seen)
        return withheld

    def _cut_short(self, assignments: Assignments, away: Collection[UUID]) -> list[StopContainer]:
        """Look at the fence; when the lease was just lost, what to stop beside the lines at work on it."""
        before, self._fence = self._fence, self._session.fence
        if before is self._fence or self._fence is not Fence.SHUT:
            return []
        confined = [each for each in assignments.values() if each.spec.single_writer]
        if confined:
            log.warning("the lease is lost: containers of single_writer services stop", containers=len(confined))
        for each in confined:
            self._ledger.remember(each.container_id, remembering.reassigned(self._ledger.memory(each.container_id)))
        stops = cut_short(confined, away, self._where, self._ledger.memories)
        for stop in stops:
            memory = self._ledger.memory(stop.container_id)
            self._ledger.remember(stop.container_id, remembering.about_to(memory, stop, clock.now()))
        return [stop for stop in stops if f"fence {stop.container_id}" not in self._executor.busy]

    async def _perform(self, plan: NodePlan, cluster_id: UUID, assignments: Assignments) -> datetime | None:
        """Begin the lines, after what must not be forgotten about them is on the disk."""
        work = {
            key: line for key, line in lines(plan).items() if key not in self._executor.busy and self._door.lets(line)
        }
        now, due = clock.now(), plan.next_due
        for key in list(work):
            if (retry := self._retries.get(key)) is not None and retry.waits(now):
                due = min(due, retry.at) if due else retry.at
                del work[key]
        for steps in work.values():
            for step in steps:
                container_id = container_of(step)
                if container_id is not None and container_id in self._ledger.assignments:
                    memory = self._ledger.memory(container_id)
                    self._ledger.remember(container_id, remembering.about_to(memory, step, now))
        try:
            await self._ledger.save()
        except OSError:
            # What is to end does so all the same (F37), above all what may run elsewhere by now.
            ends = {key: unrecorded(steps) for key, steps in work.items()}
            self._begin({key: steps for key, steps in ends.items() if steps}, cluster_id, assignments)
            raise
        self._begin(work, cluster_id, assignments)
        return due

    def _begin(self, work: Mapping[str, Sequence[Step]], cluster_id: UUID, assignments: Assignments) -> None:
        """Submit the lines, but not if something else came to be wanted while the ledger was written."""
        for key, steps in work.items():
            container_id = container_of(steps[0])
            if container_id is None or self._ledger.assignments.get(container_id) == assignments.get(container_id):
                self._executor.submit(key, steps, cluster_id)

    def _judge_settled(self) -> None:
        if self._resting and self._session.settled and not self._executor.busy:
            self._settled.set()

    def began(self, step: Step) -> None:
        """A pull takes its time: say so."""
        if isinstance(step, PullImage):
            order, said = self._ledger.memory(step.container_id).start_gen, f"pulling {step.reference}"
            self._session.seen(step.container_id, Observed(state=Seen.PULLING, start_gen=order, message=said))

    def tried(self, result: StepResult, order: int) -> None:
        """Remember the outcome."""
        step = result.step
        container_id = container_of(step)
        if container_id is not None:
            memory = self._ledger.memory(container_id)
            self._ledger.remember(container_id, remembering.after(memory, result, order))
            if isinstance(step, ConnectNetwork) and result.ok:
                self._names_lost.connected(container_id, step.attachment.network.name)
        elif isinstance(step, ResolveImage):
            self._image_tried(step, result)
        elif isinstance(step, RemoveNetwork):
            self._again(f"network {step.name}", result)

    def _image_tried(self, step: ResolveImage, result: StepResult) -> None:
        request, key = step.request, f"image {step.request.request_id}"
        self._again(key, result)
        if result.ok or (retry := self._retries.get(key)) is None or self._session.engine is None:
            return
        if result.code is not None or retry.count >= IMAGE_TRIES:
            del self._retries[key]
            why = f"image {request.reference}: {result.message}"
            self.answered(ImageResult(request_id=request.request_id, error=why))

    def _again(self, key: str, result: StepResult) -> None:
        before = self._retries.pop(key, None)
        if not result.ok:
            self._retries[key] = remembering.again(before, result, result.message or "")

    def answered(self, result: ImageResult) -> None:
        """An image request has its answer."""
        self._session.answer(result)

    def may_start(self, container_id: UUID) -> bool:
        """Not before a lease is held, where two may never run at once."""
        assignment = self._ledger.assignments.get(container_id)
        return assignment is None or not assignment.spec.single_writer or self._session.fence is Fence.OPEN

    def ended(self, key: str, engine_ids: frozenset[str]) -> None:
        """A line is over: look again."""
        self._observer.changed(engine_ids)
        self._wake_up()
