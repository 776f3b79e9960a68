"""From the engine's JSON to what a pass may know, and from that to what is reported.

A pass begins with a full list; only what is not plainly unchanged is inspected. A list never hangs (E8), an
inspect may: who does not answer within a second is `unknown` in this pass and holds up nobody.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import structlog

from agents import clock
from agents.crashes import will_start
from agents.runtime.base import ContainerRuntime, Json, RuntimeBusy, RuntimeFailed, RuntimeRefused
from agents.runtime.create_args import CONTAINER, DIGEST
from agents.view import (
    ContainerMemory,
    Endpoint,
    EngineState,
    EngineView,
    ObservedContainer,
    ObservedNetwork,
    Retry,
    settles_at,
)
from domain.assignment import ContainerAssignment
from domain.container import AGAIN, Observed, Seen, Want
from domain.networks import is_overlay_name

log = structlog.get_logger("observe")
PATIENCE = 1.0
AGAIN_SECONDS = 1.0
_TIME = re.compile(r"(?P<main>[0-9-]+T[0-9:]+)(?:\.(?P<fraction>[0-9]+))?(?P<zone>Z|[+-][0-9:]+)$")
COULD_NOT_RUN = frozenset({126, 127, 128})
"""Exit codes of a start that failed (E11)."""

INIT_SAYS = {
    126: "its command cannot be executed (exit code 126): see its logs",
    127: "its command was not found (exit code 127): see its logs",
}
"""With an init as PID 1 a bad command is the container's end and not the engine's refusal."""


def engine_time(text: object) -> datetime | None:
    """An engine's RFC 3339 time with up to nanoseconds, cut to microseconds; None for its zero time."""
    if not isinstance(text, str) or not text or text.startswith("0001-"):
        return None
    match = _TIME.match(text)
    if match is None:
        return None
    zone = "+00:00" if match["zone"] == "Z" else match["zone"]
    fraction = (match["fraction"] or "")[:6].ljust(6, "0")
    return datetime.fromisoformat(f"{match['main']}.{fraction}{zone}").astimezone(UTC)


def container_id_of(labels: object) -> UUID | None:
    """The identity in the labels; None for a word that is no uuid: Tutela never wrote it."""
    try:
        return UUID(str(labels[CONTAINER])) if isinstance(labels, dict) else None
    except (KeyError, ValueError):
        return None


def observed_container(
    inspected: Json, networks: Iterable[ObservedNetwork], asked_at: datetime | None = None
) -> ObservedContainer | None:
    """An inspected container; None when it does not carry an identity of ours.

    Before its first start a container's networks have no ids yet, only the word they were asked for by; and a worker
    of a swarm does not list an overlay network before a container runs on it, so that goes by its name as well.
    """
    config, state = inspected.get("Config") or {}, inspected.get("State") or {}
    labels = config.get("Labels") or {}
    container_id = container_id_of(labels)
    if container_id is None:
        return None
    known = {each.network_id for each in networks}
    by_name = {each.name: each.network_id for each in sorted(networks, key=lambda each: each.network_id, reverse=True)}
    engine_id = str(inspected["Id"])
    name = str(inspected.get("Name", "")).lstrip("/")
    endpoints = []
    for word, raw in sorted(((inspected.get("NetworkSettings") or {}).get("Networks") or {}).items()):
        raw = raw or {}
        network_id = str(raw.get("NetworkID") or "")
        # A network that was made anew has another id under the old name; the container joins it at its start.
        if network_id not in known and state.get("Status") not in {"running", "paused"}:
            network_id = by_name.get(word, word if is_overlay_name(word) else network_id or word)
        endpoints.append(_endpoint(network_id, raw))
    started, status = engine_time(state.get("StartedAt")), EngineState(str(state.get("Status", "created")))
    return ObservedContainer(
        container_id=container_id,
        engine_id=engine_id,
        name=name,
        digest=str(labels.get(DIGEST, "")),
        state=status,
        restart_policy=str(((inspected.get("HostConfig") or {}).get("RestartPolicy") or {}).get("Name") or "no"),
        exit_code=int(state.get("ExitCode", 0)) if status is not EngineState.RUNNING else None,
        oom_killed=bool(state.get("OOMKilled")),
        error=str(state.get("Error") or ""),
        restart_count=int(inspected.get("RestartCount") or 0),
        created_at=engine_time(inspected.get("Created")),
        started_at=started,
        finished_at=engine_time(state.get("FinishedAt")),
        endpoints=tuple(endpoints),
        asked_at=asked_at,
        own_names=frozenset({engine_id[:12], name, str(config.get("Hostname") or "")}),
    )


def _endpoint(network_id: str, raw: Json) -> Endpoint:
    links = (str(link).partition(":") for link in raw.get("Links") or ())
    return Endpoint(
        network_id=network_id,
        aliases=frozenset(str(alias) for alias in raw.get("Aliases") or ()),
        links=frozenset((target, name) for target, _, name in links),
        ip=str(raw.get("IPAddress") or "") or None,
    )


