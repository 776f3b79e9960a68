"""Make a new container for its row: its definition with its ports and mounts."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from domain.container import Container, ContainerSpec, Mount, Want
from domain.image import ResolvedImage
from domain.service import Service, usable_image
from domain.spec import CrashPolicy, digest
from orchestrator.ids import new_id
from orchestrator.planning.render import container_name, effective_ports, new_container
from orchestrator.planning.steps import CreateContainer, TakeVolumes
from orchestrator.planning.view import ServiceView
from orchestrator.store import containers, mounts, ports
from orchestrator.store.db import Connection


async def create(
    conn: Connection,
    view: ServiceView,
    service: Service,
    step: CreateContainer,
    before: Container | None,
    chosen: set[ports.Key],
) -> Container:
    """The container for an empty slot, to be written; it takes over what is open and remembered of `before`.

    `chosen`: ports that this pass has given away; added to. Raises LookupError without a looked-up image.
    """
    image = usable_image(service)
    if image is None:
        raise LookupError(f"service {service.id} has no image for slot {step.slot}: a plan must look it up first")
    container_id = new_id()
    asked = effective_ports(service.spec.ports, image) if service.spec.net != "host" else ()
    row = new_container(view, service, step, container_id=container_id, image=image, before=before)
    bound = (
        await ports.choose(conn, container_id, step.node_id, asked, chosen)
        if any(port.published for port in asked)
        else ports.unpublished(asked)
    )
    return replace(row, spec=replace(row.spec, mounts=await _mounts(conn, service, step, image), ports=bound))


async def carrier(conn: Connection, view: ServiceView, step: TakeVolumes) -> Container:
    """A row that never becomes a container, to be written: it is wanted gone, and the slot's volumes with it."""
    service, name = view.service, container_name(view, step.slot)
    names = await mounts.names_of(conn, service.id, step.slot)
    row = Container(
        id=new_id(),
        service_id=service.id,
        node_id=step.node_id,
        slot=step.slot,
        name=name,
        spec=ContainerSpec(image=service.spec.image, image_id="", image_digest=None, hostname=name),
        made_from=digest(service.spec),
        deploy_gen=service.deploy_gen,
        want=Want.GONE,
        start_gen=0,
        autorestart=CrashPolicy.OFF,
        networks=(),
        created_at=view.now,
        drop_volumes=names,
    )
    await mounts.terminate(conn, names)
    return row


async def _mounts(conn: Connection, service: Service, step: CreateContainer, image: ResolvedImage) -> tuple[Mount, ...]:
    """Host paths, the slot's own volumes (those that the image declares too), and another service's (spec 2.9)."""
    out: dict[str, Mount] = {}
    managed: dict[str, bool] = {}
    for binding in service.spec.bindings:
        if binding.volumes_from is not None:
            for mount in await _of_service(conn, binding.volumes_from, step):
                out[mount.target] = replace(mount, own=False, read_only=mount.read_only or not binding.rewritable)
        elif binding.container_path and binding.host_path:
            target = binding.container_path
            out[target] = Mount(source=binding.host_path, target=target, read_only=not binding.rewritable)
        elif binding.container_path:
            managed[binding.container_path] = binding.rewritable
    for path in image.volumes:
        if path not in out:
            managed.setdefault(path, True)
    names = await mounts.of_slot(conn, service, step.slot, step.node_id, sorted(managed)) if managed else {}
    for path, name in names.items():
        out[path] = Mount(source=name, target=path, volume=True, own=True, read_only=not managed[path])
    return tuple(out[path] for path in sorted(out))


async def _of_service(conn: Connection, service_id: UUID, step: CreateContainer) -> tuple[Mount, ...]:
    """The mounts of the other service's container of the same slot, or of its first one, on the same node."""
    rows = await containers.open_on(conn, [service_id], step.node_id)
    if not rows:
        return ()
    best = min(rows, key=lambda row: (row.slot != step.slot, row.slot))
    return best.spec.mounts
