"""Image references and what a resolved image brings along."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from domain.spec import Env, Transport

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_HOST = r"(?:localhost|[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9-]+|:[0-9]+))(?::[0-9]+)?"
_REFERENCE = re.compile(
    rf"^(?P<name>(?:{_HOST}/)?{_COMPONENT}(?:/{_COMPONENT})*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?"
    r"(?:@(?P<digest>sha256:[0-9a-f]{64}))?$"
)
MAX_REFERENCE = 255


class Pull(StrEnum):
    """Whether resolving an image asks the registry although the engine has the tag."""

    MISSING = "missing"
    ALWAYS = "always"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A parsed image reference. `tag` is `latest` when none was given and there is no digest."""

    name: str
    tag: str | None
    digest: str | None

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.name}{tag}" + (f"@{self.digest}" if self.digest else "")


def parse(text: str) -> Reference | None:
    """The reference in `text`, or None when it is not one (spec 2.5)."""
    match = _REFERENCE.fullmatch(text) if len(text) <= MAX_REFERENCE else None
    if match is None:
        return None
    tag = match["tag"] or (None if match["digest"] else "latest")
    return Reference(name=match["name"], tag=tag, digest=match["digest"])


def default_service_name(reference: Reference) -> str:
    """The last path part without registry, namespace and tag, made fit for a host name (spec 2.4)."""
    return re.sub(r"[^A-Za-z0-9-]+", "-", reference.name.rsplit("/", 1)[-1]).strip("-")[:63].rstrip("-")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePort:
    """A port that the image exposes."""

    protocol: Transport
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedImage:
    """What a reference meant when the deployment began; every container of it runs exactly this.

    `image_id` is the engine's content id; `digest` the registry's (`name@sha256:...`), None for an image
    that only the engine has.
    """

    reference: str
    image_id: str
    digest: str | None = None
    env: Env = ()
    ports: tuple[ImagePort, ...] = ()
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
