"""Whether a definition may be carried out: the policy of `domain.policy`, with what other services lend by their
volumes looked up."""

from __future__ import annotations

from uuid import UUID

from domain.errors import Invalid, NotAllowed
from domain.policy import Allowance, host_paths, refused, refused_path
from domain.spec import ServiceSpec
from orchestrator.store import services
from orchestrator.store.db import Connection


async def check(conn: Connection, account_id: UUID, spec: ServiceSpec, allowance: Allowance) -> None:
    """Raises Invalid with everything in a new definition that its author may not ask for."""
    complaints = await _complaints(conn, account_id, spec, allowance)
    if complaints:
        raise Invalid(complaints)


async def check_again(conn: Connection, account_id: UUID, spec: ServiceSpec, allowance: Allowance) -> None:
    """Raises NotAllowed when the definition may not be carried out any more: its owner's role or the settings are
    others by now."""
    complaints = await _complaints(conn, account_id, spec, allowance)
    if complaints:
        said = "; ".join(f"{name} {why}" for name, why in complaints.items())
        raise NotAllowed(f"the service may not be deployed as it is defined: {said}")


async def _complaints(conn: Connection, account_id: UUID, spec: ServiceSpec, allowance: Allowance) -> dict[str, str]:
    """What is mounted with `volumes_from` is followed to its end: those services may do so themselves."""
    complaints = refused(spec, allowance)
    asked = {
        binding.volumes_from: f"bindings[{index}].volumes_from"
        for index, binding in enumerate(spec.bindings)
        if binding.volumes_from
    }
    followed: set[UUID] = set()
    while asked:
        followed |= asked.keys()
        further: dict[UUID, str] = {}
        for service in (await services.many(conn, account_id, list(asked))).values():
            field = asked[service.id]
            for path in host_paths(service.spec):
                why = refused_path(path, allowance)
                if why is not None:
                    complaints[field] = f"is {service.unique_name}, which has mounted {why}"
            further |= {
                each.volumes_from: field
                for each in service.spec.bindings
                if each.volumes_from and each.volumes_from not in followed
            }
        asked = further
    return complaints
