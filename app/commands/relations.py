"""What a definition says of other services: its links, and whose volumes it uses."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from domain.asked import AskedLink
from domain.errors import DomainError, Invalid
from domain.links import mangle
from domain.service import ServiceWant
from domain.spec import Link, ServiceSpec
from orchestrator.store import services
from orchestrator.store.db import Connection


async def check_volumes_from(conn: Connection, account_id: UUID, spec: ServiceSpec, own: UUID | None = None) -> None:
    """Raises Invalid when a binding names a service that is not there, or the service itself."""
    wanted = {each.volumes_from: index for index, each in enumerate(spec.bindings) if each.volumes_from}
    if not wanted:
        return
    found = await services.many(conn, account_id, list(wanted))
    errors = {}
    for each, index in wanted.items():
        service = found.get(each)
        if service is None or service.want is ServiceWant.TERMINATED:
            errors[f"bindings[{index}].volumes_from"] = f"there is no service {each}"
        elif each == own:
            errors[f"bindings[{index}].volumes_from"] = "is the service itself"
    if errors:
        raise Invalid(errors)


async def resolve_links(
    conn: Connection, account_id: UUID, asked: Sequence[AskedLink], *, own: UUID | None, stack_id: UUID | None
) -> tuple[Link, ...]:
    """The links with their targets found, those of the stack first. Raises Invalid with every link that leads
    nowhere (spec 2.8)."""
    errors: dict[str, str] = {}
    out: list[Link] = []
    for each in asked:
        text = each.to_service.rstrip("/").rsplit("/", 1)[-1]
        try:
            target = await services.resolve(conn, account_id, text, stack_id=stack_id)
        except DomainError as error:
            errors[f"{each.path}.to_service"] = str(error)
            continue
        if target is None:
            errors[f"{each.path}.to_service"] = f"there is no service {text[:80]}"
            continue
        if target == own:
            errors[f"{each.path}.to_service"] = "is the service itself"
            continue
        name = each.name or (await services.get(conn, account_id, target)).name
        if (other := next((link.name for link in out if mangle(link.name) == mangle(name)), None)) is not None:
            errors[f"{each.path}.name"] = f"{name} and {other} have one prefix, {mangle(name)}_, for their variables"
            continue
        out.append(Link(name=name, to_service=target))
    if errors:
        raise Invalid(errors)
    return tuple(out)
