"""A definition as somebody asks for it, before the names in it are looked up."""

from __future__ import annotations

from dataclasses import dataclass

from domain.spec import ServiceSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedLink:
    """A link whose target is still to be found. `name` None: the target's; `path`: where a complaint belongs."""

    to_service: str
    name: str | None
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedVolumes:
    """Another service's volumes, by the name of the service, which is still to be found."""

    service: str
    rewritable: bool
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A service's definition that was read without a complaint. None: it is not said."""

    name: str | None
    target: int | None
    links: tuple[AskedLink, ...] | None
    spec: ServiceSpec
