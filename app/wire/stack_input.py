"""The body of a stack's create and update (spec 4.8)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.wire.reading import Reading
from app.wire.scalars import uuid_of
from app.wire.service_input import NAME, read_create, read_patch
from app.wire.stack_file import to_api
from domain.asked import Asked, AskedVolumes
from domain.errors import Invalid
from domain.service import Service

STACK_NAME = re.compile(r"^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$")
MOST_SERVICES = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedService:
    """One service of the body, in API attributes; read further by `created` or `patched`."""

    name: str
    data: Mapping[str, Any]
    volumes_from: tuple[AskedVolumes, ...]
    path: str

    def created(self, most_containers: int) -> Asked:
        """As a new service. Raises Invalid with paths in the stack's body."""
        try:
            return read_create(self.data, most_containers=most_containers)
        except Invalid as error:
            raise self.blamed(error) from None

    def patched(self, present: Service, most_containers: int) -> Asked:
        """As an update of the service. Raises Invalid with paths in the stack's body."""
        try:
            return read_patch(self.data, present.spec, present.name, most_containers=most_containers)
        except Invalid as error:
            raise self.blamed(error) from None

    def blamed(self, error: Invalid) -> Invalid:
        """The same complaints with paths in the stack's body."""
        return Invalid({f"{self.path}.{field}": text for field, text in error.fields.items()})


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedStack:
    """A body that was read. `name` and `nickname` None: it does not say; the empty nickname is the default."""

    name: str | None
    nickname: str | None
    services: tuple[AskedService, ...]


def read_stack(body: Any, *, create: bool) -> AskedStack:
    """The stack that a body describes. Raises Invalid with every bad field of it and of its services' keys."""
    reading = Reading()
    if not isinstance(body, dict):
        raise Invalid({"body": "must be a JSON object"})
    name = body.get("name")
    if create and name in (None, ""):
        reading.fail("name", "is required: 1 to 63 letters, digits and hyphens")
    elif name is not None and (not isinstance(name, str) or not STACK_NAME.fullmatch(name)):
        reading.fail("name", "must be 1 to 63 letters, digits and hyphens, beginning and ending with no hyphen")
    nickname = None
    if "nickname" in body:
        nickname = "" if body["nickname"] is None else reading.text(body["nickname"], "nickname", most=255)
    entries: Sequence[Any] = ()
    if body.get("services") is not None:
        entries = reading.items(body["services"], "services", most=MOST_SERVICES)
    found = tuple(
        each for index, entry in enumerate(entries) if (each := _service(reading, entry, f"services[{index}]"))
    )
    names = [each.name for each in found]
    for each in found:
        if names.count(each.name) > 1:
            reading.fail(f"{each.path}.name", f"{each.name} is given twice in the stack")
    if reading.errors:
        raise Invalid(reading.errors)
    return AskedStack(name=name, nickname=nickname, services=found)


def _service(reading: Reading, entry: Any, path: str) -> AskedService | None:
    data = reading.mapping(entry, path)
    name = data.get("name")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        reading.fail(f"{path}.name", "is required: 1 to 63 letters, digits and hyphens")
        return None
    api = to_api(reading, data, path)
    return AskedService(name=name, data=_without_names(api), volumes_from=_origins(api, path), path=path)


def _without_names(api: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes without the mounts of services that are named and not given as a URI."""
    if not isinstance(api.get("bindings"), list):
        return dict(api)
    kept = [each for each in api["bindings"] if not _named(each)]
    return {**api, "bindings": kept}


def _origins(api: Mapping[str, Any], path: str) -> tuple[AskedVolumes, ...]:
    found = api.get("bindings") if isinstance(api.get("bindings"), list) else []
    return tuple(
        AskedVolumes(
            service=each["volumes_from"],
            rewritable=each.get("rewritable") is not False,
            path=f"{path}.bindings[{index}].volumes_from",
        )
        for index, each in enumerate(found or ())
        if _named(each)
    )


def _named(binding: Any) -> bool:
    origin = binding.get("volumes_from") if isinstance(binding, dict) else None
    return isinstance(origin, str) and origin != "" and uuid_of(origin, "service") is None
