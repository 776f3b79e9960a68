"""Whether the world is as the record wants it, and the record as users were told (I1, I3, I8, I9, I11)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from agents.runtime.create_args import CLUSTER, CONTAINER
from tests.simulation.box import EXITED, Box
from tests.simulation.judge import called
from tests.simulation.server import CLUSTER as OURS

if TYPE_CHECKING:
    from tests.simulation.host import Host
    from tests.simulation.world import World

_ROWS = """
    SELECT c.id, c.name, c.service_id, n.name AS node, c.want, c.leaving, c.autorestart, c.autoreplace,
        coalesce((c.spec->>'single_writer')::bool, false) AS alone,
        c.spec->>'image' AS image, c.seen->>'state' AS seen, c.start_gen,
        coalesce((c.seen->>'start_gen')::int, 0) AS obeyed, coalesce((c.seen->>'will_restart')::bool, false) AS again,
        c.networks::text AS networks, (c.seen->>'exit_code')::int AS code, coalesce(c.seen->>'message', '') AS said
    FROM containers c JOIN nodes n ON n.id = c.node_id WHERE c.terminated_at IS NULL ORDER BY c.name, c.id
"""
_POLICIES = {"OFF": "no", "ALWAYS": "always", "ON_FAILURE": "on-failure"}
_SERVICES = """
    SELECT s.id, s.unique_name AS name, s.want, s.target, s.operation, s.destroyed_at, s.queued, s.waits_for,
        (SELECT CASE a.verb WHEN 'Service Stop' THEN 'Stopped' ELSE a.state END FROM actions a
            WHERE a.service_id = s.id AND a.verb LIKE 'Service %' AND a.end_date > a.start_date
            ORDER BY a.end_date DESC, a.id LIMIT 1) AS last,
        EXISTS (SELECT 1 FROM actions a WHERE a.service_id = s.id
            AND (a.state = 'Canceled' OR a.verb = 'Container Terminate')) AS taken,
        EXISTS (SELECT 1 FROM actions a WHERE a.service_id = s.id AND a.verb = 'Container Stop') AS stopped,
        coalesce(s.image->>'reference' = s.spec->>'image', false) AS deployed
    FROM services s ORDER BY s.unique_name
