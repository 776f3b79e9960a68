"""Registries, and the images of them that a user registered with credentials (spec 4.3, 4.7)."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID

HUB = "docker.io"
_HUB_NAMES = frozenset({HUB, "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"})


class ImageState(StrEnum):
    """The wire's states of images and tags that this installation uses; it builds none."""

    EMPTY = "Empty"
    SUCCESS = "Success"


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryAuth:
    """What a registry asks for. The password is kept out of every text that is made of it."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredImage:
    """A row of the record; `password` is sealed, and None with `username`: a public image."""

    id: UUID
    account_id: UUID
    name: str
    description: str = ""
    username: str | None = None
    password: bytes | None = field(default=None, repr=False)


def _split(name: str) -> tuple[str, str]:
    host, slash, rest = name.partition("/")
    if not slash or not ("." in host or ":" in host or host == "localhost"):
        return HUB, name
    return (HUB if host.lower() in _HUB_NAMES else host), rest


def registry_of(name: str) -> str:
    """The host, with its port, that an image's name (without tag) points to; `docker.io` when it names none."""
    return _split(name)[0]


def repository_of(name: str) -> str:
    """What the image is called at its registry: an official image of the Hub is in `library/`."""
    host, rest = _split(name)
    return f"library/{rest}" if host == HUB and "/" not in rest else rest


def canonical(name: str) -> str:
    """One spelling for all names of the same repository: `nginx` is `docker.io/library/nginx`."""
    return f"{registry_of(name)}/{repository_of(name)}"


def spellings(name: str) -> tuple[str, ...]:
    """All names of the same repository that a service may be given, the one in `name` among them."""
    host, repository = registry_of(name), repository_of(name)
    if host != HUB:
        return (f"{host}/{repository}",)
    rests = {repository, repository.removeprefix("library/")}
    found = {*rests, *(f"{hub}/{rest}" for hub in _HUB_NAMES for rest in rests), name}
    # Without the Hub's name in front the first part may read as a host: `docker.io/a.b/app` is not `a.b/app`.
    return tuple(sorted(each for each in found if canonical(each) == f"{host}/{repository}"))


def is_local(host: str) -> bool:
    """Whether the registry is on this machine: engines speak plain HTTP to such ones."""
    bare = host.rsplit(":", 1)[0] if host.rsplit(":", 1)[-1].isdigit() else host
    if bare == "localhost":
        return True
    try:
        return ipaddress.ip_address(bare.strip("[]")).is_loopback
    except ValueError:
        return False
