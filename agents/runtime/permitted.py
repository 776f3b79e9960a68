"""The host's own word on what a container may have of it, whoever asks (RELIABILITY S12).

The control plane has decided already; this holds when it has not, and where only the host can tell: a path may be a
link that leads elsewhere. Who changes a link between this look and the engine's own is not seen.
"""

from __future__ import annotations

import os

from agents.runtime.base import RuntimeRefused
from domain.container import ContainerSpec
from domain.policy import Allowance, refused_link, refused_path, refused_powers

CODE = "not_permitted"


def check(spec: ContainerSpec, allowance: Allowance) -> None:
    """Raises RuntimeRefused when the host does not lend what the container asks for. Reads the file system."""
    for name, why in refused_powers(spec, allowance).items():
        raise RuntimeRefused(f"this host does not lend it: {name} {why}", CODE)
    for mount in spec.mounts:
        why_not = None if mount.volume else _path(mount.source, allowance)
        if why_not is not None:
            raise RuntimeRefused(f"this host does not lend it: {why_not}", CODE)


def _path(path: str, allowance: Allowance) -> str | None:
    why = refused_path(path, allowance)
    if why is not None:
        return why
    try:
        return refused_link(path, os.path.realpath(path), allowance)
    except OSError as error:
        return f"{path} cannot be followed here: {error.strerror}"
