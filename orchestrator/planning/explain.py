"""Why a service is as it is: for every slot what is wanted, what is seen, and what it waits for. Pure.

A state that is none of a user's wishes always has a reason here: a code for programs, a sentence for people, and what
helps. First match wins, from what concerns the service to what concerns one container.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from uuid import UUID

from domain.container import AGAIN, ALIVE, Container, Seen, Want, obeyed
from domain.networks import Fleet, Form
from domain.node import Candidate, NodeState
from domain.pause import Pause
from domain.placement import Placement, Refusal, Room, Verdict
from domain.quarantine import Cause
from domain.service import Service, ServiceWant, usable_image
from orchestrator.planning.forms import fleet_of
from orchestrator.planning.leaving import replaced_at
from orchestrator.planning.settled import complaint
from orchestrator.planning.slots import bound, wanted_slots, without_volumes
from orchestrator.planning.view import Policy, ServiceView


class Reason(StrEnum):
    """What a slot waits for, or why it is as it is."""

    RUNNING = "running"
    NOT_STARTED = "not-started"
    STOPPED = "stopped"
    EMPTY = "slot-empty"
    STACK_ORDER = "stack-order"
    IMAGE = "image-lookup"
    TURN = "sequential-turn"
    NO_NODE = "no-node"
    PLACING = "placing"
    PAUSED = "paused"
    QUARANTINED = "node-quarantined"
    UNREACHABLE = "node-unreachable"
    REMOVING = "removing"
    STOPPING = "stopping"
    PENDING = "node-working"
    PULLING = "image-pull"
    STARTING = "starting"
    RESTARTING = "restart-backoff"
    ENDED = "ended"
    CRASHED = "crashed"
    START_FAILED = "start-failed"
    LEAVING = "leaving-node"
    BOUND = "bound-to-node"
    VOLUMES = "volumes-elsewhere"


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkStory:
    """In which form a slot's container reaches a container of a service that it is linked to."""

    name: str
    slot: int
    form: Form


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotStory:
    """One slot. `remedy` is what a user can do, empty when nothing is to be done; `since` when it has been so.

    `network`: what its networks are, and with `network_note` why they are no overlay.
    """

    slot: int
    reason: Reason
    text: str
    wanted: str
    remedy: str = ""
    container: UUID | None = None
    node: str | None = None
    seen: str | None = None
    since: datetime | None = None
    last_seen: datetime | None = None
    leaving: bool = False
    verdicts: tuple[Verdict, ...] = ()
    network: Form | None = None
    network_note: str = ""
    links: tuple[LinkStory, ...] = ()


_REMEDIES = {
    Refusal.NODE_DOWN: "bring the node back, or let another host join",
    Refusal.PAUSED: "resume the node, or let another host join",
    Refusal.QUARANTINED: "see ./tutela node list, and say what is right",
    Refusal.CORDONED: "uncordon the node, or let another host join",
    Refusal.TAGS: "tag a node, or change the service's tags",
    Refusal.VOLUMES: "bring back the node that has the volumes",
    Refusal.PORT: "free the port, let it be chosen, or let another host join",
    Refusal.MEMORY: "ask for less memory, terminate something, or let another host join",
    Refusal.CPU: "ask for fewer CPU shares, terminate something, or let another host join",
    Refusal.DISK: "free disk space on the node",
}
RESUME = "resume it: ./tutela admin resume"
JOIN = "let a host join: POST /api/v1/token/ and `./tutela agent join` on the host"


