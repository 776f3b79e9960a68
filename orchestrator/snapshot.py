"""Load what one decision may know, in a fixed number of statements whatever else the installation holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from domain.container import Container
from domain.links import contributes, source_of
from domain.networks import Fleet
from domain.node import Candidate, Node, NodeState, disk_full, failing
from domain.placement import fixed_ports
from domain.service import Service, ServiceWant
from domain.spec import Link, Strategy, Transport
from orchestrator.planning.forms import fleet_of
from orchestrator.planning.view import ImageAnswer, Installation, LinkedService, ServiceView, VolumesFrom
from orchestrator.store import fleet, mounts, nodes, ports, relations, standing
from orchestrator.store.db import Connection
from orchestrator.store.relations import LinkedTo


async def load(conn: Connection, service: Service, installation: Installation, at: datetime) -> ServiceView:
    """The view of a service whose row the caller has locked, with the nodes that its containers are on; `at`: now."""
    targets = await relations.link_targets(conn, [service])
    after = service.operation.after if service.operation else ()
    rows, there = await standing.of_services(conn, [service.id, *targets])
    own = tuple(row for row in rows if row.service_id == service.id)
    request = service.operation.image_request if service.operation else None
    answer = await nodes.image_answer(conn, request) if request else None
    found = _candidates(there, own, at, {})
    others = [each.volumes_from for each in service.spec.bindings if each.volumes_from is not None]
    return ServiceView(
        service=service,
        containers=own,
        nodes=found,
        linked=tuple(
            _linked(
                link,
                targets[link.to_service],
                [row for row in rows if row.service_id == link.to_service],
                fleet_of(found, installation),
                service.account,
            )
            for link in service.spec.links
            if link.to_service in targets
        ),
        image=ImageAnswer(node_id=answer.node_id, asked_at=answer.asked_at, image=answer.image, error=answer.error)
        if answer
        else None,
        installation=installation,
        now=at,
        behind=tuple(await relations.under_way(conn, after)) if after else (),
        pinned=await mounts.pinned(conn, service.id) if _mounts_volumes(service, own) else {},
        shared=tuple(
            VolumesFrom(name=name, nodes=nodes) for name, nodes in (await mounts.holders(conn, others)).items()
        )
        if others
        else (),
        everyone=False,
        disrupted_at=await fleet.disrupted_at(conn) if _silent(there) else None,
    )


async def widen(conn: Connection, view: ServiceView) -> ServiceView:
    """The same view with all nodes."""
    taken = await ports.ports_taken(conn, fixed_ports(view.service.spec))
    there = await nodes.everyone(conn)
    # One may have become silent since the view was loaded.
    disrupted = await fleet.disrupted_at(conn) if _silent(there) else None
    found = _candidates(there, view.containers, view.now, taken)
    return replace(view, nodes=found, everyone=True, disrupted_at=disrupted)


def _silent(there: Sequence[Node]) -> bool:
    return any(node.state is NodeState.UNREACHABLE for node in there)


def _linked(link: Link, target: LinkedTo, rows: Sequence[Container], fleet: Fleet, account: str) -> LinkedService:
    """One source for each slot: a container that leaves counts until its successor is there."""
    by_slot = {row.slot: row for row in sorted(rows, key=lambda row: not row.leaving) if contributes(row)}
    chosen = [by_slot[slot] for slot in sorted(by_slot)]
    every = target.strategy is Strategy.EVERY_NODE
    # On every node there may be slots above the target, for one whose node is gone.
    highest = max(by_slot, default=0) if every else 0
    return LinkedService(
        alias=link.name,
        service_id=link.to_service,
        unique_name=target.unique_name,
        subnet=target.subnet,
        target=max(target.target, highest),
        sources=tuple(source_of(row, fleet, account) for row in chosen),
        nodes=tuple(row.node_id for row in chosen) if every else (),
    )


def _mounts_volumes(service: Service, own: Sequence[Container]) -> bool:
    """Whether the service may have managed volumes; at its end all that are left are looked for."""
    image = service.image is not None and bool(service.image.volumes)
    mounted = any(mount.own for row in own for mount in row.spec.mounts)
    return bool(service.spec.bindings) or image or mounted or service.want is ServiceWant.TERMINATED


def _candidates(
    there: Sequence[Node],
    own: Sequence[Container],
    at: datetime,
    taken: Mapping[UUID, frozenset[tuple[Transport, int]]],
) -> tuple[Candidate, ...]:
    """The nodes as the placement of this service sees them."""
    here: dict[UUID, int] = {}
    for row in own:
        here[row.node_id] = here.get(row.node_id, 0) + 1
    return tuple(
        Candidate(
            node_id=node.id,
            name=node.name,
            state=node.state,
            tags=frozenset(node.tags),
            here=here.get(node.id, 0),
            load=node.live,
            taken=taken.get(node.id, frozenset()),
            gateway=node.engine.gateway if node.engine else "",
            last_seen=node.last_seen,
            cordoned=node.cordoned or node.drain_action is not None,
            draining=node.drain_action is not None,
            memory=node.engine.memory if node.engine else 0,
            reserved_memory=node.reserved_memory,
            cpus=node.engine.cpus if node.engine else 0,
            reserved_cpu=node.reserved_cpu,
            disk_full=disk_full(node.engine),
            failing=failing(node.failures, at),
            paused=node.paused,
            quarantine=node.quarantine,
            reach=node.reach,
            overlay=node.overlay,
            network_note=node.network_note,
        )
        for node in there
    )