"""
_ACTIONS = "SELECT verb, state, object_uri, service_id FROM actions WHERE end_date IS NULL ORDER BY start_date"
_DUE = "SELECT unique_name FROM services WHERE look_at <= $1 OR id IN (SELECT service_id FROM wakes) ORDER BY 1"
_OWN_PORT = """
    SELECT s.unique_name AS name, a.message FROM actions a JOIN services s ON s.id = a.service_id
    WHERE a.state = 'Failed' AND a.verb = 'Service Redeploy' AND a.message LIKE '%slot 1: %taken by another%'
        AND NOT EXISTS (SELECT 1 FROM containers c WHERE c.service_id = s.id AND c.slot <> 1)
        AND NOT EXISTS (SELECT 1 FROM services o WHERE o.id <> s.id
            AND o.spec #>> '{ports,0,outer_port}' = s.spec #>> '{ports,0,outer_port}')
"""
"""What failed for want of a port that nobody had but the container to be replaced; another slot of its service may
lack a host."""
_NODES = """
    SELECT name, state, drain_action, cordoned, assignment_revision AS revision
    FROM nodes WHERE state <> 'Terminated' ORDER BY name
"""


def unsettled(world: World) -> list[str]:
    """What is not yet as wanted, in words; empty at rest."""
    return list(_unsettled(world))


def _unsettled(world: World) -> Iterator[str]:
    nodes = {row["name"]: row for row in world.store.ask(_NODES)}
    for name, row in nodes.items():
        if row["state"] != "Deployed":
            yield f"node {name} is {row['state']}"
        if row["revision"] > world.hosts[name].revision:
            yield f"node {name} has not heard of change {row['revision']}"
    for row in world.store.ask(_DUE, world.now()):
        # Nobody heard of it, its notice was lost: it is looked at with the next tick (seed 43571).
        yield f"{row['unique_name']} is due for a look"
    services = {row["id"]: row for row in world.store.ask(_SERVICES)}
    rows = world.store.ask(_ROWS)
    for row in services.values():
        if row["operation"] is not None:
            yield f"{row['name']}: its operation has not ended, it waits for {row['waits_for']}"
        if row["want"] == "TERMINATED" and row["destroyed_at"] is None:
            yield f"{row['name']} is not yet gone"
    restless = {row["service_id"] for row in rows if world.loops(row["image"])}
    draining = any(row["drain_action"] is not None for row in nodes.values())
    for row in world.store.ask(_ACTIONS):
        # What ends by itself again and again is replaced again and again, each time by an action.
        replacing = row["verb"] == "Container Redeploy" and row["service_id"] in restless
        if not replacing and not (draining and row["verb"] == "Node Drain"):
            yield f"action {row['verb']} of {row['object_uri']} is {row['state']}"
    by_service: dict[Any, int] = defaultdict(int)
    known: dict[str, dict[str, Any]] = {}
    for row in rows:
        by_service[row["service_id"]] += 0 if row["leaving"] else 1
        known[str(row["id"])] = row
        yield from _row(world, row, world.loops(row["image"]))
    for row in services.values():
        # What was refused or only stored ended as it began. What failed or was canceled leaves a service with as many
        # containers as it had got, and one that a user took away stays away until somebody asks again (spec 2.15); so
        # does one that was missing when a single container of a stopped service was started. An image that was only
        # stored, while nothing ran, is for the next start (seed 26379). What a user has stopped goes for good from a
        # node that is drained (seed 29109).
        strict = row["last"] == "Success" and not row["taken"] and row["name"] not in world.shrinking
        strict = strict and row["deployed"] and not (row["stopped"] and world.drained)
        strict = strict and row["want"] == "RUNNING" and not any(each["cordoned"] for each in nodes.values())
        if strict and by_service[row["id"]] != row["target"] and row["operation"] is None:
            yield f"{row['name']} has {by_service[row['id']]} containers, {row['target']} are wanted"
    for host in world.hosts.values():
        yield from _host(host, known)


def _row(world: World, row: dict[str, Any], loops: bool) -> Iterator[str]:
    boxes = world.hosts[row["node"]].engine.boxes.values()
    here = [box for box in boxes if box.labels.get(CONTAINER) == str(row["id"])]
    box, name = here[0] if here else None, f"{row['name']} on {row['node']}"
    if len(here) > 1:
        yield f"{name} is there {len(here)} times"
    if row["want"] == "GONE" and loops and row["autoreplace"] != "OFF":
        return  # and the next one, in its place
    if row["want"] == "GONE":
        yield f"{name} is wanted gone and on record"
    elif row["want"] == "STOP":
        if box is not None and (box.up or box.state == "restarting" or box.policy != "no"):
            yield f"{name} is wanted stopped, and is {box.state} with policy {box.policy}"
        never = {"PENDING"} if box is None else set()
        if row["seen"] not in {"EXITED", "FAILED", "CREATED"} | never:
            yield f"{name} is wanted stopped, and seen as {row['seen']}"
    elif not loops:
        yield from _running(world, name, row, box)
    if not loops and row["seen"] == "EXITED" and box is not None and box.state == EXITED and row["code"] != box.code:
        yield f"{name} ended with {box.code}, and {row['code']} is on record"


def _running(world: World, name: str, row: dict[str, Any], box: Box | None) -> Iterator[str]:
    if row["obeyed"] < row["start_gen"]:
        yield f"{name} has not carried out start {row['start_gen']} ({row['obeyed']})"
    if "already exists" in row["said"]:
        yield f"{name} can never be started (E33), and is not made anew: {row['said']}"
    if box is not None and box.stopping:
        yield f"{name} is wanted running, and in the grace of a stop"
    own = row["autoreplace"] != "OFF" or row["alone"]  # the agent's alone (decision 3)
    policy = "no" if own else _POLICIES[row["autorestart"]]
    if box is not None and box.policy != policy:
        yield f"{name} has policy {box.policy}, and autorestart is {row['autorestart']}"
    if row["seen"] == "RUNNING":
        if box is None or not box.up or box.state == "paused":
            yield f"{name} is seen running, and is {box.state if box else 'not there'}"
    elif row["seen"] in {"EXITED", "FAILED"} and not row["again"]:
        if box is not None and (box.up or box.state == "restarting"):
            yield f"{name} is seen as {row['seen']}, and is {box.state}"
        if row["seen"] == "EXITED" and row["autorestart"] == "ALWAYS" and row["autoreplace"] == "OFF":
            yield f"{name} ended, and autorestart is ALWAYS"
        remembered = world.hosts[row["node"]].remembers
        if row["seen"] == "EXITED" and box is not None and box.ended_by == "agent" and remembered:
            yield f"{name} is wanted running, and was stopped by its agent"
        # Whether an engine ended a run that obeyed with a code of its own, times of its host's clock tell: where that
        # was set meanwhile, they do not (seed 22001; docs/design/agent.md).
        clock = world.hosts[row["node"]].skew
        remembered = remembered and world.judge.clock_at_end.get(str(row["id"]), clock) == clock
        if row["seen"] == "EXITED" and box is not None and box.ended_by == "engine" and remembered:
            yield f"{name} is wanted running, and was ended by its engine"
        if row["seen"] == "EXITED" and row["start_gen"] > world.judge.ordered_at_end.get(str(row["id"]), 10**9):
            yield f"{name} ended before order {row['start_gen']} to start it, and was not started"
        if "name is taken" in row["said"]:
            yield f"{name} failed: {row['said']}"
    else:
        yield f"{name} is wanted running, and seen as {row['seen']}"


def _host(host: Host, known: dict[str, dict[str, Any]]) -> Iterator[str]:
    for box in host.engine.boxes.values():
        if box.labels.get(CLUSTER) != str(OURS):
            continue
        row = known.get(box.labels.get(CONTAINER, ""))
        if row is None or row["node"] != host.name:
            yield f"{called(box)} on {host.name} is nobody's"
    used = {name for box in host.engine.boxes.values() for name in box.endpoints}
    # A stopped container that somebody removed is made anew at its next start.
    kept = "".join(row["networks"] for row in known.values() if row["node"] == host.name)
    for each in host.engine.networks.values():
        if each["Name"] not in used and each["Name"] not in kept:
            yield f"network {each['Name']} on {host.name} is nobody's"


def broken_words(world: World) -> Iterator[tuple[str, str]]:
    """What users were told and is not so: promise and sentence."""
    for row in world.store.ask(_OWN_PORT):
        yield "I3", f"a redeployment of {row['name']} failed for its own port: {row['message']}"
    services = {row["id"]: row for row in world.store.ask(_SERVICES)}
    for wish in world.wishes:
        row = services.get(wish.service_id)
        if row is None:
            yield "I1", f"service {wish.name} was accepted and is not on record"
            continue
        if wish.uncertain:
            continue
        if wish.want is not None and row["want"] != wish.want:
            yield "I8", f"{wish.name}: the last accepted wish was {wish.want}, the record says {row['want']}"
        if wish.target is not None and wish.want != "TERMINATED" and row["target"] != wish.target:
            yield "I8", f"{wish.name}: the last accepted target was {wish.target}, the record says {row['target']}"


def left_over(world: World) -> Iterator[str]:
    """What is left of services that were terminated (I9)."""
    for host in world.hosts.values():
        for box in host.engine.boxes.values():
            if not box.foreign:
                yield f"container {called(box)} on {host.name}"
        for each in host.engine.networks.values():
            yield f"network {each['Name']} on {host.name}"
        for volume in sorted(host.engine.volumes):
            yield f"volume {volume} on {host.name}"
    for table in ("ports", "image_requests"):
        for row in world.store.ask(f"SELECT * FROM {table}"):  # noqa: S608 - two constants
            yield f"row in {table}: {dict(row)}"