def explain(
    view: ServiceView,
    policy: Policy,
    placements: Mapping[UUID, tuple[Verdict, ...]],
    waits_since: datetime | None = None,
    paused: Pause | None = None,
    failed: str | None = None,
) -> tuple[SlotStory, ...]:
    """All slots by number, those on their way out last. `placements`: the verdicts of when each was placed.

    `waits_since`: since when the service as a whole waits for something; an empty slot has no time of its own.
    `paused`: no passes are made for it, so what only a pass can move on waits for that.
    `failed`: what the service's last operation failed for, if it did: it left slots empty, or as they were.
    """
    view = replace(view, slots=wanted_slots(view))
    rows = sorted((row for row in view.containers if row.terminated_at is None), key=lambda row: row.slot)
    holders = {row.slot: row for row in rows if not row.leaving}
    refilled = {row.slot for row in rows if row.refill}
    scene = _Scene(view)
    stories = []
    for slot in sorted(set(view.slots) | set(holders)):
        row = holders.get(slot)
        if row is None:
            told = _empty(view, slot, scene, refilled=slot in refilled, failed=failed)
            stories.append(replace(told, since=told.since or waits_since))
        else:
            told = _outdated(view, row, _occupied(view, row, scene, policy), failed)
            stories.append(replace(told, verdicts=placements.get(row.id, ())))
    if paused is not None:
        by_id = {row.id: row for row in rows}
        stories = [_held(view, each, by_id[each.container] if each.container else None, paused) for each in stories]
    for row in rows:
        if row.leaving:
            stories.append(replace(_leaving(view, row, scene), verdicts=placements.get(row.id, ())))
    return tuple(stories)


class _Scene:
    """The nodes around the slots: made once for all slots, as a fleet is large."""

    def __init__(self, view: ServiceView) -> None:
        self._view = view
        self._links: dict[UUID, tuple[LinkStory, ...]] = {}
        self._placements: dict[UUID | None, Placement] = {}

    @cached_property
    def _fleet(self) -> Fleet:
        return fleet_of(self._view.nodes, self._view.installation)

    @cached_property
    def _room(self) -> Room:
        return Room(self._view.service.spec, self._view.nodes)

    def placement(self, only: UUID | None) -> Placement:
        """Where one more container would go."""
        if only not in self._placements:
            self._placements[only] = self._room.place(only=only)
        return self._placements[only]

    def links(self, node: UUID) -> tuple[LinkStory, ...]:
        """What a container on the node gets of the service's links."""
        if node not in self._links:
            self._links[node] = tuple(
                LinkStory(name=link.alias, slot=source.index, form=self._fleet.form(node, source.node))
                for link in self._view.linked
                for source in link.sources
            )
        return self._links[node]


_BY_PASSES = frozenset({Reason.STACK_ORDER, Reason.IMAGE, Reason.TURN, Reason.NO_NODE, Reason.PLACING})


def _held(view: ServiceView, story: SlotStory, row: Container | None, paused: Pause) -> SlotStory:
    if story.reason not in _BY_PASSES and (row is None or not _behind(view.service, row)):
        return story
    text = f"no passes are made for it: paused by {paused.by}. When it is resumed: {story.text}"
    return replace(story, reason=Reason.PAUSED, text=text, remedy=RESUME, since=paused.since)


_FOLLOWS = {ServiceWant.RUNNING: Want.RUN, ServiceWant.STOPPED: Want.STOP, ServiceWant.TERMINATED: Want.GONE}


def _behind(service: Service, row: Container) -> bool:
    """Whether the operation under way has not come to the container yet."""
    if service.operation is None:
        return False
    return row.want is not _FOLLOWS.get(service.want) or row.deploy_gen < service.deploy_gen


