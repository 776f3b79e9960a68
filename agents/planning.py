"""The decision about one node: from what is assigned and what the engine shows to the next steps.

Pure and synchronous. Identity is the label `tutela.container`, never a name; what does not carry our cluster's
label is not in the view at all, so it cannot be touched. Steps of one container are a line, in order;
containers do not depend on each other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from agents.brake import Judged, held
from agents.crashes import brought_back, ended, interrupted, over, refused
from agents.fencing import CAUSE, Fence, confined, gave_way
from agents.following import in_turn
from agents.networks import Networks, attachment_steps, unneeded
from agents.steps import (
    ConnectNetwork,
    CreateContainer,
    EnsureNetwork,
    NodePlan,
    PullImage,
    RemoveContainer,
    RemoveVolumes,
    ResolveImage,
    SetRestartPolicy,
    StartContainer,
    Step,
    StopContainer,
    Unpause,
)
from agents.view import ContainerMemory, EngineState, EngineView, ObservedContainer, settles_at
from domain.assignment import ContainerAssignment, ImageRequest
from domain.container import Want
from domain.restarts import Restart
from domain.spec import CrashPolicy

POLICY = {CrashPolicy.ALWAYS: "always", CrashPolicy.ON_FAILURE: "on-failure"}
"""What the engine does while the agent is away; everything else is `no`. Never `unless-stopped` (E2)."""

_UP = frozenset({EngineState.RUNNING, EngineState.PAUSED, EngineState.RESTARTING})
_BROKEN = frozenset({EngineState.DEAD, EngineState.REMOVING})
NOTHING_SAID = Judged()
ORPHAN_GRACE = 10
COPY_GRACE = 3


@dataclass(slots=True)
class _Line:
    """The steps of one container, and when to look at it again."""

    steps: list[Step] = field(default_factory=list)
    due: datetime | None = None

    def add(self, *steps: Step) -> None:
        self.steps.extend(steps)


def plan_node(
    assignments: Iterable[ContainerAssignment],
    observed: EngineView,
    memory: Mapping[UUID, ContainerMemory],
    now: datetime,
    *,
    busy: Collection[UUID] = (),
    images: Iterable[ImageRequest] = (),
    postponed: Mapping[str, datetime] | None = None,
    complete: bool = True,
    fence: Fence = Fence.OPEN,
    judged: Judged = NOTHING_SAID,
) -> NodePlan:
    """What to do on the node now, and when to look again.

    `busy`: containers that a line is at work on; nothing is planned for them. `images`: open requests that
    nobody is at work on. `postponed`: networks by name that are not to be tried again before a time. `complete`
    False: the ledger never held a full set, so what is not in it may still be wanted, and nothing is removed.
    `fence`: what containers of `single_writer` services may do here. `judged`: what an operator has said of containers
    that nothing asks for; when too many others are not asked for, none of them is removed.
    """
    wanted = {each.container_id: each for each in assignments}
    brake = held(wanted, observed, busy, judged) if complete else None
    left = judged.kept | (brake.containers if brake else frozenset())
    away = {*busy, *observed.unknown}
    found = observed.by_identity()
    networks = Networks.of(observed.networks)
    planned: dict[UUID, _Line] = {}
    for container_id in sorted({*wanted, *found} - away):
        here = sorted(found.get(container_id, []), key=lambda each: each.engine_id)
        assignment = wanted.get(container_id)
        if assignment is not None:
            known = memory.get(container_id, ContainerMemory())
            planned[container_id] = _assigned(assignment, here, known, networks, now, fence)
        elif complete and container_id not in left:
            planned[container_id] = _orphans(here, memory.get(container_id, ContainerMemory()), now)
    lines = in_turn({key: line.steps for key, line in planned.items()}, wanted, observed, busy)
    steps = [step for line in lines for step in line]
    dues = [line.due for line in planned.values() if line.due is not None]
    if complete and brake is None:
        removals, due = unneeded(wanted.values(), observed, networks, busy=away, held=postponed or {}, now=now)
        steps += removals
        dues += [due] if due else []
    steps += [
        ResolveImage(request=request, cause="the control plane asks")
        for request in sorted(images, key=lambda each: each.request_id)
    ]
    return NodePlan(steps=tuple(steps), next_due=min(dues, default=None), held=brake)


def container_name(assignment: ContainerAssignment) -> str:
    """The engine's name for it, the same at each try: a create whose answer was lost is found again (E12)."""
    return f"{assignment.name}.{str(assignment.container_id)[:8]}"


def engine_policy(assignment: ContainerAssignment) -> str:
    """The restart policy that mirrors the intent (RELIABILITY 0.4).

    Where restarts are counted because autoreplace waits, the agent alone restarts: the engine would not stop. And where
    there may never be two: the engine of a host that comes back would not ask whether its slot was filled elsewhere.
    """
    return _policy_of_runs(assignment) if assignment.want is Want.RUN else "no"