def reported(
    assignment: ContainerAssignment, seen: ObservedContainer | None, memory: ContainerMemory, *, gone: bool
) -> Observed | None:
    """What to report of the container; None when there is nothing to say yet.

    `gone`: a full list taken after it was wanted gone, with no call under way for it, lacks it.
    """
    if seen is None:
        return _absent(assignment, memory, gone=gone)
    state, message = _state(seen, memory)
    will_restart = will_start(assignment, seen, memory) and state in {Seen.EXITED, Seen.FAILED}
    if state is Seen.EXITED and will_restart:
        state = Seen.RESTARTING
    if memory.retry is not None:
        message = _tried(memory.retry)
    return Observed(
        state=state,
        start_gen=memory.start_gen,
        engine_id=seen.engine_id,
        exit_code=seen.exit_code if state in {Seen.EXITED, Seen.FAILED, Seen.RESTARTING} else None,
        oom_killed=seen.oom_killed,
        restart_count=seen.restart_count + memory.history.count,
        created_at=seen.created_at,
        started_at=seen.started_at,
        finished_at=seen.finished_at,
        ip=next((endpoint.ip for endpoint in seen.endpoints if endpoint.ip), None),
        message=message,
        will_restart=will_restart,
        settling=settles_at(seen) is not None,
    )


def _tried(retry: Retry) -> str:
    return f"{retry.message} (try {retry.count}{AGAIN}"


def _absent(assignment: ContainerAssignment, memory: ContainerMemory, *, gone: bool) -> Observed | None:
    match assignment.want:
        case Want.GONE:
            if not gone:
                return None
            if not assignment.drop_volumes or memory.volumes_dropped:
                return Observed(state=Seen.GONE, start_gen=memory.start_gen)
            said = f"it is gone, and its volumes are not: {_tried(memory.retry)}" if memory.retry else None
            return Observed(state=Seen.EXITED, start_gen=memory.start_gen, message=said) if said else None
        case Want.STOP if memory.start_gen > 0:
            return Observed(
                state=Seen.EXITED, start_gen=memory.start_gen, message="it is not there; a start makes it anew"
            )
        case Want.RUN if memory.result is not None and not will_start(assignment, None, memory):
            said = "it ended, and was removed by somebody else; a start makes it anew"
            return Observed(state=Seen.EXITED, start_gen=memory.start_gen, exit_code=memory.result, message=said)
        case _:
            state, message = Seen.PENDING, memory.retry.message if memory.retry else None
            if memory.refused is not None:
                state, message = Seen.FAILED, memory.refused.message
            return Observed(
                state=state,
                start_gen=memory.start_gen,
                restart_count=memory.history.count,
                message=message,
                will_restart=will_start(assignment, None, memory),
            )


def _state(seen: ObservedContainer, memory: ContainerMemory) -> tuple[Seen, str | None]:
    match seen.state:
        case EngineState.RUNNING:
            return Seen.RUNNING, None
        case EngineState.PAUSED:
            return Seen.RUNNING, "it is paused"
        case EngineState.RESTARTING:
            return Seen.RESTARTING, None
        case EngineState.DEAD | EngineState.REMOVING:
            return Seen.EXITED, f"the engine has it as {seen.state.value}: its removal is tried again"
        case EngineState.CREATED | EngineState.EXITED:
            if memory.refused is not None:
                return Seen.FAILED, memory.refused.message
            if seen.error and seen.exit_code in COULD_NOT_RUN and memory.retry is None:
                return Seen.FAILED, seen.error
            if seen.state is EngineState.CREATED:
                return Seen.CREATED, None
            return Seen.EXITED, INIT_SAYS.get(seen.exit_code or 0)


@dataclass(frozen=True, slots=True)
class _Answer:
    """What an inspection said, and when it was asked for."""

    asked_at: datetime
    inspected: Json