def _empty(view: ServiceView, slot: int, scene: _Scene, *, refilled: bool, failed: str | None) -> SlotStory:
    service, operation = view.service, view.service.operation
    story = SlotStory(slot=slot, reason=Reason.EMPTY, text="", wanted="container", since=_since(view))
    if service.want is ServiceWant.INIT:
        text = "it was never started"
        return replace(story, reason=Reason.NOT_STARTED, wanted="nothing", text=text, remedy="start it")
    if service.want is not ServiceWant.RUNNING:
        return replace(story, reason=Reason.STOPPED, wanted="nothing", text="the service is stopped")
    without = without_volumes(view, slot)
    if without is not None and usable_image(service) is not None:
        return replace(story, reason=Reason.VOLUMES, text=without, remedy="start or move what has the volumes")
    placement = scene.placement(view.slots.get(slot))
    if operation is None and not refilled and placement.node_id is None and placement.verdicts:
        remedy = f"{_remedy(placement)}; then start or scale the service"
        return replace(story, reason=Reason.NO_NODE, text=placement.reason, remedy=remedy, verdicts=placement.verdicts)
    if operation is None and not refilled and failed is not None:
        text, remedy = f"the last operation failed: {failed}", "mend that, then scale or start the service"
        return replace(story, text=text, remedy=remedy, wanted="nothing until then")
    if operation is None and not refilled:
        text = "its container was terminated, or destroyed itself; a slot is filled by an operation"
        return replace(story, text=text, remedy="scale or start the service", wanted="nothing until then")
    if operation is not None and view.behind:
        text = f"{', '.join(view.behind)} has to finish first: the stack's links say so"
        return replace(story, reason=Reason.STACK_ORDER, text=text)
    if usable_image(service) is None:
        text = f"the image {service.spec.image} is being looked up"
        return replace(story, reason=Reason.IMAGE, text=text, remedy="if it takes long: check the registry")
    if placement.node_id is None:
        return replace(
            story, reason=Reason.NO_NODE, text=placement.reason, remedy=_remedy(placement), verdicts=placement.verdicts
        )
    if service.spec.sequential_deployment:
        text = "containers of a sequential service start one after the other"
        return replace(story, reason=Reason.TURN, text=text, verdicts=placement.verdicts)
    return replace(story, reason=Reason.PLACING, text="the next pass places it", verdicts=placement.verdicts)


def _remedy(placement: Placement) -> str:
    found = {each.refusal for each in placement.verdicts if each.refusal}
    first = next((each for each in Refusal if each in found and each is not Refusal.NODE_DOWN), Refusal.NODE_DOWN)
    return _REMEDIES[first] if placement.verdicts else JOIN


def _occupied(view: ServiceView, row: Container, scene: _Scene, policy: Policy) -> SlotStory:
    node = view.by_id.get(row.node_id)
    story = _story(view, row, scene)
    if node is not None and node.state is NodeState.UNREACHABLE:
        return _away(view, story, row, node, policy)
    if node is not None and node.paused is not None and not _as_wanted(row):
        text = f"node {node.name} is paused by {node.paused.by}: it is told nothing new"
        return replace(story, reason=Reason.PAUSED, text=text, remedy=RESUME, since=node.paused.since)
    if node is not None and node.closed is not None and (node.closed.cause is Cause.ENGINE or not _as_wanted(row)):
        return replace(story, reason=Reason.QUARANTINED, text=node.closed.reason, remedy=node.closed.remedy)
    if row.want is Want.GONE:
        tried = row.seen.message if row.seen and row.seen.message and row.seen.message.endswith(AGAIN) else ""
        said = f": {tried}" if tried else ""
        return replace(story, reason=Reason.REMOVING, text=f"its node is removing it{said}", wanted="gone")
    if node is not None and node.draining and bound(row):
        text = f"node {node.name} is being drained, and its data is there"
        return replace(story, reason=Reason.BOUND, text=text, remedy="terminate it, or uncordon the node")
    if row.want is Want.STOP:
        alive = row.seen is not None and row.seen.state in ALIVE
        reason, text = (Reason.STOPPING, "it is being stopped") if alive else (Reason.STOPPED, "it was stopped")
        return replace(story, reason=reason, text=text, wanted="stopped", remedy="" if alive else "start it")
    return _wanted_to_run(story, row)


def _outdated(view: ServiceView, row: Container, story: SlotStory, failed: str | None) -> SlotStory:
    """Of one that runs on because its successor could not be had: what the deployment failed for."""
    behind = view.service.operation is None and row.deploy_gen < view.service.deploy_gen
    if story.reason is not Reason.RUNNING or not behind or failed is None:
        return story
    text = f"it runs as it was before the last operation, which failed: {failed}"
    return replace(story, text=text, remedy="mend that, then redeploy the service")


def _as_wanted(row: Container) -> bool:
    alive = row.seen is not None and row.seen.state in ALIVE
    return (row.want is Want.RUN and obeyed(row)) or (row.want is Want.STOP and not alive)