def _policy_of_runs(assignment: ContainerAssignment) -> str:
    alone = assignment.autoreplace is not CrashPolicy.OFF or assignment.spec.single_writer
    return "no" if alone else POLICY.get(assignment.autorestart, "no")


def _assigned(
    assignment: ContainerAssignment,
    here: Sequence[ObservedContainer],
    memory: ContainerMemory,
    networks: Networks,
    now: datetime,
    fence: Fence,
) -> _Line:
    line = _Line()
    shut = fence is Fence.SHUT and assignment.spec.single_writer and assignment.want is Want.RUN
    assignment = confined(assignment) if fence is Fence.SHUT else assignment
    if memory.retry is not None and memory.retry.waits(now):
        line.due = memory.retry.at
        return line
    if assignment.want is Want.GONE:
        for each in here:
            line.add(*_removal(each, assignment.stop_grace, "it is no longer wanted", _policy_of_runs(assignment)))
        if assignment.drop_volumes and not memory.volumes_dropped:
            line.add(
                RemoveVolumes(
                    container_id=assignment.container_id, names=assignment.drop_volumes, cause="their container is gone"
                )
            )
        return line
    alone = assignment.spec.single_writer and assignment.want is Want.RUN
    if fence is Fence.NO_STARTS and alone and not any(each.state in _UP for each in here):
        return line
    kept = best(assignment, here)
    for each in here:
        if each is not kept:
            line.add(*_removal(each, COPY_GRACE, "a second container carries the same identity"))
    if kept is not None and kept.digest != assignment.spec_digest:
        cause = "its definition is not the assigned one"
        line.add(*_removal(kept, assignment.stop_grace, cause, _policy_of_runs(assignment)))
        kept = None
    elif kept is not None and kept.state in _BROKEN:
        line.add(*_removal(kept, 0, f"the engine left it {kept.state.value}"))
        kept = None
    if assignment.want is Want.STOP:
        if kept is not None:
            line.add(*_stop(assignment, kept, fence=shut))
        return line
    if not here and assignment.start_gen <= memory.start_gen and over(assignment, memory, now):
        return line
    if kept is None:
        _make(line, assignment, memory, networks, now)
    else:
        _run(line, assignment, kept, memory, networks, now)
    return line


def best(assignment: ContainerAssignment, here: Iterable[ObservedContainer]) -> ObservedContainer | None:
    """Of several containers with the assignment's identity the one that counts."""
    return min(here, key=lambda each: _worth(assignment, each), default=None)


def _worth(assignment: ContainerAssignment, each: ObservedContainer) -> tuple[bool, bool, bool, bool, str]:
    """Smallest is best."""
    return (
        each.state in _BROKEN,
        each.digest != assignment.spec_digest,
        each.name != container_name(assignment),
        each.state not in _UP,
        each.engine_id,
    )


def _orphans(here: Sequence[ObservedContainer], memory: ContainerMemory, now: datetime) -> _Line:
    line = _Line()
    if memory.retry is not None and memory.retry.waits(now):
        line.due = memory.retry.at
        return line
    for each in here:
        line.add(*_removal(each, ORPHAN_GRACE, "it is ours, but not assigned to this node"))
    return line


def _removal(each: ObservedContainer, grace: int, cause: str, policy: str = "no") -> list[Step]:
    """Policy off before the stop (E5), stop with grace, remove. A stuck removal is just tried again (E17)."""
    steps = _quieten(each, cause, policy)
    if each.state in _UP:
        steps += _end(each, grace, cause)
    steps.append(RemoveContainer(container_id=each.container_id, engine_id=each.engine_id, cause=cause))
    return steps


def _quieten(each: ObservedContainer, cause: str, policy: str = "no") -> list[Step]:
    """`policy`: what may be set on it by a call that had no answer, which may be carried out after the look (E7)."""
    late = policy != "no" and each.state in _UP
    if (each.restart_policy == "no" and not late) or each.state in _BROKEN:
        return []
    return [SetRestartPolicy(container_id=each.container_id, engine_id=each.engine_id, policy="no", cause=cause)]


def _end(each: ObservedContainer, grace: int, cause: str, *, fence: bool = False) -> list[Step]:
    """A frozen process cannot answer to SIGTERM, so a paused container goes on first."""
    steps: list[Step] = []
    if each.state is EngineState.PAUSED:
        steps.append(Unpause(container_id=each.container_id, engine_id=each.engine_id, cause=cause))
    steps.append(
        StopContainer(
            container_id=each.container_id,
            engine_id=each.engine_id,
            grace=grace,
            run=each.started_at,
            cause=cause,
            fence=fence,
        )
    )
    return steps