class Observer:
    """Looks at one engine for one cluster, with what it saw before as a cache."""

    def __init__(self, runtime: ContainerRuntime, late: Callable[[], None]) -> None:
        """`late` is called when an inspect that a pass did not wait for has come back."""
        self._runtime = runtime
        self._late = late
        self._fresh: dict[str, tuple[object, _Answer]] = {}
        self._asking: dict[str, asyncio.Task[_Answer | RuntimeFailed | None]] = {}
        self._changed: set[str] = set()

    def changed(self, engine_ids: Iterable[str]) -> None:
        """The engine hinted at these; do not trust the cache for them."""
        for engine_id in engine_ids:
            self._fresh.pop(engine_id, None)
            if engine_id in self._asking:
                self._changed.add(engine_id)

    def forget(self) -> None:
        """Trust nothing seen before: after a gap in the events, and at each tick."""
        self.changed({*self._fresh, *self._asking})
        self._fresh.clear()

    async def look(self, cluster_id: UUID, busy: Collection[UUID]) -> EngineView:
        """A full list, and what is needed of each. Raises RuntimeBusy, RuntimeRefused when there is no list."""
        listed, raw_networks = await asyncio.gather(
            self._runtime.list_containers(cluster_id), self._runtime.list_networks(cluster_id)
        )
        networks = tuple(
            ObservedNetwork(network_id=str(each["Id"]), name=str(each["Name"]), overlay=each.get("Driver") == "overlay")
            for each in raw_networks
        )
        entries = {str(each["Id"]): each for each in listed}
        ours = {engine_id: container_id_of(each.get("Labels")) for engine_id, each in entries.items()}
        unknown = {container_id for container_id in ours.values() if container_id is not None and container_id in busy}
        for engine_id in self._fresh.keys() - entries.keys():
            del self._fresh[engine_id]
        for engine_id in [each for each, task in self._asking.items() if each not in entries and task.done()]:
            del self._asking[engine_id]
        waiting, earlier = [], dict(self._asking)
        for engine_id, entry in entries.items():
            container_id = ours[engine_id]
            if container_id is None or container_id in busy or self._unchanged(engine_id, entry):
                continue
            waiting.append(self._ask(engine_id))
        if waiting:
            await asyncio.wait(waiting, timeout=PATIENCE)
        containers = []
        for engine_id, container_id in ours.items():
            if container_id is None or container_id in busy:
                continue
            late = self._asking.get(engine_id) is earlier.get(engine_id)
            answer, answered = self._answer(engine_id, entries[engine_id], late=late)
            if not answered:
                unknown.add(container_id)
            elif answer is not None:
                seen = observed_container(answer.inspected, networks, answer.asked_at)
                if seen is not None:
                    containers.append(seen)
                if seen is not None and settles_at(seen) is not None:
                    self._fresh.pop(engine_id, None)
        # All that carry one identity are judged together or not at all.
        known = tuple(each for each in containers if each.container_id not in unknown)
        return EngineView(containers=known, networks=networks, unknown=frozenset(unknown))

    def _unchanged(self, engine_id: str, entry: Json) -> bool:
        kept = self._fresh.get(engine_id)
        return kept is not None and entry.get("State") == "running" and kept[0] == _mark(entry)

    def _ask(self, engine_id: str) -> asyncio.Task[_Answer | RuntimeFailed | None]:
        task = self._asking.get(engine_id)
        if task is None or (task.done() and engine_id in self._changed):
            self._changed.discard(engine_id)
            task = self._asking[engine_id] = asyncio.create_task(self._inspect(engine_id))
        return task

    async def _inspect(self, engine_id: str) -> _Answer | RuntimeFailed | None:
        """An error is an answer as well: nobody may be there any more to take it when it comes."""
        asked_at = clock.now()
        try:
            return _Answer(asked_at, await self._runtime.inspect(engine_id))
        except RuntimeFailed as error:
            if isinstance(error, RuntimeBusy) and error.pending is not None:
                await asyncio.wait({error.pending})  # it has its thread until then: there is one question at a time
            return None if isinstance(error, RuntimeRefused) and error.code == "not_found" else error

    def _answer(self, engine_id: str, entry: Json, *, late: bool) -> tuple[_Answer | None, bool]:
        """What is known of the container, and whether anything is. `late`: it was asked before `entry` was listed."""
        task = self._asking.get(engine_id)
        if task is None:
            kept = self._fresh.get(engine_id)
            return (kept[1], True) if kept is not None else (None, False)
        if not task.done():
            task.add_done_callback(self._came_late)
            return None, False
        del self._asking[engine_id]
        stale = engine_id in self._changed
        self._changed.discard(engine_id)
        answer = task.result()
        if isinstance(answer, RuntimeFailed):
            log.warning("container does not answer", engine_id=engine_id, reason=str(answer))
            asyncio.get_running_loop().call_later(AGAIN_SECONDS, self._late)
            return None, False
        if answer is not None and late and (stale or answer.inspected["State"]["Status"] != entry.get("State")):
            # It has started or ended since: who counts on this would start again what ran meanwhile (seed 23342).
            self._late()
            return None, False
        if answer is not None and not stale:
            self._fresh[engine_id] = (_mark(entry), answer)
        return answer, True

    def _came_late(self, task: asyncio.Task[_Answer | RuntimeFailed | None]) -> None:
        if not task.cancelled():
            self._late()


def _mark(entry: Mapping[str, object]) -> object:
    """What of a list entry changes when the container does. Its status text changes with the clock: left out."""
    settings = entry.get("NetworkSettings")
    return (entry.get("State"), entry.get("Names"), settings)