def _wanted_to_run(story: SlotStory, row: Container) -> SlotStory:
    seen = row.seen
    said = f": {seen.message}" if seen and seen.message else ""
    if seen is None or seen.state in {Seen.PENDING, Seen.GONE}:
        return replace(story, reason=Reason.PENDING, text=f"its node is about to make it{said}")
    if seen.state is Seen.PULLING:
        remedy = "if it takes long: check the registry and the node's connection to it"
        return replace(story, reason=Reason.PULLING, text=f"its node fetches the image{said}", remedy=remedy)
    if seen.will_restart or seen.state is Seen.RESTARTING:
        text = f"{complaint(row)}; it was started {seen.restart_count} times again, and will be after a pause"
        return replace(story, reason=Reason.RESTARTING, text=text, remedy="see its logs")
    if not obeyed(row) or seen.state is Seen.CREATED:
        return replace(story, reason=Reason.STARTING, text=f"it is being started{said}")
    if seen.state is Seen.RUNNING:
        return replace(story, reason=Reason.RUNNING, text=f"it runs{said}", since=seen.started_at or story.since)
    at = replace(story, since=seen.finished_at or story.since)
    if seen.state is Seen.FAILED:
        return replace(at, reason=Reason.START_FAILED, text=complaint(row), remedy="mend the cause and start it")
    if seen.exit_code == 0:
        return replace(at, reason=Reason.ENDED, text="it ended well (exit code 0)", remedy="start it to run it again")
    remedy = "see its logs; with autorestart it is started again by itself"
    return replace(at, reason=Reason.CRASHED, text=complaint(row), remedy=remedy)


def _away(view: ServiceView, story: SlotStory, row: Container, node: Candidate, policy: Policy) -> SlotStory:
    away = replace(story, reason=Reason.UNREACHABLE, since=node.last_seen)
    text = f"node {node.name} does not answer; what is shown of the container may be out of date"
    at = replaced_at(view, row, policy)
    if at is not None and at <= view.now:
        text = f"{text}. Its slot is filled elsewhere as soon as another node can take it"
        return replace(away, text=text, remedy="bring the node back, or let another host join")
    if at is not None:
        text = f"{text}. Its slot is filled elsewhere from {at:%H:%M:%S} UTC on"
        if view.disrupted_at is None or at == replaced_at(replace(view, disrupted_at=None), row, policy):
            return replace(away, text=text)
        text = f"{text}: most hosts were silent until {view.disrupted_at:%H:%M:%S}, and each has its time from then on"
        remedy = "bring the hosts back; take out those that are gone for good: ./tutela node remove NAME"
        return replace(away, text=text, remedy=remedy)
    if bound(row):
        return replace(away, text=f"{text}. Its data is there, so it waits for the node", remedy="bring the node back")
    remedy = "bring the node back; with lost_after or autoreplace its slot would be filled elsewhere"
    return replace(away, text=f"{text}. It waits for the node: nobody allowed to run it twice", remedy=remedy)


def _leaving(view: ServiceView, row: Container, scene: _Scene) -> SlotStory:
    node = view.by_id.get(row.node_id)
    story = replace(_story(view, row, scene), leaving=True, reason=Reason.LEAVING)
    where = node.name if node else "its node"
    if row.want is Want.RUN:
        return replace(story, text=f"{where} is being drained: it runs until its successor does")
    if any(each.follows == row.id for each in view.containers):
        return replace(story, text="its successor is made beside it, and starts when it has ended")
    return replace(story, text=f"its slot is filled elsewhere; it is removed when {where} says that it is gone")


def _story(view: ServiceView, row: Container, scene: _Scene) -> SlotStory:
    node = view.by_id.get(row.node_id)
    return SlotStory(
        slot=row.slot,
        reason=Reason.PENDING,
        text="",
        wanted="running",
        container=row.id,
        node=node.name if node else None,
        seen=row.seen.state.value.lower() if row.seen else None,
        since=_since(view) or row.created_at,
        last_seen=node.last_seen if node else None,
        network=_network(row, node),
        network_note=node.network_note if node else "",
        links=scene.links(row.node_id),
    )


def _network(row: Container, node: Candidate | None) -> Form | None:
    if node is None or row.spec.host_network:
        return None
    return Form.OVERLAY if node.overlay else Form.BRIDGE


def _since(view: ServiceView) -> datetime | None:
    return view.service.operation.since if view.service.operation else None