def _stop(assignment: ContainerAssignment, kept: ObservedContainer, *, fence: bool) -> list[Step]:
    """A stopped container with a policy would be started by the engine's next start (E3)."""
    cause = CAUSE if fence else "it is to be stopped"
    steps = _quieten(kept, cause, _policy_of_runs(assignment))
    if kept.state in _UP:
        steps += _end(kept, assignment.stop_grace, cause, fence=fence)
    return steps


def _make(
    line: _Line, assignment: ContainerAssignment, memory: ContainerMemory, networks: Networks, now: datetime
) -> None:
    """Create and start a container that is not there."""
    ordered = assignment.start_gen > memory.start_gen
    cause = "it is assigned and not there"
    if memory.refused is not None and not ordered:
        match refused(assignment, memory, memory.refused, now):
            case Restart(at=at) if at <= now:
                cause = f"to be tried again after: {memory.refused.message}"
            case Restart(at=at):
                line.due = at
                return
            case _:
                return
    line.add(*_missing_networks(assignment, networks, cause))
    if memory.image_missing:
        reference = assignment.spec.image_digest or assignment.spec.image
        line.add(
            PullImage(container_id=assignment.container_id, reference=reference, cause="the engine has it no more")
        )
    line.add(CreateContainer(assignment=assignment, cause=cause))
    # Engine 20.10 takes one network at creation; the others follow before the start.
    for attachment in assignment.networks[1:]:
        line.add(
            ConnectNetwork(
                container_id=assignment.container_id, engine_id=None, attachment=attachment, cause="it is to be on it"
            )
        )
    line.add(
        StartContainer(
            container_id=assignment.container_id,
            engine_id=None,
            start_gen=assignment.start_gen,
            automatic=memory.refused is not None and not ordered,
            after=None,
            ended_at=memory.refused.at if memory.refused else None,
            cause=cause,
        )
    )


def _missing_networks(assignment: ContainerAssignment, networks: Networks, cause: str) -> list[Step]:
    return [
        EnsureNetwork(container_id=assignment.container_id, network=attachment.network, cause=cause)
        for attachment in assignment.networks
        if networks.id_of(attachment.network.name) is None
    ]


def _run(
    line: _Line,
    assignment: ContainerAssignment,
    kept: ObservedContainer,
    memory: ContainerMemory,
    networks: Networks,
    now: datetime,
) -> None:
    """Make the container that is there run as wanted."""
    policy = engine_policy(assignment)
    if kept.restart_policy != policy:
        own = policy == "no" and assignment.autorestart is not CrashPolicy.OFF
        cause = f"autorestart is {assignment.autorestart.value}" + (", and the agent's alone" if own else "")
        line.add(SetRestartPolicy(container_id=kept.container_id, engine_id=kept.engine_id, policy=policy, cause=cause))
    ordered = assignment.start_gen > memory.start_gen
    match kept.state:
        case EngineState.RESTARTING:
            # The engine is at it, with a back-off of its own (E19).
            return
        case EngineState.PAUSED:
            line.add(Unpause(container_id=kept.container_id, engine_id=kept.engine_id, cause="it is to run"))
            line.add(*attachment_steps(assignment, kept, networks))
        case EngineState.RUNNING:
            line.due = settles_at(kept)
            line.add(*attachment_steps(assignment, kept, networks))
            if ordered:
                cause = "this run was ordered to end before the order to start came"
                line.add(*_end(kept, assignment.stop_grace, cause))
                line.add(_start(assignment, kept, automatic=False, cause=cause))
        case _:
            # Created or exited: what the engine left dead or half removed was given up before.
            _start_again(line, assignment, kept, memory, networks, now, ordered=ordered)


def _start_again(
    line: _Line,
    assignment: ContainerAssignment,
    kept: ObservedContainer,
    memory: ContainerMemory,
    networks: Networks,
    now: datetime,
    *,
    ordered: bool,
) -> None:
    automatic = not ordered
    if ordered:
        cause = f"start order {assignment.start_gen}"
    elif kept.state is EngineState.CREATED and memory.refused is None:
        automatic, cause = False, "it was created and never started"
    elif gave_way(kept, memory):
        automatic, cause = False, "its node has its lease again"
    else:
        decision = ended(assignment, kept, memory, now)
        if isinstance(decision, Restart):
            at, cause = decision.at, f"autorestart is {assignment.autorestart.value}"
        elif interrupted(kept, memory):
            at, cause = brought_back(memory, now), "its end was the engine's doing"
        else:
            return
        if at > now:
            line.due = at
            return
    line.add(*attachment_steps(assignment, kept, networks))
    line.add(_start(assignment, kept, automatic=automatic, cause=cause))


def _start(assignment: ContainerAssignment, kept: ObservedContainer, *, automatic: bool, cause: str) -> StartContainer:
    return StartContainer(
        container_id=kept.container_id,
        engine_id=kept.engine_id,
        start_gen=assignment.start_gen,
        automatic=automatic,
        after=kept.started_at,
        ended_at=kept.finished_at,
        cause=cause,
    )
