"""Image references and what a resolved image brings along."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain

from domain.spec import Env, Transport

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_HOST = r"(?:localhost|[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9-]+|:[0-9]+))(?::[0-9]+)?"
_REFERENCE = re.compile(
    rf"^(?P<name>(?:{_HOST}/)?{_COMPONENT}(?:/{_COMPONENT})*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?"
    r"(?:@(?P<digest>sha256:[0-9a-f]{64}))?$"
)
MAX_REFERENCE = 255
MAX_IMAGE_TEXT = 512 * 1024
"""Characters: more than a process can be started with by far (128 KiB a variable), less than a message may have."""

LEAST_TEXT, PORT_TEXT = 8, 40
"""Characters that a text counts for beside its own, and a port: of the 10,000 of a telephone exchange all are kept."""

_NO_CHARACTER = re.compile("[\x00\ud800-\udfff]")


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


def unusable(image: ResolvedImage) -> str | None:
    """Why nothing can be made of what the image says of itself, for people; None where something can.

    An image says what it likes, and the record keeps it: text of any length and with any character it cannot keep.
    """
    said = (*image.entrypoint, *image.command, *image.volumes, image.reference, image.image_id, image.digest or "")
    texts = (*chain.from_iterable(image.env), *said)
    if sum(len(text) + LEAST_TEXT for text in texts) + PORT_TEXT * len(image.ports) > MAX_IMAGE_TEXT:
        what = f"more than {MAX_IMAGE_TEXT // 1024} KiB"
    elif not all(0 < each.port < 65536 for each in image.ports):
        what = "a port that there is not"
    elif any(_NO_CHARACTER.search(text) for text in texts):
        what = "a character that is none (NUL, or half of one)"
    else:
        return None
    return f"it cannot be used: its variables, commands, volumes and ports have {what}"
